"""The durable trail: one chain of JSON lines per folder, shared by threads and processes.

How a record gets to the disk (`Sync`):

* `each`: an event in `durable` returns when the disk has it. Threads that wait together share one sync.
* `group`: every record is in the file, and so outlives the process, when `append` returns. A thread syncs it within about
  `behind.DELAY_S`; never more than `MOST_BEHIND` records are behind. That much a loss of power can take. A sync that
  failed refuses the next record, and until one succeeds each record waits for its own.
* `none`: the system decides when.

After a fork the child opens its own files: a lock taken through inherited ones would be shared with the parent.

Source: THREATS L.1, L.5, L.8. Files and order are the matter of `chain`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from safellm._core.effects import JSON
from safellm.errors import GuardFailure, Reason
from safellm.stores import durable as disk
from safellm.stores.behind import DELAY_S, Behind
from safellm.stores.ids import random_name
from safellm.stores.journal.chain import Chain
from safellm.stores.journal.interface import Receipt
from safellm.stores.waiting import Busy

Sync: TypeAlias = Literal["each", "group", "none"]

ROTATE_BYTES: Final = 64 * 1024 * 1024  # a few seconds to verify, small enough to move and to look into
DURABLE: Final = frozenset({"call.intent"})  # an outcome that is lost leaves an open intent, so it need not wait
MOST_BEHIND: Final = 4096  # records that wait for the disk in "group": some 4 MB
_SHORT_WAIT_S: Final = 0.001
_NAP_S: Final = 1.0  # a sleeper looks by itself, should the one who was to wake it be interrupted

_LIVE: weakref.WeakSet[JsonlJournal] = weakref.WeakSet()


def _nothing() -> None: ...


class JsonlJournal:
    """A `Journal` in a folder of this machine."""

    def __init__(  # noqa: PLR0913 - settings, each with its default
        self,
        directory: Path,
        *,
        sync: Sync = "each",
        durable: frozenset[str] = DURABLE,
        rotate_bytes: int = ROTATE_BYTES,
        lock_timeout_ns: int = disk.LOCK_TIMEOUT_NS,
        delay_s: float = DELAY_S,
        recorded: Callable[[], None] | None = None,
    ) -> None:
        """Take the settings; no file is touched before the first record.

        Args:
            directory: Folder of the trail, made with mode 0700; its last part may not be a link.
            sync: When the disk has a record; see the module.
            durable: Names of the events that wait when `sync` is "each".
            rotate_bytes: A file of this size or more is followed by a new one.
            lock_timeout_ns: How long another process may keep the lock before the call is refused.
            delay_s: How long records that nobody waits for are gathered.
            recorded: Called after each record; it must return at once.
        """
        self._recorded = recorded or _nothing
        self._directory = directory
        self._sync: Sync = sync
        self._durable = durable if sync == "each" else frozenset()
        self._mutex = threading.Lock()  # Order: this one, then the chain's `in_use`, which is held during each sync
        self._written = 0  # how many records this object wrote, then up to which one the disk has them
        self._synced = 0
        self._lost: list[tuple[int, int]] = []  # ranges (after, up to) whose sync failed: never reported as durable
        self._failure: OSError | None = None  # of a sync that nobody waited for; the next record is refused with it
        self._in_doubt = False  # the last sync failed: each record waits until one succeeds
        self._gate = threading.Lock()  # of the three that follow; the last one of all locks
        self._syncing = False
        self._sleepers: list[tuple[int, threading.Lock]] = []
        self._behind = Behind(self._catch_up, name="audit", delay_s=delay_s)
        self._chain = Chain(
            directory,
            rotate_bytes=rotate_bytes,
            lock_timeout_ns=lock_timeout_ns,
            syncs=sync != "none",
            leave=self._before_closing,
        )
        _LIVE.add(self)

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Write one record; `event.id` may be given in `fields`, otherwise it is drawn.

        Args:
            event: Name, `area.what`.
            fields: What the record says; see `record.seal` for what is possible.
            time_ns: Nanoseconds since 1970-01-01 UTC.
            wait: False: don't block for longer than about a millisecond.

        Raises:
            GuardFailure: `Reason.AUDIT_UNAVAILABLE`: the record could not be written, or is not certainly on the disk, or a
                record before it is not.
            Busy: `wait` is False, and it would have to wait. Nothing was written.
        """
        waits = event in self._durable or self._in_doubt or self._written - self._synced >= MOST_BEHIND
        try:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if waits and not wait and self._sync != "none":
                raise Busy
            rest = dict(fields)
            event_id = rest.pop("event.id", None)
            if event_id is None:
                event_id = random_name().hex()
            if not isinstance(event_id, str):
                raise ValueError("event.id must be text")  # noqa: TRY004 - one kind of error for all bad fields
            if not self._mutex.acquire(timeout=-1 if wait else _SHORT_WAIT_S):
                raise Busy
            try:
                seq, digest = self._chain.append(event, rest, time_ns, event_id, wait=wait)
                self._written = ticket = self._written + 1
            finally:
                self._mutex.release()
            if self._sync == "none":
                pass
            elif waits:
                self._wait(ticket)
            else:
                self._behind.soon()
            self._recorded()
        except OSError as error:
            raise _unavailable(self._directory, error) from error
        except ValueError as error:
            raise GuardFailure(
                f"A call can't be recorded: {error}",
                guard="audit",
                reason=Reason.AUDIT_UNAVAILABLE,
                remedy="Remove the value from the request's model, tool or user names.",
            ) from None
        return Receipt(seq=seq, hash=digest)

    def close(self) -> None:
        """Wait for the disk and let go of files; a later record opens them again.

        Raises:
            GuardFailure: records that nobody waited for did not reach the disk.
        """
        self._behind.close()
        with self._mutex:
            self._chain.close()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise _unavailable(self._directory, failure)

    def __del__(self) -> None:
        # Dropped without `close`: descriptors are numbers that nothing else would give back.
        if suppress is None:  # the interpreter takes modules apart
            return
        with suppress(Exception):
            self._behind.close(wait=False)  # the thread is not at work: that would have kept us alive
            self._chain.close()

    def _wait(self, ticket: int) -> None:
        """Return when the disk has record `ticket` of this object.

        Whoever comes first syncs for all whose records are in the file by then. The others sleep, each at a lock of its own, so
        that a sync wakes those whom it served and one more, who does the next.

        Raises:
            OSError: the sync that should have taken the record to the disk failed.
        """
        while True:
            with self._gate:
                if ticket <= self._synced:
                    if any(after < ticket <= upto for after, upto in self._lost):
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    return
                bell = None
                if self._syncing:
                    bell = threading.Lock()
                    bell.acquire()
                    self._sleepers.append((ticket, bell))
                self._syncing = True
            if bell is not None:
                bell.acquire(timeout=_NAP_S)
                continue
            try:
                with self._chain.in_use:
                    if ticket > self._synced:
                        if self._chain.place is None:
                            raise OSError(errno.EIO, os.strerror(errno.EIO))
                        self._sync_now(self._chain.place.descriptor)
            finally:
                self._wake()

    def _wake(self) -> None:
        with self._gate:
            self._syncing = False
            still: list[tuple[int, threading.Lock]] = []
            for ticket, bell in self._sleepers:
                if ticket <= self._synced or not still:
                    bell.release()  # served, or the one who syncs next
                    if ticket > self._synced:
                        still.append((ticket, bell))
                else:
                    still.append((ticket, bell))
            self._sleepers = still[1:]

    def _catch_up(self) -> None:
        """Sync what nobody waits for; in the thread behind. A failure is kept for the next record."""
        with self._chain.in_use:
            place = self._chain.place
            if place is None or self._synced >= self._written:
                return
            try:
                self._sync_now(place.descriptor)
            except OSError as error:
                self._failure = error

    def _sync_now(self, descriptor: int) -> None:
        """Sync the open file; the caller has `in_use`. All records since the last sync are in it."""
        upto = self._written
        try:
            disk.sync(descriptor)
            self._in_doubt = False
        except OSError:
            # The system reports a failed sync once and then forgets: these records must never count as durable.
            self._lost.append((self._synced, upto))
            self._in_doubt = True
            raise
        finally:
            self._synced = upto

    def _before_closing(self, descriptor: int) -> None:
        """Sync what nobody waited for; the caller has `in_use`."""
        if self._sync != "none" and self._synced < self._written:
            try:
                self._sync_now(descriptor)
            except OSError as error:  # also noted in _lost: whoever waits for these records is told
                self._failure = error

    def _after_fork(self) -> None:
        """Forget what was inherited; closing our copies leaves the parent's lock as it is."""
        self._mutex, self._gate = threading.Lock(), threading.Lock()
        self._syncing, self._sleepers = False, []
        self._chain.forget()
        self._synced = self._written


def _forget_in_child() -> None:
    for journal in list(_LIVE):
        journal._after_fork()  # noqa: SLF001 - the module's own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


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
