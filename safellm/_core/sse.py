"""Server-sent events: cut a byte stream into events, read one, write one (WHATWG HTML 9.2).

Line ends are LF, CR LF or CR, and an event may be cut anywhere, inside a line end or a UTF-8 sequence too.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass, field

# Atomic groups: CR LF is never read as two line ends.
_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK = b"\r\n"


class TooLong(ValueError):
    """An event is larger than the limit."""


@dataclass(slots=True)
class Splitter:
    """Cuts bytes into whole events, each with the blank line that ends it.

    Args:
        limit_bytes: Largest event; more without a blank line is refused.
    """

    limit_bytes: int
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _searched: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now.

        Raises:
            TooLong: the event under way is larger than the limit.
        """
        self._buffer += data
        events: list[bytes] = []
        start = 0
        while match := _BOUNDARY.search(self._buffer, max(start, self._searched)):
            events.append(bytes(self._buffer[start : match.end()]))
            start = match.end()
            self._searched = start
        if start:
            del self._buffer[:start]
        # Look again at the last three bytes only: a blank line is at most CR LF CR LF.
        self._searched = max(0, len(self._buffer) - 3)
        if self._searched and self._buffer[self._searched - 1 : self._searched] == b"\r":
            self._searched -= 1  # never start between CR and LF
        if len(self._buffer) > self.limit_bytes:
            raise TooLong
        return events

    def finish(self) -> bytes:
        """Return what is left when the stream is over: an event without its blank line, or nothing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def data_of(event: bytes) -> bytes | None:
    """Return the event's data, its lines joined by LF; None when it has none (a comment, a blank line)."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2 and b"\r" not in event:
        return event[6:].rstrip(_BLANK)  # the form nearly all providers send
    lines = [line for line in _LINE_END.split(event) if line == b"data" or line.startswith(b"data:")]
    if not lines:
        return None
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """Return the event with other data on one line; its name, id and comments stay."""
    kept = [line for line in _LINE_END.split(event) if line and line != b"data" and not line.startswith(b"data:")]
    return b"".join(line + b"\n" for line in kept) + b"data: " + data + b"\n\n"
