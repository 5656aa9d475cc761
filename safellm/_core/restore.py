"""Putting hidden values back, by position, in any chunking.

A value comes back where text is read. It does not come back where the position itself would send it away (THREATS R.7):
inside a URL, a Markdown link or image target, a reference definition, an HTML tag, or a host name that is being formed.
There the placeholder stays, is counted, and tells nothing to whoever receives it.

One pass: restored text is never searched again (R.4). Held back is at most one placeholder and two characters, as they are written
(R.5). What stands for a value is decided in `safellm._core.redaction.back`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from safellm._core.jsonview import EDGE, view_of
from safellm._core.placeholder import Mapping
from safellm._core.redaction.back import find, open_from

CONTEXT = 2048  # characters before a placeholder that decide its position; URLs and tags longer than this are no text
_AFTER = 2  # characters after it that decide whether a host name or an address goes on
JSON_AFTER = 12  # the same, if each of them may be written as an escape of JSON

_IN_URL = re.compile(
    r"(?:://|^//|^www\.|^(?:mailto|tel|sms|data|javascript|file|ftp|blob|vbscript|intent):)", re.IGNORECASE
)
_HOST_AND_PATH = re.compile(r"[a-z0-9-]\.[a-z]{2,}[^\s]*[/?#&=]|[/?#&][^\s]*=$|/$", re.IGNORECASE)
_TOKEN_BREAK = re.compile(r"[\s\"'`<>|]|\\[nrt]")
_ENDS = frozenset(" \t\r\n\"'`)]}*_!?.,;:<\u201d\u2019\u00bb")
_LINK_TARGET = re.compile(r"\]\([^)\s]*(?:\s[^)]*)?\Z")
_REFERENCE = re.compile(r"(?:^|\n) {0,3}\[[^\]\n]{1,200}\]:[^\n]*\Z")
_TAG_OPEN = re.compile(r"(?:<|&lt;)[/!?]?[A-Za-z][^<>]*\Z")  # also one that was made text: another reader may undo that


def is_exposed(before: str, after: str) -> bool:
    """Return whether a value at this position would be sent somewhere by whoever renders or follows the text.

    Args:
        before: Up to `CONTEXT` characters before the placeholder, not restored.
        after: The characters after it, two of which count.
    """
    token = _TOKEN_BREAK.split(before[-CONTEXT:])[-1]
    opened = token.rfind("(")  # "(see X-…" is text; "](X-…" is decided below
    bare = token[opened + 1 :] if opened >= 0 and not token[:opened].endswith("]") else token
    if _IN_URL.search(token) or _IN_URL.search(bare) or _HOST_AND_PATH.search(bare):
        return True
    if after[:1] in {"/", "@", "#", "&"} or (after[:1] in {".", ":"} and after[1:2].isalnum()):
        return True
    if after[:1] == "?" and after[1:2] and after[1:2] not in _ENDS:  # "Who is X-…?" is a question, "X-…?q=" an address
        return True
    tail = before[-CONTEXT:]
    return bool(_LINK_TARGET.search(tail) or _REFERENCE.search(tail) or _TAG_OPEN.search(tail))


@dataclass(slots=True, kw_only=True)
class Restorer:
    """Restores one channel. `feed` any pieces, then `finish`.

    Args:
        mapping: What placeholders stand for.
        allowed: Asked with the text before and after a known placeholder, whether its value may come back there.
        write: How a value is written into this channel (as it is, or as inside a JSON string).
        passed: Told every piece of text, in order, before the decision about what follows it.
        tolerant: Also restore placeholders that the model mangled; not inside JSON.
        came_back: Where the values that came back are counted; None: nobody asks which.
        reach: How many characters after a placeholder `allowed` is told of.
    """

    mapping: Mapping
    allowed: Callable[[str, str], bool]
    write: Callable[[str], str] = str
    passed: Callable[[str], None] | None = None
    tolerant: bool = False
    came_back: dict[str, int] | None = field(default=None, repr=False)
    reach: int = _AFTER
    restored: int = 0
    kept: int = 0
    unknown: int = 0
    _before: str = field(default="", repr=False)
    _held: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        """Return the text that is certain by now."""
        return self._run(self._held + text, last=False)

    def finish(self) -> str:
        """Return what was held back: the text is over."""
        return self._run(self._held, last=True)

    def _run(self, text: str, *, last: bool) -> str:
        previous = self._before[-1:]
        certain = len(text) if last else open_from(self.mapping, text, previous=previous, tolerant=self.tolerant)
        out: list[str] = []
        position = 0
        for found in find(self.mapping, text, previous=previous, tolerant=self.tolerant):
            if found.end > certain or (not last and len(text) - found.end < self.reach):
                certain = min(certain, found.start)
                break
            out.append(self._pass(text[position : found.start]))
            before = self._before + text[: found.start]
            written = text[found.start : found.end]
            out.append(self._value(written, found.value, before[-CONTEXT:], text[found.end : found.end + self.reach]))
            self._pass(written)
            position = found.end
        out.append(self._pass(text[position:certain]))
        self._before = (self._before + text[:certain])[-CONTEXT:]
        self._held = text[certain:]
        return "".join(out)

    def _pass(self, text: str) -> str:
        if self.passed is not None:
            self.passed(text)
        return text

    def _value(self, placeholder: str, value: str | None, before: str, after: str) -> str:
        if value is None:
            self.unknown += 1
            return placeholder
        if not self.allowed(before, after):
            self.kept += 1
            return placeholder
        self.restored += 1
        if self.came_back is not None:
            self.came_back[value] = self.came_back.get(value, 0) + 1
        return self.write(value)


def text_position(before: str, after: str) -> bool:
    """Allow everywhere but in exposed positions: the rule for text that is shown to people."""
    return not is_exposed(before, after)


def json_position(before: str, after: str) -> bool:
    """The same for text inside of JSON: what counts is what its reader reads, in that string and in all of it."""
    said, follows = view_of(before).text, view_of(after).text.partition(EDGE)[0]
    if follows[:1].isascii() and follows[:1].isalnum():  # by an escape: as itself it would have made it no placeholder
        return False
    outside, _, string = said.rpartition(EDGE)
    return text_position(string, follows) and (not outside or text_position(said.replace(EDGE, '"'), follows))
