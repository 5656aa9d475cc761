"""Checkpoints in a table of PostgreSQL that takes new rows only: its triggers refuse every change and removal.

Whoever owns the table could take the triggers away: let an administrator make it (`SETUP`, or one first run as that role), and give
the program's role INSERT and SELECT. The address holds no password: libpq takes it from PGPASSFILE, a service file or the socket.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

SETUP: Final = """
CREATE TABLE IF NOT EXISTS safellm_checkpoints (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kept_at timestamptz NOT NULL DEFAULT now(), note text NOT NULL UNIQUE
);
CREATE OR REPLACE FUNCTION safellm_append_only() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'checkpoints are kept for good'; END $$;
CREATE OR REPLACE TRIGGER safellm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON safellm_checkpoints
  FOR EACH STATEMENT EXECUTE FUNCTION safellm_append_only();
"""
_CONNECT_S: Final = 5
_LOCK: Final = 0x5AFE_A0D1  # advisory: two that find no table make it one after the other
_INSERT: Final = "INSERT INTO safellm_checkpoints (note) VALUES (%s) ON CONFLICT DO NOTHING"
_MOST: Final = 1_000_000


def add(address: str, note: str) -> None:
    """Put a note into the table, which is made where it isn't there.

    Raises:
        ConfigurationError: that can't be done.
    """
    with _connection(address) as connection:
        if connection.execute("SELECT to_regclass('safellm_checkpoints')").fetchone() != (None,):
            connection.execute(_INSERT, (note,))
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for statement in SETUP.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute(_INSERT, (note,))


def notes(address: str, *, last: bool = False) -> list[str]:
    """Return the notes of the table, oldest first; with `last`, the newest alone.

    Raises:
        ConfigurationError: it can't be read.
    """
    with _connection(address) as connection:
        rows = connection.execute(
            "SELECT note FROM safellm_checkpoints ORDER BY id DESC LIMIT %s", (1 if last else _MOST,)
        ).fetchall()
    return [str(row[0]) for row in reversed(rows)]


@contextmanager
def _connection(address: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    try:
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            "The package for PostgreSQL is not installed", remedy="pip install 'safellm[postgres]'", where=address
        ) from None
    try:
        with psycopg.connect(
            address, connect_timeout=_CONNECT_S, options="-c statement_timeout=10000", application_name="safellm"
        ) as connection:
            yield connection
    except psycopg.Error as error:
        what = (error.diag.message_primary if isinstance(error, psycopg.errors.DatabaseError) else "") or type(
            error
        ).__name__
        raise ConfigurationError(
            f"The table of checkpoints can't be used: {what}", remedy="Mend it, or take another place.", where=address
        ) from None
