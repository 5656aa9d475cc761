r"""The first stage: which rules could match a text at all, and where. A few passes over the text say it for all of them.

* With Hyperscan: a database for each part of the filters. Filters of rules that read lines or words (`reach`) report each match,
  the others one per text; what a hostile text reports beyond a limit is only counted.
* Where Hyperscan has no wheel: a tree of RE2 alternations for each part. An open gate asks its two halves.

Both are exact about "could match" and name the same lines or words, so the second stage (RE2, rule by rule) finds the same with
either. Hyperscan and RE2 read the filters alike but for details in which Hyperscan's reading is the wider one (`.` and line ends,
`\s` and vertical tabs).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from safellm._core.detection.alternatives import take_apart
from safellm._core.detection.engine import compile_pattern, engine_failure
from safellm._core.detection.reach import Reach, gate_ends

try:
    import hyperscan as _hyperscan
except ImportError:  # no wheel for this platform: GateFilters do the same, slower
    hyperscan: Any = None
else:
    hyperscan = _hyperscan


_FEW = 8  # filters below which compiling a database takes longer than it saves
_SIZE = 8  # bytes of a length in a stored database
# Matches of filters that are kept for one text: so many, and one more per so many bytes, up to a limit. One costs 0.1 us.
_KEPT, _PER_KEPT, _MOST_KEPT = 128, 4, 50_000

# For each filter that matches, by its number: where its matches end, rising; nothing where the text must be read whole.
Places = Mapping[int, Sequence[int]]
Note = Callable[
    [int, int, int, int, object], None
]  # number, unused, end of a match, unused, unused: as Hyperscan calls it


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter.

    Attributes:
        pattern: RE2 syntax, short, over one byte per character.
        reach: How far its rule reaches around its match.
        part: Filters of one part are searched in one pass.
        late: Searched only in texts in which the gate or the literal of the `Plan` stands.
    """

    pattern: str
    reach: Reach = Reach.TEXT
    part: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Filters, their places being their numbers, and what opens the late ones.

    Numbers are digits in rows, and few texts have them; what tells one number from another costs more than all other filters.

    Attributes:
        filters: All of them.
        gate: Matches wherever one of the late ones could lead to a find, where `literal` isn't. Its number is that behind the last.
        literal: The other opener, of letters that stand one by one.
    """

    filters: tuple[Filter, ...]
    gate: Filter | None = None
    literal: bytes = b" @ "

    @property
    def numbered(self) -> tuple[Filter, ...]:
        """The filters and the gate."""
        return (*self.filters, self.gate) if self.gate else self.filters

    def parts(self, *, late: bool) -> tuple[tuple[int, ...], ...]:
        """Return the numbers of the filters by parts: those that are searched in every text, or those that aren't."""
        found: dict[str, list[int]] = {}
        for number, one in enumerate(self.numbered):
            if one.late is late:
                found.setdefault(one.part, []).append(number)
        return tuple(map(tuple, found.values()))


class Part(Protocol):
    """Some of the filters."""

    def search(self, data: bytes, note: Note, scratch: Any) -> None:
        """Call `note` for the matches of the filters.

        Raises:
            Exception: The engine broke; the caller refuses the call.
        """
        ...

    def scratch(self) -> Any:
        """Return what one search at a time may use."""
        ...


Build = Callable[[Plan], "Filters"]


def engine_version() -> str:
    """Return the name and version of the engine that `build_filters` takes; databases fit only the same one."""
    return f"hyperscan-{hyperscan.__version__}" if hyperscan else "re2"


def build_filters(plan: Plan, database: bytes | None = None) -> Filters:
    """Return the best filters that run here.

    Args:
        plan: The filters.
        database: What `Filters.database` gave for the same plan and the same `engine_version`, checked by the caller.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    if hyperscan is None or (database is None and len(plan.filters) < _FEW):
        return build_gates(plan)
    try:
        return _build_multi(plan, database)
    except hyperscan.ArchitectureError:
        return build_gates(plan)  # a processor without the instructions that the wheel needs: as without a wheel
    except hyperscan.error:
        raise engine_failure("The detection engine rejects its filters") from None


@dataclass(frozen=True, slots=True)
class Filters:
    """Says which of the filters match, and where.

    A scratch space of Hyperscan's serves one scan at a time (two would be an error). So each scan takes one for each part, or makes
    them if all are in use: there are never more than there were scans at once. Taking and giving back are single list operations:
    safe between threads.
    """

    filters: tuple[Filter, ...]
    gate: int  # number of the gate
    literal: bytes
    first: tuple[Part, ...]
    second: tuple[Part, ...]
    _idle: list[Sequence[Any]] = field(default_factory=list)

    def opened(self, data: bytes) -> Places:
        """Return the numbers of the filters that match with the ends of their matches: one or more in each line or word.

        Raises:
            Exception: The engine broke; the caller refuses the call.
        """
        matches: list[tuple[int, int]] = []
        beyond: set[int] = set()
        most = min(_KEPT + len(data) // _PER_KEPT, _MOST_KEPT)

        def note(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            if len(matches) < most:
                matches.append((number, end))
            else:
                beyond.add(number)

        try:
            spaces = self._idle.pop()
        except IndexError:
            spaces = [part.scratch() for part in (*self.first, *self.second)]
        for part, space in zip(self.first, spaces, strict=False):
            part.search(data, note, space)
        # The sign alone first: spaces are so many that a search for them costs more than a pass.
        has_literal = self.literal.strip() in data and self.literal in data
        if self.second and (has_literal or self.gate in beyond or any(number == self.gate for number, _ in matches)):
            for part, space in zip(self.second, spaces[len(self.first) :], strict=True):
                part.search(data, note, space)
        self._idle.append(spaces)  # after an error it is dropped: it may still be in use
        return self._places(data, matches, beyond) if matches else {}

    def _places(self, data: bytes, matches: list[tuple[int, int]], beyond: set[int]) -> Places:
        places: dict[int, Sequence[int]] = {}
        matches.sort()
        for number, end in matches:
            if self.filters[number].reach is Reach.TEXT:
                places[number] = ()
            elif number in places:
                cast("list[int]", places[number]).append(end)
            else:
                places[number] = [end]
        for number in beyond:
            places[number] = gate_ends(self.filters[number].pattern, data, self.filters[number].reach)
        places.pop(self.gate, None)
        return places

    def database(self) -> bytes:
        """Return the compiled filters, or nothing where they aren't compiled; about 1 MB, 0.3 ms to load, 0.2 s to make."""
        stored = [part.stored() for part in (*self.first, *self.second) if isinstance(part, MultiPart)]
        return b"".join(len(one).to_bytes(_SIZE, "big") + one for one in stored)


@dataclass(frozen=True, slots=True)
class MultiPart:
    """A Hyperscan database."""

    _database: Any
    _first: Any  # never used for a search, only copied

    def search(self, data: bytes, note: Note, scratch: Any) -> None:
        """Call `note` for the matches; see `Part`."""
        self._database.scan(data, note, scratch=scratch)

    def scratch(self) -> Any:
        """Return a scratch space."""
        return self._first.clone()

    def stored(self) -> bytes:
        """Return the database as bytes."""
        return bytes(hyperscan.dumpb(self._database))


def _build_multi(plan: Plan, database: bytes | None) -> Filters:
    stored = _split(database) if database else None
    stages: list[tuple[MultiPart, ...]] = []
    for late in (False, True):
        parts: list[MultiPart] = []
        for numbers in plan.parts(late=late):
            one = _compile(plan.numbered, numbers) if stored is None else _load(next(stored, b""))
            parts.append(MultiPart(one, hyperscan.Scratch(one)))
        stages.append(tuple(parts))
    if stored is not None and next(stored, None) is not None:
        raise engine_failure("The detection engine's stored filters are of another version")
    return Filters(plan.numbered, len(plan.filters), plan.literal, stages[0], stages[1])


def _compile(filters: Sequence[Filter], numbers: Sequence[int]) -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    parts = [(part.encode("latin-1"), number) for number in numbers for part in take_apart(filters[number].pattern)]
    once = [filters[number].reach is Reach.TEXT for _, number in parts]
    database.compile(
        [part for part, _ in parts],
        ids=[number for _, number in parts],
        flags=[hyperscan.HS_FLAG_DOTALL | (hyperscan.HS_FLAG_SINGLEMATCH if one else 0) for one in once],
    )
    return database


def _load(stored: bytes) -> Any:
    return hyperscan.loadb(stored, hyperscan.HS_MODE_BLOCK)


def _split(database: bytes) -> Iterator[bytes]:
    while database:
        size = int.from_bytes(database[:_SIZE], "big")
        yield database[_SIZE : _SIZE + size]
        database = database[_SIZE + size :]


def build_gates(plan: Plan) -> Filters:
    """Return the filters without Hyperscan; see `build_filters`."""
    stages = [
        tuple(_gate([(number, plan.numbered[number]) for number in numbers]) for numbers in plan.parts(late=late))
        for late in (False, True)
    ]
    return Filters(plan.numbered, len(plan.filters), plan.literal, stages[0], stages[1])


@dataclass(frozen=True, slots=True)
class GatePart:
    """A filter that matches wherever one of some others could, and the gates of the two halves of those."""

    pattern: str
    filters: tuple[tuple[int, Filter], ...]
    halves: tuple[GatePart, ...] = ()

    def search(self, data: bytes, note: Note, scratch: Any) -> None:  # noqa: ARG002 - as the other engine is called
        """Call `note` for the matches; see `Part`."""
        self._search(data, note, {})

    def scratch(self) -> None:
        """Return nothing: this engine wants no space of its own."""

    def _search(self, data: bytes, note: Note, seen: dict[str, bool]) -> None:
        if self.pattern not in seen:  # rules of one kind share a filter
            seen[self.pattern] = compile_pattern(self.pattern).search(data) is not None
        if not seen[self.pattern]:
            return
        for number, one in () if self.halves else self.filters:
            for end in gate_ends(one.pattern, data, one.reach) or (0,):
                note(number, 0, end, 0, None)
        for half in self.halves:
            half._search(data, note, seen)  # noqa: SLF001 - the same class


def _gate(filters: Sequence[tuple[int, Filter]]) -> GatePart:
    distinct = tuple(dict.fromkeys(one.pattern for _, one in filters))
    if len(distinct) == 1:
        return GatePart(distinct[0], tuple(filters))
    middle = len(filters) // 2
    return GatePart("|".join(distinct), tuple(filters), (_gate(filters[:middle]), _gate(filters[middle:])))
