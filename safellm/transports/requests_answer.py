"""What came of a plain request over a connection of `urllib3`: its head, and its body as it is read. See `requests_lean`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Iterator
from typing import Any, Final

from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from urllib3._collections import HTTPHeaderDict
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError, SSLError

from safellm.transports import http1
from safellm.transports.deadline import Deadline
from safellm.transports.urllib3_parts import arriving

READ: Final = 65_536  # bytes that are asked for at once
_COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})


class Answer:
    """A plain answer: those parts of a response of `requests` that the guard's own is made of.

    Attributes:
        pairs: Headers, each name once.
    """

    __slots__ = ("cookies", "pairs", "raw", "reason", "request", "status_code", "url")

    def __init__(self, pool: Any, link: Any, request: Any, head: http1.AnswerHead, wait: float) -> None:
        self.status_code, self.reason = head.status, head.reason.decode("latin-1")
        self.url, self.request = request.url, request
        self.raw = _Raw(pool, link, head, wait)
        pairs = self.raw.pairs
        once = len({lower for _, lower, _ in head.headers}) == len(pairs)
        self.pairs = tuple(pairs) if once else tuple((name, self.raw.headers[name]) for name in self.raw.headers)
        self.cookies = RequestsCookieJar()
        extract_cookies_to_jar(self.cookies, request, self.raw)

    def arriving(self, deadline: Deadline) -> Iterator[bytes]:
        """Yield the bytes of the body as they arrive; no read waits longer than the time of the call."""
        return self.raw.arriving(deadline)

    def close(self) -> None:
        """Give the connection back; closed, if there is more of this answer on it."""
        self.raw.close()


class _Raw:
    """The body of an answer, read from its connection."""

    __slots__ = (
        "_first",
        "_length",
        "_links",
        "_original_response",
        "_pool",
        "_reader",
        "_rest",
        "_sock",
        "_wait",
        "pairs",
    )
    version = 11

    def __init__(self, pool: Any, link: Any, head: http1.AnswerHead, wait: float) -> None:
        self._rest: Any = None  # what the library reads, of an answer that turned out not to be plain
        self._pool, self._wait, self._first = pool, wait, head.rest
        # Taken by the one who gives it back: another thread may close what this one reads. From then on the connection is
        # somebody else's, and may have another socket.
        self._links, self._sock = [link], link.sock
        self._reader: Any = http1.Chunked() if head.length is None else http1.Sized(head.length)
        self._length = head.length
        self.pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, _, value in head.headers]
        said = any(lower in _COOKIES for _, lower, _ in head.headers)
        self._original_response = _Said(self.pairs) if said else None  # where `requests` finds cookies

    @property
    def headers(self) -> HTTPHeaderDict:
        """The headers, as `urllib3` has them."""
        return HTTPHeaderDict(self.pairs)

    def arriving(self, deadline: Deadline) -> Iterator[bytes]:
        """Yield the body."""
        reader, data = self._reader, self._first
        try:
            while True:
                if data:
                    yield from reader.feed(data)
                    if reader.rest is not None:
                        break
                if reader.over:
                    self._release(closing=not reader.clean)
                    return
                self._sock.settimeout(min(self._wait, deadline.left()))
                data = self._sock.recv(READ)
                if not data:
                    self._broken()
            self._rest = self._parsed(http1.SAID_CHUNKED + reader.rest)
            yield from arriving(self._rest, deadline)
        except BaseException as error:
            self.close()
            named = _named(error, self._pool)
            if named is error:
                raise
            raise named from error

    def close(self) -> None:
        """Give the connection back; closed, if there is more of this answer on it."""
        if self._rest is not None:
            self._rest.close()
            self._rest.release_conn()
        self._release(closing=True)

    def __del__(self) -> None:
        self.close()  # dropped without being closed, as the library's own does it

    def _parsed(self, came: bytes) -> Any:
        """Return what the library reads from here on; it gives the connection back."""
        try:
            link = self._links.pop()
        except IndexError:
            raise ProtocolError("The answer was closed before its end") from None
        try:
            return parsed(self._pool, link, None, Replayed(self._sock, came), self._wait)
        except BaseException:
            self._links.append(link)
            raise

    def _release(self, *, closing: bool) -> None:
        try:
            link = self._links.pop()
        except IndexError:
            return
        if closing:
            link.close()
        self._pool._put_conn(link)

    def _broken(self) -> None:
        if self._length is not None:
            left = self._reader.left
            raise IncompleteRead(self._length - left, left)
        raise ProtocolError("Response ended prematurely")


class _Said:
    """What `requests` asks of the library's answer for cookies."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.msg = http.client.HTTPMessage()
        for name, value in pairs:
            self.msg[name] = value

    def isclosed(self) -> bool:
        """Return that nothing is read from here."""
        return True


class Replayed:
    """A socket whose bytes begin with some that were read from it already, and to which a request was sent already."""

    def __init__(self, sock: Any, came: bytes) -> None:
        self.below, self._came = sock, came

    def sendall(self, data: Any) -> None:
        """Send nothing: it was sent."""

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - the library reads bytes
        """Return what the library reads an answer from."""
        return io.BufferedReader(_Behind(self._came, self.below.makefile("rb", buffering=0)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


class _Behind(io.RawIOBase):
    def __init__(self, first: bytes, below: Any) -> None:
        self._first, self._below = first, below

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        if not self._first:
            return self._below.readinto(into)  # type: ignore[no-any-return]  # of a socket
        piece, self._first = self._first[: len(into)], self._first[len(into) :]
        into[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._below.close()


def parsed(pool: Any, link: Any, request: Any, sock: Replayed, wait: float) -> Any:
    """Return the answer as the library reads it.

    Args:
        pool: Where the connection belongs to.
        link: The connection, over which a request was sent.
        request: That request; None: one that has an answer with a body.
        sock: The connection's, with the bytes that came.
        wait: For each read, in seconds.

    Raises:
        ReadTimeoutError: it didn't come in time.
    """
    method, path = ("POST", "/") if request is None else (request.method, request.path_url)
    link.sock, link.timeout = sock, wait
    try:
        link.request(method, path, preload_content=False, decode_content=False)
        response = link.getresponse()
    except TimeoutError as error:
        raise ReadTimeoutError(pool, path, f"Read timed out. (read timeout={wait})") from error
    finally:
        if link.sock is sock:
            link.sock = sock.below
    response._connection, response._pool = link, pool
    return response


def _named(error: BaseException, pool: Any) -> BaseException:
    """Return an error as the library names it while it reads a body."""
    if isinstance(error, TimeoutError):
        return ReadTimeoutError(pool, None, "Read timed out.")
    if isinstance(error, ssl.SSLError):
        return SSLError(error)
    if isinstance(error, ValueError):
        return ProtocolError("malformed chunk footer")
    if isinstance(error, (IncompleteRead, http.client.HTTPException, OSError)):
        return ProtocolError(f"Connection broken: {error!r}", error)
    return error
