"""Transports of httpx and httpx2 that send the plain case of HTTP/1.1 over an idle connection themselves: see `http1`.

For clients that are ours only. Opening connections, TLS, proxies, HTTP/2, waiting for a free connection and whatever isn't plain
stay the library's. A connection is taken out of its pool's idle ones and given back to them in the states that the library itself
knows, under its lock, so both ways can be gone side by side. An answer that isn't plain goes to the library's parser with all
bytes that came of it. Who replaces a method that requests go through in the library (mocks do) gets every request there.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final

from safellm.transports import http1
from safellm.transports.lean_parts import JOINED, NO_ANSWER, READ, Asked, Body, Parts

_OF_POOLS: Final = (
    "_connections", "_requests", "_optional_thread_lock", "_max_keepalive_connections",
    "_assign_requests_to_connections", "_close_connections",
)  # fmt: skip


def use_lean(module: ModuleType, core: ModuleType, transport: Any) -> None:
    """Have a transport treat the plain case itself.

    Args:
        module: httpx or httpx2.
        core: The library under it, which the transport's pool is of.
        transport: It goes to no proxy; where it or its pool isn't made as we know them, it stays as it is.
    """
    try:
        kinds = _kinds(module, core)
    except (AttributeError, KeyError, TypeError):
        return  # asked again for the next client: what was replaced may be put back
    pool = transport._pool
    if all(hasattr(pool, name) for name in _OF_POOLS):
        for plain, lean, pools in kinds:
            if type(transport) is plain and type(pool) is pools:
                transport.__class__ = lean


@cache
def _kinds(module: ModuleType, core: ModuleType) -> tuple[tuple[type, type, type], ...]:
    """Return the module's transports, ours, and the kinds of pools, for both worlds.

    Raises:
        AttributeError, KeyError, TypeError: it isn't made as we know it, or was changed.
    """
    return _sync_kind(module, core), _async_kind(module, core)


def _sync_kind(module: Any, core: Any) -> tuple[type, type, type]:  # noqa: C901 - a body and a transport, of classes that are a parameter
    parts = Parts(module, core, "")

    class SyncBody(Body, module.SyncByteStream):  # type: ignore[misc]  # the module is a parameter
        """The body of an answer, read as it is asked for."""

        _parts = parts

        def __iter__(self) -> Iterator[bytes]:
            data = self._first
            try:
                while (reader := self._reader) is not None:
                    if data:
                        yield from self._take(reader, data)
                        if self._reader is None:
                            break
                    if reader.over:
                        return
                    data = self._link._network_stream.read(READ, timeout=self._timeouts.get("read"))
                    if not data:
                        raise core.RemoteProtocolError(reader.broken())
                yield from self._link._receive_response_body(Asked(self._timeouts))
            except BaseException as error:
                self.close()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

        def close(self) -> None:
            pool = self._pool
            with pool._optional_thread_lock:  # or another thread takes what is half given back
                if self._closed:
                    return
                self._closed = True
                if not parts.give_back(self._link, self._reader):
                    self._link.close()
                elif not parts.is_waited_for(pool):
                    return
                closing = pool._assign_requests_to_connections()
            pool._close_connections(closing)

    class LeanTransport(module.HTTPTransport):  # type: ignore[misc]  # the module is a parameter
        """Sends the plain case itself."""

        def handle_request(self, request: Any) -> Any:
            pool = self._pool
            head = parts.plain(request) if parts.is_own(pool) else None
            if head is None:
                return super().handle_request(request)
            with pool._optional_thread_lock:
                link = parts.take(pool, request.url)
            if link is None:
                return super().handle_request(request)
            timeouts, stream, data = request.extensions.get("timeout", {}), link._network_stream, request.stream._stream
            body = None
            try:
                try:
                    if len(data) <= JOINED:
                        stream.write(head + data, timeout=timeouts.get("write"))
                    else:
                        stream.write(head, timeout=timeouts.get("write"))
                        stream.write(data, timeout=timeouts.get("write"))
                except core.WriteError:
                    pass  # as in the library: a server that hangs up early may have said why
                parts.sent(request)
                came = stream.read(READ, timeout=timeouts.get("read"))
                if not came:
                    raise core.RemoteProtocolError(NO_ANSWER)
                found = http1.answer_head(came)
                body = SyncBody(pool, link, request, found)
                if found is not None:
                    return parts.answer(link, found, body)
                parts.parse_it(link, came)
                return parts.parsed(link, link._receive_response_headers(request), body)
            except BaseException as error:
                (body or SyncBody(pool, link, request, None)).close()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

    return module.HTTPTransport, LeanTransport, core.ConnectionPool


def _async_kind(module: Any, core: Any) -> tuple[type, type, type]:  # noqa: C901 - the same
    parts = Parts(module, core, "Async")
    shielded = sys.modules[f"{core.__name__}._synchronization"].AsyncShieldCancellation

    class AsyncBody(Body, module.AsyncByteStream):  # type: ignore[misc]  # the module is a parameter
        """The same for an async client."""

        _parts = parts

        async def __aiter__(self) -> AsyncIterator[bytes]:
            data = self._first
            try:
                while (reader := self._reader) is not None:
                    if data:
                        for piece in self._take(reader, data):
                            yield piece
                        if self._reader is None:
                            break
                    if reader.over:
                        return
                    data = await self._link._network_stream.read(READ, timeout=self._timeouts.get("read"))
                    if not data:
                        raise core.RemoteProtocolError(reader.broken())
                async for piece in self._link._receive_response_body(Asked(self._timeouts)):
                    yield piece
            except BaseException as error:
                await self.aclose()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

        async def aclose(self) -> None:
            if self._closed:
                return
            self._closed = True
            pool = self._pool
            is_back = parts.give_back(self._link, self._reader)
            if is_back and not parts.is_waited_for(pool):
                return
            try:
                if not is_back:
                    with shielded():
                        await self._link.aclose()
            finally:  # who is cancelled here mustn't keep others waiting
                await pool._close_connections(pool._assign_requests_to_connections())

    class LeanAsyncTransport(module.AsyncHTTPTransport):  # type: ignore[misc]  # the module is a parameter
        """The same for an async client; its loop is one thread, so what has no `await` in it needs no lock."""

        async def handle_async_request(self, request: Any) -> Any:
            pool = self._pool
            head = parts.plain(request) if parts.is_own(pool) else None
            link = None if head is None else parts.take(pool, request.url)
            if head is None or link is None:
                return await super().handle_async_request(request)
            timeouts, stream, data = request.extensions.get("timeout", {}), link._network_stream, request.stream._stream
            body = None
            try:
                try:
                    if len(data) <= JOINED:
                        await stream.write(head + data, timeout=timeouts.get("write"))
                    else:
                        await stream.write(head, timeout=timeouts.get("write"))
                        await stream.write(data, timeout=timeouts.get("write"))
                except core.WriteError:
                    pass  # as above
                parts.sent(request)
                came = await stream.read(READ, timeout=timeouts.get("read"))
                if not came:
                    raise core.RemoteProtocolError(NO_ANSWER)
                found = http1.answer_head(came)
                body = AsyncBody(pool, link, request, found)
                if found is not None:
                    return parts.answer(link, found, body)
                parts.parse_it(link, came)
                return parts.parsed(link, await link._receive_response_headers(request), body)
            except BaseException as error:
                await (body or AsyncBody(pool, link, request, None)).aclose()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

    return module.AsyncHTTPTransport, LeanAsyncTransport, core.AsyncConnectionPool
