"""Calls without any limit, in memory: nothing has to be held for them, and what they used is written behind them.

All ledgers of a process over one file share one object of this class. Kept are the calls under way, the totals that are not in
the file yet, and the last calls that ended, so that a second settle of one is recognised.

Honest limit: a process that is killed (not one that ends) loses the totals of the last moments and its calls under way. No limit
depends on them, and the audit trail has those calls. At a normal end calls under way are charged what they could cost at most.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

from safellm._core import budget
from safellm._core.effects import Amounts, Reserve
from safellm.errors import ProtocolMisuse
from safellm.stores.ledger import forks
from safellm.stores.ledger.amounts import UsageKey, add_amounts, label, nothing_added
from safellm.stores.ledger.engine import State

_DAY_NS: Final = 86400 * 1_000_000_000
_KEEP_ENDED: Final = 1024

_SHARED: weakref.WeakValueDictionary[str, Unlimited] = weakref.WeakValueDictionary()
_SHARING = threading.Lock()


class _Call:
    __slots__ = ("amounts", "day", "held_ns", "is_own", "labels", "model", "state")

    def __init__(self, amounts: Amounts, labels: tuple[str, str, str], held_ns: int) -> None:
        self.state: State = "held"
        self.amounts = amounts  # the hold; once it is charged, the charge
        self.labels = labels
        self.held_ns = held_ns
        self.is_own = True  # else the process that forked this one answers for it
        self.day = ""
        self.model = labels[1]


class Unlimited:
    """The calls of one process over one ledger file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Call] = {}
        self._ended: dict[str, _Call] = {}
        self._totals: dict[UsageKey, list[int]] = {}
        self._day = (-1, "")
        forks.watch(self)

    @staticmethod
    def of(path: Path) -> Unlimited:
        """Return the one object of this process for the ledger at `path`."""
        name = os.path.abspath(path)  # noqa: PTH100 - a key, and `Path.resolve` would ask the disk
        with _SHARING:
            found = _SHARED.get(name)
            if found is None:
                found = _SHARED[name] = Unlimited()
            return found

    @property
    def has_totals(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._totals)

    def knows(self, reservation_id: str) -> bool:
        """Return whether this is a call without limits that is under way or ended lately."""
        return reservation_id in self._open or reservation_id in self._ended

    def reserve(self, reserve: Reserve, *, now_ns: int) -> None:
        """Note a call.

        Raises:
            ProtocolMisuse: the id was used before, or an amount is negative.
        """
        amounts, labels = reserve.amounts, reserve.labels
        if (
            amounts.input_tokens < 0
            or amounts.output_tokens < 0
            or amounts.requests < 0
            or (amounts.micro_usd or 0) < 0
        ):
            budget.bounded_hold(amounts)
        named = label(labels.get("provider", "")), label(labels.get("model", "")), label(labels.get("operation", ""))
        with self._lock:
            if self.knows(reserve.id):
                msg = "a reservation id can be used once"
                raise ProtocolMisuse(msg)
            self._open[reserve.id] = _Call(amounts, named, now_ns)

    def settle(self, reservation_id: str, amounts: Amounts | None, *, now_ns: int, model: str | None) -> Amounts | None:
        """Count what was billed; None when the call is not known here."""
        with self._lock:
            call = self._open.get(reservation_id) or self._ended.get(reservation_id)
            if call is None or call.state == "settled":
                return None if call is None else call.amounts
            known = call.state == "swept" or budget.is_credible(call.amounts)
            hold = call.amounts if known else budget.bounded_hold(call.amounts)
            charge = budget.charge_for(hold, amounts)
            if call.state == "swept":
                charge = budget.larger_of(hold, charge)
            self._charge(reservation_id, call, charge, "settled", now_ns, model)
            return charge

    def release(self, reservation_id: str) -> bool:
        """Forget a call of which nothing was sent; returns whether it is known here."""
        with self._lock:
            call = self._open.get(reservation_id)
            if call is not None:
                call.state = "released"
                self._end(reservation_id, call)
                return True
            return reservation_id in self._ended

    def sweep(self, *, before_ns: int | None, now_ns: int) -> int:
        """Charge this process's calls that were made at `before_ns` or earlier (None: all of them); returns how many."""
        with self._lock:
            due = [
                (name, call)
                for name, call in self._open.items()
                if call.is_own and (before_ns is None or call.held_ns <= before_ns)
            ]
            for name, call in due:
                self._charge(name, call, budget.bounded_hold(call.amounts), "swept", now_ns, None)
            return len(due)

    def take(self) -> dict[UsageKey, list[int]]:
        """Hand over the totals: whoever takes them writes them, or gives them back."""
        with self._lock:
            taken, self._totals = self._totals, {}
            return taken

    def give_back(self, totals: dict[UsageKey, list[int]]) -> None:
        """Take totals that could not be written."""
        with self._lock:
            for key, counts in totals.items():
                mine = self._totals.setdefault(key, nothing_added())
                for number, count in enumerate(counts):
                    mine[number] += count

    def before_fork(self) -> Callable[[], None]:
        """Keep other threads out during a fork. The child counts only what it does itself."""
        parent, lock = os.getpid(), self._lock
        lock.acquire()

        def after() -> None:
            if os.getpid() == parent:
                lock.release()
                return
            self._lock = threading.Lock()
            self._totals = {}
            for call in self._open.values():
                call.is_own = False

        return after

    def _charge(  # noqa: PLR0913 - the parts of one booking
        self, name: str, call: _Call, charge: Amounts, state: State, now_ns: int, model: str | None
    ) -> None:
        before = None
        if call.day:
            before = call.amounts
        else:
            number = now_ns // _DAY_NS
            if self._day[0] != number:
                self._day = number, budget.utc_day(now_ns)
            call.day = self._day[1]
            if model is not None:
                call.model = label(model)
        key = call.day, call.labels[0], call.model, call.labels[2]
        totals = self._totals.get(key)
        if totals is None:
            totals = self._totals[key] = nothing_added()
        add_amounts(totals, before, charge)
        call.state, call.amounts = state, charge
        self._end(name, call)

    def _end(self, name: str, call: _Call) -> None:
        self._open.pop(name, None)
        self._ended[name] = call
        if len(self._ended) > _KEEP_ENDED:
            del self._ended[next(iter(self._ended))]
