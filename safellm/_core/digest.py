"""The keyed digest of what passed: HMAC-SHA256 (RFC 2104), with a name in front that tells its uses apart."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

_BLOCK = 64  # bytes (FIPS 180-4)


class Digest:
    """Digests bytes that come in pieces.

    Args:
        key: Secret of the installation.
        name: What is digested.

    Attributes:
        add: Takes the next piece. The hash's own method: a stream has many pieces, and no call between costs nothing.
    """

    __slots__ = ("_inner", "_outer", "add")

    def __init__(self, key: bytes, name: bytes) -> None:
        inner, self._outer = _begun(key, name)
        self._inner = inner.copy()
        self.add: Callable[[bytes], None] = self._inner.update

    def hex(self) -> str:
        """Return the digest of everything so far, in lower-case hexadecimal."""
        outer = self._outer.copy()
        outer.update(self._inner.digest())
        return outer.hexdigest()


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
