"""Takes personal data out of an answer that this conversation doesn't hold, whatever it is (THREATS O.6).

The detectors read line by line, because what stands around a value says what it is. So a stream comes line by line, too, and
values that go over the end of a line are read as two.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from safellm._core.detection.finding import Scanner
from safellm._core.heldback import Running, merged
from safellm._core.jsonview import view_of
from safellm._core.placeholder import has_prefix
from safellm._core.valueecho import note_of

_LONGEST: Final = 4096  # characters of a line that are read at once


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

    def _run(self, text: str, *, last: bool) -> str:
        out: list[str] = []
        at = 0
        while at < len(text):
            end = text.find("\n", at, at + _LONGEST) + 1
            if not end and len(text) - at > _LONGEST:
                end = max(text.rfind(" ", at, at + _LONGEST) + 1, 0) or at + _LONGEST
            if not end:
                if not last:
                    break
                end = len(text)
            out.append(self._treated(text[at:end]))
            at = end
        self._rest = text[at:]
        return "".join(out)

    def _treated(self, line: str) -> str:
        said = view_of(line) if self.is_json else None
        view = line if said is None else said.text
        found = [
            (one.start, one.end, one.type)
            for one in self.scanner.scan(view)
            if self.is_personal(one.type, view[one.start : one.end]) and not has_prefix(view[one.start : one.end])
        ]
        types = {start: kind for start, _, kind in found}
        out: list[str] = []
        position = 0
        for start, end in merged([(start, end) for start, end, _ in found if not self.was_sent(view[start:end])]):
            begin, after = (start, end) if said is None else (said.start(start), said.start(end))
            out += (line[position:begin], note_of(types[start], line[begin:after], is_json=self.is_json))
            position = after
            self.removed += 1
        return "".join((*out, line[position:]))
