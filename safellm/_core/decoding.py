"""Undo a content encoding with a bound on what comes out (RFC 9110 8.4; THREATS E.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

_STEP = 1 << 16  # bytes decoded at a time, so that a bomb is noticed before it is in memory
_MEMBER = b"\x1f\x8b"  # begins one of gzip, of which several may follow each other (RFC 1952 2.2)
_GZIP = 31  # as zlib counts
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": 15}


class TooLarge(ValueError):
    """More came out than the limit allows."""


class Undecodable(ValueError):
    """An encoding that was not asked for and isn't known here, or broken data."""


@dataclass(slots=True)
class Decoder:
    """Decodes one body. Identity is asked for; gzip and deflate are understood if a server sends them all the same.

    Args:
        encoding: Value of Content-Encoding, empty for none.
        limit_bytes: Most bytes that may come out.
    """

    encoding: str
    limit_bytes: int
    total: int = 0
    _engine: Any = field(default=None, repr=False)
    _bits: int = 0
    _behind: bytes = b""  # a whole member, what may begin another one
    _over: bool = False  # what follows isn't part of the data: readers leave out padding, and worse

    def __post_init__(self) -> None:
        name = self.encoding.strip().lower()
        if name in ("", "identity"):
            return
        if name not in _WINDOW_BITS:
            raise Undecodable("an encoding that was not asked for")
        self._bits = _WINDOW_BITS[name]
        self._engine = zlib.decompressobj(self._bits)

    @property
    def changes(self) -> bool:
        """Whether bytes come out other than they go in."""
        return self._engine is not None

    def feed(self, data: bytes) -> bytes:
        """Return the decoded bytes.

        Raises:
            TooLarge: the limit is passed.
            Undecodable: the data is broken.
        """
        if self._engine is None:
            self.total += len(data)
            if self.total > self.limit_bytes:
                raise TooLarge
            return data
        out: list[bytes] = []
        data, self._behind = self._behind + data, b""
        try:
            while not self._over:
                if self._engine.eof and not self._goes_on(data):
                    break
                piece = self._engine.decompress(data, _STEP)
                self._count(len(piece))
                out.append(piece)
                data = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
                if not data and not self._engine.eof and len(piece) < _STEP:
                    break
        except zlib.error:
            raise Undecodable("broken compressed data") from None
        return b"".join(out)

    def _goes_on(self, data: bytes) -> bool:
        """Return whether another member begins right behind the last one, which these bytes follow."""
        if self._bits != _GZIP or not (_MEMBER.startswith(data) or data.startswith(_MEMBER)):
            self._over = bool(data)
            return False
        if len(data) < len(_MEMBER):
            self._behind = data
            return False
        self._engine = zlib.decompressobj(self._bits)
        return True

    def finish(self) -> None:
        """Check that the data was whole.

        Raises:
            Undecodable: it ended early.
        """
        if self._engine is not None and not self._engine.eof:
            raise Undecodable("compressed data that ends early")

    def _count(self, size: int) -> None:
        self.total += size
        if self.total > self.limit_bytes:
            raise TooLarge
