"""The way from the broker to a provider: HTTP/1.1 over the secured pool's own connections, without the pool's bookkeeping.

Which addresses, authorities and TLS versions count is decided where it always is: the network backend and the TLS context of a
pool that `secure_client` has secured open every connection. What is left out is what a broker's call doesn't need and pays for
each time: queues, locks, cancel scopes and a second parser around one request and one answer. `h11` reads.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from collections import deque
from functools import cache
from types import ModuleType
from typing import Any

import h11

from safellm._core.origin import Origin

_PIECE = 65_536  # bytes read at once
_IDLE_S = 30.0  # a connection that waits longer is not used again: servers close theirs after 60 s and more
_MOST_IDLE = 200
_HEAD_BYTES = 128 * 1024
_SWITCHING = 101


def direct_transport(module: ModuleType, pool: Any, origin: Origin) -> Any:
    """Return an async transport of httpx or httpx2 that sends to one origin.

    Args:
        module: httpx or httpx2.
        pool: A secured connection pool of that module's core; it only opens connections.
        origin: Where every request goes.
    """
    return _transport(module)(pool, origin)


class _Line:
    """One connection."""

    __slots__ = ("http", "idle_since", "stream")

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self.idle_since = 0.0

    def is_usable(self, now_s: float) -> bool:
        """Return whether the server still waits: it says nothing unasked, unless it closes."""
        return now_s - self.idle_since < _IDLE_S and not self.stream.get_extra_info("is_readable")

    async def send(self, request: Any, body: bytes, timeout_s: float | None) -> None:
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"transfer-encoding"]
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
        parts = [self.http.send(head), self.http.send(h11.Data(data=body)) if body else b""]
        parts.append(self.http.send(h11.EndOfMessage()))
        await self.stream.write(b"".join([part or b"" for part in parts]), timeout_s)

    async def next(self, timeout_s: float | None) -> Any:
        """Return the next event of the answer."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            data = await self.stream.read(_PIECE, timeout_s)
            if not data and self.http.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("the server closed the connection without an answer")
            self.http.receive_data(data)
        return event

    def is_over(self) -> bool:
        """Return whether both sides said everything, and the connection may be used again."""
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE


@cache
def _transport(module: ModuleType) -> type:  # noqa: C901 - a transport and the stream of its answers, made together
    def told(error: Exception) -> Exception:
        """Return an error of the core, or of the parser, as the module names it."""
        kind = getattr(module, type(error).__name__, module.TransportError)
        made: Exception = kind(str(error))
        return made

    class Body(module.AsyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """An answer's bytes; the connection waits for the next request when they are over."""

        def __init__(self, transport: Any, line: _Line, timeout_s: float | None) -> None:
            self._transport, self._line, self._timeout_s = transport, line, timeout_s
            self._is_over = False

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            if self._is_over:
                raise StopAsyncIteration
            failed: Exception | None = None
            try:
                event = await self._line.next(self._timeout_s)
                if type(event) is h11.Data:
                    return bytes(event.data)
            except self._transport.errors as error:
                failed = error
            await self.aclose()
            if failed is not None:
                raise told(failed) from None
            raise StopAsyncIteration

        async def aclose(self) -> None:
            if not self._is_over:
                self._is_over = True
                await self._transport.give_back(self._line)

    class DirectTransport(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Sends to one origin."""

        def __init__(self, pool: Any, origin: Origin) -> None:
            core = sys.modules[type(pool).__module__.partition(".")[0]]
            self.errors = (core.NetworkError, core.TimeoutException, core.ProtocolError, h11.ProtocolError)
            self._write_error = core.WriteError
            self._pool, self._origin = pool, origin
            self._idle: deque[_Line] = deque()

        async def handle_async_request(self, request: Any) -> Any:
            timeouts = request.extensions.get("timeout") or {}
            read_s = timeouts.get("read")
            body = await request.aread()
            line: _Line | None = None
            is_answered = False
            try:
                line = await self._line(timeouts)
                try:
                    await line.send(request, body, timeouts.get("write"))
                except self._write_error:
                    pass  # a server that has read enough may have answered: what it said is read below
                event = await line.next(read_s)
                while type(event) is h11.InformationalResponse and event.status_code != _SWITCHING:
                    event = await line.next(read_s)
                if type(event) is not h11.Response:
                    raise h11.RemoteProtocolError("this is no answer")
                is_answered = True
            except self.errors as error:
                raise told(error) from None
            finally:
                if line is not None and not is_answered:
                    await line.stream.aclose()
            return module.Response(
                event.status_code,
                headers=event.headers.raw_items(),
                stream=Body(self, line, read_s),
                extensions={"http_version": b"HTTP/" + event.http_version, "reason_phrase": event.reason},
            )

        async def give_back(self, line: _Line) -> None:
            """Keep a connection for the next request, or close it."""
            if not line.is_over() or len(self._idle) >= _MOST_IDLE:
                await line.stream.aclose()
                return
            line.http.start_next_cycle()
            line.idle_since = time.monotonic()
            self._idle.append(line)

        async def aclose(self) -> None:
            while self._idle:
                await self._idle.pop().stream.aclose()

        async def _line(self, timeouts: Any) -> _Line:
            now_s = time.monotonic()
            while self._idle:
                line = self._idle.pop()  # the one that was used last: the others may age and end
                if line.is_usable(now_s):
                    return line
                await line.stream.aclose()
            origin, connect_s = self._origin, timeouts.get("connect")
            stream = await self._pool._network_backend.connect_tcp(origin.host, origin.port, connect_s)  # noqa: SLF001
            if origin.scheme == "https":
                context = self._pool._ssl_context  # noqa: SLF001 - `secure_client` put it there
                context.set_alpn_protocols(["http/1.1"])
                stream = await stream.start_tls(context, origin.host, connect_s)
            return _Line(stream)

    return DirectTransport
