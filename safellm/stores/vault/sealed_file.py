"""Keys in an encrypted file, for machines without a key store: Argon2id over a passphrase, ChaCha20-Poly1305 over everything.

One file, `keys.sealed` in the state folder: one JSON line with the header (version, parameters of Argon2id, salt, nonce) and the
sealed keys. The header is authenticated with the keys, and all keys are sealed together: entries can't be swapped, edited, taken
out or bound to another origin without the passphrase, and parameters below the floor are refused (THREATS K.3).
Not detected: the whole file put back to an older state of itself.

Sources: RFC 9106 (Argon2; its second recommended option is 64 MiB, 3 passes, 4 lanes), RFC 8439 (ChaCha20-Poly1305).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores import durable
from safellm.stores.vault.entry import check_key, check_name, decode_key, encode_key
from safellm.stores.vault.interface import StoredKey

FILE_NAME: Final = "keys.sealed"
_VERSION: Final = 1
_LARGEST: Final = 4 * 1024 * 1024  # bytes of a file that is read
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_SHORTEST_PASSPHRASE: Final = 8
_LOCK_NS: Final = 2_000_000_000  # THREATS K.2: never more than two seconds of waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What deriving the file's key costs whoever guesses passphrases."""

    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 4

    def is_at_least(self, floor: Cost) -> bool:
        """Return whether guessing is at least as expensive."""
        return self.memory_kib >= floor.memory_kib and self.passes >= floor.passes

    def is_bearable(self) -> bool:
        """Return whether opening a file with it stays within bounds: a planted file must not eat the machine."""
        return self.memory_kib <= 4 * 1024 * 1024 and self.passes <= 64 and 1 <= self.lanes <= 64  # noqa: PLR2004 - 4 GiB


FLOOR: Final = Cost()
_derived: dict[tuple[Path, bytes, Cost], bytes] = {}  # derived once per process: it takes half a second on purpose
_deriving = threading.Lock()


class SealedFileVault:
    """A `Vault` in one encrypted file.

    Args:
        folder: The state folder; the file is made by the first `set`.
        passphrase: Asked when the key was not derived yet in this process; True when the file is new.
        cost: For a new file; only tests change it, and never below the floor that `floor` says.
        floor: The least that a file must cost to open.
    """

    def __init__(
        self, folder: Path, passphrase: Callable[[bool], Secret], *, cost: Cost = FLOOR, floor: Cost = FLOOR
    ) -> None:
        self.label = f"encrypted file {folder / FILE_NAME}"
        self._path = folder / FILE_NAME
        self._passphrase = passphrase
        self._cost = cost
        self._floor = floor

    def get(self, name: str) -> StoredKey | None:
        """Return the key, or None when there is no such name.

        Raises:
            VaultUnavailable: the file can't be trusted, read or opened.
        """
        return self._read().keys.get(check_name(name))

    def set(self, key: StoredKey) -> None:
        """Store or replace; counts as stored only once read back.

        Raises:
            VaultUnavailable: the file can't be trusted, opened or written.
            ConfigurationError: the name or the secret is malformed, or the key is bound to no origin.
        """
        check_key(key)
        with self._locked():
            opened = self._read(new=True)
            self._write(opened, {**opened.keys, key.name: key})
            if self._read().keys.get(key.name) != key:
                raise self._broken("does not give back what was written to it")

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._read().keys)

    def remove(self, name: str) -> bool:
        """Remove; False when there was none."""
        check_name(name)
        with self._locked():
            opened = self._read()
            if name not in opened.keys:
                return False
            self._write(opened, {one: key for one, key in opened.keys.items() if one != name})
            return True

    def change_passphrase(self, passphrase: Secret) -> None:
        """Seal everything under another passphrase, with a new salt.

        Raises:
            VaultUnavailable: there is no file, or it can't be opened or written.
        """
        with self._locked():
            opened = self._read()
            if not opened.salt:
                raise VaultUnavailable(
                    "There is no encrypted key file yet",
                    remedy="The first key makes it: safellm keys set NAME --store file.",
                )
            salt = secrets.token_bytes(_SALT_BYTES)
            fresh = replace(
                opened, salt=salt, cost=self._cost, key=self._derive(salt, self._cost, passphrase, new=True)
            )
            self._write(fresh, opened.keys)

    def _read(self, *, new: bool = False) -> _Opened:
        raw = self._bytes()
        if raw is None:
            if not new:
                return _Opened(keys={}, salt=b"", cost=self._cost, key=b"")
            fresh = secrets.token_bytes(_SALT_BYTES)
            key = self._derive(fresh, self._cost, self._passphrase(True), new=True)
            return _Opened(keys={}, salt=fresh, cost=self._cost, key=key)
        header, sealed = self._parse(raw)
        cost = Cost(memory_kib=header["memory_kib"], passes=header["passes"], lanes=header["lanes"])
        if not cost.is_at_least(self._floor) or not cost.is_bearable():
            raise self._broken("was written with weakened or absurd parameters")
        salt, nonce = _bytes_of(header["salt"], _SALT_BYTES), _bytes_of(header["nonce"], _NONCE_BYTES)
        if salt is None or nonce is None:
            raise self._broken("is damaged")
        key = self._key(salt, cost)
        plain = _open(key, nonce, sealed, _header_bytes(header))
        if plain is None:
            with _deriving:
                _derived.pop((self._path, salt, cost), None)  # so that the next try may ask again
            raise VaultUnavailable(
                "The encrypted key file does not open: the passphrase is another one, or the file was changed",
                remedy="Try again with the right passphrase, or restore the file from a copy.",
                where=self.label,
            )
        keys = _keys(plain)
        if keys is None:
            raise self._broken("holds something else than keys")
        return _Opened(keys=keys, salt=salt, cost=cost, key=key)

    def _bytes(self) -> bytes | None:
        try:
            descriptor = durable.open_private(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from None
        try:
            found = os.fstat(descriptor)
            if sys.platform != "win32":
                if found.st_uid not in {os.geteuid(), 0}:
                    raise self._broken("belongs to another user")
                if found.st_mode & 0o077:
                    raise self._broken("can be read or written by other users (its mode must be 0600)")
            if found.st_size > _LARGEST:
                raise self._broken("is too large")
            return durable.read_range(descriptor, 0, found.st_size)
        except OSError as error:
            raise self._failed(error) from None
        finally:
            os.close(descriptor)

    def _parse(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            document = json.loads(raw)
            header = document["header"]
            sealed = base64.b64decode(document["sealed"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._broken("is damaged") from None
        numbers = ("v", "memory_kib", "passes", "lanes")
        if not isinstance(header, dict) or set(header) != {*numbers, "salt", "nonce"}:
            raise self._broken("is damaged")
        if not all(type(header[one]) is int and header[one] > 0 for one in numbers) or header["v"] != _VERSION:
            raise self._broken("is of another version")
        return header, sealed

    def _write(self, opened: _Opened, keys: dict[str, StoredKey]) -> None:
        header = {
            "v": _VERSION,
            "memory_kib": opened.cost.memory_kib,
            "passes": opened.cost.passes,
            "lanes": opened.cost.lanes,
            "salt": base64.b64encode(opened.salt).decode(),
            "nonce": base64.b64encode(nonce := secrets.token_bytes(_NONCE_BYTES)).decode(),
        }
        sealed = _seal(opened.key, nonce, Secret(json.dumps([encode_key(key) for key in keys.values()])), header)
        document = json.dumps({"header": header, "sealed": base64.b64encode(sealed).decode()}) + "\n"
        try:
            for left in self._path.parent.glob(f".{FILE_NAME}.*"):  # of a crash; nobody else writes under the lock
                left.unlink(missing_ok=True)
            durable.replace(self._path, document.encode())
        except OSError as error:
            raise self._failed(error) from None

    def _key(self, salt: bytes, cost: Cost) -> bytes:
        with _deriving:
            known = _derived.get((self._path, salt, cost))
        return self._derive(salt, cost, self._passphrase(False)) if known is None else known

    def _derive(self, salt: bytes, cost: Cost, passphrase: Secret, *, new: bool = False) -> bytes:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: PLC0415 - loaded when it is used

        if new and len(passphrase.reveal()) < _SHORTEST_PASSPHRASE:
            raise ConfigurationError(
                f"A passphrase needs at least {_SHORTEST_PASSPHRASE} characters", remedy="Take a longer one."
            )
        try:
            kdf = Argon2id(
                salt=salt, length=_KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib
            )
            key = kdf.derive(passphrase.reveal().encode("utf-8", "surrogatepass"))
        except (ValueError, MemoryError):
            raise self._broken("can't be opened with its parameters on this machine") from None
        with _deriving:
            _derived[self._path, salt, cost] = key
        return key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            durable.private_folder(self._path.parent)
            descriptor = durable.open_private(self._path.with_name("keys.lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise self._failed(error) from None
        try:
            durable.lock(descriptor, timeout_ns=_LOCK_NS)
            yield
        except OSError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            raise self._broken("is being changed by another program, which does not finish") from None
        finally:
            os.close(descriptor)  # lets the lock go

    def _broken(self, problem: str) -> VaultUnavailable:
        return VaultUnavailable(
            f"The encrypted key file {problem}",
            remedy="Restore it from a copy, or remove it and store the keys again: safellm keys set NAME.",
            where=self.label,
        )

    def _failed(self, error: OSError) -> VaultUnavailable:
        return VaultUnavailable(
            f"The encrypted key file can't be used ({error.strerror})",
            remedy="Mend its permissions, or set SAFELLM_HOME to an absolute folder that you own.",
            where=self.label,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    keys: dict[str, StoredKey]
    salt: bytes
    cost: Cost
    key: bytes

    def __repr__(self) -> str:
        return "_Opened(…)"


def _seal(key: bytes, nonce: bytes, plain: Secret, header: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    return ChaCha20Poly1305(key).encrypt(nonce, plain.reveal().encode(), _header_bytes(header))


def _open(key: bytes, nonce: bytes, sealed: bytes, header: bytes) -> Secret | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    try:
        return Secret(ChaCha20Poly1305(key).decrypt(nonce, sealed, header).decode())
    except (InvalidTag, ValueError):
        return None


def _keys(plain: Secret) -> dict[str, StoredKey] | None:
    """Return the keys of an opened file, or None: the caller raises, so that no traceback holds the text."""
    try:
        entries = json.loads(plain.reveal())
    except ValueError:
        return None
    keys = [decode_key(one) for one in entries] if isinstance(entries, list) else [None]
    return None if None in keys else {key.name: key for key in keys if key is not None}


def _header_bytes(header: dict[str, Any]) -> bytes:
    return b"safellm keys.sealed\0" + json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _bytes_of(text: object, size: int) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        return None
    return raw if len(raw) == size else None
