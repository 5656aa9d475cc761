"""What all ledgers do alike: which account a limit has, what it enforces, and what a charge moves."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from safellm._core import budget
from safellm._core.effects import Limit
from safellm.stores.ledger.engine import SEPARATOR, State

HOUR_NS: Final = 3_600_000_000_000  # a hold's usual lifetime
SWEEP_EVERY_NS: Final = 60_000_000_000
SWEEP_BATCH: Final = 500  # holds charged at once, so that a sweep never makes others wait for long
OWN: Final = 10_000  # holds of a process that are remembered; beyond, they are looked up


def account_of(limit: Limit) -> str:
    """Return the name of a limit's account in a store."""
    return SEPARATOR.join((limit.name, str(limit.unit), span_of(limit)))


def span_of(limit: Limit) -> str:
    """Return what an account of a limit counts over, as stores write it."""
    return str(limit.window) if limit.burst is None else f"rate/{limit.window}"


def lowest_per_account(limits: Sequence[Limit]) -> list[Limit]:
    """Return one limit per account: two ceilings over one account must not hold twice, and the lower one decides."""
    if len(limits) == 1:
        return [limits[0]]
    chosen: dict[str, Limit] = {}
    for limit in limits:
        key = account_of(limit)
        known = chosen.get(key)
        if known is None or ceiling_of(limit) < ceiling_of(known):
            chosen[key] = limit
    return list(chosen.values())


def ceiling_of(limit: Limit) -> int:
    """Return the ceiling that a store enforces: one beyond its numbers is a very high one, not an error."""
    return budget.LARGEST if limit.ceiling is None else min(limit.ceiling, budget.LARGEST)


def rate_of(limit: Limit, amount: int) -> tuple[int, int]:
    """Return what an amount takes of a rate, and how much may be taken, in microseconds; the second never binds a warning."""
    burst = budget.LARGEST if limit.ceiling is None else budget.rate_cost_us(limit, limit.burst or 0)
    return min(budget.rate_cost_us(limit, amount), budget.LARGEST // 4), min(burst, budget.LARGEST)


def rate_move_us(state: State, cost_us: int, held: int, charged: int, *, released: bool) -> int:
    """Return by how much the moment of a rate moves: a hold takes its cost when it is made, not when it is charged."""
    if released:
        return -cost_us
    change = budget.rate_change_us(cost_us, held, charged)
    return change + cost_us if state == "released" else change
