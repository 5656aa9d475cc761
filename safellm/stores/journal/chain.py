"""The chain in a folder: which file is open, where it stands, and how one record gets onto its end.

* A record is one `write` to a file opened with O_APPEND, made under the folder's lock.
* Where the chain stands is remembered with the file's identity and size; only if they changed is the end read again.
* Whether the folder's entries changed shows in its modification time, once that is too old to be the time of two changes.
* An end that is no record (a crash, a full disk) is closed as its own line and named by an `audit.recover` record.
* If the trail became shorter than what this process wrote, it goes on from what it knows: the gap stays visible.

One thread at a time may use a chain. Source: THREATS L.1, L.5, L.8; the bytes of a record are made in `safellm._core.record`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safellm._core.effects import JSON
from safellm._core.record import GENESIS, Unsealed, rfc3339, seal
from safellm._core.verify import FRAGMENT_BYTES, FRAGMENT_SHA256, RECOVER
from safellm.stores import durable as disk
from safellm.stores.journal.files import CLEAN, LOCK_NAME, End, TrailFile, find, last_record, read_end, trail_file
from safellm.stores.waiting import Busy

ROTATE: Final = "audit.rotate"
_SHORT_WAIT_NS: Final = 1_000_000
# Two changes of a folder may bear one time stamp: that of the clock's last tick, of 10 ms at most; and a file server's clock may be
# late. A younger one proves nothing. Where nothing below a millisecond is kept, a stamp may stand for longer: for 2 s on FAT.
_TRUSTED_AFTER_NS: Final = 250_000_000
_COARSE_TRUSTED_AFTER_NS: Final = 3_000_000_000
_FINE_NS: Final = 1_000_000
_CREATE: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last record of a chain."""

    uid: str
    seq: int
    hash: str


@dataclass(slots=True, kw_only=True)
class Place:
    """The open file and where its chain stands; `size` is what we know of it."""

    file: TrailFile
    descriptor: int
    path: str
    following: str  # the file that whoever rotates makes
    identity: tuple[int, int]
    size: int
    uid: str
    seq: int
    hash: str
    end: End
    # Modification time of the folder when its entries were looked at, and old enough to be trusted.
    folder_time: int = 0


class Chain:
    """Appends records to the newest file of a folder.

    Args:
        directory: The folder; made with mode 0700.
        rotate_bytes: A file of this size or more is followed by a new one.
        lock_timeout_ns: How long another process may keep the lock.
        syncs: Whether new files are made durable.
        leave: Called with the open file's descriptor before it is closed, while `in_use` is held.

    Attributes:
        place: The open file, if there is one.
        in_use: Whoever holds it can use the open file's descriptor in another thread: it isn't closed meanwhile.
    """

    def __init__(
        self, directory: Path, *, rotate_bytes: int, lock_timeout_ns: int, syncs: bool, leave: Callable[[int], None]
    ) -> None:
        self.place: Place | None = None
        self.in_use = threading.Lock()
        self._directory = directory
        self._rotate_bytes = rotate_bytes
        self._lock_timeout_ns = lock_timeout_ns
        self._syncs = syncs
        self._leave = leave
        self._lock_descriptor: int | None = None
        self._folder_descriptor: int | None = None
        self._known: Head | None = None  # the furthest record that we have seen in the file
        self._index = 0  # of the file that holds it

    def append(
        self, event: str, fields: Mapping[str, JSON], time_ns: int, event_id: str, *, wait: bool = True
    ) -> tuple[int, str]:
        """Write one record; returns its number and hash.

        Raises:
            Busy: it would take long, and `wait` is False; nothing was written.
            OSError: it could not be written.
            ValueError: a field can't be written; nothing was.
        """
        place = self.place
        if not wait and (place is None or place.size >= self._rotate_bytes):
            raise Busy
        try:
            descriptor = self._take_lock(wait=wait)
            try:
                place = self._current()
                if place.end.fragment_bytes:
                    self._recover(place, time_ns)
                if place.size >= self._rotate_bytes:
                    place = self._rotate(place, time_ns)
                self._write(place, event, fields, time_ns, event_id)
            finally:
                disk.unlock(descriptor)
        except (ValueError, Busy):
            raise  # nothing was written, what we know still holds
        except BaseException:
            self.close()  # part of a line may stand in the file: look again before the next record
            raise
        return place.seq, place.hash

    def close(self) -> None:
        """Let go of all files."""
        self._drop()
        for name in ("_lock_descriptor", "_folder_descriptor"):
            descriptor = getattr(self, name)
            setattr(self, name, None)
            if descriptor is not None:
                os.close(descriptor)

    def forget(self) -> None:
        """Close what was inherited in a fork, without another effect; the parent's lock stays as it is."""
        self.in_use = threading.Lock()
        self._leave, leave = (lambda _: None), self._leave
        try:
            self.close()
        finally:
            self._leave = leave

    def _take_lock(self, *, wait: bool) -> int:
        """Return the locked descriptor of the folder's lock file, of the one that is there now."""
        while True:
            if self._lock_descriptor is None:
                disk.private_folder(self._directory)
                self._lock_descriptor = disk.open_private(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT)
            try:
                if not disk.try_lock(self._lock_descriptor):
                    disk.lock(self._lock_descriptor, timeout_ns=self._lock_timeout_ns if wait else _SHORT_WAIT_NS)
            except OSError as error:
                if wait or error.errno != errno.ETIMEDOUT:
                    raise
                raise Busy from None
            place = self.place
            if place is not None and place.folder_time:
                if self._folder_time() == place.folder_time:
                    return self._lock_descriptor  # no entry of the folder changed, this one neither
                place.folder_time = 0
            if os.fstat(self._lock_descriptor).st_nlink:
                return self._lock_descriptor
            descriptor, self._lock_descriptor = self._lock_descriptor, None
            os.close(descriptor)  # the folder was emptied: others would lock a new file, so we must too

    def _current(self) -> Place:
        place = self.place
        if place is None:
            return self._open()
        if place.folder_time:  # it was compared when the lock was taken
            # Not fstat: who reads a file's times makes Linux (6.13) write them anew at the next write, for 3 us a record.
            size = os.lseek(place.descriptor, 0, os.SEEK_END)
        else:
            try:
                found = os.stat(place.path, follow_symlinks=False)  # noqa: PTH116 - calls come here, pathlib is slow
            except FileNotFoundError:
                found = None
            before = self._folder_time()
            if found is None or (found.st_dev, found.st_ino) != place.identity or os.path.lexists(place.following):
                self._drop()
                return self._open()
            # Trusted from now on if it is old, and was the same before and after the entries were looked at.
            age = _TRUSTED_AFTER_NS if before % _FINE_NS else _COARSE_TRUSTED_AFTER_NS
            is_old = 0 < before < time.time_ns() - age and before == self._folder_time()
            place.folder_time = before if is_old else 0
            size = found.st_size
        if size == place.size:
            return place
        self._remember(place)
        return self._settle(place.file, place.descriptor, place.identity, place.uid, place.folder_time)

    def _folder_time(self) -> int:
        """Return when an entry of the folder last changed; 0 where that can't be asked."""
        if self._folder_descriptor is None:
            if sys.platform == "win32":
                return 0
            self._folder_descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(self._folder_descriptor)
        return found.st_mtime_ns if found.st_nlink else 0

    def _open(self) -> Place:
        files = find(self._directory)
        if files and files[-1].is_compressed:  # the newest was removed: a packed file is closed for ever
            files.append(trail_file(self._directory, files[-1].uid8, files[-1].index + 1))
            os.close(disk.open_private(files[-1].path, os.O_RDWR | os.O_CREAT))
        if len({file.uid8 for file in files}) > 1:
            raise OSError(errno.EEXIST, "the folder holds two trails", str(self._directory))
        if files:
            file, flags = files[-1], os.O_RDWR | os.O_APPEND
        elif self._known is not None:
            # Somebody removed all files under us: go on with the same chain, so that the check names what is missing.
            file, flags = trail_file(self._directory, self._known.uid, self._index + 1), _CREATE
        else:
            file, flags = trail_file(self._directory, os.urandom(4).hex(), 1), _CREATE
        descriptor = disk.open_private(file.path, flags)
        try:
            if not files and self._syncs:
                disk.sync_folder(self._directory)
            found = os.fstat(descriptor)
            return self._settle(file, descriptor, (found.st_dev, found.st_ino), None)
        except BaseException:
            if self.place is None or self.place.descriptor != descriptor:
                os.close(descriptor)
            raise

    def _settle(
        self, file: TrailFile, descriptor: int, identity: tuple[int, int], uid: str | None, folder_time: int = 0
    ) -> Place:
        """Read the end of the file and remember where the chain stands."""
        size = os.fstat(descriptor).st_size
        end = read_end(descriptor, size, file.uid8)
        head = _head(end.last) or self._head_before(file)
        known = self._known
        if known is not None and known.uid.startswith(file.uid8) and (head is None or head.seq < known.seq):
            head = known
        if head is None:
            # Nothing but a torn first line, or nothing at all: the chain begins here, under the name that the file has.
            head = Head(uid=uid or file.uid8 + os.urandom(12).hex(), seq=0, hash=GENESIS)
        place = self._stand(file, descriptor, identity, size, head, end)
        place.folder_time = folder_time
        return place

    def _stand(  # noqa: PLR0913 - the parts of a place
        self, file: TrailFile, descriptor: int, identity: tuple[int, int], size: int, head: Head, end: End
    ) -> Place:
        self.place = Place(
            file=file,
            descriptor=descriptor,
            path=str(file.path),
            following=str(trail_file(self._directory, file.uid8, file.index + 1).path),
            identity=identity,
            size=size,
            uid=head.uid,
            seq=head.seq,
            hash=head.hash,
            end=end,
        )
        return self.place

    def _head_before(self, file: TrailFile) -> Head | None:
        """Return the last record of the files before: the newest one was begun, and holds no record yet."""
        for earlier in reversed(find(self._directory)):
            if earlier.uid8 != file.uid8 or earlier.index >= file.index:
                continue
            head = _head(last_record(earlier))
            if head is not None:
                return head
        return None

    def _recover(self, place: Place, time_ns: int) -> None:
        fields: dict[str, JSON] = {
            FRAGMENT_BYTES: place.end.fragment_bytes,
            FRAGMENT_SHA256: place.end.fragment_sha256,
        }
        self._write(place, RECOVER, fields, time_ns, os.urandom(16).hex())

    def _rotate(self, place: Place, time_ns: int) -> Place:
        fields: dict[str, JSON] = {"safellm.rotate.file": place.file.name, "safellm.rotate.head": place.hash}
        if place.end.line_open:
            disk.write_all(place.descriptor, b"\n")
        head = Head(uid=place.uid, seq=place.seq, hash=place.hash)
        self._drop()  # also syncs: nobody will come back to that file
        following = trail_file(self._directory, head.uid, place.file.index + 1)
        descriptor = disk.open_private(following.path, _CREATE)
        found = os.fstat(descriptor)
        begun = self._stand(following, descriptor, (found.st_dev, found.st_ino), 0, head, CLEAN)
        if self._syncs:
            disk.sync_folder(self._directory)
        self._write(begun, ROTATE, fields, time_ns, os.urandom(16).hex())
        return begun

    def _write(self, place: Place, event: str, fields: Mapping[str, JSON], time_ns: int, event_id: str) -> None:
        seq = place.seq + 1
        sealed = seal(
            chain_uid=place.uid,
            seq=seq,
            prev=place.hash,
            event=event,
            fields=fields,
            time=rfc3339(time_ns),
            time_ns=time_ns,
            event_id=event_id,
        )
        data = b"\n" + sealed.line if place.end.line_open else sealed.line
        disk.write_all(place.descriptor, data)
        # One object per file, changed here only; a new one per record would cost as much as the write.
        place.size += len(data)
        place.seq, place.hash, place.end = seq, sealed.hash, CLEAN

    def _drop(self) -> None:
        """Close the open file; what we know of the chain stays."""
        place = self.place
        if place is None:
            return
        self._remember(place)
        with self.in_use:
            try:
                self._leave(place.descriptor)
            finally:
                os.close(place.descriptor)
                self.place = None

    def _remember(self, place: Place) -> None:
        if place.seq:
            self._known, self._index = Head(uid=place.uid, seq=place.seq, hash=place.hash), place.file.index


def _head(record: Unsealed | None) -> Head | None:
    return None if record is None else Head(uid=record.chain_uid, seq=record.seq, hash=record.hash)
