"""Server-sent events: cut a byte stream into events, read one, write one (WHATWG HTML 9.2).

Line ends are LF, CR LF or CR, and an event may be cut anywhere, inside a line end or a UTF-8 sequence too.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

# Atomic groups: CR LF is never read as two line ends.
_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK = b"\r\n"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


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
        if not self._buffer and data.endswith(b"\n\n") and b"\r" not in data:  # whole events: nearly always one
            if data.find(b"\n\n") == len(data) - 2:
                return [data]
            *whole, rest = data.split(b"\n\n")
            if not rest:
                return [event + b"\n\n" for event in whole]
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


@dataclass(slots=True)
class SSEFraming(Splitter):
    """Server-sent events as a framing of streams: what `EventStream` needs to cut and to write them."""

    as_they_are: ClassVar[bool] = True

    def rest(self) -> bytes:
        """Return the event that ended without its blank line, or nothing."""
        return self.finish()

    def data_of(self, event: bytes) -> bytes | None:
        """Return the event's data."""
        return data_of(event)

    def with_data(self, event: bytes, data: bytes) -> bytes:
        """Return the event with other data."""
        return with_data(event, data)

    def compose(self, name: str, data: bytes) -> bytes:
        """Return an event of its own."""
        return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + data + b"\n\n"

    def close(self) -> None:
        """Drop what came and is no whole event yet: nothing more is read."""
        self.finish()

    def write(self, events: list[bytes], *, last: bool = False) -> bytes:  # noqa: ARG002 - other framings have an end
        """Return the bytes of the next events."""
        return b"".join(events)


@dataclass(slots=True)
class FieldsFraming(SSEFraming):
    """The same for SDKs that read a line that is no field as JSON: it is taken out, as the standard says."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now, without lines that are no fields.

        Raises:
            TooLong: the event under way is larger than the limit.
        """
        return [_fields_of(event) for event in Splitter.feed(self, data)]


def _fields_of(event: bytes) -> bytes:
    lines = _LINE_END.split(event)
    kept = [line for line in lines if not line or line.startswith(_FIELDS) or line == b"data"]
    return event if len(kept) == len(lines) else b"\n".join(kept)


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
