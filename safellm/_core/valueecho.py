"""Takes values of somebody else out of an answer: registered ones, and what other conversations hid (THREATS O.6).

A value counts as `detection.valueindex` counts it: where no ASCII letter or digit touches it, in the canonical view. Held back is
what may be the beginning of a value, at most as much as the longest of them, and the last word.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from safellm._core.detection.canonical import fold
from safellm._core.heldback import Running, Span, merged

_PLAIN = re.compile(r"[\t-\r -~]*+")  # is its own view
_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|[^u])", re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
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
        is_json: The text is JSON: escapes separate, and it must stay JSON.
    """

    values: Values
    was_sent: Callable[[str], bool]
    is_json: bool = False
    _last: str = field(default="", repr=False)  # of the view: the character before the rest

    def _run(self, text: str, *, last: bool) -> str:
        shape = _ESCAPE.sub(lambda one: " " * len(one[0]), text) if self.is_json else text
        view, origins = _view(shape)
        before = len(self._last)
        whole = self._last + view
        certain = len(view)
        if not last:
            certain = max(0, self.values.open_from(whole) - before)
            if self.is_json and (cut := _CUT_ESCAPE.search(shape)) is not None:
                certain = min(certain, _index(origins, cut.start()))
        out: list[str] = []
        position = 0
        for start, end in merged(self._foreign(whole)):
            if end - before > certain:
                certain = min(certain, max(0, start - before))
                break
            begin, after = _origin(origins, start - before), _origin(origins, end - before - 1) + 1
            out += (text[position:begin], self._note(text[begin:after]))
            position = after
            self.removed += 1
        cut_at = _origin(origins, certain) if certain < len(view) else len(text)
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
        return "0" if self.is_json and _NUMBER.fullmatch(value) else f"({self.values.type} removed)"


def _view(text: str) -> tuple[str, list[int] | None]:
    """Return the canonical view of a text, character by character, and where each character of it came from; None: the same.

    Unlike `canonicalise`, it knows no words, so the view of a text is that of its pieces.
    """
    if _PLAIN.fullmatch(text) is not None or all(fold(one) == one for one in set(text)):
        return text, None
    folded = [fold(one) for one in text]
    return "".join(folded), [index for index, one in enumerate(folded) for _ in one]


def _origin(origins: list[int] | None, index: int) -> int:
    return index if origins is None else origins[index]


def _index(origins: list[int] | None, place: int) -> int:
    """Return the first index of the view that came from a place of the text, or from behind it."""
    return place if origins is None else next((at for at, one in enumerate(origins) if one >= place), len(origins))
