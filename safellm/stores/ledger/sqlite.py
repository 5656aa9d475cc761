"""A ledger in one SQLite file, shared by all threads and processes of a user.

* Every change is one `BEGIN IMMEDIATE` transaction. A hold goes through one conditional update per account, all or none:
  `used + held + asked <= limit` is true or nothing changes (THREATS B.1).
* A reservation is `held`, then exactly one of `settled`, `swept` (charged whole after its lifetime, B.2), `released`.
  What arrives later may raise a charge and never lowers it.
* Each window of an account has its own row, and a hold is charged to the window it was made in.
* Calls without limits don't come here: `unlimited` gathers their usage, and a thread writes it within about `USAGE_DELAY_S`.
  If that fails the next call is refused.
* Writers queue before the file (`queue`): SQLite's own waiting sleeps for up to 100 ms, whoever comes first.
  The queue is for speed alone; SQLite's locks keep the ledger right also without it.
* A lock that others hold is waited for with short pauses up to `wait_s`; then, and on any other failure, the answer is a
  `GuardFailure`. The file is the matter of `sqlite_file`, the statements that of `sqlite_rows`.
* No connection lives through a fork: SQLite's records of its file locks would be wrong in the child
  (SQLite, "How To Corrupt An SQLite Database File", 2.6).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import atexit
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, OverLimit, Reserve, Window
from safellm.errors import GuardFailure, ProtocolMisuse
from safellm.stores.behind import Behind
from safellm.stores.ledger import forks, sqlite_file, sqlite_rows
from safellm.stores.ledger.interface import Balance, Usage
from safellm.stores.ledger.queue import Queue
from safellm.stores.ledger.rules import HOUR_NS, OWN, SWEEP_BATCH, SWEEP_EVERY_NS, lowest_per_account
from safellm.stores.ledger.unlimited import Unlimited
from safellm.stores.waiting import Busy

_T = TypeVar("_T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.010
_SHORT_WAIT_S = 0.001
USAGE_DELAY_S = 0.2

_LIVE: weakref.WeakSet[SQLiteLedger] = weakref.WeakSet()


class SQLiteLedger:
    """Implements `safellm.stores.ledger.interface.Ledger`; the first use opens the file.

    Args:
        path: The file; its folder is made when missing. It must lie on a local disk: SQLite's locks need one.
        hold_ttl_ns: Age after which a hold is taken for that of a dead process and charged. It is longer than any call
            should last; a call that lasts longer is charged at least its hold.
        wait_s: How long one method may wait for locks, in seconds.
        durable: Wait for the disk at each transaction (about 10 ms). Without it a loss of power, not of the process,
            can lose the last moments.
    """

    def __init__(self, path: Path, *, hold_ttl_ns: int = HOUR_NS, wait_s: float = 5.0, durable: bool = False) -> None:
        self._path = path
        self._name = str(path)
        self._hold_ttl_ns = hold_ttl_ns
        self._wait_s = wait_s
        self._durable = durable
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._turn = threading.Lock()
        self._pid = os.getpid()
        self._opened_ns = 0
        self._swept_ns: int | None = None
        self._queue: Queue | None = None
        self._own: dict[str, sqlite_rows.Reservation] = {}  # holds of this process: they needn't be looked up
        self._unlimited = Unlimited.of(path)
        self._failure: GuardFailure | None = None  # of writing usage; nothing more goes out until that works again
        self._behind = Behind(self._catch_up, name="usage", delay_s=USAGE_DELAY_S)
        forks.watch(self)
        _LIVE.add(self)

    def reserve(self, reserve: Reserve, *, now_ns: int, wait: bool = True) -> OverLimit | None:
        """Hold the amounts on all limits at once, or on none and say which is full.

        The first call sweeps, and then one in each minute.

        Raises:
            GuardFailure: the store can't answer.
            ProtocolMisuse: the id was used before, or an amount is negative.
            Busy: `wait` is False, and it would have to wait.
        """
        if self._swept_ns is None or abs(now_ns - self._swept_ns) >= SWEEP_EVERY_NS or self._failure is not None:
            if not wait:
                raise Busy
            self._keep_house(now_ns)
        if not reserve.limits:
            self._unlimited.reserve(reserve, now_ns=now_ns)
            return None
        held = budget.bounded_hold(reserve.amounts)
        limits = lowest_per_account(reserve.limits)

        def work(database: sqlite3.Connection) -> sqlite_rows.Reservation:
            lines = []
            for limit in limits:
                line = sqlite_rows.hold(database, limit, held.held_of(limit.unit), now_ns=now_ns)
                if isinstance(line, OverLimit):
                    raise _Full(line)
                lines.append(line)
            return sqlite_rows.insert(database, reserve, held, lines, (now_ns, self._pid, self._opened_ns))

        try:
            made = self._change(work, wait=wait)
        except _Full as full:
            return full.over
        if len(self._own) >= OWN:
            self._own.clear()
        self._own[reserve.id] = made
        return None

    def settle(
        self,
        reservation_id: str,
        amounts: Amounts | None,
        *,
        now_ns: int,
        model: str | None = None,
        wait: bool = True,
    ) -> Amounts:
        """Turn a hold into a charge exactly once; None charges the hold itself. Returns what was charged.

        Raises:
            GuardFailure: the store can't answer; the hold stays and is charged by a sweep.
            ProtocolMisuse: there is no such reservation.
            Busy: `wait` is False, and it would have to wait.
        """
        charged = self._unlimited.settle(reservation_id, amounts, now_ns=now_ns, model=model)
        if charged is not None:
            self._behind.soon()
            return charged

        own, day = self._own.get(reservation_id), budget.utc_day(now_ns)

        def work(database: sqlite3.Connection) -> Amounts:
            if own is not None:  # it was held here, and mostly still is
                charge = budget.charge_for(own.amounts, amounts)
                if sqlite_rows.charge(database, own, charge, state="settled", day=day, model=model):
                    return charge
            row = sqlite_rows.find(database, reservation_id)
            if row is None:
                msg = "settle needs the id of a reservation that was made"
                raise ProtocolMisuse(msg)
            if row.state == "settled":
                return row.amounts
            charge = budget.charge_for(row.amounts, amounts)
            if row.state == "swept":
                charge = budget.larger_of(row.amounts, charge)
            sqlite_rows.charge(database, row, charge, state="settled", day=day, model=model)
            return charge

        charged = self._change(work, wait=wait)
        self._own.pop(reservation_id, None)
        return charged

    def release(self, reservation_id: str, *, wait: bool = True) -> None:
        """Drop a hold of a request of which nothing was sent; without effect on what is charged or unknown.

        Raises:
            GuardFailure: the store can't answer; the hold stays and is charged by a sweep.
            Busy: `wait` is False, and it would have to wait.
        """
        if self._unlimited.release(reservation_id):
            return

        def work(database: sqlite3.Connection) -> None:
            row = sqlite_rows.find(database, reservation_id)
            if row is not None and row.state == "held":
                sqlite_rows.release(database, row)

        self._change(work, wait=wait)
        self._own.pop(reservation_id, None)

    def sweep(self, *, now_ns: int) -> int:
        """Charge every hold older than its lifetime; returns how many. Also forgets old reservations.

        Raises:
            GuardFailure: the store can't answer.
        """
        before_ns, day, charged = now_ns - self._hold_ttl_ns, budget.utc_day(now_ns), 0
        while True:
            # Looked for without keeping others out; what is found may be settled by somebody meanwhile.
            due = self._read(lambda database: sqlite_rows.overdue(database, before_ns=before_ns, count=SWEEP_BATCH))

            def work(database: sqlite3.Connection, due: list[str] = due) -> int:
                found = [row for name in due if (row := sqlite_rows.find(database, name)) and row.state == "held"]
                for row in found:
                    sqlite_rows.charge(database, row, row.amounts, state="swept", day=day)
                sqlite_rows.forget(database)
                return len(found)

            charged += self._change(work)
            if len(due) < SWEEP_BATCH:
                break
        charged += self._unlimited.sweep(before_ns=now_ns - self._hold_ttl_ns, now_ns=now_ns)
        self._write_usage()
        self._swept_ns = now_ns
        return charged

    def balances(self, limits: Sequence[Limit], *, now_ns: int) -> list[Balance]:
        """Return where each limit stands, in the order given and at one moment.

        Raises:
            GuardFailure: the store can't answer.
        """
        return self._read(lambda database: [sqlite_rows.balance(database, limit, now_ns=now_ns) for limit in limits])

    def accounts(self, name: str) -> list[str]:
        """Return the accounts of a limit that counts per something: `name`, and all that begin with `name|`.

        Raises:
            GuardFailure: the store can't answer.
        """
        return self._read(lambda database: sqlite_rows.accounts(database, name))

    def usage(self, *, since_day: str | None = None) -> list[Usage]:
        """Return what was billed, newest day first; from `since_day` (`YYYY-MM-DD`) on if given.

        Raises:
            GuardFailure: the store can't answer.
        """
        self._write_usage()
        return self._read(lambda database: sqlite_rows.usage(database, since_day=since_day or ""))

    def close(self) -> None:
        """Write what is to be written and let go of the connection; the next use opens it again.

        Raises:
            GuardFailure: usage could not be written; another `close` or `usage` tries again.
        """
        self._behind.close()
        try:
            self._write_usage()
        finally:
            with self._lock:
                self._close()

    def __del__(self) -> None:
        if suppress is None:  # the interpreter has ended and takes modules apart; what was due was done before
            return
        with suppress(Exception):
            self._behind.close(wait=False)  # its thread is not at work: that would have kept us alive
            self.close()

    def before_fork(self) -> Callable[[], None]:
        """Wait for a running transaction, close, and return what must run afterwards in parent and child."""
        parent, lock, turn = os.getpid(), self._lock, self._turn
        turn.acquire()  # a thread that writes without pause would win the lock again and again
        try:
            held = lock.acquire(timeout=self._wait_s)
            if held:
                self._close()
        finally:
            turn.release()

        def after() -> None:
            if os.getpid() == parent:
                if held:
                    lock.release()
                return
            self._lock, self._turn = threading.RLock(), threading.Lock()
            if held:  # else the parent's connection is still there, and `_connect` refuses it
                self._pid = os.getpid()

        return after

    def _write_usage(self) -> None:
        """Write what calls without limits used since the last time.

        Raises:
            GuardFailure: that isn't possible now; nothing is lost.
        """
        if not self._unlimited.has_totals:
            self._failure = None
            return
        totals = self._unlimited.take()

        def work(database: sqlite3.Connection) -> None:
            for key, added in totals.items():
                sqlite_rows.count(database, key, added)

        try:
            self._change(work)
        except BaseException:
            self._unlimited.give_back(totals)
            raise
        self._failure = None

    def _catch_up(self) -> None:
        try:
            self._write_usage()
        except GuardFailure as failure:
            self._failure = failure

    def _end(self) -> None:
        """Charge the calls under way and write all usage: the interpreter ends."""
        self._unlimited.sweep(before_ns=None, now_ns=time.time_ns())
        with suppress(GuardFailure):  # nobody is left to be told; the audit trail has the calls
            self._write_usage()

    def _change(self, work: Callable[[sqlite3.Connection], _T], *, wait: bool = True) -> _T:
        return self._guarded(lambda database: _in_transaction(database, "BEGIN IMMEDIATE", work), wait=wait, queue=True)

    def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return self._guarded(lambda database: _in_transaction(database, "BEGIN", work))

    def _guarded(self, act: Callable[[sqlite3.Connection], _T], *, wait: bool = True, queue: bool = False) -> _T:
        """Return the answer of `act`, again while others hold the file, and every failure as `GuardFailure`."""
        deadline = time.monotonic() + (self._wait_s if wait else _SHORT_WAIT_S)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self._attempt(act, deadline, wait=wait, queue=queue)
            except sqlite3.Error as error:
                if not wait and sqlite_file.is_busy(error):
                    raise Busy from None
                if not sqlite_file.is_busy(error) or time.monotonic() >= deadline:
                    raise sqlite_file.failure(self._path, error) from error
            except (OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise sqlite_file.failure(self._path, error) from error
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - only spreads the waiters
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def _attempt(self, act: Callable[[sqlite3.Connection], _T], deadline: float, *, wait: bool, queue: bool) -> _T:
        with self._turn:  # whoever waits for a fork goes first
            pass
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            if not wait:
                raise Busy
            remedy = "Another thread holds it for long; give `wait_s` more time."
            raise sqlite_file.refused(self._path, "it stayed locked", remedy=remedy)
        try:
            if not wait and self._database is None:
                raise Busy  # opening the file takes a while
            database = self._connect()
            if not queue or self._queue is None:
                return act(database)
            # Who can't get into the queue in time tries without: SQLite itself decides.
            held = self._queue.enter(timeout_s=deadline - time.monotonic())
            if not held and not wait:
                raise Busy
            try:
                return act(database)
            finally:
                if held:
                    self._queue.leave()
        except sqlite3.Error as error:
            if not sqlite_file.is_busy(error):
                self._close()  # the next call starts from the file, not from a connection in doubt
            raise
        finally:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        if self._database is not None:
            if self._pid != os.getpid():
                remedy = "Make the client, or use it for the first time, after the fork."
                raise sqlite_file.refused(self._path, "the process was forked while it was open", remedy=remedy)
            if sqlite_file.identity(self._name) == self._identity:
                return self._database
            self._close()  # deleted or exchanged under us: opening it says which
        self._database = sqlite_file.open_database(self._path, durable=self._durable)
        self._identity = sqlite_file.identity(self._path)
        with suppress(OSError):  # without it writers wait as SQLite waits: longer, and as safely
            self._queue = Queue(self._path)
        self._pid = os.getpid()
        self._opened_ns = time.time_ns()
        return self._database

    def _close(self) -> None:
        if self._database is not None and self._pid == os.getpid():
            database, self._database = self._database, None
            queue, self._queue = self._queue, None
            if queue is not None:
                queue.close()
            database.close()

    def _keep_house(self, now_ns: int) -> None:
        if self._failure is not None:
            self._write_usage()
        if self._swept_ns is not None and abs(now_ns - self._swept_ns) < SWEEP_EVERY_NS:
            return
        self.sweep(now_ns=now_ns)
        day = budget.window_id(Window.DAY, now_ns)
        self._guarded(lambda database: sqlite_file.note_day(database, self._path, day, durable=self._durable))


class _Full(Exception):
    def __init__(self, over: OverLimit) -> None:
        super().__init__()
        self.over = over


def _in_transaction(database: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
    database.execute(begin)
    try:
        answer = work(database)
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")
    return answer


@atexit.register  # after `behind` has registered its own, so this one comes first
def _end_all() -> None:
    for ledger in list(_LIVE):
        with suppress(Exception):  # each for itself
            ledger._end()  # noqa: SLF001 - the module's own class
