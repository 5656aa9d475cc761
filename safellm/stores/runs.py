"""Runs: `with safellm.run("job", calls=50, usd=2):` around work that must end, however a model answers (THREATS B.9).

What is called inside counts for the run, in this task or thread and in tasks that it starts. A thread that is started inside
belongs to the run when it gets the context: `asyncio.to_thread` does so, `threading.Thread` and pools from
`contextvars.copy_context().run`. A run inside a run counts for both.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from safellm._core.effects import Amounts, Unit
from safellm._core.guards.run import RunCeilings, Tally, decide

if TYPE_CHECKING:
    from safellm._core.policy import RunLimits

_NOTHING = Amounts(requests=0)
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUsed:
    """What a run has done so far: settled calls by their charge, those under way by their bound."""

    calls: int
    tokens: int
    usd: Decimal


class Run:
    """One run. Safe to share between threads."""

    def __init__(self, name: str, ceilings: RunCeilings, outer: Run | None) -> None:
        self.name = name
        self.outer = outer
        self._ceilings = ceilings
        self._lock = threading.Lock()
        self._tally = Tally()
        self._open: dict[str, tuple[Amounts, str | None]] = {}

    @property
    def used(self) -> RunUsed:
        """What it has done so far."""
        with self._lock:
            tally = self._tally
            return RunUsed(calls=tally.calls, tokens=tally.tokens, usd=Decimal(tally.micro_usd) / _MICRO)

    def admit(
        self, call_id: str, amounts: Amounts, state: str | None, *, depth: int, policy: RunLimits
    ) -> None:  # fmt: skip
        """Count a call, or refuse it.

        Raises:
            Refused: `run.exceeded`.
        """
        ceilings = _lower(self._ceilings, policy)
        with self._lock:
            decide(self.name, ceilings, self._tally, depth=depth, amounts=amounts, state=state)
            self._add(_NOTHING, amounts)
            self._tally.calls += 1
            if state is not None:
                self._tally.states[state] += 1
            self._open[call_id] = amounts, state

    def settle(self, call_id: str, charged: Amounts | None) -> None:
        """Replace a bound by what was charged."""
        with self._lock:
            held, _ = self._open.pop(call_id, (_NOTHING, None))
            if charged is not None and held is not _NOTHING:
                self._add(held, charged)

    def drop(self, call_id: str) -> None:
        """Forget a call that was not sent."""
        with self._lock:
            held, state = self._open.pop(call_id, (_NOTHING, None))
            if held is _NOTHING:
                return
            self._add(held, _NOTHING)
            self._tally.calls -= 1
            if state is not None:
                self._tally.states[state] -= 1

    def _add(self, before: Amounts, after: Amounts) -> None:
        self._tally.micro_usd += (after.micro_usd or 0) - (before.micro_usd or 0)
        self._tally.tokens += after.of(Unit.TOKENS) - before.of(Unit.TOKENS)


class Runs:
    """The runs around one call, the innermost first; implements `safellm._core.guards.run.Breaker`."""

    __slots__ = ("_inner", "_policy")

    def __init__(self, inner: Run, policy: RunLimits) -> None:
        self._inner = inner
        self._policy = policy

    def admit(self, call_id: str, amounts: Amounts, state: str | None) -> None:
        """Count the call in each run, or in none.

        Raises:
            Refused: `run.exceeded`.
        """
        admitted: list[Run] = []
        try:
            for depth, run in enumerate(self._around(), start=1):
                run.admit(call_id, amounts, state, depth=depth, policy=self._policy)
                admitted.append(run)
        except BaseException:
            for run in admitted:
                run.drop(call_id)
            raise

    def settle(self, call_id: str, charged: Amounts | None) -> None:
        """Replace the bound by what was charged, in each run."""
        for run in self._around():
            run.settle(call_id, charged)

    def drop(self, call_id: str) -> None:
        """Forget the call in each run."""
        for run in self._around():
            run.drop(call_id)

    def _around(self) -> Iterator[Run]:
        run: Run | None = self._inner
        while run is not None:
            yield run
            run = run.outer


_current: ContextVar[Run | None] = ContextVar("safellm_run", default=None)


@contextmanager
def run(  # noqa: PLR0913 - one name for each thing that is counted
    name: str = "run",
    *,
    calls: int | None = None,
    usd: Decimal | float | str | None = None,
    tokens: int | None = None,
    depth: int | None = None,
    repeats: int | None = None,
) -> Iterator[Run]:
    """Bound what is called inside; a call beyond it is refused, and so is every later one that doesn't fit.

    Args:
        name: For people, in errors.
        calls: Most wire attempts.
        usd: Most US dollars: a call needs room for the most that it can cost.
        tokens: Most tokens, counted the same way.
        depth: Most runs inside one another, this one counted.
        repeats: How often the very same request may be made.

    Yields:
        The run; `used` says what it has done.

    Raises:
        ValueError: a number is not positive.
    """
    micro_usd = None if usd is None else int(Decimal(str(usd)) * _MICRO)
    ceilings = RunCeilings(calls=calls, micro_usd=micro_usd, tokens=tokens, depth=depth, repeats=repeats)
    if any(number is not None and number <= 0 for number in (calls, micro_usd, tokens, depth, repeats)):
        msg = "a run needs room for something: its numbers are above zero"
        raise ValueError(msg)
    here = Run(name, ceilings, _current.get())
    token = _current.set(here)
    try:
        yield here
    finally:
        _current.reset(token)


def around() -> tuple[Run, ...]:
    """Return the runs around this task or thread, the innermost first."""
    found: list[Run] = []
    run = _current.get()
    while run is not None:
        found.append(run)
        run = run.outer
    return tuple(found)


def current_run(policy: RunLimits) -> Runs | None:
    """Return the runs around a call that begins now."""
    inner = _current.get()
    return None if inner is None else Runs(inner, policy)


def _lower(own: RunCeilings, policy: RunLimits) -> RunCeilings:
    micro_usd = None if policy.usd is None else int(policy.usd * _MICRO)
    return RunCeilings(
        calls=_least(own.calls, policy.calls),
        micro_usd=_least(own.micro_usd, micro_usd),
        tokens=_least(own.tokens, policy.tokens),
        depth=_least(own.depth, policy.depth),
        repeats=_least(own.repeats, policy.repeats),
    )


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
