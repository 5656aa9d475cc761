"""Filters of running texts that hold back what may still become something: the same text in pieces gives the same text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]


def is_beginning(ordered: list[str], text: str) -> bool:
    """Return whether a text is the beginning of one of the texts in a sorted list, and not all of it."""
    place = bisect_left(ordered, text)
    if place < len(ordered) and ordered[place] == text:
        place += 1
    return place < len(ordered) and ordered[place].startswith(text)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order; those that overlap become one."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


@dataclass(slots=True)
class Running:
    """A filter of one running text."""

    removed: int = 0
    _rest: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        return self._run(self._rest + text, last=False)

    def finish(self) -> str:
        """Return what was held back: the text is over."""
        return self._run(self._rest, last=True)

    def _run(self, text: str, *, last: bool) -> str:
        raise NotImplementedError


@dataclass(slots=True)
class HeldBack(Running):
    """What the filters of known forms share: text is held back from where a form may have begun."""

    def _run(self, text: str, *, last: bool) -> str:
        certain = len(text) if last else self._open_from(text)
        out: list[str] = []
        position = 0
        for start, end in self._spans(text):
            if end > certain:
                certain = min(certain, start)
                break
            out += (text[position:start], self._note())
            position = end
            self.removed += 1
        out.append(text[position:certain])
        self._rest = text[certain:]
        return "".join(out)

    def _open_from(self, text: str) -> int:
        raise NotImplementedError

    def _spans(self, text: str) -> list[Span]:
        raise NotImplementedError

    def _note(self) -> str:
        raise NotImplementedError
