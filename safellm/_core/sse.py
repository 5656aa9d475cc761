"""Server-sent events: cut a byte stream into events, read one, write one (WHATWG HTML 9.2).

Line ends are LF, CR LF or CR, and an event may be cut anywhere, inside a line end or a UTF-8 sequence too.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import ClassVar

# Atomic groups: CR LF is never read as two line ends.
_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK = b"\r\n"
_MARK = b"\xef\xbb\xbf"  # that the text is UTF-8: some readers drop it, for others the first line is no field then
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_NAMED = re.compile(rb"event: [A-Za-z0-9_.\-]{1,64}\ndata: ")  # how most events begin that have a name
# Names, ids and comments are short words. Whatever else stands there is for no SDK, but a program may read the lines itself.
_WORDS = re.compile(rb"(?:(?:event|id|retry):?|:)[A-Za-z0-9 _.,:;/+=@#\-]{0,1024}")


class TooLong(ValueError):
    """An event is larger than the limit."""


@dataclass(slots=True)
class Splitter:
    """Cuts bytes into whole events, each with the blank line that ends it; a byte order mark before the first is left out.

    Args:
        limit_bytes: Largest event; more without a blank line is refused.
    """

    limit_bytes: int
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _searched: int = 0
    _begun: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now.

        Raises:
            TooLong: the event under way is larger than the limit.
        """
        if not self._begun:
            data = bytes(self._buffer) + data
            self._buffer.clear()
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._buffer += data
                return []
            self._begun, data = True, data.removeprefix(_MARK)
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
    takes_rest: ClassVar[bool] = False
    only_words: bool = True  # what isn't data is taken out if it is more than words

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now.

        Raises:
            TooLong: the event under way is larger than the limit.
        """
        if self._begun and not self._buffer and _is_plain(data):
            return [data]  # as nearly always
        events = Splitter.feed(self, data)
        return [one for event in events if (one := _in_words(event, self.takes_rest))] if self.only_words else events

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
    """The same for SDKs that read a line that is no field as JSON: such an object becomes an event, anything else is taken out.

    That is how Google tells of an error in the middle of a stream.
    """

    takes_rest: ClassVar[bool] = True

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now, with fields alone.

        Raises:
            TooLong: the event under way is larger than the limit.
        """
        return [one for event in SSEFraming.feed(self, data) for one in _with_fields(event)]

    def rest(self) -> bytes:
        """Return what came last without a blank line as events, those that are whole: these SDKs take it as it is."""
        last = self.finish()
        ends = (
            one.rstrip(_BLANK) + b"\n\n"
            for one in _with_fields(_in_words(last, others=True) if self.only_words else last)
        )
        return b"".join(one for one in ends if _is_object(data_of(one) or b"") or data_of(one) == b"[DONE]")


def _is_plain(event: bytes) -> bool:
    """Return whether these bytes are one event of a line of data, with or without a plain name."""
    if event.startswith(b"data: "):
        start = 0
    elif named := _NAMED.match(event):
        start = named.end()
    else:
        return False
    return event.endswith(b"\n") and event.find(b"\n", start) == len(event) - 2 and b"\r" not in event


def _in_words(event: bytes, others: bool) -> bytes:
    """Return an event without the lines that are neither data nor words; `others` says that lines that are no field stay."""
    if _is_plain(event):
        return event
    every = [line for line in _LINE_END.split(event) if line]
    kept = [line for line in every if _is_data(line) or _WORDS.fullmatch(line) or (others and not _is_field(line))]
    if len(kept) == len(every):
        return event
    rest = b"\n" if event.startswith(b"\n") else b""
    return rest + (b"\n".join([*kept, b"", b""]) if kept else b"")


def _is_field(line: bytes) -> bool:
    return line.startswith(_FIELDS)


def _is_data(line: bytes) -> bool:
    return line == b"data" or line.startswith(b"data:")


def _with_fields(event: bytes) -> list[bytes]:
    lines = _LINE_END.split(event)
    others = [line.strip() for line in lines if line and not line.startswith(_FIELDS) and line != b"data"]
    if not others:
        return [event]
    kept = [line for line in lines if line and (line.startswith(_FIELDS) or line == b"data")]
    whole = b"".join(others)  # no string of JSON goes over a line's end
    said = [whole] if _is_object(whole) else [line for line in others if _is_object(line)]
    return [b"\n".join([*part, b"", b""]) for part in (kept, *([b"data: " + one] for one in said)) if part]


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


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
    # A line feed at its beginning is the rest of a CR LF that was cut: some readers end no event at a CR.
    rest = b"\n" if event.startswith(b"\n") else b""
    return rest + b"".join(line + b"\n" for line in kept) + b"data: " + data + b"\n\n"
