r"""The first stage: which rules could match a text at all, and where. A few passes over the text say it for all of them.

* With Hyperscan: a database for each part of the filters. Filters of rules that read lines or words (`reach`) report each match,
  the others one per text; what a hostile text reports beyond a limit is only counted.
* Where Hyperscan has no wheel: `gates`.

Both are exact about "could match" and name the same lines or words, so the second stage (RE2, rule by rule) finds the same with
either. Hyperscan and RE2 read the filters alike but for details in which Hyperscan's reading is the wider one (`.` and line ends,
`\s` and vertical tabs).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, cast

from safellm._core.detection.alternatives import take_apart
from safellm._core.detection.engine import NOWHERE, engine_failure, search_of
from safellm._core.detection.reach import Reach, Window, gate_ends, lines_around

try:
    import hyperscan as _hyperscan
except ImportError:  # no wheel for this platform: gates do the same, slower
    hyperscan: Any = None
else:
    hyperscan = _hyperscan


_FEW = 8  # filters below which compiling a database takes longer than it saves
_SIZE = 8  # bytes of a length in a stored database
# Matches of a filter that are kept for one text: so many, and one more per so many bytes, up to a limit. One costs 0.1 us.
_KEPT, _PER_KEPT, _MOST_KEPT = 128, 4, 50_000
# A part of late filters, which are few and most of which read lines, is searched no further where one of them reports more than so
# many matches, and one more per so many bytes: then each is asked by itself, from line to line. That costs less than to be told
# about every place of a flood of digits.
_STOP, _PER_STOP = 64, 8
_LARGE = 16_384  # bytes of a text from which on late filters search only near what can lead to a find of theirs
_PER_NEAR = 64  # bytes for each such place, so that they are few

# For each filter that matches, by its number: where its matches end, rising; nothing where the text must be read whole.
Places = Mapping[int, Sequence[int]]
# Number, unused, end of a match, unused, unused: as Hyperscan calls it; what is true ends the search.
Note = Callable[[int, int, int, int, object], object]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter.

    Attributes:
        pattern: RE2 syntax, short, over one byte per character.
        reach: How far its rule reaches around its match.
        part: Filters of one part are searched in one pass.
        late: Searched only in texts in which the gate or the literal of the `Plan` stands.
        whole: Its rule is searched wherever it could match once the filter matched anywhere.
    """

    pattern: str
    reach: Reach = Reach.TEXT
    part: str = ""
    late: bool = False
    whole: bool = False

    @property
    def is_asked_once(self) -> bool:
        """Whether one match of it says all."""
        return self.whole or self.reach is Reach.TEXT


@dataclass(frozen=True, slots=True)
class Plan:
    """Filters, their places being their numbers, and what opens the late ones.

    Numbers are digits in rows, and few texts have them; what tells one number from another costs more than all other filters.
    Long texts nearly always have some, but few: there the late filters search the lines with them, and a little before each.

    Attributes:
        filters: All of them.
        gate: Matches wherever one of the late ones could lead to a find, where `literal` isn't. Its number is that behind the last.
        literal: The other opener, of letters that stand one by one.
        near: This or `literal` matches in the last line of a late filter's match that could lead to a find, or in a later one.
            Without it all of a long text is searched.
        before: So many characters before that line the match ends, or its line does, at most.
    """

    filters: tuple[Filter, ...]
    gate: Filter | None = None
    literal: bytes = b" @ "
    near: str = ""
    before: int = 0

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

    @property
    def numbers(self) -> tuple[int, ...]:
        """Their numbers."""
        ...

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


def build_filters(plan: Plan, database: bytes | memoryview | None = None) -> Filters:
    """Return the best filters that run here.

    Args:
        plan: The filters.
        database: What `Filters.database` gave for the same plan and the same `engine_version`, checked by the caller.

    Raises:
        GuardFailure: The engine rejects a filter or the database.
    """
    if hyperscan is None or (database is None and len(plan.filters) < _FEW):
        return _without(plan)
    try:
        return _build_multi(plan, database)
    except hyperscan.ArchitectureError:
        return _without(plan)  # a processor without the instructions that the wheel needs: as without a wheel
    except hyperscan.error:
        raise engine_failure("The detection engine rejects its filters") from None


def _without(plan: Plan) -> Filters:
    from safellm._core.detection.gates import build_gates  # noqa: PLC0415 - most platforms never need it

    return build_gates(plan)


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
    near: Part | None = None
    before: int = 0
    _idle: list[Sequence[Any]] = field(default_factory=list)

    def opened(self, data: bytes) -> Places:
        """Return the numbers of the filters that match with the ends of their matches: one or more in each line or word.

        Raises:
            Exception: The engine broke; the caller refuses the call.
        """
        found: defaultdict[int, list[int]] = defaultdict(list)
        most = min(_KEPT + len(data) // _PER_KEPT, _MOST_KEPT)

        def note(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            ends = found[number]  # rising: both engines report in the order of the text
            if len(ends) < most:
                ends.append(end)

        try:
            spaces = self._idle.pop()
        except IndexError:
            spaces = [part.scratch() for part in (*self.first, *self.second)]
        places: Sequence[int] | None = None
        for part, space in zip(self.first, spaces, strict=False):
            part.search(data, note, space)
        if self.second and (found.pop(self.gate, ()) or any(_literal_ends(data, self.literal))):
            places = self._near(data) if self.near and len(data) >= _LARGE else None
            few = _STOP + len(data) // _PER_STOP
            stopped: list[int] = []

            def note_few(number: int, _start: int, end: int, _flags: int, _context: object) -> bool:
                ends = found[number]
                ends.append(end)
                if len(ends) > few:
                    stopped.append(number)
                return len(ends) > few

            near, noting = data, cast("Note", note_few)
            stretches = [] if places is None else lines_around(data, places, self.before)
            if 0 < sum(high - low for low, high in stretches) < len(data) // 2:
                near, noting = _together(data, stretches, note_few)
            for part, space in zip(self.second, spaces[len(self.first) :], strict=True):
                part.search(near, noting, space)
                self._complete(part, data, found, stopped)
        self._idle.append(spaces)  # after an error it is dropped: it may still be in use
        return {number: self._where(data, number, ends, most, places or ()) for number, ends in found.items()}

    def _complete(self, part: Part, data: bytes, found: dict[int, list[int]], stopped: list[int]) -> None:
        """Ask each filter of a part, if a flood of one ended the search."""
        if not stopped:
            return
        stopped.clear()
        for number in part.numbers:
            one = self.filters[number]
            if one.is_asked_once:
                ends = [0] if search_of(one.pattern)(data, 0, len(data))[0] != NOWHERE else []
            else:
                ends = list(gate_ends(one.pattern, data, one.reach))
            found.pop(number, None)
            if ends:
                found[number] = ends

    def _near(self, data: bytes) -> list[int] | None:
        """Return where what late filters need ends, rising; None if that is in too many places."""
        ends: list[int] = []
        most = len(data) // _PER_NEAR

        def mark(_number: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            ends.append(end)
            return len(ends) > most

        if self.near is not None:
            self.near.search(data, mark, self.near.scratch())
        ends += islice(_literal_ends(data, self.literal), most)
        return None if len(ends) > most else sorted(ends)

    def _where(self, data: bytes, number: int, ends: Sequence[int], most: int, near: Sequence[int]) -> Sequence[int]:
        """Return where a filter's matches end, of which the first `most` are given; see `Places`."""
        one = self.filters[number]
        if one.is_asked_once:
            return near if one.late and one.whole else ()
        return ends if len(ends) < most else gate_ends(one.pattern, data, one.reach)

    def database(self) -> bytes:
        """Return the compiled filters, or nothing where they aren't compiled; about 1 MB, 0.3 ms to load, 0.2 s to make."""
        stored = [part.stored() for part in (*self.first, *self.second, self.near) if isinstance(part, MultiPart)]
        return b"".join(len(one).to_bytes(_SIZE, "big") + one for one in stored)


def _literal_ends(data: bytes, literal: bytes) -> Iterator[int]:
    """Yield where a literal ends, by its sign: spaces are so many that a search for them costs more than a pass."""
    sign = literal.strip()
    before = literal.index(sign)
    at = data.find(sign)
    while at >= 0:
        if data.startswith(literal, max(0, at - before)):
            yield at - before + len(literal)
        at = data.find(sign, at + 1)


def _together(data: bytes, stretches: Sequence[Window], note: Note) -> tuple[bytes, Note]:
    """Return stretches of a text as one text to search, and what notes its matches where they stand in the whole."""
    starts: list[int] = []
    pieces: list[bytes] = []
    size = 0
    for low, high in stretches:  # each ends in a line end, so no filter for lines reads on into the next
        starts.append(size)
        pieces.append(data[low:high])
        size += high - low

    def moved(number: int, start: int, end: int, flags: int, context: object) -> object:
        place = max(0, bisect_right(starts, end - 1) - 1)
        return note(number, start, end - starts[place] + stretches[place][0], flags, context)

    return b"".join(pieces), moved


@dataclass(frozen=True, slots=True)
class MultiPart:
    """A Hyperscan database, with the numbers of the filters in it."""

    numbers: tuple[int, ...]
    _database: Any
    _first: Any  # never used for a search, only copied

    def search(self, data: bytes, note: Note, scratch: Any) -> None:
        """Call `note` for the matches; see `Part`."""
        try:
            self._database.scan(data, note, scratch=scratch)
        except hyperscan.ScanTerminated:
            return  # as `note` said

    def scratch(self) -> Any:
        """Return a scratch space."""
        return self._first.clone()

    def stored(self) -> bytes:
        """Return the database as bytes."""
        return bytes(hyperscan.dumpb(self._database))


def _build_multi(plan: Plan, database: bytes | memoryview | None) -> Filters:
    stored = _split(database) if database else None
    stages: list[tuple[MultiPart, ...]] = []
    for late in (False, True):
        parts: list[MultiPart] = []
        for numbers in plan.parts(late=late):
            one = _compile(plan.numbered, numbers) if stored is None else _load(next(stored, b""))
            parts.append(MultiPart(numbers, one, hyperscan.Scratch(one)))
        stages.append(tuple(parts))
    near: MultiPart | None = None
    if plan.near:
        filters = (Filter(plan.near, Reach.LINE),)
        one = _compile(filters, (0,)) if stored is None else _load(next(stored, b""))
        near = MultiPart((), one, hyperscan.Scratch(one))
    if stored is not None and next(stored, None) is not None:
        raise engine_failure("The detection engine's stored filters are of another version")
    return Filters(plan.numbered, len(plan.filters), plan.literal, stages[0], stages[1], near, plan.before)


def _compile(filters: Sequence[Filter], numbers: Sequence[int]) -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    parts = [(part.encode("latin-1"), number) for number in numbers for part in take_apart(filters[number].pattern)]
    once = [filters[number].is_asked_once for _, number in parts]
    database.compile(
        [part for part, _ in parts],
        ids=[number for _, number in parts],
        flags=[hyperscan.HS_FLAG_DOTALL | (hyperscan.HS_FLAG_SINGLEMATCH if one else 0) for one in once],
    )
    return database


def _load(stored: bytes) -> Any:
    return hyperscan.loadb(stored, hyperscan.HS_MODE_BLOCK)


def _split(database: bytes | memoryview) -> Iterator[bytes]:
    while database:
        size = int.from_bytes(database[:_SIZE], "big")
        yield bytes(database[_SIZE : _SIZE + size])
        database = database[_SIZE + size :]
