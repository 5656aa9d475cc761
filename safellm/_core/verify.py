"""Whether a trail is whole: every byte of its files is a record in its place, or a crash that a later record names.

* Lines are read strictly (`record.unseal`) and compared byte for byte with what would have been written.
* Records must follow each other by number and hash, across files, in one chain.
* Bytes that are no record are accepted only if the very next record is an `audit.recover` that fits the chain and
  names their length and SHA-256, and only if none of these lines is a whole JSON object: a crash leaves beginnings,
  not edits.
* After a fault the walk goes on from the next record that is sound in itself, so that one fault is told once.

Nothing here raises on any input. Reading files is left to `safellm.stores.journal.files`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from safellm._core.record import GENESIS, BadRecord, Unsealed, unseal

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_PROBLEMS: Final = 1000  # told one by one; a ruined file has millions of lines

RECOVER: Final = "audit.recover"
FRAGMENT_BYTES: Final = "safellm.fragment.bytes"
FRAGMENT_SHA256: Final = "safellm.fragment.sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A place where the trail is not what was written."""

    file: str
    line: int  # from 1; 0: the file as a whole
    seq: int | None  # the record concerned, as far as it can be told
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """Bytes that a crash left, and the record that names them."""

    file: str
    line: int  # the first one
    bytes: int
    sha256: str
    named_by_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """A call that was about to be sent and of whose end nothing is recorded."""

    seq: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHead:
    """A record's number and hash, noted at some time and kept elsewhere."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found. `ok` means: no problem; what that proves is said by `explain`."""

    ok: bool
    chain_uid: str | None
    records: int
    first_seq: int | None
    last_seq: int | None
    head: str  # hash of the last record; keep it elsewhere
    open_intents: tuple[OpenIntent, ...]
    recovered: tuple[Fragment, ...]
    problems: tuple[Problem, ...]  # at most MAX_PROBLEMS
    problem_count: int
    known: KnownHead | None  # the kept head that was found in the chain

    def explain(self) -> str:
        """Return in plain words what is proved and what is not."""
        if not self.ok:
            return (
                f"{self.problem_count} problem(s): the trail is not what was written, or not all of it. "
                "Records that are not named fit their neighbours."
            )
        proved = (
            f"Records {self.first_seq} to {self.last_seq} are unbroken: none of them was edited, inserted, deleted or "
            "reordered by someone who did not also rewrite every record after it."
        )
        if self.known is None:
            return (
                f"{proved} Not proved: that no record was cut off after record {self.last_seq}, and that the whole "
                "trail was not rewritten. For that, keep the number and hash of the last record elsewhere and give "
                "them at the next check (safellm audit verify --head)."
            )
        return (
            f"{proved} The kept head is in its place, so nobody changed anything up to record {self.known.seq}. "
            f"Not proved: that no record was cut off after record {self.last_seq}."
        )


@dataclass(slots=True, kw_only=True)
class _Region:
    """Lines in a row that are no records."""

    file: str
    line: int
    seq: int | None
    why: str
    lines: int = 0
    size: int = 0
    whole_object: bool = False
    hasher: _Hash = field(default_factory=hashlib.sha256)

    def add(self, raw: bytes) -> None:
        """Count one line. The LF that ends the region is the writer's; those between belong to the fragment."""
        text = raw.removesuffix(b"\n")
        if self.lines:
            self.hasher.update(b"\n")
        self.hasher.update(text)
        self.size += len(text) + bool(self.lines)
        self.lines += 1
        self.whole_object = self.whole_object or _is_object(text)


def verify(
    files: Iterable[tuple[str, Iterable[bytes]]],
    *,
    start_seq: int = 1,
    start_prev: str = GENESIS,
    known: KnownHead | None = None,
    each: Callable[[Unsealed], None] | None = None,
) -> Verification:
    """Walk a trail from its first line to its last.

    Args:
        files: Name and lines of each file, in order. A line has its LF; the last one of a file may lack it.
        start_seq: Number of the first record, when older files were archived.
        start_prev: Hash of the record before the first.
        known: A head that was kept elsewhere; the trail must contain it (THREATS L.2).
        each: Called with every sound record of the chain, in order: a report and its proof take one walk.

    Returns:
        The findings, whatever the bytes are.

    Source: THREATS L.1, L.2, L.5, L.7, L.8.
    """
    walk = _Walk(seq=start_seq - 1, prev=start_prev, known=known, each=each)
    name = "(no file)"
    for name, lines in files:
        number = 0
        for number, raw in enumerate(lines, 1):
            walk.line(name, number, raw)
        walk.end_of_file(name, number)
    return walk.result(name)


@dataclass(slots=True, kw_only=True)
class _Walk:
    seq: int  # of the record before
    prev: str  # its hash
    known: KnownHead | None
    each: Callable[[Unsealed], None] | None = None
    uid: str | None = None
    records: int = 0
    first_seq: int | None = None
    region: _Region | None = None
    known_found: bool = False
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    recovered: list[Fragment] = field(default_factory=list)
    intents: dict[str, int] = field(default_factory=dict)

    def line(self, file: str, number: int, raw: bytes) -> None:
        try:
            record = unseal(raw)
        except BadRecord as error:
            if self.region is None:
                seq = self.seq + 1 if error.seq is None else error.seq
                self.region = _Region(file=file, line=number, seq=seq, why=str(error))
            self.region.add(raw)
            return
        if self.uid is None:
            self.uid = record.chain_uid
        if record.chain_uid != self.uid:
            self._end_region()
            self._problem(file, number, record.seq, "a record of another chain")
            return
        self._follows(file, number, record)
        self._count(file, number, record)

    def _follows(self, file: str, number: int, record: Unsealed) -> None:
        """Check the record's place; a region before it stands for as many records as it has lines."""
        region, self.region = self.region, None
        expected = self.seq + 1
        fits = record.seq == expected and record.prev == self.prev
        if record.event == RECOVER and fits:
            self._named(file, number, record, region)
            return
        if region is not None:
            self._problem(region.file, region.line, region.seq, region.why)
            if record.seq == expected + region.lines:
                return
        if fits:
            return
        if record.seq > expected:
            if self.records or expected > 1:
                what = f"records {expected} to {record.seq - 1} are missing before this one"
            else:
                what = f"the trail starts here: records 1 to {record.seq - 1} are missing"
        elif record.seq < expected:
            what = f"repeated or out of order: after record {self.seq} comes record {record.seq}"
        else:
            what = "doesn't follow the record before it: its prev is another hash"
        self._problem(file, number, record.seq, what)

    def _named(self, file: str, number: int, record: Unsealed, region: _Region | None) -> None:
        size, digest = record.fields.get(FRAGMENT_BYTES), record.fields.get(FRAGMENT_SHA256)
        if region is None:
            self._problem(file, number, record.seq, "names a fragment that is not there")
            return
        if size != region.size or digest != region.hasher.hexdigest():
            self._problem(region.file, region.line, record.seq, "not the fragment that the next record names")
            return
        if region.whole_object:
            self._problem(region.file, region.line, region.seq, f"a whole line, so not left by a crash: {region.why}")
        self.recovered.append(
            Fragment(file=region.file, line=region.line, bytes=region.size, sha256=str(digest), named_by_seq=record.seq)
        )

    def _count(self, file: str, number: int, record: Unsealed) -> None:
        self.records += 1
        if self.each is not None:
            self.each(record)
        self.first_seq = record.seq if self.first_seq is None else self.first_seq
        self.seq, self.prev = record.seq, record.hash
        if record.event == "call.intent":
            self.intents[record.event_id] = record.seq
        elif record.event == "call.outcome":
            parent = record.fields.get("event.parent")
            if isinstance(parent, str):
                self.intents.pop(parent, None)
        if self.known is not None and record.seq == self.known.seq:
            if record.hash == self.known.hash:
                self.known_found = True
            else:
                self._problem(file, number, record.seq, "not the record whose hash was kept elsewhere")

    def end_of_file(self, file: str, number: int) -> None:
        self._end_region()
        if number == 0 and self.records == 0:
            self._problem(file, 0, None, "empty")

    def _end_region(self) -> None:
        region, self.region = self.region, None
        if region is not None:
            self._problem(region.file, region.line, region.seq, region.why)

    def _problem(self, file: str, line: int, seq: int | None, what: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(file=file, line=line, seq=seq, what=what))

    def result(self, last_file: str) -> Verification:
        if self.records == 0 and not self.problem_count:
            self._problem(last_file, 0, None, "there is no record")
        if self.known is not None and self.seq < self.known.seq and not self.known_found:
            what = f"cut off: record {self.known.seq}, whose hash was kept elsewhere, is not here"
            self._problem(last_file, 0, self.known.seq, what)
        elif self.known is not None and not self.known_found and not self.problem_count:
            self._problem(last_file, 0, self.known.seq, "the record whose hash was kept elsewhere is not here")
        return Verification(
            ok=self.problem_count == 0,
            chain_uid=self.uid,
            records=self.records,
            first_seq=self.first_seq,
            last_seq=self.seq if self.records else None,
            head=self.prev,
            open_intents=tuple(OpenIntent(seq=seq, event_id=event_id) for event_id, seq in self.intents.items()),
            recovered=tuple(self.recovered),
            problems=tuple(self.problems),
            problem_count=self.problem_count,
            known=self.known if self.known_found else None,
        )


def _is_object(text: bytes) -> bool:
    if not text.rstrip().endswith(b"}"):
        return False  # a cheap no for nearly every torn line
    try:
        return isinstance(json.loads(text.decode("utf-8"), parse_int=len), dict)
    except (ValueError, RecursionError):
        return False
