"""The keyed digest of what passed: HMAC-SHA256 (RFC 2104), with a name in front that tells its uses apart."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_GATHERED = 1 << 16  # bytes that are kept before they are digested: pieces of a stream are small, calls are not free
_BLOCK = 64  # bytes (FIPS 180-4)


@dataclass(slots=True)
class Digest:
    """Digests bytes that come in pieces.

    Args:
        key: Secret of the installation.
        name: What is digested.
    """

    key: bytes = field(repr=False)
    name: bytes
    _pieces: list[bytes] = field(default_factory=list, repr=False)
    _size: int = 0
    _inner: _Hash | None = field(default=None, repr=False)

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _GATHERED:
            self._inner = self._digested()
            self._pieces.clear()
            self._size = 0

    def hex(self) -> str:
        """Return the digest of everything so far, in lower-case hexadecimal."""
        outer = _begun(self.key, self.name)[1].copy()
        outer.update(self._digested().digest())
        return outer.hexdigest()

    def _digested(self) -> _Hash:
        inner = _begun(self.key, self.name)[0].copy() if self._inner is None else self._inner.copy()
        for piece in self._pieces if len(self._pieces) == 1 else (b"".join(self._pieces),):
            inner.update(piece)
        return inner


def keyed_digest(key: bytes, name: bytes, data: bytes) -> str:
    """Return the digest of bytes that are at hand, as `Digest` does."""
    inner, outer = _begun(key, name)
    inner, outer = inner.copy(), outer.copy()
    inner.update(data)
    outer.update(inner.digest())
    return outer.hexdigest()


@lru_cache(maxsize=64)
def _begun(key: bytes, name: bytes) -> tuple[_Hash, _Hash]:
    """Return the inner and the outer hash of HMAC after the key: the same for all calls, and half of their work.

    `hmac.digest` looks its algorithm up in OpenSSL for each message, which costs as much as the message.
    """
    padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in padded]) + name)
    return inner, hashlib.sha256(bytes([byte ^ 0x5C for byte in padded]))
