"""Hidden values of named conversations in encrypted files, so that placeholders come back after a restart.

One file for each conversation, sealed with ChaCha20-Poly1305 (RFC 8439) under a key that HKDF-SHA256 (RFC 5869) derives from the
installation key and the file's salt. The conversation's name is not in the file: its keyed digest is the file's name, and is
authenticated with the content, so a file under another name, or with one changed bit, is refused.

    magic 8 | written at, seconds 8 | salt 16 | nonce 12 | sealed JSON

Who may read the user's state folder may read the installation key, and so these files: they protect copies of the folder without
that key and other users, not against the user's own programs. An older copy of a file is accepted: it holds fewer values.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from safellm._core.redaction.memory import Memory
from safellm.errors import GuardFailure, Reason

_MAGIC = b"safellm1"
_TIME, _SALT, _NONCE = 8, 16, 12
_HEAD = len(_MAGIC) + _TIME + _SALT + _NONCE
_LARGEST = 256 * 1024 * 1024  # bytes; a conversation has some kilobytes
_DAY_S = 86_400


class MappingStore:
    """Keeps the memory of conversations in a folder. Safe between threads and processes.

    Args:
        folder: Where; made on first use.
        key: The installation key.
        days: After so many days without a change a file is no longer read, and is removed.
        now_s: Unix time in seconds.
    """

    def __init__(self, folder: Path, key: bytes, *, days: int, now_s: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._key = key
        self._seconds = days * _DAY_S
        self._now_s = now_s

    def load(self, name: str, memory: Memory, *, path: Path | None = None) -> None:
        """Add what is kept of a conversation.

        Args:
            name: The conversation.
            memory: Where to add it.
            path: A file somewhere else.

        Raises:
            GuardFailure: The file was changed, or can't be read.
        """
        try:
            sealed = _read(path or self._path(name))
        except OSError as error:
            _unusable(error.strerror or type(error).__name__)
        if sealed is not None:
            self._take(self._open(name, sealed), memory)

    def save(self, name: str, memory: Memory, *, path: Path | None = None) -> None:
        """Keep a conversation; what another process added meanwhile stays. Arguments as in `load`.

        Raises:
            GuardFailure: It can't be written, or what is there was changed.
        """
        from safellm.stores.durable import locked, open_private, private_folder, replace  # noqa: PLC0415 - late

        path = path or self._path(name)
        try:
            private_folder(self._folder)
            descriptor = open_private(self._folder / "lock", os.O_RDWR | os.O_CREAT)
            try:
                with locked(descriptor):
                    sealed = _read(path)
                    if sealed is not None:
                        self._take(self._open(name, sealed), memory)
                    replace(path, self._seal(name, memory))
            finally:
                os.close(descriptor)
        except OSError as error:
            _unusable(error.strerror or type(error).__name__)

    def sweep(self) -> int:
        """Remove files whose time is over; return how many."""
        removed = 0
        try:
            entries = list(self._folder.iterdir())
        except OSError:
            return 0
        for path in entries:
            # Also what a writer left that was killed: each begins with the time at which it was written.
            if path.suffix in {".sealed", ".new"} and self._is_over(path):
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def forget(self, name: str) -> None:
        """Remove what is kept of a conversation."""
        self._path(name).unlink(missing_ok=True)

    def _is_over(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError:
            return False
        return head.startswith(_MAGIC) and self._written_s(head) + self._seconds < self._now_s()

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._digest(name).hex()}.sealed"

    def _digest(self, name: str) -> bytes:
        return hmac.new(self._key, b"mapping name\x00" + name.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def _cipher(self, salt: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        return ChaCha20Poly1305(HKDF(SHA256(), 32, salt, b"safellm mappings 1").derive(self._key))

    def _seal(self, name: str, memory: Memory) -> bytes:
        content = {
            "scope": memory.scope,
            "placeholders": list(memory.placeholders()),
            "fakes": [list(one) for one in memory.fakes()],
        }
        written = int(self._now_s()).to_bytes(_TIME, "big")
        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        head = _MAGIC + written + salt + nonce
        plain = json.dumps(content).encode("ascii")
        return head + bytes(self._cipher(salt).encrypt(nonce, plain, head + self._digest(name)))

    def _open(self, name: str, sealed: bytes) -> dict[str, Any] | None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        head = sealed[:_HEAD]
        if len(head) < _HEAD or not head.startswith(_MAGIC):
            _changed()
        nonce, salt = head[-_NONCE:], head[-_NONCE - _SALT : -_NONCE]
        try:
            plain = self._cipher(salt).decrypt(nonce, sealed[_HEAD:], head + self._digest(name))
        except InvalidTag:
            _changed()
        if self._written_s(head) + self._seconds < self._now_s():
            return None
        content: dict[str, Any] = json.loads(plain)
        return content

    def _written_s(self, head: bytes) -> int:
        return int.from_bytes(head[len(_MAGIC) : len(_MAGIC) + _TIME], "big")

    def _take(self, content: dict[str, Any] | None, memory: Memory) -> None:
        if content is None:
            return
        if not len(memory):
            memory.scope = content["scope"]  # so that the same value has the same placeholder again
        for placeholder, value in content["placeholders"]:
            memory.learn(placeholder, value)
        for kind, value, fake in content["fakes"]:
            if memory.fake_of(kind, value) is None:
                memory.remember_fake(kind, value, fake)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except FileNotFoundError:
        return None


def _changed() -> NoReturn:
    raise GuardFailure(
        "The stored values of this conversation were changed, or belong to another installation",
        guard="redaction",
        reason=Reason.GUARD_ERROR,
        remedy="Remove the folder `mappings` in safellm's state folder; placeholders of before won't come back.",
    )


def _unusable(why: str) -> NoReturn:
    raise GuardFailure(
        f"The stored values of conversations can't be used: {why}",
        guard="redaction",
        reason=Reason.GUARD_ERROR,
        remedy="Make the folder `mappings` in safellm's state folder writable, or set redaction.remember = 'process'.",
    )
