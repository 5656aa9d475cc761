"""The parts of the shell for `aiohttp`: its requests read and sent, and what the program gets as its answers.

The exchange is driven by the shell of httpx, to which `safellm.auto.bridge` hands each request over. An answer stays what the
library's parser made; its body is read through the guards when the program asks for more, and not before.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import copy
import inspect
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ServerTimeoutError,
    hdrs,
)
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ConnectionTimeoutError
from aiohttp.http import HttpVersion11
from aiohttp.payload import BytesIOPayload, BytesPayload
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from safellm.errors import Refused
from safellm.transports.also import also

_LIMIT = 2**16  # bytes; a session's own default
_PARAMETERS = inspect.signature(ClientResponse).parameters  # they differ between releases
_LENGTH = ("content-length", "transfer-encoding", "content-encoding")


def is_unsent(error: Exception) -> bool:
    """Return whether an error says that there was no connection: then not a byte of the request left."""
    return isinstance(error, (ClientConnectorError, ConnectionTimeoutError))


class _Memory(AbstractStreamWriter):
    """Takes what a payload writes, whatever kind it is of."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Keep a piece."""
        self.pieces.append(bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Keep the last piece."""
        self.pieces.append(chunk)

    async def drain(self) -> None:
        """Nothing waits."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Nothing is compressed here."""

    def enable_chunking(self) -> None:
        """Nothing is cut here."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """A body has none."""


async def read_body(request: Any) -> bytes:
    """Return all of a request's body, uncompressed, and keep it for the library, which sends it again after a redirect.

    Args:
        request: `aiohttp.ClientRequest`.
    """
    body = request._body  # noqa: SLF001 - `body` says b"" where there is none
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    memory = _Memory()
    await body.write(memory)
    content = b"".join(memory.pieces)
    if not isinstance(body, BytesPayload):
        request._body = _payload(content)  # noqa: SLF001 - as `update_body` does, without changing the headers
        await body.close()
    return content


def _payload(content: bytes) -> BytesIOPayload:
    return BytesIOPayload(io.BytesIO(content))  # of bytes it would say that they are many


def pairs_of(request: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers that a request will have; a body that the library would compress is sent as it is."""
    dropped = _LENGTH if request.compress else _LENGTH[:2]
    return [
        (name.encode("latin-1"), value.encode("utf-8", "surrogateescape"))
        for name, value in request.headers.items()
        if name.lower() not in dropped
    ]


def _outgoing(request: Any, headers: list[tuple[str, str]], body: bytes, *, traced: bool) -> Any:
    """Return the request that is sent: a copy, for the program keeps the other one.

    Args:
        request: `aiohttp.ClientRequest`.
        headers: All that it has.
        body: All of it.
        traced: Whether the program's traces may see it; they see headers, and so a managed key (THREATS K.4).
    """
    sent = copy.copy(request)
    sent.headers = CIMultiDict(headers)
    sent.headers[hdrs.HOST] = request.headers[hdrs.HOST]
    sent.compress = sent.chunked = None
    sent._body = _payload(body) if body else None  # noqa: SLF001 - see `read_body`
    if body or request.method not in request.GET_METHODS:
        sent.headers[hdrs.CONTENT_LENGTH] = str(len(body))
    if not traced:
        sent._traces = []  # noqa: SLF001 - as its maker sets it
    return sent


async def send_on(request: Any, handler: Any, headers: list[tuple[str, str]], body: bytes) -> Any:
    """Return the answer to a request that the guards have let pass.

    Args:
        request: `aiohttp.ClientRequest`, the program's; a copy of it is sent.
        handler: What sends one.
        headers: All but `Host` and the length.
        body: All of it.

    Raises:
        ClientError: as the library does; of what was sent, which may hold a managed key, nothing is in it (K.4).
    """
    same = all(request.headers.get(name) == value for name, value in headers if name.lower() != "accept-encoding")
    failed: ClientResponseError
    try:
        return await handler(_outgoing(request, headers, body, traced=same))
    except ClientResponseError as error:
        failed = error
    failed.request_info = request.request_info
    failed.args = (request.request_info, *failed.args[1:])
    raise failed


def came(response: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer as they came."""
    return [(bytes(name), bytes(value)) for name, value in response.raw_headers]


async def _arriving(content: StreamReader, seconds: float | None) -> AsyncIterator[bytes]:
    """Yield the bytes of an answer as they come.

    Args:
        content: Of the answer as it came.
        seconds: How long is waited for the next of them.
    """
    while True:
        try:
            async with asyncio.timeout(seconds) as limit:
                piece = await content.readany()
        except TimeoutError:
            if not limit.expired():
                raise
            raise ServerTimeoutError(f"Nothing came for {seconds} seconds") from None
        if not piece:
            return
        yield piece


def pieces(response: Any, seconds: float | None) -> tuple[AsyncIterator[bytes], Callable[[], Awaitable[None]]]:
    """Return the bytes of an answer as they come, and what ends it early.

    Args:
        response: `aiohttp.ClientResponse`, as it came.
        seconds: How long is waited for the next of them.
    """

    async def close() -> None:
        if not response.closed:
            response.close()

    return _arriving(response.content, seconds), close


def handed_on(response: Any, request: Any, answer: Any) -> Any:
    """Return an answer of the network with the guarded body in it.

    Args:
        response: `aiohttp.ClientResponse`, changed in place.
        request: The program's.
        answer: Of httpx's family: head and body for the program.
    """
    limit = response.content.get_read_buffer_limits()[0] if hasattr(response.content, "_low_water") else _LIMIT
    chunked = "chunked" in response.headers.get(hdrs.TRANSFER_ENCODING, "").lower()
    response._request_info = request.request_info  # noqa: SLF001 - not the copy's, which may hold a managed key (K.4)
    response._traces = request._traces  # noqa: SLF001 - from here on they see what the program sees
    return _filled(response, answer, Guarded(request.loop, answer.stream, limit=limit, chunked=chunked))


def made(request: Any, answer: Any, until: float | None) -> Any:
    """Return an answer that came from no connection of the library: a refusal, or one over a connection of ours.

    Args:
        request: The program's.
        answer: Of httpx's family: head and body for the program.
        until: When it has to be read, by the clock of the loop. The library stops its own clock where it has no connection.
    """
    parts: dict[str, Any] = {
        "writer": None,
        "continue100": None,
        "timer": request._timer,  # noqa: SLF001 - what `send` gives it
        "request_info": request.request_info,
        "traces": request._traces,  # noqa: SLF001
        "loop": request.loop,
        "session": request._session,  # noqa: SLF001
    }
    if "stream_writer" in _PARAMETERS:
        parts["stream_writer"] = SimpleNamespace(output_size=0)
    response = request.response_class(request.method, request.original_url, **parts)
    response.version, response.status = HttpVersion11, answer.status_code
    response.reason = "Refused" if answer.headers.get("x-safellm-reason") else _phrase(answer.status_code)
    guarded = Guarded(request.loop, answer.stream, limit=_LIMIT, until=until)
    return _filled(response, answer, guarded)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _filled(response: Any, answer: Any, content: Guarded) -> Any:
    raw = tuple((name, value) for name, value in answer.headers.raw)
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw]
    response._headers = CIMultiDictProxy(CIMultiDict(pairs))  # noqa: SLF001 - where `start` puts them
    response._raw_headers = raw  # noqa: SLF001
    response._cache.clear()  # noqa: SLF001 - what was computed from the others
    response.content = content
    settling: Any = _settling
    response.__class__ = settling(type(response))
    return response


def native(error: BaseException) -> BaseException:
    """Return an error of a connection of ours as this library's own; others as they are."""
    if not type(error).__module__.startswith("httpx"):
        return error
    kind = ServerTimeoutError if "Timeout" in type(error).__name__ else ClientConnectionError
    return kind(str(error) or type(error).__name__)


@cache
def _settling(base: Any) -> Any:
    async def wait_for_close(self: Any) -> None:
        """Wait until the connection is free and, where the answer was left early, until that is settled and recorded."""
        await base.wait_for_close(self)
        if isinstance(self.content, Guarded):
            await self.content.settled()

    return type(base.__name__, (base,), {"wait_for_close": wait_for_close, "__module__": base.__module__})


class Guarded(StreamReader):
    """An answer's body: each piece is taken from the guards when a reader waits for it.

    Args:
        loop: The event loop.
        stream: Of httpx's family.
        limit: As of the reader in whose place it stands.
        chunked: Whether pieces are told as chunks of HTTP.
        until: When it has to be read, by the clock of the loop.
    """

    __slots__ = ("_chunked", "_ending", "_over", "_puller", "_pulling", "_read", "_source", "_stream", "_until")

    def __init__(
        self, loop: Any, stream: Any, *, limit: int, chunked: bool = False, until: float | None = None
    ) -> None:
        super().__init__(BaseProtocol(loop), limit, loop=loop)
        self._stream, self._source, self._chunked, self._until = stream, aiter(stream), chunked, until
        self._over = self._read = False
        self._pulling: asyncio.Task[None] | None = None  # the last one, done or not
        self._puller: object = None  # while it is at work
        self._ending: asyncio.Task[None] | None = None
        if chunked:
            self.begin_http_chunk_receiving()

    async def _wait(self, func_name: str) -> None:
        """Have the next piece fed. A reader that gives up loses nothing: the piece is there for the next one."""
        if self._read:
            raise RuntimeError(f"{func_name}() called while another coroutine is already waiting for incoming data")
        if self._pulling is None or self._pulling.done():
            self._pulling = self._loop.create_task(self._pull())
            self._pulling.add_done_callback(_seen)
        self._read = True
        try:
            await asyncio.shield(self._pulling)
        finally:
            self._read = False

    async def _pull(self) -> None:
        failed: BaseException
        self._puller = asyncio.current_task()
        try:
            if self._until is None:
                piece = await self._next()
            else:
                async with asyncio.timeout_at(self._until):
                    piece = await self._next()
        except Refused as error:
            failed = also(error, ClientPayloadError)
        except BaseException as error:  # noqa: BLE001 - told to who reads
            failed = native(error)
        else:
            self._fed(piece)
            return
        finally:
            self._puller = None
        self._over = True
        if self._exception is None:
            super().set_exception(failed)
        else:
            failed = self._exception  # closed meanwhile
        raise failed

    async def _next(self) -> bytes | None:
        async for piece in self._source:
            return bytes(piece)
        await self._stream.aclose()
        return None

    def _fed(self, piece: bytes | None) -> None:
        if piece is None:
            self._over = True
            self.feed_eof()
            return
        self.feed_data(piece)
        if self._chunked:
            self.end_http_chunk_receiving()

    async def wait_eof(self) -> None:
        """Read to the end, and keep it."""
        while not self._eof:
            await self._wait("wait_eof")

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """End it: the response was closed or released, or its connection is gone."""
        try:
            if self._puller is not None and asyncio.current_task() is self._puller:
                return  # the guard closes it, and says why
        except RuntimeError:  # no loop runs here
            pass
        super().set_exception(exc, *cause)
        if self._over:
            return
        self._over = True
        if not self._loop.is_closed():
            self._ending = self._loop.create_task(self._end(self._pulling))

    async def _end(self, pulling: asyncio.Task[None] | None) -> None:
        if pulling is not None and not pulling.done():
            pulling.cancel()
            await asyncio.wait([pulling])
        await self._stream.aclose()

    async def settled(self) -> None:
        """Wait until an answer that was left early is settled and recorded."""
        if self._ending is not None:
            await asyncio.shield(self._ending)


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended: whoever reads next gets the error from the reader."""
    if not task.cancelled():
        task.exception()
