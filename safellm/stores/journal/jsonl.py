"""The durable trail: one chain of JSON lines per folder, shared by threads and processes.

* A record is one `write` to a file opened with O_APPEND, made under the folder's lock.
* Where the chain stands is remembered with the file's identity and size; only if they changed is the end read again.
* An end that is no record (a crash, a full disk) is closed as its own line and named by an `audit.recover` record.
* If the trail became shorter than what this process wrote, it goes on from what it knows: the gap stays visible.
* Waiting for the disk happens outside the lock; threads that wait together share one sync.
* After a fork the child opens its own files: a lock taken through inherited ones would be shared with the parent.

Source: THREATS L.1, L.5, L.8. The bytes of a record are made in `safellm._core.record`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safellm._core.effects import JSON
from safellm._core.record import GENESIS, Unsealed, rfc3339, seal
from safellm._core.verify import FRAGMENT_BYTES, FRAGMENT_SHA256, RECOVER
from safellm.errors import GuardFailure, Reason
from safellm.stores import durable as disk
from safellm.stores.journal.files import CLEAN, LOCK_NAME, End, TrailFile, find, read_end, trail_file
from safellm.stores.journal.interface import Receipt

ROTATE: Final = "audit.rotate"
ROTATE_BYTES: Final = 64 * 1024 * 1024  # a few seconds to verify, small enough to move and to look into
DURABLE: Final = frozenset({"call.intent"})  # an outcome that is lost leaves an open intent, so it need not wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    uid: str
    seq: int
    hash: str


@dataclass(slots=True, kw_only=True)
class _Place:
    """The open file and where its chain stands; `size` is what we know of it."""

    file: TrailFile
    descriptor: int
    path: str
    following: str  # the file that whoever rotates makes
    identity: tuple[int, int]
    size: int
    head: _Head
    end: End


_LIVE: weakref.WeakSet[JsonlJournal] = weakref.WeakSet()


class JsonlJournal:
    """A `Journal` in a folder of this machine."""

    def __init__(
        self,
        directory: Path,
        *,
        sync: bool = True,
        durable: frozenset[str] = DURABLE,
        rotate_bytes: int = ROTATE_BYTES,
        lock_timeout_ns: int = disk.LOCK_TIMEOUT_NS,
    ) -> None:
        """Take the settings; no file is touched before the first record.

        Args:
            directory: Folder of the trail, made with mode 0700; its last part may not be a link.
            sync: Wait until the disk has the record, for the events in `durable`.
            durable: Names of the events that wait.
            rotate_bytes: A file of this size or more is followed by a new one.
            lock_timeout_ns: How long another process may keep the lock before the call is refused.
        """
        self._directory = directory
        self._sync = sync
        self._durable = durable
        self._rotate_bytes = rotate_bytes
        self._lock_timeout_ns = lock_timeout_ns
        self._lock_descriptor: int | None = None
        self._place: _Place | None = None
        self._known: _Head | None = None  # the furthest record of ours that is in the file
        self._index = 0  # of the file that holds it
        self._mutex = threading.Lock()
        # Guards the descriptor against being closed during a sync. Order: _mutex, then _sync_mutex.
        self._sync_mutex = threading.Lock()
        self._written = 0  # how many records this object wrote, then up to which one the disk has them
        self._synced = 0
        self._lost: list[tuple[int, int]] = []  # ranges (after, up to) whose sync failed: never reported as durable
        _LIVE.add(self)

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> Receipt:
        """Write one record; `event.id` may be given in `fields`, otherwise it is drawn.

        Args:
            event: Name, `area.what`.
            fields: What the record says; see `record.seal` for what is possible.
            time_ns: Nanoseconds since 1970-01-01 UTC.

        Raises:
            GuardFailure: `Reason.AUDIT_UNAVAILABLE`: the record could not be written, or is not certainly on the disk.
        """
        try:
            with self._mutex:
                receipt = self._append(event, fields, time_ns)
                ticket = self._written
            if self._sync and event in self._durable:
                self._wait(ticket)
        except OSError as error:
            raise _unavailable(self._directory, error) from error
        except ValueError as error:
            raise GuardFailure(
                f"A call can't be recorded: {error}",
                guard="audit",
                reason=Reason.AUDIT_UNAVAILABLE,
                remedy="Remove the value from the request's model, tool or user names.",
            ) from None
        return receipt

    def close(self) -> None:
        """Wait for the disk and let go of files; a later record opens them again.

        Raises:
            GuardFailure: records that nobody waited for did not reach the disk.
        """
        with self._mutex:
            before = len(self._lost)
            self._drop()
            self._close_lock()
        if len(self._lost) > before:
            raise _unavailable(self._directory, OSError(errno.EIO, os.strerror(errno.EIO)))

    def __del__(self) -> None:
        # Dropped without `close`: descriptors are numbers that nothing else would give back.
        with suppress(Exception):
            self.close()

    def _append(self, event: str, fields: Mapping[str, JSON], time_ns: int) -> Receipt:
        rest = dict(fields)
        event_id = rest.pop("event.id", None)
        if event_id is None:
            event_id = os.urandom(16).hex()
        if not isinstance(event_id, str):
            raise ValueError("event.id must be text")  # noqa: TRY004 - one kind of error for all bad fields
        try:
            descriptor = self._take_lock()
            try:
                place = self._current()
                if place.end.fragment_bytes:
                    place = self._recover(place, time_ns)
                if place.size >= self._rotate_bytes:
                    place = self._rotate(place, time_ns)
                place = self._write(place, event, rest, time_ns, event_id)
            finally:
                disk.unlock(descriptor)
        except ValueError:
            raise  # nothing was written, what we know still holds
        except BaseException:
            self._drop()  # part of a line may stand in the file: look again before the next record
            self._close_lock()  # wherever an interrupt came, the lock is free again
            raise
        return Receipt(seq=place.head.seq, hash=place.head.hash)

    def _take_lock(self) -> int:
        """Return the locked descriptor of the folder's lock file, of the one that is there now."""
        while True:
            if self._lock_descriptor is None:
                disk.private_folder(self._directory)
                self._lock_descriptor = disk.open_private(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT)
            disk.lock(self._lock_descriptor, timeout_ns=self._lock_timeout_ns)
            if os.fstat(self._lock_descriptor).st_nlink:
                return self._lock_descriptor
            self._close_lock()  # the folder was emptied: others would lock a new file, so we must too

    def _close_lock(self) -> None:
        if self._lock_descriptor is not None:
            descriptor, self._lock_descriptor = self._lock_descriptor, None
            os.close(descriptor)

    def _current(self) -> _Place:
        place = self._place
        if place is not None:
            try:
                found = os.stat(place.path, follow_symlinks=False)  # noqa: PTH116 - each call comes here, pathlib is slow
            except FileNotFoundError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != place.identity or os.path.lexists(place.following):
                self._drop()
            elif found.st_size == place.size:
                return place
            else:
                return self._settle(place.file, place.descriptor, place.identity, place.head.uid)
        return self._open()

    def _open(self) -> _Place:
        files = find(self._directory)
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
            if not files and self._sync:
                disk.sync_folder(self._directory)
            found = os.fstat(descriptor)
            return self._settle(file, descriptor, (found.st_dev, found.st_ino), None)
        except BaseException:
            if self._place is None or self._place.descriptor != descriptor:
                os.close(descriptor)
            raise

    def _settle(self, file: TrailFile, descriptor: int, identity: tuple[int, int], uid: str | None) -> _Place:
        """Read the end of the file and remember where the chain stands."""
        size = os.fstat(descriptor).st_size
        end = read_end(descriptor, size, file.uid8)
        head = _head(end.last) or self._head_before(file)
        known = self._known
        if known is not None and known.uid.startswith(file.uid8) and (head is None or head.seq < known.seq):
            head = known
        if head is None:
            # Nothing but a torn first line, or nothing at all: the chain begins here, under the name that the file has.
            head = _Head(uid=uid or file.uid8 + os.urandom(12).hex(), seq=0, hash=GENESIS)
        return self._stand(file, descriptor, identity, size, head, end)

    def _stand(  # noqa: PLR0913 - the parts of a place
        self, file: TrailFile, descriptor: int, identity: tuple[int, int], size: int, head: _Head, end: End
    ) -> _Place:
        self._place = _Place(
            file=file,
            descriptor=descriptor,
            path=str(file.path),
            following=str(trail_file(self._directory, file.uid8, file.index + 1).path),
            identity=identity,
            size=size,
            head=head,
            end=end,
        )
        return self._place

    def _head_before(self, file: TrailFile) -> _Head | None:
        """Return the last record of the files before: the newest one was begun, and holds no record yet."""
        for earlier in reversed(find(self._directory)):
            if earlier.uid8 != file.uid8 or earlier.index >= file.index:
                continue
            descriptor = disk.open_private(earlier.path, os.O_RDONLY)
            try:
                head = _head(read_end(descriptor, os.fstat(descriptor).st_size, file.uid8).last)
            finally:
                os.close(descriptor)
            if head is not None:
                return head
        return None

    def _recover(self, place: _Place, time_ns: int) -> _Place:
        fields: dict[str, JSON] = {
            FRAGMENT_BYTES: place.end.fragment_bytes,
            FRAGMENT_SHA256: place.end.fragment_sha256,
        }
        return self._write(place, RECOVER, fields, time_ns, os.urandom(16).hex())

    def _rotate(self, place: _Place, time_ns: int) -> _Place:
        fields: dict[str, JSON] = {"safellm.rotate.file": place.file.name, "safellm.rotate.head": place.head.hash}
        if place.end.line_open:
            disk.write_all(place.descriptor, b"\n")
        self._drop()  # also syncs: nobody will come back to that file
        following = trail_file(self._directory, place.head.uid, place.file.index + 1)
        descriptor = disk.open_private(following.path, _CREATE)
        found = os.fstat(descriptor)
        begun = self._stand(following, descriptor, (found.st_dev, found.st_ino), 0, place.head, CLEAN)
        if self._sync:
            disk.sync_folder(self._directory)
        return self._write(begun, ROTATE, fields, time_ns, os.urandom(16).hex())

    def _write(self, place: _Place, event: str, fields: Mapping[str, JSON], time_ns: int, event_id: str) -> _Place:
        seq = place.head.seq + 1
        sealed = seal(
            chain_uid=place.head.uid,
            seq=seq,
            prev=place.head.hash,
            event=event,
            fields=fields,
            time=rfc3339(time_ns),
            time_ns=time_ns,
            event_id=event_id,
        )
        data = b"\n" + sealed.line if place.end.line_open else sealed.line
        disk.write_all(place.descriptor, data)
        head = _Head(uid=place.head.uid, seq=seq, hash=sealed.hash)
        # One object per file, changed here only, under _mutex; a copy per record would cost as much as the write.
        place.size += len(data)
        place.head, place.end = head, CLEAN
        self._known, self._index = head, place.file.index
        self._written += 1
        return place

    def _wait(self, ticket: int) -> None:
        """Return when the disk has record `ticket` of this object; whoever comes first syncs for all who wait."""
        with self._sync_mutex:
            if any(after < ticket <= upto for after, upto in self._lost):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if ticket > self._synced:
                self._sync_now()

    def _sync_now(self) -> None:
        """Sync the open file; the caller has `_sync_mutex`. All records since the last sync are in it."""
        upto, place = self._written, self._place
        if place is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        try:
            disk.sync(place.descriptor)
        except OSError:
            # The system reports a failed sync once and then forgets: these records must never count as durable.
            self._lost.append((self._synced, upto))
            raise
        finally:
            self._synced = upto

    def _drop(self) -> None:
        """Close the open file, after syncing what nobody waited for; the caller has `_mutex`."""
        with self._sync_mutex:
            if self._place is None:
                return
            try:
                if self._sync and self._synced < self._written:
                    self._sync_now()
            except OSError:
                pass  # noted in _lost: whoever waits for these records is told
            finally:
                os.close(self._place.descriptor)
                self._place = None

    def _after_fork(self) -> None:
        """Forget what was inherited; closing our copies leaves the parent's lock as it is."""
        self._mutex, self._sync_mutex = threading.Lock(), threading.Lock()
        self._close_lock()
        if self._place is not None:
            os.close(self._place.descriptor)
            self._place = None
        self._synced = self._written


_CREATE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL


def _forget_in_child() -> None:
    for journal in list(_LIVE):
        journal._after_fork()  # noqa: SLF001 - the module's own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _head(record: Unsealed | None) -> _Head | None:
    return None if record is None else _Head(uid=record.chain_uid, seq=record.seq, hash=record.hash)


_REMEDIES: Final = {
    errno.ENOSPC: "Free space on that disk, or set audit.directory to another one.",
    errno.EDQUOT: "Free space in this user's quota, or set audit.directory to another disk.",
    errno.EFBIG: "Raise this process's file size limit, or set audit.directory to another disk.",
    errno.EIO: "Check the disk, or set audit.directory to another one.",
    errno.EROFS: "Set audit.directory to a folder that can be written.",
    errno.ELOOP: "Set audit.directory to the folder itself, not to a link.",
    errno.ENOTDIR: "Set audit.directory to a folder.",
    errno.ETIMEDOUT: "Look for a stopped process that uses the same trail, and end or continue it.",
    errno.EEXIST: "Move the files of one of the trails to another folder.",
}
_REMEDY: Final = "Make the folder writable for this user alone (chmod 700), or set audit.directory to one that is."


def _unavailable(directory: Path, error: OSError) -> GuardFailure:
    what = error.strerror or type(error).__name__
    return GuardFailure(
        f"The audit trail in {error.filename or directory} can't be written: {what}",
        guard="audit",
        reason=Reason.AUDIT_UNAVAILABLE,
        remedy=_REMEDIES.get(error.errno or 0, _REMEDY),
    )
