"""The ledger: a hold before a call is sent, a charge after. Not a rate limiter."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from safellm._core.effects import Amounts, Limit, OverLimit, Reserve
from safellm.errors import GuardFailure


class Outage(GuardFailure):
    """The store can't be reached, as against: it is reached and isn't what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Where one limit stands in its current window."""

    limit: Limit
    used: int
    held: int
    resets_at_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was billed to one (provider, model, operation) on one UTC day (`YYYY-MM-DD`)."""

    day: str
    provider: str
    model: str
    operation: str
    requests: int
    input_tokens: int
    output_tokens: int
    micro_usd: int
    unpriced_requests: int


class Ledger(Protocol):
    """Shared by all threads and processes that open the same store. Every method may block; none loses an update.

    A call that names no limit holds nothing: its usage may be written a moment later, and is lost if the process is killed in
    between. What a limit counts is in the store when a method returns.

    Raises:
        GuardFailure: with `Reason.BUDGET_UNAVAILABLE` whenever the store can't answer.
        Busy: a call with `wait=False` would block; nothing was done.
    """

    def reserve(self, reserve: Reserve, *, now_ns: int, wait: bool = True) -> OverLimit | None:
        """Hold the amounts on all limits at once, or on none and say which is full (THREATS B.1)."""
        ...

    def settle(
        self,
        reservation_id: str,
        amounts: Amounts | None,
        *,
        now_ns: int,
        model: str | None = None,
        wait: bool = True,
    ) -> Amounts:
        """Turn a hold into a charge exactly once; None charges the hold itself. Returns what was charged."""
        ...

    def release(self, reservation_id: str, *, wait: bool = True) -> None:
        """Drop a hold of a request of which nothing was sent."""
        ...

    def sweep(self, *, now_ns: int) -> int:
        """Charge every hold older than its lifetime (its process died); returns how many (THREATS B.2)."""
        ...

    def balances(self, limits: Sequence[Limit], *, now_ns: int) -> list[Balance]:
        """Return where each limit stands."""
        ...

    def accounts(self, name: str) -> list[str]:
        """Return the accounts of a limit that counts per something: `name`, and all that begin with `name|`."""
        ...

    def usage(self, *, since_day: str | None = None) -> list[Usage]:
        """Return what was billed, newest day first."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
