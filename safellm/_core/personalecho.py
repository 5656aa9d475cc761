"""Takes personal data out of an answer that this conversation doesn't hold, whatever it is (THREATS O.6).

The detectors read line by line, because what stands around a value says what it is. So a stream comes line by line, too, and
values that go over the end of a line are read as two. A long line is read in pieces, each with the end of the one before it and the
beginning of the next one, so no value falls on a cut.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from safellm._core.detection.finding import Scanner
from safellm._core.heldback import Running, Span, merged
from safellm._core.jsonview import JsonView, view_of
from safellm._core.placeholder import has_prefix
from safellm._core.valueecho import note_of

# Of a line so many characters are read at once, those at their end again with what follows, and so many before them as well.
_LONGEST: Final = 4096
_OVERLAP: Final = 1024
_CONTEXT: Final = 256


@dataclass(slots=True, kw_only=True)
class PersonalEcho(Running):
    """Takes what the detectors call personal out of one text.

    Args:
        scanner: The detectors.
        is_personal: Whether a find of this type and value is personal data.
        was_sent: Whether the conversation itself holds a value.
        is_json: The text is JSON: escapes are read, and it must stay JSON.
    """

    scanner: Scanner
    is_personal: Callable[[str, str], bool]
    was_sent: Callable[[str], bool]
    is_json: bool = False
    _before: str = field(default="", repr=False)  # of the line: the end of what was read

    def _run(self, text: str, *, last: bool) -> str:
        out: list[str] = []
        at = 0
        while at < len(text):
            end = text.find("\n", at, at + _LONGEST) + 1
            whole = bool(end)
            if not end:
                end = at + _LONGEST
                if end > len(text) and not last:
                    break
                whole = end > len(text)
            treated, read = self._treated(text[at:end], is_whole=whole)
            out.append(treated)
            at += read
        self._rest = text[at:]
        return "".join(out)

    def _treated(self, piece: str, *, is_whole: bool) -> tuple[str, int]:
        """Return what comes out of a line, and how much of it that is: what begins at the end of a piece is left."""
        begin = len(self._before)
        line = self._before + piece
        said = view_of(line) if self.is_json else None
        view = line if said is None else said.text
        found = [
            (*_place(said, one.start, one.end), view[one.start : one.end], one.type)
            for one in self.scanner.scan(view)
            if self.is_personal(one.type, view[one.start : one.end]) and not has_prefix(view[one.start : one.end])
        ]
        certain = len(line) if is_whole else _whole(said, len(line) - _OVERLAP)
        read = certain
        types = {max(start, begin): kind for start, _, _, kind in found}
        spans: list[Span] = []
        for start, end, value, _ in found:
            if begin < end and start < certain:
                read = max(read, end)
                if not self.was_sent(value):
                    spans.append((max(start, begin), end))
        out: list[str] = []
        position = begin
        for start, end in merged(spans):
            out += (line[position:start], note_of(types[start], line[start:end], is_json=self.is_json))
            position = end
            self.removed += 1
        out.append(line[position:read])
        self._before = "" if is_whole else line[_whole(said, read - _CONTEXT) : read]
        return "".join(out), read - begin


def _place(said: JsonView | None, start: int, end: int) -> Span:
    return (start, end) if said is None else (said.start(start), said.start(end))


def _whole(said: JsonView | None, place: int) -> int:
    return place if said is None else said.whole(place)
