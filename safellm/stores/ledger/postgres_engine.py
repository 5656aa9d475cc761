"""An engine in PostgreSQL: one function call for each operation (`postgres_schema`), in a schema of its own.

* Durable as the server is: one that acknowledges before the disk has it is refused, unless `allow_volatile` says otherwise.
* A few connections are kept, each used by one thread at a time. A child process opens its own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from safellm.errors import ConfigurationError
from safellm.stores.ledger import postgres_schema
from safellm.stores.ledger.engine import (
    GONE,
    REARM,
    Ask,
    Counted,
    EngineFailure,
    Full,
    Move,
    Row,
    Standing,
    State,
    UsedTwice,
)
from safellm.stores.ledger.interface import Usage
from safellm.stores.ledger.marks import Mark
from safellm.stores.ledger.memory import in_order, usage_of
from safellm.stores.ledger.rowtext import from_text, to_text

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.Connection[tuple[Any, ...]]

_T = TypeVar("_T")

_KEPT: Final = 8  # idle connections
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_LOCK: Final = 0x5AFE_1ED6  # advisory: two that find no tables make them one after the other
_RESERVE: Final = (
    "SELECT * FROM reserve(%s, %s, %s, %s, %s, %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], "
    "%s::bigint[], %s)"
)
_BOOK: Final = (
    "SELECT book(%s, %s, %s, %s, %s, %s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])"
)
_FORGET: Final = "DELETE FROM reservations WHERE closed_at < now() - interval '3 days' AND state <> 'held'"


class PostgresEngine:
    """Implements `safellm.stores.ledger.engine.Engine`.

    Args:
        url: As libpq takes it; it may hold a password.
        address: The same for people.
        schema: Where the tables are; made if the user may.
        allow_volatile: Use a server that may forget.
        wait_s: How long one operation may take, in seconds.

    Raises:
        ConfigurationError: the package `psycopg` is missing, or the schema's name is no good.
    """

    def __init__(
        self, url: str, *, address: str, schema: str = "safellm", allow_volatile: bool = False, wait_s: float = 5.0
    ) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ConfigurationError(
                "The schema of the budget ledger has a name that isn't one",
                remedy="Write it in small letters, digits and underscores: ?schema=team_a.",
            )
        self.address = address
        self._url = url
        self._schema = schema
        self._allow_volatile = allow_volatile
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._pid = os.getpid()
        self._ready = False
        try:
            import psycopg  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "The budget ledger is in PostgreSQL, and the package for it is missing",
                remedy="Install it: pip install 'safellm[postgres]'.",
            ) from None
        self._psycopg = psycopg

    def open(self, day: int) -> Mark:
        """Make the ledger if there is none, note the day, and say what it is."""

        def work(connection: _Connection) -> Mark:
            if not self._ready:
                self._check_server(connection)
                self._make(connection)
                self._ready = True
            connection.execute("UPDATE meta SET day = %s WHERE day < %s", (day, day))
            found = connection.execute("SELECT generation, day FROM meta").fetchone()
            if found is None:
                raise EngineFailure(GONE, remedy=REARM)
            return Mark(generation=found[0], day=found[1])

        return self._guarded(work)

    def reserve(self, generation: str, row: Row, asks: Sequence[Ask]) -> tuple[int, ...] | Full:
        """Hold on all accounts and return their windows, or on none.

        Raises:
            UsedTwice: the id was used before.
        """
        columns = [
            [ask.account for ask in asks],
            [ask.window for ask in asks],
            [ask.amount for ask in asks],
            [ask.ceiling for ask in asks],
            [ask.cost_us for ask in asks],
            [ask.burst_us for ask in asks],
            max((ask.now_us for ask in asks), default=0),
        ]
        values = (generation, row.id, row.nonce, row.created_us, to_text(row), *columns)
        found = self._guarded(lambda connection: connection.execute(_RESERVE, values).fetchone())
        outcome, index, window, used, held, windows = found or ("gone", *[None] * 5)
        if outcome == "held":
            return tuple(windows)
        if outcome == "full":
            return Full(index=index, window=window, used=used, held=held)
        if outcome == "twice":
            raise UsedTwice
        raise EngineFailure(GONE, remedy=REARM)

    def find(self, reservation_id: str) -> Row | None:
        """Return a reservation."""
        statement = "SELECT state, nonce, windows, row FROM reservations WHERE id = %s"
        found = self._guarded(lambda connection: connection.execute(statement, (reservation_id,)).fetchone())
        return None if found is None else _row(reservation_id, *found)

    def book(self, generation: str, row: Row, moves: Sequence[Move], usage: Counted | None, *, was: State) -> bool:
        """Write `row`, its moves and its usage, if its state is still `was`; return whether it was."""
        key, added = (None, None) if usage is None else (list(usage[0]), list(usage[1]))
        columns = [
            [move.account for move in moves],
            [move.window for move in moves],
            [move.used for move in moves],
            [move.held for move in moves],
        ]
        values = (generation, row.id, was, row.state, to_text(row), key, added, *columns)
        found = self._guarded(lambda connection: connection.execute(_BOOK, values).fetchone())
        if found is None or found[0] == "gone":
            raise EngineFailure(GONE, remedy=REARM)
        return bool(found[0] == "done")

    def overdue(self, *, before_us: int, count: int) -> list[Row]:
        """Return the oldest holds that were made at `before_us` or earlier."""
        statement = (
            "SELECT id, state, nonce, windows, row FROM reservations WHERE state = 'held' AND created_us <= %s "
            "ORDER BY created_us LIMIT %s"
        )
        found = self._guarded(lambda connection: connection.execute(statement, (before_us, count)).fetchall())
        return [_row(*one) for one in found]

    def forget(self) -> None:
        """Delete reservations that were closed long ago."""
        self._guarded(lambda connection: connection.execute(_FORGET))

    def standings(self, accounts: Sequence[str]) -> list[Standing | None]:
        """Return where accounts stand; None where there is none."""
        statement = "SELECT account, window_id, used, held FROM heads JOIN sums USING (account, window_id) WHERE account = ANY (%s)"
        found = self._guarded(lambda connection: connection.execute(statement, (list(accounts),)).fetchall())
        by_name = {name: Standing(window=window, used=used, held=held) for name, window, used, held in found}
        return [by_name.get(name) for name in accounts]

    def accounts(self) -> list[str]:
        """Return the names of all accounts."""
        found = self._guarded(lambda connection: connection.execute("SELECT account FROM heads").fetchall())
        return [name for (name,) in found]

    def usage(self, since_day: str) -> list[Usage]:
        """Return what was billed, newest day first."""
        found = self._guarded(
            lambda connection: connection.execute("SELECT * FROM usage WHERE day >= %s", (since_day,)).fetchall()
        )
        return in_order([usage_of((one[0], one[1], one[2], one[3]), one[4:]) for one in found])

    def renew(self) -> None:
        """Set the schema aside, under another name."""
        aside = f"{self._schema}_{time.time_ns() // 1_000_000}"
        self._guarded(lambda connection: connection.execute(f'ALTER SCHEMA "{self._schema}" RENAME TO "{aside}"'))
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._ready = False
        if self._pid == os.getpid():
            for connection in idle:
                connection.close()

    def _make(self, connection: _Connection) -> None:
        """Make schema, tables and functions if they aren't there."""
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if connection.execute("SELECT to_regclass(%s)", (f'"{self._schema}".meta',)).fetchone() == (None,):
                connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
                for statement in (*postgres_schema.TABLES, postgres_schema.RESERVE, postgres_schema.BOOK):
                    connection.execute(statement)
                values = (postgres_schema.VERSION, secrets.token_hex(16))
                connection.execute("INSERT INTO meta VALUES (%s, %s, 0)", values)
            found = connection.execute("SELECT version FROM meta").fetchone()
        if found is not None and found[0] != postgres_schema.VERSION:
            raise EngineFailure("another version of safellm made it", remedy="Use the same version, or another schema.")

    def _check_server(self, connection: _Connection) -> None:
        if self._allow_volatile:
            return
        found = connection.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')").fetchone()
        if found is None or "off" in found:
            raise EngineFailure(
                "this PostgreSQL answers before its disk has the change (fsync or synchronous_commit is off)",
                remedy="Set both on for this database, or budget.allow_volatile in the policy.",
            )

    def _guarded(self, work: Callable[[_Connection], _T]) -> _T:
        errors = self._psycopg.errors
        try:
            with self._connection() as connection:
                return work(connection)
        except (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InsufficientPrivilege):
            raise EngineFailure(
                "it refused the user, or what the user wants to do",
                remedy=f"Check user and password, and let the user own or create the schema {self._schema}.",
            ) from None
        except (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedFunction):
            self._ready = False
            raise EngineFailure(GONE, remedy=REARM) from None
        except errors.ReadOnlySqlTransaction:
            raise EngineFailure(
                "this is a replica, which can't be written", remedy="Name the primary server.", is_outage=True
            ) from None
        except (self._psycopg.OperationalError, self._psycopg.InterfaceError) as error:
            refused = getattr(error, "sqlstate", None) is None and "password" in str(error)
            raise EngineFailure(
                "it refused the user or password" if refused else "it can't be reached",
                remedy="Check the user and password in its address." if refused
                else "Check that it runs and that this machine may reach it.",
                is_outage=not refused,
            ) from None  # fmt: skip
        except self._psycopg.Error as error:
            state = getattr(error, "sqlstate", None) or type(error).__name__
            raise EngineFailure(f"it answered {state}", remedy="Look into the log of the server.") from None

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """Lend a connection; one on which something failed isn't lent again."""
        with self._lock:
            if self._pid != os.getpid():
                # The parent's: its sockets are not ours to speak on, nor to say goodbye on.
                _INHERITED.extend(self._idle)
                self._pid, self._idle = os.getpid(), []
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            with suppress(Exception):
                connection.close()
            raise
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> _Connection:
        milliseconds = int(self._wait_s * 1000)
        options = (
            f'-c search_path="{self._schema}" -c statement_timeout={milliseconds} -c lock_timeout={milliseconds} '
            "-c default_transaction_isolation=read\\ committed"
        )
        return self._psycopg.connect(
            self._url, autocommit=True, options=options, connect_timeout=max(2, round(self._wait_s)),
            application_name="safellm",
        )  # fmt: skip


_INHERITED: Final[list[Any]] = []  # connections of a parent process, kept so that nothing closes them


def _row(reservation_id: str, state: str, nonce: str, windows: Sequence[int], text: str) -> Row:
    return from_text(reservation_id, text, state=state, nonce=nonce, windows=windows)
