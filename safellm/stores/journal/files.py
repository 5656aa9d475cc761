"""The files of a trail: their names and order, and reading them for a check or for people.

A folder holds one chain: `trail-<first 8 characters of the chain's uid>-<number from 000001>.jsonl`, and `trail.lock`.
Closed files may be packed: `.jsonl.gz`. The oldest may have been pruned: `pruned-<uid8>.json` says where the rest begins.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, cast

from safellm._core.effects import JSON
from safellm._core.record import GENESIS, MAX_LINE_BYTES, BadRecord, Unsealed, unseal
from safellm._core.verify import FRAGMENT_BYTES, FRAGMENT_SHA256, KnownHead, Problem, Verification, verify
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.journal.pruned import read_start

LOCK_NAME: Final = "trail.lock"
_NAME = re.compile(r"trail-([0-9a-f]{8})-([0-9]{6,12})\.jsonl(\.gz)?")
UNKNOWN_SIZE: Final = 2**63 - 1  # of a compressed file: its end is where the data ends
_SNAPSHOT_WAIT_NS = 1_000_000_000
_FIRST_WINDOW: Final = 8 * 1024  # the end of a file holds its last record nearly always
_LF: Final = 0x0A


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TrailFile:
    """One file of a trail, in the order of writing."""

    uid8: str
    index: int
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.name

    @property
    def is_compressed(self) -> bool:
        """Whether it was closed and packed."""
        return self.path.suffix == ".gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a file ends."""

    last: Unsealed | None  # the last sound record
    line_open: bool  # whether the last line lacks its LF
    fragment_bytes: int
    fragment_sha256: str


_NOTHING_LEFT: Final = hashlib.sha256().hexdigest()
CLEAN: Final = End(last=None, line_open=False, fragment_bytes=0, fragment_sha256=_NOTHING_LEFT)


def trail_file(directory: Path, uid: str, index: int) -> TrailFile:
    """Return the file with this number of the chain."""
    return TrailFile(uid8=uid[:8], index=index, path=directory / f"trail-{uid[:8]}-{index:06d}.jsonl")


def find(directory: Path) -> list[TrailFile]:
    """Return the files of a trail in order; none when the folder is empty or not there.

    Raises:
        OSError: the folder can't be read.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    matches = sorted((match for match in map(_NAME.fullmatch, names) if match), key=lambda one: one[0], reverse=True)
    # A crash between packing and removing leaves both: the plain one comes last here, and counts.
    found = {(match[1], int(match[2])): directory / match[0] for match in matches}
    return sorted(TrailFile(uid8=uid8, index=index, path=path) for (uid8, index), path in found.items())


def verify_directory(
    directory: Path,
    *,
    start_seq: int = 1,
    start_prev: str = GENESIS,
    known: KnownHead | None = None,
    each: Callable[[Unsealed], None] | None = None,
) -> Verification:
    """Check a whole trail, also while programs write to it: what they add meanwhile is left for the next check.

    Args:
        directory: The trail's folder.
        start_seq: Number of the first record, when older files were archived; what was pruned is known by itself.
        start_prev: Hash of the record before it.
        known: A head that was kept elsewhere.
        each: Called with every sound record, in order.

    Raises:
        ConfigurationError: the folder or a file of it can't be read.
    """
    try:
        if not directory.is_dir():
            raise ConfigurationError(
                "There is no audit trail",
                remedy="It begins with the first guarded call. If there was one, give the folder that holds trail-*.jsonl.",
                where=str(directory),
            )
        with ExitStack() as stack:
            opened = snapshot(directory, stack)
            start = read_start(directory)
            if start is not None and (start_seq, start_prev) == (1, GENESIS):
                start_seq, start_prev = start.seq + 1, start.hash
            found = verify(
                ((file.name, lines(stream, size=size)) for file, stream, size in opened),
                start_seq=start_seq,
                start_prev=start_prev,
                known=known,
                each=each,
            )
            return _with_names(found, [file for file, _, _ in opened])
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be read: {error.strerror}",
            remedy="Run this as the user who owns the trail.",
            where=str(error.filename or directory),
        ) from error


def tail(directory: Path, count: int) -> list[dict[str, JSON]]:
    """Return the last `count` records, oldest first; a line that is no record appears as its size and SHA-256.

    Text in them is as it was written: whoever shows it on a terminal escapes it.

    Raises:
        OSError: the folder or a file can't be read.
    """
    newest: list[list[bytes]] = []
    missing = count
    for file in reversed(find(directory)):
        if missing <= 0:
            break
        with open_trail(file) as stream:
            last = deque(lines(stream, size=size_of(file, stream)), maxlen=missing)
        newest.append(list(last))
        missing -= len(last)
    return [_shown(line) for part in reversed(newest) for line in part]


def lines(stream: BinaryIO, *, size: int) -> Iterator[bytes]:
    """Yield the lines of the first `size` bytes, with their LF; of a line beyond the limit only its first part."""
    left = size
    while left > 0:
        line = stream.readline(min(left, MAX_LINE_BYTES + 1))
        if not line:
            return
        left -= len(line)
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n") and left > 0:
            rest = stream.readline(min(left, MAX_LINE_BYTES))
            if not rest:
                return
            left -= len(rest)
            if rest.endswith(b"\n"):
                break


def read_end(descriptor: int, size: int, uid8: str) -> End:
    """Find the last sound record of a file and what stands after it.

    A last line that lacks only its LF is a sound record: all of it is there, and its hash says so.
    """
    if size == 0:
        return CLEAN
    window = _FIRST_WINDOW
    while True:
        start = max(0, size - window)
        data = durable.read_range(descriptor, start, size)
        found = _last_record(data, uid8, whole=start == 0)
        if found is not None or start == 0:
            record, end = found or (None, 0)
            break
        window *= 2
    line_open = not data.endswith(b"\n")
    left = data[end:] if line_open else data[end:-1]
    return End(
        last=record,
        line_open=line_open,
        fragment_bytes=len(left),
        fragment_sha256=hashlib.sha256(left).hexdigest() if left else _NOTHING_LEFT,
    )


def _last_record(data: bytes, uid8: str, *, whole: bool) -> tuple[Unsealed, int] | None:
    """Return the last sound record of these bytes and where it ends; the first line counts only if `whole`."""
    end = len(data)
    while end > 0:
        begin = data.rfind(b"\n", 0, end - 1 if data[end - 1] == _LF else end) + 1
        if begin == 0 and not whole:
            return None
        line = data[begin:end]
        try:
            record = unseal(line if line.endswith(b"\n") else line + b"\n")
        except BadRecord:
            end = begin
            continue
        if record.chain_uid.startswith(uid8):
            return record, end
        end = begin
    return None


def snapshot(directory: Path, stack: ExitStack) -> list[tuple[TrailFile, BinaryIO, int]]:
    """Open all files and note their sizes at one moment, between two records where the lock can be had."""
    try:
        descriptor = durable.open_private(directory / LOCK_NAME, os.O_RDONLY)
    except OSError:
        descriptor = None  # a copy without the lock file, or another user's trail: nobody writes, or we can't ask
    try:
        held = False
        if descriptor is not None:
            try:
                durable.lock(descriptor, timeout_ns=_SNAPSHOT_WAIT_NS)
                held = True
            except OSError:
                held = False  # a half-written record then shows up as a problem, never as a sound one
        try:
            opened = []
            start = read_start(directory)
            for file in find(directory):
                if start is not None and file.index <= start.file:
                    continue  # removed, but for a crash
                stream = stack.enter_context(open_trail(file))
                opened.append((file, stream, size_of(file, stream)))
            return opened
        finally:
            if descriptor is not None and held:
                durable.unlock(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def last_record(file: TrailFile) -> Unsealed | None:
    """Return the last sound record of a file.

    Raises:
        OSError: it can't be read.
    """
    with open_trail(file) as stream:
        if not file.is_compressed:
            return read_end(stream.fileno(), size_of(file, stream), file.uid8).last
        found = deque(lines(stream, size=UNKNOWN_SIZE), maxlen=1)
    try:
        return unseal(found[0]) if found else None
    except BadRecord:
        return None


def open_trail(file: TrailFile) -> BinaryIO:
    """Open a file of a trail for reading, packed or not.

    Raises:
        OSError: it can't be opened; reading a damaged packed file raises it too, with the file's name.
    """
    stream = os.fdopen(durable.open_private(file.path, os.O_RDONLY), "rb")
    return cast("BinaryIO", _Unpacked(stream, file.path)) if file.is_compressed else stream


def size_of(file: TrailFile, stream: BinaryIO) -> int:
    """Return how many bytes of an open file there are to read."""
    return UNKNOWN_SIZE if file.is_compressed else os.fstat(stream.fileno()).st_size


class _Unpacked(gzip.GzipFile):
    """A packed file; every fault of its bytes is an `OSError` that names it."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self._raw, self._path = stream, path

    def readline(self, size: int | None = -1) -> bytes:
        try:
            return super().readline(min(size or -1, MAX_LINE_BYTES + 1))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise OSError(errno.EIO, "the packed file is damaged", str(self._path)) from None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise OSError(errno.EIO, "the packed file is damaged", str(self._path)) from None

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._raw.close()


def _with_names(found: Verification, files: list[TrailFile]) -> Verification:
    """Add what the names say: a file that bears another chain's name, or a number that is missing."""
    problems = [
        Problem(file=file.name, line=0, seq=None, what="the file's name is of another chain")
        for file in files
        if found.chain_uid is not None and not found.chain_uid.startswith(file.uid8)
    ]
    for before, after in pairwise(files):
        if before.uid8 == after.uid8 and after.index != before.index + 1:
            what = f"file {before.index + 1:06d} is missing before this one"
            problems.append(Problem(file=after.name, line=0, seq=None, what=what))
    if not problems:
        return found
    return Verification(
        ok=False,
        chain_uid=found.chain_uid,
        records=found.records,
        first_seq=found.first_seq,
        last_seq=found.last_seq,
        head=found.head,
        open_intents=found.open_intents,
        recovered=found.recovered,
        problems=(*found.problems, *problems),
        problem_count=found.problem_count + len(problems),
        known=found.known,
    )


def _shown(line: bytes) -> dict[str, JSON]:
    try:
        return dict(unseal(line).fields)
    except BadRecord:
        text = line.removesuffix(b"\n")
        return {
            "event.name": "unreadable",
            FRAGMENT_BYTES: len(text),
            FRAGMENT_SHA256: hashlib.sha256(text).hexdigest(),
        }
