"""The filters where Hyperscan has no wheel: a tree of RE2 alternations for each part. An open gate asks its two halves."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safellm._core.detection.engine import compile_pattern
from safellm._core.detection.filters import Filter, Filters, Note, Plan
from safellm._core.detection.reach import Reach, gate_ends


def build_gates(plan: Plan) -> Filters:
    """Return the filters without Hyperscan; see `filters.build_filters`."""
    stages = [
        tuple(_gate([(number, plan.numbered[number]) for number in numbers]) for numbers in plan.parts(late=late))
        for late in (False, True)
    ]
    near = _gate(((0, Filter(plan.near, Reach.LINE)),)) if plan.near else None
    return Filters(plan.numbered, len(plan.filters), plan.literal, stages[0], stages[1], near, plan.before)


@dataclass(frozen=True, slots=True)
class GatePart:
    """A filter that matches wherever one of some others could, and the gates of the two halves of those."""

    pattern: str
    filters: tuple[tuple[int, Filter], ...]
    halves: tuple[GatePart, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the filters."""
        return tuple(number for number, _ in self.filters)

    def search(self, data: bytes, note: Note, scratch: Any) -> None:  # noqa: ARG002 - as the other engine is called
        """Call `note` for the matches; see `filters.Part`."""
        self._search(data, note, {})

    def scratch(self) -> None:
        """Return nothing: this engine wants no space of its own."""

    def _search(self, data: bytes, note: Note, seen: dict[str, bool]) -> None:
        if self.pattern not in seen:  # rules of one kind share a filter
            seen[self.pattern] = compile_pattern(self.pattern).search(data) is not None
        if not seen[self.pattern]:
            return
        for number, one in () if self.halves else self.filters:
            for end in (0,) if one.is_asked_once else gate_ends(one.pattern, data, one.reach):
                note(number, 0, end, 0, None)
        for half in self.halves:
            half._search(data, note, seen)  # noqa: SLF001 - the same class


def _gate(filters: Sequence[tuple[int, Filter]]) -> GatePart:
    distinct = tuple(dict.fromkeys(one.pattern for _, one in filters))
    if len(distinct) == 1:
        return GatePart(distinct[0], tuple(filters))
    middle = len(filters) // 2
    return GatePart("|".join(distinct), tuple(filters), (_gate(filters[:middle]), _gate(filters[middle:])))
