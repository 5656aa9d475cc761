"""The manual page `safellm.1` (roff with the macros of `man`, see man-pages(7)) and the page of the site, both from the help."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from safellm.cli.app import app

_MARKUP: Final = re.compile(r"\[/?(?:bold|dim|italic|cyan|green|yellow|red)[^\]]*\]")
_END: Final = r"""
.SH EXIT STATUS
.TP
.B 0
Fine.
.TP
.B 1
A problem was found, or a guard refused.
.TP
.B 2
Wrong use or configuration.
.TP
.B 130
Interrupted.
.SH ENVIRONMENT
.TP
.B SAFELLM_POLICY
The policy file, as an absolute path. Every setting has a variable of its own too, such as
.BR SAFELLM_MODE ;
.B safellm policy show
lists the settings and where each value comes from.
.TP
.B SAFELLM_HOME
One folder for configuration, ledger, audit trail and caches, in place of the user's own folders.
.TP
.B NO_COLOR
No colours and no other escape codes.
.SH SEE ALSO
.B safellm \fICOMMAND\fP --help
"""


def render() -> str:
    """Return the page."""
    root: Any = get_command(app)
    parts = [
        '.TH SAFELLM 1 "" "safellm" "User Commands"',
        ".SH NAME",
        r"safellm \- guards between programs and the providers of language models, on this machine",
        ".SH SYNOPSIS",
        r".B safellm \fICOMMAND\fP [\fIARGUMENTS\fP]",
        ".SH DESCRIPTION",
        _text(root.help),
        ".SH COMMANDS",
    ]
    for words, command in _commands(root, ()):
        parts += _section(words, command)
    return "\n".join(parts) + _END


def render_markdown() -> str:
    """Return a section for each command, with a table of its options."""
    parts: list[str] = []
    for words, command in _commands(get_command(app), ()):
        named = " ".join(_arguments(command))
        parts += [f"## `safellm {' '.join(words)}`", _plain(command.help)]
        options = [(", ".join(f"`{name}`" for name in names), _cell(text)) for names, text in _options(command)]
        if named:
            parts[-1] = f"`{named}`. {parts[-1]}"
        if options:
            parts.append("\n".join(["| | |", "|---|---|", *(f"| {names} | {text} |" for names, text in options)]))
    return "\n\n".join(parts)


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in group.list_commands(None):
        command = group.commands[name]
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            if command.invoke_without_command:  # it does something of its own, as `safellm budget` does
                yield (*words, name), command
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _section(words: tuple[str, ...], command: Any) -> list[str]:
    said = "".join(rf" \fI{_escaped(name)}\fP" for name in _arguments(command))
    lines = [f'.SS "safellm {" ".join(words)}{said}"', _text(command.help)]
    for names, text in _options(command):
        lines += [".TP", rf".B {_escaped(', '.join(names))}", _text(text)]
    return lines


def _arguments(command: Any) -> list[str]:
    found = [one for one in command.params if one.param_type_name == "argument"]
    return [(one.metavar or one.name).upper() for one in found]


def _options(command: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the names and the help of each option."""
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            yield (*one.opts, *one.secondary_opts), one.help or ""


def _plain(text: str | None) -> str:
    paragraphs = re.split(r"\n\s*\n", _MARKUP.sub("", text or "").strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("<", "&lt;").replace("\n\n", " ")


def _text(text: str | None) -> str:
    return "\n.PP\n".join(_escaped(paragraph) for paragraph in _plain(text).split("\n\n"))


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("\u2026", "...")
    return r"\&" + text if text.startswith((".", "'")) else text
