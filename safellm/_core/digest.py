"""The keyed digest of what passed: HMAC-SHA256 (RFC 2104), with a name in front that tells its uses apart."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

_GATHERED = 1 << 16  # bytes that are kept before they are digested: pieces of a stream are small, calls are not free


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
    _engine: hmac.HMAC | None = field(default=None, repr=False)

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _GATHERED:
            if self._engine is None:
                self._engine = hmac.new(self.key, self.name, hashlib.sha256)
            self._engine.update(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0

    def hex(self) -> str:
        """Return the digest of everything so far, in lower-case hexadecimal."""
        if self._engine is None:
            return hmac.digest(self.key, b"".join((self.name, *self._pieces)), "sha256").hex()
        self._engine.update(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0
        return self._engine.hexdigest()
