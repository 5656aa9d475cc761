"""`safellm redact`: a file or a pipe without what must not leave, and the way back."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, tell
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from safellm._core.fields import Field
    from safellm._core.redaction.hide import Change
    from safellm._core.redaction.memory import Memory
    from safellm._core.textfiles import FileBody
    from safellm.redaction import Tools
    from safellm.stores.mappings import MappingStore

_NAME = "mapping file"  # all of them; the installation key tells one user's from another's
_DEPTH = 500
_STYLES = {"mask": "black on green", "surrogate": "black on cyan", "remove": "black on yellow", "block": "white on red"}


def redact(  # noqa: PLR0913 - one parameter for each option
    file: Annotated[str, typer.Argument(help="A text file, or - for standard input.")] = "-",
    *,
    types: Annotated[
        str, typer.Option(help="Hide these types only, for example EMAIL,PHONE; or EMAIL=surrogate.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="Keep the values, encrypted, in this file, for --restore.")
    ] = None,
    restore: Annotated[bool, typer.Option("--restore", help="Put the values of the mapping file back.")] = False,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="With --restore: also inside URLs, link targets and HTML tags.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what was found, where and why; hides nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Hide secrets and personal data in a text, or put them back.

    Text, JSON, JSON lines, notebooks and CSV, in UTF-8 or UTF-16; what isn't hidden stays byte for byte. Nothing is sent anywhere.

    Exit code 1: --restore left something as it was, or a type that the policy blocks was found.
    """
    from safellm.redaction import load_tools

    if restore and mapping is None:
        raise ConfigurationError("There is no mapping file", remedy="Name the one of before: --mapping FILE.")
    tools = load_tools()
    body = _read(file)
    memory, store = _memory(tools, mapping, restore=restore)
    if restore:
        _restore(body, memory, everywhere=everywhere)
        return
    findings: list[dict[str, Any]] = []
    shown: list[tuple[Field, str, tuple[Change, ...]]] = []
    for one, before, changes in _hide(tools, body, memory, types):
        findings += (_as_json(one, change) for change in changes)
        if changes:
            shown.append((one, before, changes))
    if explain:
        if json:
            print_json({"findings": findings})
        else:
            _explain(shown)
        return
    if store is not None and mapping is not None:
        store.save(_NAME, memory, path=mapping.absolute())
    if json:
        print_json({"text": body.encode().decode(body.decoded.encoding, "replace"), "findings": findings})
    else:
        typer.echo(body.encode(), nl=False)


def _read(file: str) -> FileBody:
    from safellm._core.textfiles import read_file

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read ({error.strerror})", remedy="Name a text file, or -.") from None
    body = read_file(data, max_depth=_DEPTH)
    if body is None:
        raise ConfigurationError(f"{file} is no text in UTF-8 or UTF-16", remedy="Export it as text first.")
    return body


def _memory(tools: Tools, mapping: Path | None, *, restore: bool) -> tuple[Memory, MappingStore | None]:
    from safellm._core.redaction.memory import Memory
    from safellm.stores.mappings import MappingStore

    memory = Memory(f"file:{secrets.token_hex(16)}")
    if mapping is None:
        return memory, None
    path = mapping.absolute()
    if restore and not path.exists():
        raise ConfigurationError(f"There is no mapping file {mapping}", remedy="Name the one that was written before.")
    store = MappingStore(path.parent, tools.key, days=3650)
    store.load(_NAME, memory, path=path)
    return memory, store


def _hide(tools: Tools, body: FileBody, memory: Memory, types: str) -> Iterator[tuple[Field, str, tuple[Change, ...]]]:
    from safellm._core.fields import Kind
    from safellm.redaction import redact_with

    chosen = _types(types)
    _refuse_unknown(chosen or ())
    for one in body.fields():
        if one.kind is Kind.DATA:
            continue
        before = one.text
        redacted = redact_with(tools, before, memory, types=chosen)
        if str(redacted) != before:
            one.put(str(redacted))
        yield one, before, redacted.changes


def _restore(body: FileBody, memory: Memory, *, everywhere: bool) -> None:
    from safellm._core.redaction.back import put_back
    from safellm._core.restore import text_position

    left = 0
    unknown = 0
    for one in body.fields():
        text, kept, strange = put_back(
            memory, one.text, allowed=(lambda *_: True) if everywhere else text_position, tolerant=True
        )
        left += kept
        unknown += strange
        if text != one.text:
            one.put(text)
    typer.echo(body.encode(), nl=False)
    if left:
        tell(f"safellm: {left} stayed inside URLs, link targets or HTML tags; --everywhere restores these as well.")
    if unknown:
        tell(f"safellm: {unknown} look like placeholders and are not in the mapping file.")
    if left or unknown:
        raise typer.Exit(PROBLEM)


def _types(text: str) -> list[str] | dict[str, str] | None:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        return None
    if all("=" in part for part in parts):
        return {name.strip(): action.strip() for name, _, action in (part.partition("=") for part in parts)}
    if any("=" in part for part in parts):
        raise typer.BadParameter("write EMAIL,PHONE or EMAIL=surrogate,PHONE=remove", param_hint="--types")
    return parts


def _refuse_unknown(chosen: Collection[str]) -> None:
    """Refuse a type that nothing here can find: the text would come out as it went in, and look redacted."""
    from safellm._core.textrules import TYPES
    from safellm.cli.world import look

    policy = look().policy
    known = TYPES | {rule.kind for rule in policy.rules}
    unknown = [name for name in chosen if name not in known]
    if unknown and not policy.plugins:  # a plug-in's types are its own
        raise ConfigurationError(
            f"Nothing finds the type {unknown[0]!a}", remedy=f"Take any of {', '.join(sorted(known))}."
        )


def _as_json(one: Field, change: Change) -> dict[str, Any]:
    finding = change.finding
    return {
        "field": one.pointer,
        "type": finding.type,
        "rule": finding.rule,
        "start": finding.start,
        "end": finding.end,
        "confidence": round(finding.confidence, 3),
        "action": str(change.action),
    }


def _explain(shown: list[tuple[Field, str, tuple[Change, ...]]]) -> None:
    from rich.text import Text

    from safellm._core.detection.explained import explain
    from safellm._core.detection.rules import load_rules
    from safellm.stores.journal.events import escaped

    console = make_console()
    rules = {rule.id: rule for rule in load_rules()}
    table = make_table("place", "type", "confidence", "action", "rule", "why", numbers=("confidence",))
    for one, before, changes in shown:
        text = Text(f"{one.pointer}\n" if one.pointer else "", style="dim")
        position = 0
        for change in changes:
            finding = change.finding
            text.append(_lines(before[position : finding.start], escaped), style="")
            text.append(
                _lines(before[finding.start : finding.end], escaped), style=_STYLES.get(change.action, "reverse")
            )
            position = finding.end
            line = before.count("\n", 0, finding.start) + 1
            column = finding.start - (before.rfind("\n", 0, finding.start) + 1) + 1
            table.add_row(
                cell(f"{one.pointer} {line}:{column}".strip()),
                cell(finding.type),
                cell(f"{finding.confidence:.2f}"),
                cell(change.action),
                cell(finding.rule),
                cell(explain(finding, rules.get(finding.rule), before)),
            )
        text.append(_lines(before[position:], escaped), style="")
        console.print(text, soft_wrap=True)
    if shown:
        console.print(table)
    else:
        console.print("Nothing was found.")


def _lines(text: str, escaped: Any) -> str:
    return "\n".join(escaped(line) for line in text.split("\n"))
