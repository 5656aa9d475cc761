"""What happens when a shared ledger can't be reached and the policy grants a share: each process counts alone for a while.

In an outage a process may use `share` of each limit in each window, counted in its memory. What it used is booked in the shared
ledger as soon as that answers again, also beyond the limit: the shared ledger never shows less than was billed. A fleet of N
processes can so spend up to `N * share` of a limit beyond it; that is the policy's choice.

A ledger that answers but isn't what it was (emptied, exchanged, older) is no outage: calls are refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from safellm._core.effects import Amounts, Limit, OnLimit, OverLimit, Reserve, Unit
from safellm.errors import GuardFailure
from safellm.stores.ledger.interface import Balance, Ledger, Outage, Usage
from safellm.stores.ledger.memory import MemoryEngine
from safellm.stores.ledger.shared import SharedLedger

_RETRY_S: Final = 5.0  # how long the shared ledger isn't asked again after it failed
_MOST_OWED: Final = 100_000  # calls of an outage that wait to be booked; more are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    """A call of the outage that the shared ledger has not seen; `reserve` is None where it has the hold."""

    id: str
    reserve: Reserve | None
    charged: Amounts | None
    model: str | None
    now_ns: int


class FallbackLedger:
    """A shared ledger with a share of this process's own for outages; implements `Ledger`.

    Args:
        shared: The ledger of all.
        share: Of each limit, above 0 and at most 1.
    """

    def __init__(self, shared: Ledger, share: Decimal) -> None:
        self._shared = shared
        self._share = share
        self._own = SharedLedger(MemoryEngine())
        self._lock = threading.Lock()
        self._paying = threading.Lock()
        self._asked: dict[str, Reserve] = {}  # under way in the outage
        self._owed: deque[_Owed] = deque()
        self._outage: GuardFailure
        self._again = 0.0  # when the shared ledger is asked next, monotonic

    def reserve(self, reserve: Reserve, *, now_ns: int, wait: bool = True) -> OverLimit | None:
        """Hold in the shared ledger, or this process's share in an outage.

        Raises:
            GuardFailure: the shared ledger isn't what it was, or the outage has lasted for too many calls.
        """
        if time.monotonic() >= self._again:
            try:
                if wait:
                    self._pay(now_ns)
                return self._shared.reserve(reserve, now_ns=now_ns, wait=wait)
            except Outage as outage:
                self._wait(outage)
        with self._lock:
            if len(self._owed) + len(self._asked) >= _MOST_OWED:
                raise self._outage
            self._asked[reserve.id] = reserve
        limits = tuple(self._part(limit) for limit in reserve.limits)
        over = self._own.reserve(replace(reserve, limits=limits), now_ns=now_ns)
        if over is not None:
            with self._lock:
                self._asked.pop(reserve.id, None)
        return over

    def settle(
        self, reservation_id: str, amounts: Amounts | None, *, now_ns: int, model: str | None = None, wait: bool = True
    ) -> Amounts:
        """Charge where the hold is; what the shared ledger can't be told now, it is told later.

        Raises:
            GuardFailure: the shared ledger isn't what it was.
        """
        with self._lock:
            reserve = self._asked.pop(reservation_id, None)
        if reserve is not None:
            charged = self._own.settle(reservation_id, amounts, now_ns=now_ns, model=model)
            self._owe(_Owed(id=reservation_id, reserve=reserve, charged=charged, model=model, now_ns=now_ns))
            return charged
        try:
            return self._shared.settle(reservation_id, amounts, now_ns=now_ns, model=model, wait=wait)
        except Outage as outage:
            self._wait(outage)
            self._owe(_Owed(id=reservation_id, reserve=None, charged=amounts, model=model, now_ns=now_ns))
            return amounts if amounts is not None else Amounts()

    def release(self, reservation_id: str, *, wait: bool = True) -> None:
        """Drop a hold where it is; one that the shared ledger can't be told of is charged by a sweep.

        Raises:
            GuardFailure: the shared ledger can't answer.
        """
        with self._lock:
            reserve = self._asked.pop(reservation_id, None)
        if reserve is not None:
            self._own.release(reservation_id)
        else:
            self._shared.release(reservation_id, wait=wait)

    def sweep(self, *, now_ns: int) -> int:
        """Charge overdue holds of the shared ledger, after what this process owes it.

        Raises:
            GuardFailure: the shared ledger can't answer.
        """
        self._pay(now_ns)
        return self._shared.sweep(now_ns=now_ns)

    def balances(self, limits: Sequence[Limit], *, now_ns: int) -> list[Balance]:
        """Return where each limit stands; in an outage, where this process's share does.

        Raises:
            GuardFailure: the shared ledger isn't what it was.
        """
        if time.monotonic() >= self._again:
            try:
                return self._shared.balances(limits, now_ns=now_ns)
            except Outage as outage:
                self._wait(outage)
        return self._own.balances([self._part(limit) for limit in limits], now_ns=now_ns)

    def accounts(self, name: str) -> list[str]:
        """Return the accounts of a limit in the shared ledger.

        Raises:
            GuardFailure: the shared ledger can't answer.
        """
        return self._shared.accounts(name)

    def usage(self, *, since_day: str | None = None) -> list[Usage]:
        """Return what was billed, from the shared ledger.

        Raises:
            GuardFailure: the shared ledger can't answer.
        """
        self._pay(time.time_ns())
        return self._shared.usage(since_day=since_day)

    def close(self) -> None:
        """Book what is owed if that is possible, and let go of connections."""
        try:
            self._pay(time.time_ns())
        except GuardFailure:
            pass  # the trail has those calls
        self._shared.close()

    def _part(self, limit: Limit) -> Limit:
        if limit.unit is Unit.CONCURRENCY or limit.action is OnLimit.WARN:
            share = max(1, int(limit.limit * self._share))
        else:
            share = int(limit.limit * self._share)
        burst = None if limit.burst is None else int(limit.burst * self._share)
        # A rate of nothing has no length to flow off in: its burst of nothing refuses.
        return replace(limit, limit=max(1, share) if burst is not None else share, burst=burst)

    def _wait(self, outage: Outage) -> None:
        self._outage = outage
        self._again = time.monotonic() + _RETRY_S

    def _owe(self, owed: _Owed) -> None:
        with self._lock:
            self._owed.append(owed)

    def _pay(self, now_ns: int) -> None:
        """Book what this process used in the outage: no ceiling holds it back, as it is spent.

        Raises:
            GuardFailure: the shared ledger can't answer; the rest stays owed.
        """
        if not self._owed or not self._paying.acquire(blocking=False):
            return
        try:
            while self._owed:
                owed = self._owed[0]
                if owed.reserve is not None:
                    limits = tuple(replace(limit, action=OnLimit.WARN) for limit in owed.reserve.limits)
                    # An id of its own: if the answer is lost, the hold that stays is charged by a sweep, and this one too.
                    again = replace(owed.reserve, id=f"{owed.id}+{now_ns}", limits=limits)
                    self._shared.reserve(again, now_ns=owed.now_ns)
                    self._shared.settle(again.id, owed.charged, now_ns=owed.now_ns, model=owed.model)
                else:
                    self._shared.settle(owed.id, owed.charged, now_ns=owed.now_ns, model=owed.model)
                self._owed.popleft()
        finally:
            self._paying.release()
