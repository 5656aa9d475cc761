"""The parts of the shell for `urllib3`: what the program gets as its answers.

The exchange is driven by the shell of httpx, to which `safellm.auto.bridge` hands each request over. An answer is read over its own
connection and given back to its own pool; between them stand the guards.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from safellm.errors import Refused
from safellm.transports.also import also
from safellm.transports.deadline import CURRENT, remaining
from safellm.transports.urllib3_parts import PIECE, arriving, within

_PARAMETERS = inspect.signature(HTTPResponse).parameters  # they differ between releases
_HTTP_1_1 = 11  # as http.client says it


def seconds_left(timeout: Any) -> tuple[float, float]:
    """Return how long may be waited for a connection and for each read, cut to the time of the call.

    Args:
        timeout: `urllib3.Timeout`.
    """
    deadline = CURRENT.get()
    if deadline is None:  # a shell that keeps no time is none of ours
        raise RuntimeError
    return within(timeout, deadline.left())


@contextmanager
def in_time() -> Iterator[None]:
    """Tell the call's own limit as what it is, where the library's is reached because of it.

    Raises:
        Refused: the time of the call is up.
    """
    try:
        yield
    except (ReadTimeoutError, ConnectTimeoutError):
        remaining(None)
        raise


def is_unsent(error: Exception) -> bool:
    """Return whether an error says that there was no connection, or none with the right certificate: then nothing left."""
    if isinstance(error, SSLError):
        return any(isinstance(one, ssl.SSLCertVerificationError) for one in error.args)
    return isinstance(error, (NewConnectionError, ConnectTimeoutError, ProxyError))


def pieces_of(raw: HTTPResponse) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come, undecoded.

    Args:
        raw: The answer.

    Raises:
        Refused: the time of the call is up.
    """
    source: Iterator[bytes] | None = None
    while True:
        deadline = CURRENT.get()
        if source is None:
            if deadline is None:
                raise RuntimeError
            source = arriving(raw, deadline)
        with in_time():
            piece = next(source, None)
        if piece is None:
            return
        yield piece


def closing(raw: HTTPResponse, connection: Any) -> Callable[[], None]:
    """Return what ends an answer: a connection that still brings something is closed, and its place in the pool is free."""

    def close() -> None:
        if not raw.closed:
            raw.close()
            connection.close()
        raw.release_conn()

    return close


class Place:
    """Stands for a pool until an answer is there: where an error ends a request before, the pool takes its connection back itself.

    Args:
        pool: Of urllib3. Given back twice, a connection takes a place too many.
    """

    def __init__(self, pool: Any) -> None:
        self._of = pool
        self._back = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __str__(self) -> str:
        return str(self._of)

    def _put_conn(self, _: Any) -> None:
        self._back = True

    def settle(self, raw: HTTPResponse | None, connection: Any, *, refused: bool) -> None:
        """Let the pool itself stand there from now on, and give back what was given back or isn't needed.

        Args:
            raw: What the network brought.
            connection: What the answer has to give back; None where the pool does that itself.
            refused: The program won't get it.
        """
        if raw is not None:
            raw._pool = self._of  # noqa: SLF001 - where urllib3 keeps it
        if connection is None or not (self._back or refused):
            return
        if raw is not None and not self._back:
            connection.close()  # it still brings what nobody reads
        self._of._put_conn(connection)  # noqa: SLF001 - as `release_conn` does


def headers_for(pairs: list[tuple[str, str]]) -> HTTPHeaderDict:
    """Return headers as urllib3 takes them, each as often as it is there."""
    return HTTPHeaderDict(pairs)


def came(raw: HTTPResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer as they came."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in raw.headers.iteritems()]


def handed_on(raw: HTTPResponse | None, answer: Any, **named: Any) -> HTTPResponse:
    """Return the answer for the program.

    Args:
        raw: What the network brought; None for a refusal, and for an answer over a connection of ours.
        answer: Of httpx's family: head and body for the program.
        named: `preload_content`, `decode_content`, `enforce_content_length`, `retries`, `request_method`, `request_url`, `pool`.
    """
    return Guarded(raw, answer, **named)


class Guarded(HTTPResponse):
    """An answer whose body comes through the guards."""

    def __init__(self, raw: HTTPResponse | None, answer: Any, *, pool: Any, **named: Any) -> None:
        self._raw, self._of = raw, pool
        body = _Body(self, answer.stream)
        headers = HTTPHeaderDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers.raw
        )
        if raw is None:
            reason = "Refused" if answer.headers.get("x-safellm-reason") else _phrase(answer.status_code)
            head: dict[str, Any] = {"version": _HTTP_1_1, "version_string": "HTTP/1.1", "reason": reason}
        else:
            head = {
                "version": raw.version,
                "version_string": getattr(raw, "version_string", ""),
                "reason": raw.reason,
                "msg": raw.msg,
                "original_response": _Original(raw, body),
            }
        head = {name: value for name, value in head.items() if name in _PARAMETERS}
        super().__init__(body=body, headers=headers, status=answer.status_code, **head, **named)  # type: ignore[arg-type]  # read like a file
        self.chunked = raw.chunked if raw is not None else "content-length" not in self.headers  # pieces as they come

    @property
    def connection(self) -> Any:
        """What it comes over, while it does."""
        return None if self._raw is None else self._raw.connection

    def release_conn(self) -> None:
        """Give the connection back; what is not read by now is lost, so it is closed."""
        if (body := self.__dict__.get("_fp")) is not None and not body.closed:
            body.close()

    def supports_chunked_reads(self) -> bool:
        """Return that pieces can be had as they come."""
        return True

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]  # noqa: ARG002 - decoded already
        """Yield what is there, in pieces of at most `amt` bytes."""
        body: Any = self._fp
        while piece := body.read1(amt):
            yield piece

    def shutdown(self) -> None:
        """Stop a read that waits in another thread."""
        if self._raw is None:
            raise RuntimeError("Cannot shutdown as connection has already been released to the pool")
        self._raw.shutdown()

    def told(self, error: BaseException) -> BaseException:
        """Return an error of reading as this library's own."""
        if isinstance(error, Refused):
            return also(error, HTTPError)
        return native(error, self._of)


def native(error: BaseException, pool: Any) -> BaseException:
    """Return an error of a connection of ours as this library's own; others as they are."""
    if not type(error).__module__.startswith("httpx"):
        return error
    said = str(error) or type(error).__name__
    return ReadTimeoutError(pool, "", said) if "Timeout" in type(error).__name__ else ProtocolError(said)


def _phrase(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""


class _Body:
    """A guarded stream, read like the file of `http.client`."""

    def __init__(self, response: Guarded, stream: Any) -> None:
        self._told, self._stream, self._source = response.told, stream, iter(stream)
        self._rest = b""
        self._ended = self.closed = False

    def read(self, amt: int | None = None) -> bytes:
        """Return `amt` bytes, or all that is left."""
        pieces, size = [self._rest], len(self._rest)
        while amt is None or size < amt:
            piece = self._next()
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return self._cut(b"".join(pieces), amt)

    def read1(self, amt: int | None = None) -> bytes:
        """Return what is there, or waits for a piece."""
        return self._cut(self._rest or self._next(), PIECE if amt is None or amt < 0 else amt)

    def close(self) -> None:
        """Settle what was read, and end the connection's side."""
        if not self.closed:
            self.closed, self._rest = True, b""
            self._stream.close()

    def isclosed(self) -> bool:
        """Return whether nothing more will come."""
        return self.closed

    def flush(self) -> None:
        """Nothing: it is read only."""

    def _cut(self, data: bytes, size: int | None) -> bytes:
        out, self._rest = (data, b"") if size is None else (data[:size], data[size:])
        if self._ended and not self._rest:
            self.close()
        return out

    def _next(self) -> bytes:
        if self._ended or self.closed:
            return b""
        failed: BaseException
        try:
            piece = next(self._source, b"")
        except BaseException as error:
            self.close()
            failed = self._told(error)
            if failed is error:
                raise
        else:
            self._ended = not piece
            return piece
        raise failed


class _Original:
    """What `requests` finds cookies in, of the answer of `http.client`."""

    def __init__(self, raw: HTTPResponse, body: _Body) -> None:
        original: Any = raw._original_response  # noqa: SLF001 - where urllib3 keeps it
        self.msg = getattr(original, "msg", None)
        self._method = getattr(original, "_method", None)
        self.isclosed, self.close = body.isclosed, body.close
