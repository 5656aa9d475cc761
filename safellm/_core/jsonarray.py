"""A stream that comes as one JSON array: cut into its elements, and joined again (Google's REST streams without `alt=sse`).

The array is cut by brackets and quotation marks alone; whether an element is JSON is decided by the one who reads it. Blanks
between elements are not kept: they mean nothing (RFC 8259 2).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from safellm._core.jsontext import Malformed
from safellm._core.sse import TooLong

_STRUCTURE = re.compile(rb'["\[\]{}]')
_IN_STRING = re.compile(rb'["\\]')
_BETWEEN = b" \t\r\n,"


@dataclass(slots=True, kw_only=True)
class ArrayFraming:
    """Cuts bytes into the elements of the array, and writes elements as an array.

    A text that is one object instead of an array has one element, and is written as it came.

    Args:
        limit_bytes: Largest element.
    """

    as_they_are: ClassVar[bool] = False
    takes_rest: ClassVar[bool] = False

    limit_bytes: int
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _at: int = 0  # how far the buffer was read
    _depth: int = 0  # inside the element
    _in_string: bool = False
    _array: bool | None = None  # None: nothing but blanks came yet
    _over: bool = False
    _written: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the elements that are complete by now.

        Raises:
            TooLong: the element under way is larger than the limit.
            Malformed: something else than objects and arrays stands in the array, or anything after it.
        """
        self._buffer += data
        found: list[bytes] = []
        while (element := self._next()) is not None:
            found.append(element)
        if len(self._buffer) > self.limit_bytes:
            raise TooLong
        return found

    def rest(self) -> bytes:
        """Return what is left when the stream is over. An element that was cut off can't be guarded: nothing."""
        self._buffer.clear()
        return b""

    def data_of(self, event: bytes) -> bytes | None:
        """Return the JSON of an element: itself."""
        return event

    def with_data(self, event: bytes, data: bytes) -> bytes:  # noqa: ARG002 - events of other framings have more than data
        """Return an element with other data."""
        return data

    def compose(self, name: str, data: bytes) -> bytes:  # noqa: ARG002 - elements have no name
        """Return an element of its own."""
        return data

    def close(self) -> None:
        """Drop what came and is no whole element yet: nothing more is read, and the array ends here."""
        self._buffer.clear()
        self._over = True

    def write(self, events: list[bytes], *, last: bool = False) -> bytes:
        """Return the bytes of the next elements; with `last`, the end of the array too, if it came."""
        out = []
        for event in events:
            out.append((b",\r\n" if self._written else b"[") + event if self._array else event)
            self._written += 1
        if last and self._array and self._over:
            out.append(b"]" if self._written else b"[]")
        return b"".join(out)

    def _next(self) -> bytes | None:
        if self._depth == 0 and not self._begin():
            return None
        while True:
            match = (_IN_STRING if self._in_string else _STRUCTURE).search(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)
                return None
            byte = match[0]
            if byte == b"\\":
                if match.end() == len(self._buffer):
                    self._at = match.start()  # what is escaped comes with the next bytes
                    return None
                self._at = match.end() + 1
                continue
            self._at = match.end()
            if byte == b'"':
                self._in_string = not self._in_string
                continue
            self._depth += 1 if byte in b"[{" else -1
            if self._depth == 0:
                element = bytes(self._buffer[: self._at])
                del self._buffer[: self._at]
                self._at = 0
                self._over = not self._array
                return element

    def _begin(self) -> bool:
        """Skip what stands before the next element; return whether one begins."""
        blank = len(self._buffer) - len(self._buffer.lstrip(_BETWEEN))
        del self._buffer[:blank]
        if not self._buffer:
            return False
        first = self._buffer[:1]
        if self._array is None:
            self._array = first == b"["
            if self._array:
                del self._buffer[:1]
                return self._begin()
        if self._over:
            raise Malformed("something stands after the end")
        if first == b"]" and self._array:
            self._over = True
            del self._buffer[:1]
            return self._begin()
        if bytes(first) not in (b"{", b"["):
            raise Malformed("not an array of objects")
        return True
