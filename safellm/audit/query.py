"""Which records somebody asks for: by time, model, user, grant, decision, finding, reason; or by SQL over all of them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

from safellm.errors import ConfigurationError

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions that a record must meet, all of them; texts may hold `*` and `?`.

    Attributes:
        since_ns: Unix time from which on, or None.
        until_ns: Unix time before which, or None.
        user: Of `user.id`, of the grant or of the key's name.
        finding: A type that was found in the request.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    event: str | None = None
    model: str | None = None
    user: str | None = None
    grant: str | None = None
    decision: str | None = None
    finding: str | None = None
    reason: str | None = None

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record is asked for."""
        if self.since_ns is not None or self.until_ns is not None:
            time_ns = _int(record.get("time_ns"))
            if not (self.since_ns or 0) <= time_ns < (self.until_ns or time_ns + 1):
                return False
        counts = record.get("safellm.redaction.counts")
        asked: tuple[tuple[str | None, Iterable[Any]], ...] = (
            (self.event, (record.get("event.name"),)),
            (self.model, (record.get("gen_ai.request.model"), record.get("gen_ai.response.model"))),
            (self.user, (record.get("user.id"), record.get("safellm.grant.id"), record.get("safellm.key.ref"))),
            (self.grant, (record.get("safellm.grant.id"),)),
            (self.decision, (record.get("decision"),)),
            (self.reason, (record.get("reason"),)),
            (self.finding, counts if isinstance(counts, dict) else ()),
        )
        return all(
            pattern is None or any(isinstance(value, str) and fnmatchcase(value, pattern) for value in values)
            for pattern, values in asked
        )


def parse_time(text: str, *, now_ns: int) -> int:
    """Return a Unix time in nanoseconds: `2026-11-01`, `2026-11-01T08:30`, UTC unless it says otherwise; `2h`, `7d` are ago.

    Raises:
        ConfigurationError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ns - int(ago[1]) * _UNIT_S[ago[2]] * _NS
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"{text!a} is no time", remedy="Write it as 2026-11-01, 2026-11-01T08:30 or, for a time ago, 30m, 2h, 7d."
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * _NS


# column -> field; `findings` and `record` are JSON texts
COLUMNS: Final = {
    "seq": "seq", "time": "time", "event": "event.name", "id": "event.id", "parent": "event.parent",
    "decision": "decision", "reason": "reason", "operation": "gen_ai.operation.name", "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model", "response_model": "gen_ai.response.model", "grant_id": "safellm.grant.id",
    "key_ref": "safellm.key.ref", "server": "server.address", "status": "http.response.status_code",
    "error": "error.type", "input_tokens": "gen_ai.usage.input_tokens", "output_tokens": "gen_ai.usage.output_tokens",
}  # fmt: skip
_TABLE: Final = (
    f"CREATE TABLE events ({', '.join(COLUMNS)}, time_ns INTEGER, micro_usd INTEGER, findings TEXT, record TEXT)"
)
_INSERT: Final = f"INSERT INTO events VALUES ({', '.join('?' * (len(COLUMNS) + 4))})"  # noqa: S608 - question marks only
_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


def run_sql(
    statement: str, found: Iterable[Mapping[str, Any]], *, most: int
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a SELECT over records in a database in memory: table `events`; `record` holds each one whole, as JSON.

    Args:
        statement: The SELECT; anything else is refused.
        found: The records.
        most: Rows that are returned at most.

    Returns:
        The names of the columns, and the rows.

    Raises:
        ConfigurationError: the statement is wrong, or would do more than read.
    """
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(_TABLE)
        database.executemany(_INSERT, map(_row, found))
        database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
        try:
            cursor = database.execute(statement)
            rows = cursor.fetchmany(most)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise ConfigurationError(
                f"The statement can't be run: {error}",
                remedy=f"It is one SELECT over the table events; its columns: {', '.join(COLUMNS)}, time_ns, micro_usd, "
                "findings, record.",
            ) from None
        return [column[0] for column in cursor.description or ()], rows


def select(found: Iterable[dict[str, Any]], query: Query) -> Iterator[dict[str, Any]]:
    """Yield the records that a query asks for."""
    return (record for record in found if query.matches(record))


_NUMBERS: Final = frozenset({"seq", "status", "input_tokens", "output_tokens", "time_ns", "micro_usd"})
KINDS: Final[dict[str, type[str | int]]] = {
    name: int if name in _NUMBERS else str for name in (*COLUMNS, "time_ns", "micro_usd", "findings", "record")
}  # columns of a table of records, with their types


def row(record: Mapping[str, Any]) -> dict[str, str | int | None]:
    """Return a record as a row of such a table; what has another form than ours is left out there and stands in `record`."""
    values = zip(KINDS, _row(record), strict=True)
    return {name: value if type(value) is KINDS[name] else None for name, value in values}


def _row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    charged = record.get("safellm.budget.charged")
    counts = record.get("safellm.redaction.counts")
    return (
        *(_plain(record.get(name)) for name in COLUMNS.values()),
        _int(record.get("time_ns")),
        _plain(charged.get("micro_usd")) if isinstance(charged, dict) else None,
        None if counts is None else orjson.dumps(counts).decode(),
        orjson.dumps(record).decode(),
    )


def _plain(value: Any) -> str | int | None:
    if value is None or isinstance(value, str):
        return value
    return value if isinstance(value, int) and abs(value) < 2**63 else str(value)


def _int(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return 0
    return number if 0 <= number < 2**63 else 0
