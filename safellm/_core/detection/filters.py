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


def build_filters(patterns: Sequence[str], database: bytes | None = None) -> Filters:
    """Return the best filters that run here.

    Args:
        patterns: RE2 syntax, short, over one byte per character; their places are their numbers.
        database: What `MultiFilters.database` gave for the same patterns and the same `engine_version`, checked by the caller.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    if hyperscan is None or (database is None and len(patterns) < _FEW):
        return build_gate(patterns)
    try:
        return build_multi(patterns) if database is None else load_multi(database)
    except hyperscan.ArchitectureError:
        return build_gate(patterns)  # a processor without the instructions that the wheel needs: as without a wheel
    except hyperscan.error:
        raise engine_failure("The detection engine rejects its filters") from None


@dataclass(frozen=True, slots=True)
class StagedFilters:
    """Filters in two passes: those of the second are only asked where one of the first, the gate, matched, or a literal stands.

    Numbers are digits in rows, and few texts have them; what tells one number from another costs more than all other filters.
    """

    first: Filters
    second: Filters
    gate: int  # number of the gate among the filters of the first pass
    literal: (
        bytes  # what opens the second pass, too; one character costs Hyperscan more than it costs a search of its own
    )
    numbers: tuple[tuple[int, ...], tuple[int, ...]]  # of all filters, by their places in the two passes

    def opened(self, data: bytes) -> Sequence[int]:
        """Return the numbers of the filters that match, in rising order."""
        first, second = self.numbers
        found = self.first.opened(data)
        if self.gate not in found and self.literal not in data:
            return [first[place] for place in found]
        opened = [first[place] for place in found if place != self.gate]
        opened += [second[place] for place in self.second.opened(data)]
        opened.sort()
        return opened

    def database(self) -> bytes:
        """Return both passes' compiled filters, or nothing where they aren't compiled; see `MultiFilters.database`."""
        if not isinstance(self.first, MultiFilters) or not isinstance(self.second, MultiFilters):
            return b""
        first = self.first.database()
        return len(first).to_bytes(_SIZE, "big") + first + self.second.database()


def build_staged(
    patterns: Sequence[str],
    late: frozenset[int],
    gate: str,
    literal: bytes,
    database: bytes | None = None,
    *,
    build: Build | None = None,
) -> StagedFilters | Filters:
    """Return filters in two passes, or in one where none belongs to the second.

    Args:
        patterns: All of them; their places are their numbers.
        late: The numbers of those that belong to the second pass.
        gate: What matches wherever one of those could lead to a find, where `literal` isn't.
        literal: The other opener of the second pass.
        database: What `StagedFilters.database` gave for the same arguments.
        build: What makes the filters of a pass.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    build = build or build_filters
    if not late:
        return build(patterns, database)
    early = [number for number in range(len(patterns)) if number not in late]
    after = [number for number in range(len(patterns)) if number in late]
    size = int.from_bytes(database[:_SIZE], "big") if database else 0
    stored = (database[_SIZE : _SIZE + size], database[_SIZE + size :]) if database else (None, None)
    return StagedFilters(
        first=build([*(patterns[number] for number in early), gate], stored[0]),
        second=build([patterns[number] for number in after], stored[1]),
        gate=len(early),
        literal=literal,
        numbers=((*early, -1), tuple(after)),
    )


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
