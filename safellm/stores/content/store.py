"""What was sent and answered, sealed: `content.sqlite3` beside the trail, whose records hold its digests.

* Each part (a request, an answer) is encrypted under a key of its own (ChaCha20Poly1305); that key is sealed to a public key
  (`hpke`), so that the machine that writes can't read it back.
* To erase is to delete the sealed key, and the ciphertext with it: a copy of the ciphertext elsewhere is unreadable from then on,
  unless its key was copied as well. What was erased is noted here by its digest, and as a whole in the chain, in one record.
* Records stay as they are: the proof of the trail never depends on content.

The content is compressed before it is encrypted, with its whole length in front, and cut at a limit.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from safellm.errors import ConfigurationError, GuardFailure, Reason
from safellm.stores import durable
from safellm.stores.content import hpke

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

Part: TypeAlias = Literal["in", "out"]
FILE_NAME: Final = "content.sqlite3"
_INFO: Final = b"safellm content key, version 1"
_NONCE: Final = b"\x00" * 12  # each key encrypts once
_LENGTH_BYTES: Final = 8
_WAIT_S: Final = 30.0
_QUICK: Final = 1  # level of compression
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS content (id TEXT, part TEXT, at_ns INTEGER, users TEXT, digest TEXT, data BLOB, PRIMARY KEY (id, part));
CREATE TABLE IF NOT EXISTS keys (id TEXT, part TEXT, sealed BLOB, PRIMARY KEY (id, part));
CREATE TABLE IF NOT EXISTS erased (id TEXT, part TEXT, digest TEXT, batch TEXT, PRIMARY KEY (id, part));
CREATE INDEX IF NOT EXISTS content_at ON content (at_ns);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A part as it was kept: what the program sent or got, how long it was, and what of it is here."""

    data: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure takes: of a call, of a user, before a time; at least one of them."""

    id: str | None = None
    user: str | None = None
    before_ns: int | None = None


class ContentStore:
    """Keeps parts of calls. Threads and processes may share the file.

    Args:
        directory: Folder of the trail.
        public: X25519 public key that the parts are sealed to.
    """

    def __init__(self, directory: Path, *, public: bytes) -> None:
        self._path = directory / FILE_NAME
        self._public = public
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        _LIVE.add(self)

    def keep(  # noqa: PLR0913 - the parts of one, each named
        self,
        id: str,  # noqa: A002 - its name
        part: Part,
        data: bytes,
        *,
        length: int,
        users: tuple[str, ...],
        at_ns: int,
    ) -> str:
        """Keep a part; return the SHA-256 of what was written, hex.

        Args:
            id: `event.id` of the call's intent.
            part: The request or the answer.
            data: The content, or its beginning.
            length: How long it was as a whole.
            users: Whose it is, by all names; of an answer, those of its request count.
            at_ns: Unix time.

        Raises:
            GuardFailure: it can't be written.
        """
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415 - late

        names = json.dumps(users)
        key, aad = os.urandom(hpke.KEY_BYTES), _aad(id, part)
        sealed_data = ChaCha20Poly1305(key).encrypt(
            _NONCE, length.to_bytes(_LENGTH_BYTES, "big") + zlib.compress(data, _QUICK), aad
        )
        digest = hashlib.sha256(sealed_data).hexdigest()
        sealed_key = hpke.seal(self._public, key, info=_INFO, aad=aad)
        try:
            with self._lock:
                database = self._open()
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    if part == "out":
                        row = database.execute(
                            "SELECT users FROM content WHERE id = ? AND part = 'in'", (id,)
                        ).fetchone()
                        names = names if row is None else row[0]
                    database.execute(
                        "INSERT INTO content VALUES (?, ?, ?, ?, ?, ?)", (id, part, at_ns, names, digest, sealed_data)
                    )
                    database.execute("INSERT INTO keys VALUES (?, ?, ?)", (id, part, sealed_key))
        except (sqlite3.Error, OSError) as error:
            raise GuardFailure(
                f"Content can't be kept in {self._path}: {_what(error)}",
                guard="audit",
                reason=Reason.AUDIT_UNAVAILABLE,
                remedy="Mend the folder of the audit trail, or set audit.content = 'off'.",
            ) from None
        return digest

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                database.close()

    def __del__(self) -> None:
        if suppress is None:  # the interpreter takes modules apart
            return
        with suppress(Exception):
            self.close()

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            durable.private_folder(self._path.parent)
            self._database = _connect(self._path)
        return self._database

    def after_fork(self) -> None:
        """Begin anew in a child: the parent's connection is left as it is, also unclosed."""
        if self._database is not None:
            _INHERITED.append(self._database)
        self._database, self._lock = None, threading.Lock()


_LIVE: weakref.WeakSet[ContentStore] = weakref.WeakSet()
_INHERITED: list[sqlite3.Connection] = []  # closing one in a child would touch the parent's files


def _forget_in_child() -> None:
    for store in list(_LIVE):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def erase(directory: Path, what: Erasure, *, record: Callable[[int, str], str]) -> int:
    """Delete the keys and the content that an erasure takes; return how many parts.

    Args:
        directory: Folder of the trail.
        what: What to erase.
        record: Writes the record of the erasure, from the number of parts and the SHA-256 of their digests; returns its
            `event.id`. Called before the deletion counts: one that isn't recorded doesn't happen.

    Raises:
        ConfigurationError: there is no content, or it can't be changed.
    """
    if what == Erasure():
        raise ConfigurationError("Nothing says what to erase", remedy="Give --call, --user, --before or --all.")
    with _existing(directory, writes=True) as database:
        database.execute("BEGIN IMMEDIATE")
        where, values = _where(what)
        rows = database.execute(f"SELECT id, part, digest FROM content{where}", values).fetchall()  # noqa: S608 - our own text
        if not rows:
            database.execute("ROLLBACK")
            return 0
        batch = record(len(rows), digest_of(digest for _, _, digest in rows))
        database.executemany("DELETE FROM keys WHERE id = ? AND part = ?", [row[:2] for row in rows])
        database.executemany("DELETE FROM content WHERE id = ? AND part = ?", [row[:2] for row in rows])
        database.executemany("INSERT INTO erased VALUES (?, ?, ?, ?)", [(*row, batch) for row in rows])
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return len(rows)


def read(directory: Path, private: X25519PrivateKey, id: str, part: Part) -> Kept | None:  # noqa: A002 - its name
    """Return a part, or None where it isn't there.

    Raises:
        ConfigurationError: the file can't be read, or the part not be opened with this key.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - late
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415 - late

    with _existing(directory) as database:
        row = database.execute(
            "SELECT data, sealed FROM content JOIN keys USING (id, part) WHERE id = ? AND part = ?", (id, part)
        ).fetchone()
    if row is None:
        return None
    aad = _aad(id, part)
    try:
        key = hpke.open_sealed(private, row[1], info=_INFO, aad=aad)
        text = ChaCha20Poly1305(key).decrypt(_NONCE, row[0], aad)
        return Kept(data=zlib.decompress(text[_LENGTH_BYTES:]), length=int.from_bytes(text[:_LENGTH_BYTES], "big"))
    except (hpke.Unopened, InvalidTag, ValueError, TypeError, zlib.error):
        raise ConfigurationError(
            f"The content of {id} can't be opened", remedy="It was sealed to another key, or changed afterwards."
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is there: digests of what is kept, and of what was erased with the record that says so."""

    kept: dict[tuple[str, str], str]
    erased: dict[tuple[str, str], tuple[str, str]]


def standing(directory: Path) -> Standing | None:
    """Return what is kept and what was erased; the digests are computed from what is there. None without any content.

    Raises:
        ConfigurationError: the file can't be read.
    """
    if not (directory / FILE_NAME).exists():
        return None
    with _existing(directory) as database:
        kept = {
            (str(id_), str(part)): hashlib.sha256(data if isinstance(data, bytes) else b"").hexdigest()
            for id_, part, data in database.execute("SELECT id, part, data FROM content")
        }
        erased = {
            (str(id_), str(part)): (str(digest), str(batch))
            for id_, part, digest, batch in database.execute("SELECT id, part, digest, batch FROM erased")
        }
    return Standing(kept=kept, erased=erased)


def digest_of(digests: Iterator[str] | list[str]) -> str:
    """Return one SHA-256 for a set of digests, hex."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _where(what: Erasure) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []
    for column, value in (
        ("id = ?", what.id),
        ("EXISTS (SELECT 1 FROM json_each(content.users) WHERE value = ?)", what.user),
        ("at_ns < ?", what.before_ns),
    ):
        if value is not None:
            parts.append(column)
            values.append(value)
    return " WHERE " + " AND ".join(parts), values


@contextmanager
def _existing(directory: Path, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigurationError(
            "No content was kept", remedy="Set audit.content and audit.content_key in the policy.", where=str(directory)
        )
    try:
        with closing(_connect(path) if writes else _connect_to_read(path)) as database:
            yield database
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(
            f"The content can't be used: {_what(error)}", remedy="Run this as its owner.", where=str(path)
        ) from None


def _connect(path: Path) -> sqlite3.Connection:
    # Made by us, so that it is private from its first byte on; SQLite gives its companions the same mode.
    os.close(durable.open_private(path, os.O_RDWR | os.O_CREAT))
    database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = ON")
        database.execute("PRAGMA trusted_schema = OFF")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _connect_to_read(path: Path) -> sqlite3.Connection:
    os.close(durable.open_private(path, os.O_RDONLY))
    # Where its companion files can't be made (a copy on a disk that is read only), nobody writes either.
    for how in ("mode=ro", "immutable=1"):
        database = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_WAIT_S, isolation_level=None)
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("SELECT count(*) FROM erased").fetchall()
        except sqlite3.Error:
            database.close()
            if how == "immutable=1":
                raise
        else:
            return database
    raise AssertionError


def _aad(id: str, part: str) -> bytes:  # noqa: A002 - its name
    return f"{part}:{id}".encode()


def _what(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
