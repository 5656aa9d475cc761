r"""The first stage: which rules could match a text at all. One pass over the text says it for all of them.

* `MultiFilters`: all filters in one Hyperscan database. Each reports once per text: hostile text can't flood Python with matches.
* `GateFilters`: where Hyperscan has no wheel. A tree of RE2 alternations: an open gate asks its two halves.

Both are exact about "could match", so the second stage (RE2, rule by rule) finds the same with either. Hyperscan and RE2 read
the filters alike but for details in which Hyperscan's reading is the wider one (`.` and line ends, `\s` and vertical tabs).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from safellm._core.detection.engine import compile_pattern, engine_failure

try:
    import hyperscan as _hyperscan
except ImportError:  # no wheel for this platform: GateFilters do the same, slower
    hyperscan: Any = None
else:
    hyperscan = _hyperscan


_FEW = 8  # patterns below which compiling a database takes longer than it saves
_SIZE = 8  # bytes of a length in a stored database


class Filters(Protocol):
    """Says which of some numbered filters match."""

    def opened(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the filters that match, in rising order.

        Raises:
            Exception: The engine broke; the caller refuses the call.
        """
        ...


Build = Callable[[Sequence[str], bytes | None], Filters]


def engine_version() -> str:
    """Return the name and version of the engine that `build_filters` takes; databases fit only the same one."""
    return f"hyperscan-{hyperscan.__version__}" if hyperscan else "re2"


def build_filters(patterns: Sequence[str], database: bytes | None = None, *, few: int = _FEW) -> Filters:
    """Return the best filters that run here.

    Args:
        patterns: RE2 syntax, short, over one byte per character; their places are their numbers.
        database: What `MultiFilters.database` gave for the same patterns and the same `engine_version`, checked by the caller.
        few: Fewer patterns aren't worth compiling a database.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    if hyperscan is None or (database is None and len(patterns) < few):
        return build_gate(patterns)
    try:
        return build_multi(patterns) if database is None else load_multi(database)
    except hyperscan.ArchitectureError:
        return build_gate(patterns)  # a processor without the instructions that the wheel needs: as without a wheel
    except hyperscan.error:
        raise engine_failure("The detection engine rejects its filters") from None


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the filters, and their numbers among all of them."""

    filters: Filters
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StagedFilters:
    """Filters in two stages: those of the second are only asked where one of the first, the gate, matched, or a literal stands.

    Numbers are digits in rows, and few texts have them; what tells one number from another costs more than all other filters.
    Each stage may have two parts, because some patterns slow others down: two passes take half the time of one.
    """

    first: tuple[Part, ...]
    second: tuple[Part, ...]
    gate: int  # number of the gate
    literal: (
        bytes  # what opens the second stage, too; one character costs Hyperscan more than it costs a search of its own
    )

    def opened(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the filters that match, in rising order."""
        found = [part.numbers[place] for part in self.first for place in part.filters.opened(data)]
        if self.gate in found:
            found.remove(self.gate)
        elif self.literal not in data:
            return sorted(found)
        found += [part.numbers[place] for part in self.second for place in part.filters.opened(data)]
        found.sort()
        return found

    def database(self) -> bytes:
        """Return the compiled filters of all parts, or nothing where they aren't compiled; see `MultiFilters.database`."""
        stored: list[bytes] = []
        for part in (*self.first, *self.second):
            if not isinstance(part.filters, MultiFilters):
                return b""
            stored.append(part.filters.database())
        return b"".join(len(one).to_bytes(_SIZE, "big") + one for one in stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How filters are divided: by their numbers.

    Attributes:
        late: Those of the second stage.
        apart: Those that slow others down: runs of a class of characters, and very many words.
        gate: What matches wherever one of the late ones could lead to a find, where `literal` isn't.
        literal: The other opener of the second stage.
    """

    late: frozenset[int]
    apart: frozenset[int]
    gate: str
    literal: bytes


def build_staged(
    patterns: Sequence[str], plan: Plan, database: bytes | None = None, *, build: Build | None = None
) -> Filters:
    """Return filters in two stages, or in one where none belongs to the second.

    Args:
        patterns: All of them; their places are their numbers.
        plan: How they are divided.
        database: What `StagedFilters.database` gave for the same arguments.
        build: What makes the filters of a part.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    few = _FEW if len(patterns) < _FEW and not database else 0
    make = build or (lambda some, stored: build_filters(some, stored, few=few))
    if not plan.late:
        return make(patterns, database)
    whole = [*patterns, plan.gate]
    stored = _parts(database) if database else iter(())
    stages: list[tuple[Part, ...]] = []
    for is_late in (False, True):
        parts = (
            [n for n in range(len(whole)) if (n in plan.late, n in plan.apart) == (is_late, apart)]
            for apart in (False, True)
        )
        stages.append(
            tuple(
                Part(make([whole[number] for number in numbers], next(stored, None)), tuple(numbers))
                for numbers in parts
                if numbers
            )
        )
    if database and next(stored, None) is not None:
        raise engine_failure("The detection engine's stored filters are of another version")
    return StagedFilters(stages[0], stages[1], len(patterns), plan.literal)


def _parts(database: bytes) -> Iterator[bytes]:
    while database:
        size = int.from_bytes(database[:_SIZE], "big")
        yield database[_SIZE : _SIZE + size]
        database = database[_SIZE + size :]


@dataclass(frozen=True, slots=True)
class MultiFilters:
    """A Hyperscan database, and the scratch spaces that wait for their next scan.

    A scratch space serves one scan at a time (two would be an error). So each scan takes one, or makes one if all are in use:
    there are never more than there were scans at once. Taking and giving back are single list operations: safe between threads.
    """

    _database: Any
    _first: Any  # never used for a scan, only copied
    _idle: list[Any] = field(default_factory=list)

    def opened(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the filters that match, in rising order."""
        found: list[int] = []

        def note(number: int, *_: object) -> None:
            found.append(number)

        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = self._first.clone()
        self._database.scan(data, note, scratch=scratch)
        self._idle.append(scratch)  # after an error it is dropped: it may still be in use
        found.sort()
        return found

    def database(self) -> bytes:
        """Return the compiled filters, for `build_filters` in a later process; about 0.5 MB, 0.1 ms to load, 0.2 s to make."""
        return bytes(hyperscan.dumpb(self._database))


def build_multi(patterns: Sequence[str]) -> MultiFilters:
    """Compile filters; see `build_filters`."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        [pattern.encode("latin-1") for pattern in patterns],
        ids=list(range(len(patterns))),
        flags=hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL,
    )
    return MultiFilters(database, hyperscan.Scratch(database))


def load_multi(stored: bytes) -> MultiFilters:
    """Load compiled filters; see `build_filters`."""
    database = hyperscan.loadb(stored, hyperscan.HS_MODE_BLOCK)
    return MultiFilters(database, hyperscan.Scratch(database))


@dataclass(frozen=True, slots=True)
class GateFilters:
    """A filter that matches wherever one of some rules could, and the gates of the two halves of those rules."""

    pattern: str
    rules: range
    halves: tuple[GateFilters, ...] = ()

    def opened(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the filters that match, in rising order."""
        return list(self._opened(data, {}))

    def _opened(self, data: bytes, seen: dict[str, bool]) -> Iterator[int]:
        if self.pattern not in seen:  # rules of one kind share a filter
            seen[self.pattern] = compile_pattern(self.pattern).search(data) is not None
        if not seen[self.pattern]:
            return
        if not self.halves:
            yield from self.rules
        for half in self.halves:
            yield from half._opened(data, seen)  # noqa: SLF001 - the same class


def build_gate(patterns: Sequence[str], first: int = 0) -> GateFilters:
    """Return the gate over rules numbered from `first`, one pattern each; see `build_filters`."""
    rules = range(first, first + len(patterns))
    distinct = tuple(dict.fromkeys(patterns))
    if len(distinct) == 1:
        return GateFilters(distinct[0], rules)
    middle = len(patterns) // 2
    halves = (build_gate(patterns[:middle], first), build_gate(patterns[middle:], first + middle))
    return GateFilters("|".join(distinct), rules, halves)
