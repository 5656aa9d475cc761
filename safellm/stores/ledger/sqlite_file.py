"""The file under the SQLite ledger: who may read it, what stands in it, and how to know that it is still the same one.

* The file is made with mode 0600, its folder, when missing, with 0700; which folder can be trusted `durable.private_folder` says.
* Beside the ledger lies a mark: `<name>.mark`, with the ledger's generation and the last UTC day that it has seen. A ledger
  that is gone, emptied, exchanged or older than its mark is refused (THREATS B.6). A person re-arms it.
* Nothing here opens the file of a live ledger except through SQLite: closing a second descriptor would drop the
  process's POSIX locks on it (SQLite, "How To Corrupt An SQLite Database File", 2.2).

Honest limits: who deletes or restores the mark together with the ledger begins anew, and a copy from the same UTC day is
not told from the original. A loss of power can lose the last moments before it, unless the ledger is `durable`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import stat
from pathlib import Path

from safellm._core.budget import GUARD
from safellm.errors import GuardFailure, Reason
from safellm.stores.durable import private_folder
from safellm.stores.ledger import marks
from safellm.stores.ledger.marks import Mark

SCHEMA_VERSION = 1
APPLICATION_ID = 0x5AFE_1ED6  # in the file's header, so that `file` and we can tell it from other databases
# SQLite's own wait; short, because its back-off sleeps up to 100 ms and is unfair. We retry ourselves.
_BUSY_WAIT_S = 0.004
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)  # the last: a race for the WAL's locks
_NOT_OURS = (errno.EPERM, errno.ELOOP)  # what `private_folder` says of one that others can change
_PAGE_BYTES = 1024
_CHECKPOINT_PAGES = 16_000  # 16 MB: moving the log into the file waits for the disk, so it is done seldom
_REARM = "Look at what happened, then run `safellm budget rearm` to begin a new ledger."

_UNITS = "CHECK (typeof({0}) = 'integer' AND {0} >= 0)"  # STRICT tables would do, but need SQLite 3.37
_SCHEMA = (
    "CREATE TABLE meta (generation TEXT NOT NULL, day INTEGER NOT NULL)",
    f"""CREATE TABLE accounts (
        name TEXT NOT NULL, unit TEXT NOT NULL, span TEXT NOT NULL, window_id INTEGER NOT NULL,
        used INTEGER NOT NULL {_UNITS.format("used")}, held INTEGER NOT NULL {_UNITS.format("held")},
        PRIMARY KEY (name, unit, span, window_id)) WITHOUT ROWID""",
    f"""CREATE TABLE reservations (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('held', 'settled', 'swept', 'released')),
        created_ns INTEGER NOT NULL, pid INTEGER NOT NULL, opened_ns INTEGER NOT NULL,
        provider TEXT NOT NULL, model TEXT NOT NULL, operation TEXT NOT NULL, day TEXT,
        input_tokens INTEGER NOT NULL {_UNITS.format("input_tokens")},
        output_tokens INTEGER NOT NULL {_UNITS.format("output_tokens")},
        micro_usd INTEGER, requests INTEGER NOT NULL {_UNITS.format("requests")},
        lines TEXT NOT NULL)""",
    f"""CREATE TABLE usage (
        day TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, operation TEXT NOT NULL,
        requests INTEGER NOT NULL {_UNITS.format("requests")},
        input_tokens INTEGER NOT NULL {_UNITS.format("input_tokens")},
        output_tokens INTEGER NOT NULL {_UNITS.format("output_tokens")},
        micro_usd INTEGER NOT NULL {_UNITS.format("micro_usd")},
        unpriced_requests INTEGER NOT NULL {_UNITS.format("unpriced_requests")},
        PRIMARY KEY (day, provider, model, operation)) WITHOUT ROWID""",
)


def open_database(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Return a connection to the ledger at `path`, which is made if there has never been one.

    Raises:
        GuardFailure: the file is not ours, not the one that the mark remembers, or its folder is open to others.
        sqlite3.Error, OSError: as they come; see `failure`.
    """
    _prepare(path)
    database = sqlite3.connect(
        path.absolute(), timeout=_BUSY_WAIT_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file; each change writes some four pages
        _check_header(database, path)
        database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}").fetchone()
        _join(database, path)
    except BaseException:
        database.close()
        raise
    return database


def note_day(database: sqlite3.Connection, path: Path, day: int, *, durable: bool) -> None:
    """Remember in the ledger and then in its mark that UTC day number `day` has been seen; days never go back.

    The ledger's part is on disk before the mark's, so that a loss of power can't make a sound ledger look restored.
    """
    mark = _mark_of(database)
    if mark.day < day:
        database.execute("PRAGMA synchronous = FULL")
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE meta SET day = max(day, ?)", (day,))
            database.execute("COMMIT")
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        mark = _mark_of(database)
    if read_mark(path) != mark:
        marks.write_mark(_mark_path(path), mark)


def identity(path: str | Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from another one put in its place; None when there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - asked for at each transaction; half the time of `Path.stat`
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def rearm(path: Path, *, now_ns: int) -> Path | None:
    """Set the ledger and its mark aside, so that the next use begins a new, empty one.

    Args:
        path: The ledger.
        now_ns: Unix time in nanoseconds, used in the new name.

    Returns:
        Where the old ledger lies now; None when there was none.

    Raises:
        GuardFailure: a file can't be renamed.
    """
    aside = path.with_name(f"{path.name}.before-{now_ns}")
    moved = None
    try:
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
                moved = aside
        _mark_path(path).unlink(missing_ok=True)
    except OSError as error:  # on Windows also while another process has it open
        raise failure(path, error) from error
    return moved


def read_mark(path: Path) -> Mark | None:
    """Return the mark beside the ledger, or None when there is none.

    Raises:
        GuardFailure: it can't be understood.
    """
    try:
        return marks.read_mark(_mark_path(path))
    except marks.DamagedMark:
        raise refused(path, "its mark file is damaged", remedy=_REARM) from None


def refused(path: Path, problem: str, *, remedy: str) -> GuardFailure:
    """Return the error for a ledger that can't answer."""
    return GuardFailure(
        f"The budget ledger {path} can't be used: {problem}",
        guard=GUARD,
        reason=Reason.BUDGET_UNAVAILABLE,
        remedy=remedy,
    )


def failure(path: Path, error: Exception) -> GuardFailure:
    """Return what a failure of SQLite, of the file system or of a stored value means to a person, with the way out."""
    code = _primary_code(error)
    if code in _BUSY:
        remedy = "Another process holds it for long; end that process, or give `wait_s` more time."
        return refused(path, "it stayed locked", remedy=remedy)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return refused(path, "it is damaged or not a database", remedy=_REARM)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        remedy = "Make room on that disk, or check it, and call again."
        return refused(path, "the disk is full or can't be written", remedy=remedy)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return refused(path, "it can't be written", remedy="Give your user the right to write the file and its folder.")
    if code == sqlite3.SQLITE_CANTOPEN or isinstance(error, OSError):
        remedy = "Check that the folder exists, belongs to your user and can be written."
        return refused(path, "it can't be opened", remedy=remedy)
    return refused(path, f"its contents are not as expected ({type(error).__name__})", remedy=_REARM)


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection stands in the way for a moment."""
    return _primary_code(error) in _BUSY


def _primary_code(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF  # the upper bytes refine it: sqlite.org/rescode.html


def _prepare(path: Path) -> None:
    folder = path.absolute().parent
    try:
        private_folder(folder)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        remedy = f"Run `chmod o-w {folder}`, or put the ledger into a folder of your own."
        raise refused(path, f"its folder can't be trusted: {error.strerror}", remedy=remedy) from None
    try:
        status = path.lstat()
    except FileNotFoundError:
        _create(path)
        return
    if not stat.S_ISREG(status.st_mode):
        raise refused(path, "it is not a plain file", remedy="Name a plain file or a path where there is none yet.")
    if os.name == "posix" and status.st_mode & 0o077:
        path.chmod(status.st_mode & 0o700)  # SQLite gives its -wal and -shm files the same mode


def _create(path: Path) -> None:
    if read_mark(path) is not None:
        raise refused(path, "the file is gone although there was one", remedy=_REARM)
    # O_EXCL: whoever loses a race finds the winner's file; the mode is right from the first moment.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return


def _check_header(database: sqlite3.Connection, path: Path) -> None:
    database.execute("BEGIN")  # one snapshot: another process may be making the ledger at this moment
    try:
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        raise refused(path, "a newer safellm made it", remedy="Update safellm, or use another ledger file.")
    is_ours = application == APPLICATION_ID and version == SCHEMA_VERSION
    if not is_ours and (application or version or tables):
        raise refused(path, "it is the database of another program", remedy="Name another file for the ledger.")


def _join(database: sqlite3.Connection, path: Path) -> None:
    if not database.execute("PRAGMA application_id").fetchone()[0]:
        _initialise(database, path)
    # The mark first: another process that notes a new day at this moment does so in the ledger before it does in the mark.
    remembered = read_mark(path)
    mark = _mark_of(database)
    if remembered is None:
        marks.write_mark(_mark_path(path), mark)  # whoever made the ledger has not come to write it yet
    elif remembered.generation != mark.generation:
        raise refused(path, "another ledger has been put in its place", remedy=_REARM)
    elif remembered.day > mark.day:
        raise refused(path, "it is older than it was, as after restoring a copy", remedy=_REARM)


def _initialise(database: sqlite3.Connection, path: Path) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        if not database.execute("PRAGMA application_id").fetchone()[0]:
            if read_mark(path) is not None:
                raise refused(path, "it has been emptied", remedy=_REARM)
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO meta VALUES (?, 0)", (secrets.token_hex(16),))
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def _mark_of(database: sqlite3.Connection) -> Mark:
    row = database.execute("SELECT generation, day FROM meta").fetchone()
    if row is None:
        msg = "the table meta is empty"
        raise sqlite3.DatabaseError(msg)
    generation, day = row
    return Mark(generation=generation, day=day)


def _mark_path(path: Path) -> Path:
    return path.with_name(path.name + ".mark")
