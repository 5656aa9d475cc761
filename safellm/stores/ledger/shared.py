"""A ledger on an engine that many machines share (`engine`): Redis, PostgreSQL, or this process's memory.

* Everything that is computed is computed here, once for all engines, by `safellm._core.budget`.
* Every operation goes over a network, so a call that may not wait gets `Busy`.
* What this machine remembers of a ledger lies in a mark file: an engine that comes back empty, older or exchanged is refused
  (THREATS B.6). A machine that has never seen the ledger has nothing to compare; `?generation=` in the address gives it that.
* A lost answer is asked for once more: the engine knows the reservation by its nonce.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, OverLimit, Reserve, Unit, Window
from safellm.errors import GuardFailure, ProtocolMisuse, Reason
from safellm.stores.ledger.amounts import add_amounts, label, nothing_added
from safellm.stores.ledger.engine import (
    GONE,
    REARM,
    SEPARATOR,
    Ask,
    Engine,
    EngineFailure,
    Full,
    Move,
    Row,
    State,
    UsedTwice,
)
from safellm.stores.ledger.interface import Balance, Outage, Usage
from safellm.stores.ledger.marks import DamagedMark, Mark, read_mark, write_mark
from safellm.stores.ledger.rules import (
    HOUR_NS,
    OWN,
    SWEEP_BATCH,
    SWEEP_EVERY_NS,
    account_of,
    ceiling_of,
    lowest_per_account,
    rate_move_us,
    rate_of,
)
from safellm.stores.waiting import Busy

_T = TypeVar("_T")

_NOTHING = Amounts(requests=0)


class SharedLedger:
    """Implements `safellm.stores.ledger.interface.Ledger`; the first use connects.

    Args:
        engine: Where everything is kept.
        mark: File of what this machine remembers of the ledger; None remembers only in this object.
        generation: The only ledger to be used, by its generation; None for any.
        hold_ttl_ns: Age after which a hold is taken for that of a dead process and charged.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        mark: Path | None = None,
        generation: str | None = None,
        hold_ttl_ns: int = HOUR_NS,
    ) -> None:
        self._engine = engine
        self._mark_file = mark
        self._only = generation
        self._hold_ttl_ns = hold_ttl_ns
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._swept_ns: int | None = None
        self._own: dict[str, Row] = {}  # holds of this process: they needn't be looked up

    @property
    def address(self) -> str:
        """Where the ledger is, for people."""
        return self._engine.address

    def reserve(self, reserve: Reserve, *, now_ns: int, wait: bool = True) -> OverLimit | None:
        """Hold the amounts on all limits at once, or on none and say which is full.

        Raises:
            GuardFailure: the engine can't answer, or isn't the ledger that it was.
            ProtocolMisuse: the id was used before, or an amount is negative.
            Busy: `wait` is False.
        """
        if not wait:
            raise Busy
        held = budget.bounded_hold(reserve.amounts)
        limits = lowest_per_account(reserve.limits)
        asks = [_ask(limit, held, now_ns) for limit in limits]
        row = Row(
            id=reserve.id,
            nonce=secrets.token_hex(8),
            state="held",
            created_us=now_ns // 1000,
            amounts=held,
            labels=tuple(label(reserve.labels.get(name, "")) for name in ("provider", "model", "operation")),  # type: ignore[arg-type]  # three
            accounts=tuple((ask.account, ask.cost_us) for ask in asks),
        )
        self._keep_house(now_ns)
        try:
            answer = self._ask(lambda generation: self._engine.reserve(generation, row, asks), now_ns)
        except UsedTwice:
            msg = "a reservation id can be used once"
            raise ProtocolMisuse(msg) from None
        if not isinstance(answer, Full):
            if len(self._own) >= OWN:
                self._own.clear()
            self._own[row.id] = replace(row, windows=answer)
            return None
        limit, ask = limits[answer.index], asks[answer.index]
        amount = held.held_of(limit.unit)
        if ask.cost_us is not None:
            return budget.rate_over(limit, answer.used, asked=amount, now_ns=now_ns)
        resets = budget.resets_at_ns(limit.window, answer.window)
        return OverLimit(limit=limit, used=answer.used, held=answer.held, asked=amount, resets_at_ns=resets)

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
            GuardFailure: the engine can't answer; the hold stays and is charged by a sweep.
            ProtocolMisuse: there is no such reservation.
            Busy: `wait` is False.
        """
        if not wait:
            raise Busy

        def work(generation: str) -> Amounts:
            while True:
                row = self._own.pop(reservation_id, None) or self._engine.find(reservation_id)
                if row is None:
                    msg = "settle needs the id of a reservation that was made"
                    raise ProtocolMisuse(msg)
                if row.state == "settled":
                    return row.amounts
                charge = budget.charge_for(row.amounts, amounts)
                if row.state == "swept":
                    charge = budget.larger_of(row.amounts, charge)
                if self._book(generation, row, charge, state="settled", now_ns=now_ns, model=model):
                    return charge

        return self._ask(work, now_ns)

    def release(self, reservation_id: str, *, wait: bool = True) -> None:
        """Drop a hold of a request of which nothing was sent; without effect on what is charged or unknown.

        Raises:
            GuardFailure: the engine can't answer; the hold stays and is charged by a sweep.
            Busy: `wait` is False.
        """
        if not wait:
            raise Busy

        def work(generation: str) -> None:
            row = self._own.pop(reservation_id, None) or self._engine.find(reservation_id)
            if row is not None and row.state == "held":
                moves = _moves(row, _NOTHING, _NOTHING, released=True)
                self._engine.book(generation, replace(row, state="released"), moves, None, was="held")

        self._ask(work)

    def sweep(self, *, now_ns: int) -> int:
        """Charge every hold older than its lifetime; returns how many.

        Raises:
            GuardFailure: the engine can't answer.
        """

        def work(generation: str) -> int:
            count = 0
            while True:
                before_us = (now_ns - self._hold_ttl_ns) // 1000
                rows = self._engine.overdue(before_us=before_us, count=SWEEP_BATCH)
                count += sum(self._book(generation, row, row.amounts, state="swept", now_ns=now_ns) for row in rows)
                if len(rows) < SWEEP_BATCH:
                    self._engine.forget()
                    return count

        charged = self._ask(work, now_ns)
        self._swept_ns = now_ns
        return charged

    def balances(self, limits: Sequence[Limit], *, now_ns: int) -> list[Balance]:
        """Return where each limit stands.

        Raises:
            GuardFailure: the engine can't answer.
        """
        names = [account_of(limit) for limit in limits]
        found = self._ask(lambda _: self._engine.standings(names), now_ns)
        answer = []
        for limit, one in zip(limits, found, strict=True):
            if limit.burst is not None:
                used = 0 if one is None else budget.rate_standing(limit, one.used, now_ns)
                answer.append(Balance(limit=limit, used=used, held=0, resets_at_ns=None))
                continue
            stored = None if one is None else one.window
            window = budget.current_window_id(limit.window, stored=stored, now_ns=now_ns)
            used, held = (one.used, one.held) if one is not None and one.window == window else (0, 0)
            resets = budget.resets_at_ns(limit.window, window)
            answer.append(Balance(limit=limit, used=used, held=held, resets_at_ns=resets))
        return answer

    def accounts(self, name: str) -> list[str]:
        """Return the accounts of a limit that counts per something: all names that begin with `name`.

        Raises:
            GuardFailure: the engine can't answer.
        """
        found = {text.split(SEPARATOR)[0] for text in self._ask(lambda _: self._engine.accounts())}
        return sorted(one for one in found if one == name or one.startswith(name + "|"))

    def usage(self, *, since_day: str | None = None) -> list[Usage]:
        """Return what was billed, newest day first.

        Raises:
            GuardFailure: the engine can't answer.
        """
        return self._ask(lambda _: self._engine.usage(since_day or ""))

    def rearm(self) -> bool:
        """Use the ledger as it is now; when it is the one that this machine knows, begin a new, empty one instead.

        Returns:
            Whether a new one was begun.

        Raises:
            GuardFailure: the engine can't answer.
        """
        with self._lock:
            self._mark = None
        try:
            remembered = self._remembered(damaged=Mark(generation="", day=0))  # the ledger's own word counts now
            present = self._engine.open(0)
            anew = remembered is None or remembered == replace(present, day=remembered.day)
            if anew and (remembered is None or remembered.day <= present.day):
                self._engine.renew()
                present = self._engine.open(0)
            else:
                anew = False
            self._note(present)
        except EngineFailure as failure:
            raise self._failure(failure) from None
        return anew

    def close(self) -> None:
        """Let go of the connections; the next use opens them again."""
        with self._lock:
            self._mark = None
        self._engine.close()

    def __del__(self) -> None:
        if suppress is None:  # the interpreter has ended and takes modules apart
            return
        with suppress(Exception):
            self._engine.close()

    def _book(  # noqa: PLR0913 - the parts of one booking
        self, generation: str, row: Row, charge: Amounts, *, state: State, now_ns: int, model: str | None = None
    ) -> bool:
        """Book `charge` in place of what `row` has held or been charged so far; False when it changed meanwhile."""
        first = row.day is None
        moves = _moves(row, _NOTHING if first else row.amounts, charge)
        provider, named, operation = row.labels
        if first and model is not None:
            named = label(model)
        day = budget.utc_day(now_ns) if row.day is None else row.day
        added = nothing_added()
        add_amounts(added, None if first else row.amounts, charge)
        new = replace(row, state=state, amounts=charge, labels=(provider, named, operation), day=day)
        return self._engine.book(generation, new, moves, ((day, provider, named, operation), added), was=row.state)

    def _keep_house(self, now_ns: int) -> None:
        with self._lock:
            due = self._swept_ns is None or abs(now_ns - self._swept_ns) >= SWEEP_EVERY_NS
            if due:
                self._swept_ns = now_ns  # one thread does it
        if due:
            try:
                self.sweep(now_ns=now_ns)
            except BaseException:
                self._swept_ns = None
                raise

    def _ask(self, work: Callable[[str], _T], now_ns: int | None = None) -> _T:
        """Return the answer of `work`, which gets the generation; asked again once, when the answer was lost."""
        try:
            try:
                return work(self._known(now_ns))
            except EngineFailure as failure:
                if not failure.is_outage:
                    raise
            self._forget()
            return work(self._known(now_ns))
        except EngineFailure as failure:
            self._forget()
            raise self._failure(failure) from None

    def _forget(self) -> None:
        with self._lock:
            self._mark = None

    def _known(self, now_ns: int | None) -> str:
        """Return the ledger's generation, checked when connecting and on each new day."""
        day = budget.window_id(Window.DAY, time.time_ns() if now_ns is None else now_ns)
        with self._lock:
            if self._mark is not None and (now_ns is None or day <= self._mark.day):
                return self._mark.generation
            remembered = self._remembered()
            mark = self._engine.open(0)  # as it is, before this day is noted
            if self._only is not None and mark.generation != self._only:
                raise EngineFailure("it is not of the generation that its address names", remedy=REARM)
            if remembered is not None and remembered.generation != mark.generation:
                raise EngineFailure(GONE, remedy=REARM)
            if remembered is not None and remembered.day > mark.day:
                raise EngineFailure("it is older than it was, as after restoring a copy", remedy=REARM)
            if now_ns is not None and day > mark.day:
                mark = self._engine.open(day)
            if mark != remembered:
                self._note(mark)
            self._mark = mark
            return mark.generation

    def _remembered(self, *, damaged: Mark | None = None) -> Mark | None:
        try:
            return None if self._mark_file is None else read_mark(self._mark_file)
        except DamagedMark:
            if damaged is not None:
                return damaged
            raise EngineFailure("this machine's mark of it is damaged", remedy=REARM) from None
        except OSError as error:
            raise _unusable(error) from None

    def _note(self, mark: Mark) -> None:
        if self._mark_file is None:
            return
        try:
            write_mark(self._mark_file, mark)
        except OSError as error:
            raise _unusable(error) from None

    def _failure(self, failure: EngineFailure) -> GuardFailure:
        kind = Outage if failure.is_outage else GuardFailure
        return kind(
            f"The budget ledger {self._engine.address} can't be used: {failure.problem}",
            guard=budget.GUARD,
            reason=Reason.BUDGET_UNAVAILABLE,
            remedy=failure.remedy,
        )


def _unusable(error: OSError) -> EngineFailure:
    why = error.strerror or type(error).__name__
    return EngineFailure(
        f"this machine's mark of it can't be used: {why}", remedy="Mend the permissions of the state folder."
    )


def _ask(limit: Limit, held: Amounts, now_ns: int) -> Ask:
    amount = held.held_of(limit.unit)
    if limit.burst is not None:
        cost_us, burst_us = rate_of(limit, amount)
        return Ask(account=account_of(limit), cost_us=cost_us, burst_us=burst_us, now_us=now_ns // 1000)
    window = budget.window_id(limit.window, now_ns)
    return Ask(account=account_of(limit), window=window, amount=amount, ceiling=ceiling_of(limit))


def _moves(row: Row, before: Amounts, after: Amounts, *, released: bool = False) -> list[Move]:
    """Return what gives back the row's hold and adds what `after` has over `before`, on each of its accounts."""
    moves = []
    for (account, cost_us), window in zip(row.accounts, row.windows, strict=True):
        unit = Unit(account.split(SEPARATOR)[1])
        if cost_us is not None:
            used = rate_move_us(row.state, cost_us, row.amounts.of(unit), after.of(unit), released=released)
            moves.append(Move(account=account, window=0, used=used, held=0, is_rate=True))
            continue
        held = row.amounts.held_of(unit) if row.state == "held" else 0
        moves.append(
            Move(account=account, window=window, used=after.of(unit) - before.of(unit), held=-held, is_rate=False)
        )
    return moves
