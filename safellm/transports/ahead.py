"""Whether the next pieces of an answer are here already: treated together they cost a third of what they cost one by one.

A server that writes faster than the program reads, and every proxy that gathers, puts many pieces into one read of the socket;
the HTTP library still hands them on one by one. Nothing is ever waited for: that a piece is here is read off the bytes that came
last, where the next chunk (RFC 9112 7.1) begins right behind the one before. Any other answer goes on piece by piece.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

_NEXT = re.compile(rb"\r\n[1-9A-Fa-f][0-9A-Fa-f]{0,6}\r\n.", re.DOTALL)  # a chunk ends, another begins
_ALONE: Final = 2  # pieces: providers begin with the role, and then comes the first text
_FIRST: Final = 1024  # bytes that are gathered then
_MOST: Final = 16384
_SHORTEST: Final = 8  # bytes of a piece that can't stand by chance in what is around it


class Ahead:
    """Looks ahead in what one connection brought.

    Args:
        connection: What the answer is read from; it remembers what came last (`came`), else nothing is known to be ahead.
    """

    __slots__ = ("_alone", "_at", "_block", "_connection", "_most")

    def __init__(self, connection: Any) -> None:
        self._connection: Any = connection if hasattr(connection, "came") else None
        self._block = b""
        self._at = 0
        self._most = 0
        self._alone = _ALONE

    def gather(self, piece: bytes, source: Iterator[bytes]) -> bytes:
        """Return a piece with those behind it that are here already.

        The first ones go alone, so that the program has its first token soon; then more and more are taken together.

        Args:
            piece: Of the answer.
            source: Yields the pieces behind it.
        """
        if self._connection is None:
            return piece
        pieces, room = [piece], self._room()
        while self._is_next(pieces[-1]) and room > 0:
            after = next(source, None)
            if after is None:
                break
            pieces.append(after)
            room -= len(after)
        return piece if len(pieces) == 1 else b"".join(pieces)

    async def gather_async(self, piece: bytes, source: AsyncIterator[bytes]) -> bytes:
        """Return the same from an async source."""
        if self._connection is None:
            return piece
        pieces, room = [piece], self._room()
        while self._is_next(pieces[-1]) and room > 0:
            after = await anext(source, None)
            if after is None:
                break
            pieces.append(after)
            room -= len(after)
        return piece if len(pieces) == 1 else b"".join(pieces)

    def _room(self) -> int:
        """Return how many bytes may be gathered this time."""
        if self._alone:
            self._alone -= 1
            return 0
        self._most = min(self._most * 2, _MOST) or _FIRST
        return self._most

    def _is_next(self, piece: bytes) -> bool:
        """Return whether another piece stands right behind this one in what came last.

        It is asked once for each piece, in their order, or equal ones would be taken for each other.
        """
        block = self._connection.came
        if block is not self._block:
            self._block, self._at = block, 0
        found = block.find(piece, self._at) if len(piece) >= _SHORTEST else -1
        if found < 0:
            self._at = len(block)  # nothing more is known of this block
            return False
        self._at = found + len(piece)
        return _NEXT.match(block, self._at) is not None
