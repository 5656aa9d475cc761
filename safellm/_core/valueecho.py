"""Takes values of somebody else out of an answer: registered ones, and what other conversations hid (THREATS O.6).

A value counts as `detection.valueindex` counts it: where no ASCII letter or digit touches it, in the canonical view. Held back is
what may be the beginning of a value, at most as much as the longest of them, and the last word.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from safellm._core.detection.canonical import fold
from safellm._core.heldback import Running, Span, merged
from safellm._core.jsonview import JsonView, view_of

_PLAIN = re.compile(r"[\t-\r -~]*+")  # is its own view
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")  # RFC 8259 6; leading zeros don't matter here


class Values(Protocol):
    """Values that an answer is searched for."""

    @property
    def type(self) -> str:
        """What they are called."""
        ...

    def spans(self, view: str) -> Iterator[Span]:
        """Yield where values stand in a canonical view."""
        ...

    def open_from(self, view: str) -> int:
        """Return where in a view a value may have begun that more text could complete or spoil; `len(view)` if nowhere."""
        ...


@dataclass(slots=True, kw_only=True)
class ValueEcho(Running):
    """Takes the values of one index out of one text.

    Args:
        values: What is searched for.
        was_sent: Whether the conversation itself holds a value.
        is_json: The text is JSON: escapes are read, and it must stay JSON.
    """

    values: Values
    was_sent: Callable[[str], bool]
    is_json: bool = False
    _last: str = field(default="", repr=False)  # of the view: the character before the rest

    def _run(self, text: str, *, last: bool) -> str:
        said = view_of(text) if self.is_json else None
        view, origins = _view(text if said is None else said.text)
        before = len(self._last)
        whole = self._last + view
        certain = len(view)
        if not last:
            certain = max(0, self.values.open_from(whole) - before)
        out: list[str] = []
        position = 0
        for start, end in merged(self._foreign(whole)):
            if end - before > certain:
                certain = min(certain, max(0, start - before))
                break
            begin = _place(said, _origin(origins, start - before))
            after = _place(said, _origin(origins, end - before - 1) + 1)
            out += (text[position:begin], self._note(text[begin:after]))
            position = after
            self.removed += 1
        cut_at = len(text) if last or said is None else said.cut
        if certain < len(view):
            cut_at = _place(said, _origin(origins, certain))
        out.append(text[position:cut_at])
        self._rest = text[cut_at:]
        self._last = whole[: before + certain][-1:]
        return "".join(out)

    def _foreign(self, view: str) -> Iterator[Span]:
        sent: dict[str, bool] = {}
        for start, end in self.values.spans(view):
            value = view[start:end]
            if value not in sent:
                sent[value] = self.was_sent(value)
            if not sent[value]:
                yield start, end

    def _note(self, value: str) -> str:
        return note_of(self.values.type, value, is_json=self.is_json)


def note_of(kind: str, value: str, *, is_json: bool) -> str:
    """Return what stands in the place of a value; in JSON, a number stays one."""
    return "0" if is_json and _NUMBER.fullmatch(value) else f"({kind} removed)"


def _view(text: str) -> tuple[str, list[int] | None]:
    """Return the canonical view of a text, character by character, and where each character of it came from; None: the same.

    Unlike `canonicalise`, it knows no words, so the view of a text is that of its pieces.
    """
    if _PLAIN.fullmatch(text) is not None or all(fold(one) == one for one in set(text)):
        return text, None
    folded = [fold(one) for one in text]
    return "".join(folded), [index for index, one in enumerate(folded) for _ in one]


def _place(said: JsonView | None, index: int) -> int:
    return index if said is None else said.start(index)


def _origin(origins: Sequence[int] | None, index: int) -> int:
    return index if origins is None else origins[index]
