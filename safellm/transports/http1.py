"""The plain case of HTTP/1.1, sans-IO: a request with a known body, an answer with a length or in chunks (RFC 9112).

It is what nearly every call of an SDK is, and takes a fraction of the work of a whole parser. Everything that isn't said here in
the strictest form is left to `h11`, which the HTTP library uses: what this module takes, `h11` takes too, with the same result.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes, bytes]]  # name, name in lower case, value

_TOKEN: Final = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_LINE: Final = _TOKEN + rb": (?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?\r\n"  # one space, ASCII only
_REQUEST = re.compile(rb"(?:GET|POST) [\x21-\x7e]+ HTTP/1\.1\r\n(?:" + _LINE + rb")+\r\n")
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([\x20-\x7e]*))?\r\n((?:" + _LINE + rb")+)\r\n")
_LENGTH = re.compile(rb"[1-9][0-9]{0,14}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
SAID_CHUNKED: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"  # to a parser that goes on with chunks
_BODILESS: Final = frozenset({b"204", b"304"})  # whatever length they name (RFC 9112 6.3)
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_LINE_END: Final = -1  # comes next, behind a chunk
_NO_CHUNK: Final = -2  # is open
_LONGEST_LINE: Final = 9  # bytes that the head of a chunk has here


def request_head(method: bytes, target: bytes, headers: Headers, length: int) -> bytes | None:
    """Return the bytes before a request's body, or None where it isn't a plain one.

    Args:
        method: In capitals.
        target: Path and query.
        headers: As they are to be sent, `Host` first.
        length: Bytes of the body.
    """
    names = [lower for _, lower, _ in headers]
    if not names or names[0] != b"host" or names.count(b"host") > 1 or not _UNUSUAL.isdisjoint(names):
        return None
    if not _stays_open(names, headers):
        return None
    lengths = names.count(b"content-length")
    if lengths != 1:
        if lengths or length:
            return None
    elif headers[names.index(b"content-length")][2] != b"%d" % length:
        return None
    lines = b"".join([b"%s: %s\r\n" % (name, value) for name, _, value in headers])
    head = b"%s %s HTTP/1.1\r\n%s\r\n" % (method, target, lines)
    # A line break inside of a name or a value would make one header into two.
    return head if lines.count(b"\n") == len(headers) and _REQUEST.fullmatch(head) else None


def _stays_open(names: list[bytes], headers: Headers) -> bool:
    """Return whether the only word about the connection, if there is one, is that it stays."""
    said = names.count(b"connection")
    return said == 0 or (said == 1 and headers[names.index(b"connection")][2].lower() == b"keep-alive")


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of an answer.

    Attributes:
        headers: Names as they came.
        length: Bytes of the body; None: it comes in chunks.
        rest: What came behind the head.
    """

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    rest: bytes


def answer_head(data: bytes) -> AnswerHead | None:
    """Return the head that these bytes begin with, or None where it isn't whole or isn't a plain one.

    Args:
        data: What the connection brought since the request was sent.
    """
    found = _ANSWER.match(data)
    if found is None:
        return None
    status, reason, lines = found.groups()
    headers = [
        (name, name.lower(), value) for name, _, value in [line.partition(b": ") for line in lines[:-2].split(b"\r\n")]
    ]
    names = [lower for _, lower, _ in headers]
    if not _stays_open(names, headers):
        return None
    sized, chunked = names.count(b"content-length"), names.count(b"transfer-encoding")
    if sized + chunked != 1 or status in _BODILESS:
        return None
    framing = headers[names.index(b"content-length" if sized else b"transfer-encoding")][2]
    if (chunked and framing != b"chunked") or (sized and _LENGTH.fullmatch(framing) is None):
        return None
    length = int(framing) if sized else None
    return AnswerHead(int(status), reason or b"", headers, length, data[found.end() :])


class Sized:
    """A body of known length.

    Attributes:
        over: All of it came.
        clean: Nothing came behind it.
    """

    __slots__ = ("_expected", "clean", "left", "over")

    rest: ClassVar[None] = None

    def __init__(self, length: int) -> None:
        self._expected = self.left = length
        self.over = False
        self.clean = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the pieces of the body in these bytes."""
        if len(data) > self.left:
            data, self.clean = data[: self.left], False
        self.left -= len(data)
        self.over = self.left == 0
        if data:
            yield data

    def broken(self) -> str:
        """Return what is said when the connection ends too early; in the words of `h11`."""
        came = self._expected - self.left
        return (
            "peer closed connection without sending complete message body "
            f"(received {came} bytes, expected {self._expected})"
        )


class Chunked:
    """A body in chunks without extensions, and without trailers (RFC 9112 7.1).

    Attributes:
        over: The last chunk came.
        clean: Nothing came behind it.
        rest: What only a whole parser can read, from the head of a chunk on; None: there is nothing like that.
    """

    __slots__ = ("_buffer", "_left", "clean", "over", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = _NO_CHUNK  # bytes of the open chunk that are to come, or one of those below zero
        self.over = False
        self.clean = True
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the pieces of the body in these bytes, each when it is asked for: the first waits for no other.

        Raises:
            ValueError: a chunk doesn't end where its head says.
        """
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        at = 0
        if self._left > 0 and (piece := data[: self._left]):
            at = len(piece)
            self._left = self._left - at or _LINE_END
            yield piece
        if self._left != _NO_CHUNK:
            if self._left > 0 or not self._passes(data, at):
                return
            at, self._left = at + 2, _NO_CHUNK
        yield from self._from_a_head(data, at)

    def _from_a_head(self, data: bytes, at: int) -> Iterator[bytes]:
        """Do so from a place on where a chunk begins."""
        begins_chunk = _CHUNK.match
        while True:
            found = begins_chunk(data, at)
            size = 0 if found is None else int(found[1], 16)
            if found is None or size == 0:
                self._unusual(data, at, found)
                return
            begins = found.end()
            ends = begins + size
            if data[ends : ends + 2] == b"\r\n":
                at = ends + 2
                yield data[begins:ends]
                continue
            piece = data[begins:ends]
            self._left = size - len(piece) or _LINE_END
            if piece:
                yield piece
            if self._left == _LINE_END:
                self._passes(data, ends)
            return

    def _passes(self, data: bytes, at: int) -> bool:
        """Return whether a line end stands here; False if that is still to come."""
        ending = data[at : at + 2]
        if not b"\r\n".startswith(ending):
            raise ValueError
        if len(ending) == len(b"\r\n"):
            return True
        self._buffer = ending
        return False

    def _unusual(self, data: bytes, at: int, found: re.Match[bytes] | None) -> None:
        """Read what is no whole head of a chunk, or the last one."""
        rest = data[at : at + _LONGEST_LINE]
        if found is None:
            if len(rest) == _LONGEST_LINE or b"\n" in rest or b";" in rest:
                self.rest = data[at:]
            else:
                self._buffer = rest
            return
        ending = data[found.end() : found.end() + 2]
        if not b"\r\n".startswith(ending):
            self.rest = data[at:]  # trailers
        elif len(ending) < len(b"\r\n"):
            self._buffer = data[at:]
        else:
            self.over, self.clean = True, found.end() + 2 == len(data)

    def broken(self) -> str:
        """Return what is said when the connection ends too early; in the words of `h11`."""
        return "peer closed connection without sending complete message body (incomplete chunked read)"
