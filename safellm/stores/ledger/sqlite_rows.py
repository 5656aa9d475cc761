"""The bookings of the SQLite ledger: statements on its tables, each called inside a transaction of `sqlite`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TypeAlias, cast

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, OverLimit, Reserve, Unit
from safellm.errors import ProtocolMisuse
from safellm.stores.ledger.amounts import UsageKey, add_amounts, label, nothing_added
from safellm.stores.ledger.engine import State
from safellm.stores.ledger.interface import Balance, Usage
from safellm.stores.ledger.rules import ceiling_of, rate_move_us, rate_of, span_of

# One account in one window: name, unit, span, window id; of a rate, the microseconds that the hold took, else None.
Line: TypeAlias = tuple[str, str, str, int, int | None]
_Row: TypeAlias = tuple[str, State, int, int, int | None, int, str, str, str, str | None, str]

_NOTHING = Amounts(requests=0)
_KEEP_RESERVATIONS = 10_000  # the newest, so that a second settle of the same call is recognised

_SELECT = (
    "SELECT id, state, input_tokens, output_tokens, micro_usd, requests, provider, model, operation, day, lines "
    "FROM reservations"
)
_STANDING = "SELECT window_id, used, held FROM accounts WHERE name = ? AND unit = ? AND span = ? ORDER BY window_id DESC LIMIT 1"
_HOLD = (
    "UPDATE accounts SET held = held + ? "
    "WHERE name = ? AND unit = ? AND span = ? AND window_id = ? AND used + held + ? <= ?"
)
_CLOSE = (
    "UPDATE reservations SET state = ?, day = ?, model = ?, input_tokens = ?, output_tokens = ?, micro_usd = ?, "
    "requests = ? WHERE id = ? AND state = ?"
)
_ADD_USAGE = (
    "UPDATE usage SET requests = requests + ?, input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, "
    "micro_usd = micro_usd + ?, unpriced_requests = unpriced_requests + ? "
    "WHERE day = ? AND provider = ? AND model = ? AND operation = ?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One row. `amounts` is the hold while `held` or `released`, and what was charged afterwards."""

    id: str
    state: State
    amounts: Amounts
    provider: str
    model: str
    operation: str
    day: str | None  # of the usage row it was counted in
    lines: tuple[Line, ...]


def find(database: sqlite3.Connection, reservation_id: str) -> Reservation | None:
    """Return the reservation, or None when there is none of this id."""
    row = database.execute(f"{_SELECT} WHERE id = ?", (reservation_id,)).fetchone()
    return None if row is None else _reservation(row)


def overdue(database: sqlite3.Connection, *, before_ns: int, count: int) -> list[str]:
    """Return the ids of the oldest holds that were made at `before_ns` or earlier, at most `count`.

    Looks at all rows: there are some ten thousand, once in a minute, and an index would be written twice for each call.
    """
    statement = "SELECT id FROM reservations WHERE state = 'held' AND created_ns <= ? ORDER BY created_ns LIMIT ?"
    return [row[0] for row in database.execute(statement, (before_ns, count))]


def insert(
    database: sqlite3.Connection, reserve: Reserve, held: Amounts, lines: Sequence[Line], process: tuple[int, int, int]
) -> Reservation:
    """Write a new hold and return it; `process` is (created_ns, pid, opened_ns), of which the last two serve diagnosis only.

    Raises:
        ProtocolMisuse: the id was used before.
    """
    labels = [label(reserve.labels.get(name, "")) for name in ("provider", "model", "operation")]
    try:
        database.execute(
            "INSERT INTO reservations (id, state, created_ns, pid, opened_ns, provider, model, operation, input_tokens, "
            "output_tokens, micro_usd, requests, lines) VALUES (?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (reserve.id, *process, *labels, *_columns(held), _lines_text(tuple(lines))),
        )
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise
        msg = "a reservation id can be used once"
        raise ProtocolMisuse(msg) from None
    provider, model, operation = labels
    return Reservation(
        id=reserve.id, state="held", amounts=held, provider=provider, model=model, operation=operation, day=None,
        lines=tuple(lines),
    )  # fmt: skip


def hold(database: sqlite3.Connection, limit: Limit, asked: int, *, now_ns: int) -> OverLimit | Line:
    """Hold `asked` in the window in force and return the line of the account, or why there is no room."""
    if limit.burst is not None:
        return _hold_rate(database, limit, asked, now_ns)
    key = _key(limit)
    window, used, held, is_there = _standing(database, limit, key, now_ns)
    line = (*key, window)
    if not is_there:
        database.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING", line)
        # A new window: windows before the last one have served, except for what is still held in them.
        statement = "DELETE FROM accounts WHERE name = ? AND unit = ? AND span = ? AND window_id < ? - 1 AND held = 0"
        database.execute(statement, line)
    if database.execute(_HOLD, (asked, *line, asked, ceiling_of(limit))).rowcount:
        return (*line, None)
    reset = budget.resets_at_ns(limit.window, window)
    return OverLimit(limit=limit, used=used, held=held, asked=asked, resets_at_ns=reset)


def _hold_rate(database: sqlite3.Connection, limit: Limit, asked: int, now_ns: int) -> OverLimit | Line:
    """Take `asked` from a rate; its account's `used` is the microsecond at which everything taken has flowed off."""
    cost_us, burst_us = rate_of(limit, asked)
    now_us, key = now_ns // 1000, _key(limit)
    database.execute("INSERT INTO accounts VALUES (?, ?, ?, 0, 0, 0) ON CONFLICT DO NOTHING", key)
    statement = (
        "UPDATE accounts SET used = max(used, ?) + ? "
        "WHERE name = ? AND unit = ? AND span = ? AND window_id = 0 AND max(used, ?) + ? - ? <= ?"
    )
    if database.execute(statement, (now_us, cost_us, *key, now_us, cost_us, now_us, burst_us)).rowcount:
        return (*key, 0, cost_us)
    return budget.rate_over(limit, _standing(database, limit, key, now_ns)[1], asked=asked, now_ns=now_ns)


def charge(  # noqa: PLR0913 - the parts of one booking
    database: sqlite3.Connection,
    row: Reservation,
    amounts: Amounts,
    *,
    state: State,
    day: str,
    model: str | None = None,
) -> bool:
    """Book `amounts` in place of what `row` has held or been charged so far, on its accounts and in the usage.

    Returns:
        Whether it was booked: `row` may have been read before this transaction, and its state may be another by now.
    """
    first = row.day is None
    before = _NOTHING if first else row.amounts
    day, model = (day, row.model if model is None else label(model)) if first else (str(row.day), row.model)
    values = (state, day, model, *_columns(amounts), row.id, row.state)
    if not database.execute(_CLOSE, values).rowcount:
        return False
    _move(database, row, before, amounts)
    added = nothing_added()
    add_amounts(added, None if first else row.amounts, amounts)
    count(database, (day, row.provider, model, row.operation), added)
    return True


def release(database: sqlite3.Connection, row: Reservation) -> None:
    """Give a hold back."""
    _move(database, row, _NOTHING, _NOTHING, released=True)
    database.execute("UPDATE reservations SET state = 'released' WHERE id = ?", (row.id,))


def forget(database: sqlite3.Connection) -> None:
    """Delete closed reservations, except for the newest ones. By number, not by age: the clock may jump (B.5)."""
    statement = "DELETE FROM reservations WHERE seq <= (SELECT max(seq) FROM reservations) - ? AND state <> 'held'"
    database.execute(statement, (_KEEP_RESERVATIONS,))


def balance(database: sqlite3.Connection, limit: Limit, *, now_ns: int) -> Balance:
    """Return where the limit stands in the window in force."""
    window, used, held, _ = _standing(database, limit, _key(limit), now_ns)
    if limit.burst is not None:
        return Balance(limit=limit, used=budget.rate_standing(limit, used, now_ns), held=0, resets_at_ns=None)
    return Balance(limit=limit, used=used, held=held, resets_at_ns=budget.resets_at_ns(limit.window, window))


def accounts(database: sqlite3.Connection, name: str) -> list[str]:
    """Return the names of accounts: `name`, and all that begin with `name|`."""
    # `}` is the character after `|`: a range, so that the index serves it.
    statement = "SELECT DISTINCT name FROM accounts WHERE name = ? OR (name >= ? AND name < ?) ORDER BY name"
    return [row[0] for row in database.execute(statement, (name, f"{name}|", f"{name}}}"))]


def usage(database: sqlite3.Connection, *, since_day: str) -> list[Usage]:
    """Return what was billed from `since_day` on, newest day first."""
    statement = (
        "SELECT day, provider, model, operation, requests, input_tokens, output_tokens, micro_usd, unpriced_requests "
        "FROM usage WHERE day >= ? ORDER BY day DESC, provider, model, operation"
    )
    names = [field.name for field in fields(Usage)]  # in the order of the columns
    return [Usage(**dict(zip(names, row, strict=True))) for row in database.execute(statement, (since_day,))]


def count(database: sqlite3.Connection, key: UsageKey, added: Sequence[int]) -> None:
    """Add to what was billed: requests, input tokens, output tokens, micro-dollars, requests without a price."""
    values = (*added, *key)
    # Not an upsert: a number that is added can be negative, and SQLite checks the row that it would insert before it looks
    # for one that is there.
    if not database.execute(_ADD_USAGE, values).rowcount:
        database.execute("INSERT INTO usage VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0)", key)
        database.execute(_ADD_USAGE, values)


@lru_cache(maxsize=256)
def _lines_text(lines: tuple[Line, ...]) -> str:
    return json.dumps(lines)


def _reservation(row: _Row) -> Reservation:
    identifier, state, tokens_in, tokens_out, micro_usd, requests, provider, model, operation, day, lines = row
    return Reservation(
        id=identifier,
        state=state,
        amounts=Amounts(input_tokens=tokens_in, output_tokens=tokens_out, micro_usd=micro_usd, requests=requests),
        provider=provider,
        model=model,
        operation=operation,
        day=day,
        lines=tuple(cast(Line, tuple(line)) for line in json.loads(lines)),
    )


def _columns(amounts: Amounts) -> tuple[int, int, int | None, int]:
    return amounts.input_tokens, amounts.output_tokens, amounts.micro_usd, amounts.requests


def _key(limit: Limit) -> tuple[str, str, str]:
    return limit.name, str(limit.unit), span_of(limit)


def _standing(
    database: sqlite3.Connection, limit: Limit, key: tuple[str, str, str], now_ns: int
) -> tuple[int, int, int, bool]:
    """Return the window id in force, what is used and held in it, and whether it has a row."""
    row = database.execute(_STANDING, key).fetchone()
    if limit.burst is not None:
        return (0, row[1], 0, True) if row else (0, 0, 0, False)
    window = budget.current_window_id(limit.window, stored=row[0] if row else None, now_ns=now_ns)
    return (window, row[1], row[2], True) if row and row[0] == window else (window, 0, 0, False)


def _move(
    database: sqlite3.Connection, row: Reservation, before: Amounts, after: Amounts, *, released: bool = False
) -> None:
    """Give back what `row` holds and add what `after` has over `before`, on each of its accounts."""
    for name, text, span, window, cost_us in row.lines:
        unit, line = Unit(text), (name, text, span, window)
        if cost_us is not None:
            used, held = rate_move_us(row.state, cost_us, row.amounts.of(unit), after.of(unit), released=released), 0
        else:
            held = row.amounts.held_of(unit) if row.state == "held" else 0
            used = after.of(unit) - before.of(unit)
        statement = (
            "UPDATE accounts SET used = used + ?, held = held - ? "
            "WHERE name = ? AND unit = ? AND span = ? AND window_id = ?"
        )
        values = (used, held, *line)
        if not database.execute(statement, values).rowcount:  # an old window without holds, which was forgotten
            database.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, 0, 0)", line)
            database.execute(statement, values)
