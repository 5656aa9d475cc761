"""An engine in this process's memory: for the share that a process may spend alone, and as the shortest form of an engine."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace

from safellm.stores.ledger.amounts import UsageKey, nothing_added
from safellm.stores.ledger.engine import Ask, Counted, Full, Move, Row, Standing, State, UsedTwice
from safellm.stores.ledger.interface import Usage
from safellm.stores.ledger.marks import Mark

_KEEP_CLOSED = 10_000


class MemoryEngine:
    """Implements `safellm.stores.ledger.engine.Engine`; it ends with its process."""

    address = "in this process"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._mark = Mark(generation=secrets.token_hex(16), day=0)
        self._accounts: dict[str, dict[int, list[int]]] = {}  # windows, the one in force last: used, held
        self._rows: dict[str, Row] = {}
        self._usage: dict[UsageKey, list[int]] = {}

    def open(self, day: int) -> Mark:
        """Note the day."""
        self._mark = replace(self._mark, day=max(self._mark.day, day))
        return self._mark

    def reserve(self, generation: str, row: Row, asks: Sequence[Ask]) -> tuple[int, ...] | Full:  # noqa: ARG002 - it is ours
        """Hold on all accounts and return their windows, or on none.

        Raises:
            UsedTwice: the id was used before.
        """
        with self._lock:
            known = self._rows.get(row.id)
            if known is not None:
                if known.nonce != row.nonce:
                    raise UsedTwice
                return known.windows
            found = []
            for index, ask in enumerate(asks):
                windows = self._accounts.get(ask.account, {})
                window = max([ask.window, *windows]) if ask.cost_us is None else 0
                used, held = windows.get(window, (0, 0))
                if ask.cost_us is not None:
                    begins = max(used, ask.now_us)
                    if begins + ask.cost_us - ask.now_us > ask.burst_us:
                        return Full(index=index, window=0, used=used, held=0)
                    found.append((window, [begins + ask.cost_us, 0]))
                elif used + held + ask.amount > ask.ceiling:
                    return Full(index=index, window=window, used=used, held=held)
                else:
                    found.append((window, [used, held + ask.amount]))
            for ask, (window, sums) in zip(asks, found, strict=True):
                windows = self._accounts.setdefault(ask.account, {})
                for old in [one for one, (_, held) in windows.items() if one < window - 1 and not held]:
                    del windows[old]
                windows[window] = sums
            numbers = tuple(window for window, _ in found)
            self._rows[row.id] = replace(row, windows=numbers)
            return numbers

    def find(self, reservation_id: str) -> Row | None:
        """Return a reservation."""
        return self._rows.get(reservation_id)

    def book(self, generation: str, row: Row, moves: Sequence[Move], usage: Counted | None, *, was: State) -> bool:  # noqa: ARG002
        """Write `row`, its moves and its usage, if its state is still `was`; return whether it was."""
        with self._lock:
            if self._rows[row.id].state != was:
                return False
            self._rows[row.id] = row
            for move in moves:
                sums = self._accounts.setdefault(move.account, {}).setdefault(move.window, [0, 0])
                sums[0] += move.used
                sums[1] += move.held
            if usage is not None:
                key, added = usage
                counts = self._usage.setdefault(key, nothing_added())
                for number, count in enumerate(added):
                    counts[number] += count
            return True

    def overdue(self, *, before_us: int, count: int) -> list[Row]:
        """Return the oldest holds that were made at `before_us` or earlier."""
        with self._lock:
            held = [row for row in self._rows.values() if row.state == "held" and row.created_us <= before_us]
        return sorted(held, key=lambda row: row.created_us)[:count]

    def forget(self) -> None:
        """Delete the oldest closed reservations."""
        with self._lock:
            closed = [name for name, row in self._rows.items() if row.state != "held"]
            for name in closed[:-_KEEP_CLOSED]:
                del self._rows[name]

    def standings(self, accounts: Sequence[str]) -> list[Standing | None]:
        """Return where accounts stand; None where there is none."""
        with self._lock:
            found = [self._accounts.get(account) for account in accounts]
            return [
                None if not windows else Standing(window=max(windows), used=windows[max(windows)][0], held=windows[max(windows)][1])
                for windows in found
            ]  # fmt: skip

    def accounts(self) -> list[str]:
        """Return the names of all accounts."""
        with self._lock:
            return list(self._accounts)

    def usage(self, since_day: str) -> list[Usage]:
        """Return what was billed, newest day first."""
        with self._lock:
            rows = [usage_of(key, counts) for key, counts in self._usage.items() if key[0] >= since_day]
        return in_order(rows)

    def renew(self) -> None:
        """Begin anew."""
        with self._lock:
            self._begin()

    def close(self) -> None:
        """Nothing to let go of."""


def usage_of(key: UsageKey, counts: Sequence[int]) -> Usage:
    """Return one row of usage."""
    day, provider, model, operation = key
    requests, tokens_in, tokens_out, micro_usd, unpriced = counts
    return Usage(
        day=day, provider=provider, model=model, operation=operation, requests=requests, input_tokens=tokens_in,
        output_tokens=tokens_out, micro_usd=micro_usd, unpriced_requests=unpriced,
    )  # fmt: skip


def in_order(rows: list[Usage]) -> list[Usage]:
    """Return usage newest day first, then by name."""
    rows.sort(key=lambda one: (one.provider, one.model, one.operation))
    return sorted(rows, key=lambda one: one.day, reverse=True)
