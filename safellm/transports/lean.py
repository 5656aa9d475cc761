"""Transports of httpx and httpx2 that send the plain case of HTTP/1.1 over an idle connection themselves: see `http1`.

For clients that are ours only. Opening connections, TLS, proxies, HTTP/2, waiting for a free connection and whatever isn't plain
stay the library's. A connection is taken out of its pool's idle ones and given back to them in the states that the library itself
knows, under its lock, so both ways can be gone side by side. An answer that isn't plain goes to the library's parser with all
bytes that came of it. Who replaces a method of the library's transport or pool (mocks do) gets every request there.
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

_OF_POOLS: Final = ("_connections", "_requests", "_optional_thread_lock", "_max_keepalive_connections")


def use_lean(module: ModuleType, core: ModuleType, transport: Any) -> None:
    """Have a transport treat the plain case itself.

    Args:
        module: httpx or httpx2.
        core: The library under it, which the transport's pool is of.
        transport: It goes to no proxy; where it or its pool isn't made as we know them, it stays as it is.
    """
    kinds = _kinds(module, core)
    if kinds is not None and all(hasattr(transport._pool, name) for name in _OF_POOLS):
        for plain, lean in kinds:
            if type(transport) is plain:
                transport.__class__ = lean


@cache
def _kinds(module: ModuleType, core: ModuleType) -> tuple[tuple[type, type], ...] | None:
    """Return the module's transports and ours, for both worlds; None if it isn't made as we know it."""
    try:
        return _sync_kind(module, core), _async_kind(module, core)
    except (AttributeError, KeyError):
        return None


def _sync_kind(module: Any, core: Any) -> tuple[type, type]:  # noqa: C901 - a body and a transport, of classes that are a parameter
    parts = Parts(module, core, "_sync")
    parts.pooled, parts.link = core.HTTPConnection, core.HTTP11Connection
    own, pools = module.HTTPTransport.handle_request, core.ConnectionPool.handle_request
    if own.__globals__ is not parts.default.__dict__ or pools.__module__ != f"{core.__name__}._sync.connection_pool":
        raise AttributeError

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
            if self._closed:
                return
            self._closed = True
            reader, link, pool = self._reader, self._link, self._pool
            is_whole = reader is not None and reader.over and reader.clean
            if reader is None:
                link._response_closed()
            elif not is_whole:
                link.close()
            with pool._optional_thread_lock:
                if is_whole:
                    parts.give_back(link)
                    if not parts.is_waited_for(pool):
                        return
                closing = pool._assign_requests_to_connections()
            pool._close_connections(closing)

    class LeanTransport(module.HTTPTransport):  # type: ignore[misc]  # the module is a parameter
        """Sends the plain case itself."""

        def handle_request(self, request: Any) -> Any:
            pool = self._pool
            if (
                module.HTTPTransport.handle_request is not own
                or getattr(pool.handle_request, "__func__", None) is not pools
            ):
                return super().handle_request(request)
            head = parts.plain(request)
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
                link.close()
                (body or SyncBody(pool, link, request, None)).close()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

    return module.HTTPTransport, LeanTransport


def _async_kind(module: Any, core: Any) -> tuple[type, type]:  # noqa: C901 - the same
    parts = Parts(module, core, "_async")
    parts.pooled, parts.link = core.AsyncHTTPConnection, core.AsyncHTTP11Connection
    own, pools = module.AsyncHTTPTransport.handle_async_request, core.AsyncConnectionPool.handle_async_request
    shielded = sys.modules[f"{core.__name__}._synchronization"].AsyncShieldCancellation
    if own.__globals__ is not parts.default.__dict__ or pools.__module__ != f"{core.__name__}._async.connection_pool":
        raise AttributeError

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
                with shielded():
                    await self.aclose()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

        async def aclose(self) -> None:
            if self._closed:
                return
            self._closed = True
            reader, link, pool = self._reader, self._link, self._pool
            if reader is None:
                await link._response_closed()
            elif not (reader.over and reader.clean):
                await link.aclose()
            else:
                parts.give_back(link)
                if not parts.is_waited_for(pool):
                    return
            await pool._close_connections(pool._assign_requests_to_connections())

    class LeanAsyncTransport(module.AsyncHTTPTransport):  # type: ignore[misc]  # the module is a parameter
        """The same for an async client; its loop is one thread, so what has no `await` in it needs no lock."""

        async def handle_async_request(self, request: Any) -> Any:
            pool = self._pool
            is_own = getattr(pool.handle_async_request, "__func__", None) is pools
            if module.AsyncHTTPTransport.handle_async_request is not own or not is_own:
                return await super().handle_async_request(request)
            head = parts.plain(request)
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
                with shielded():
                    await link.aclose()
                    await (body or AsyncBody(pool, link, request, None)).aclose()
                if not isinstance(error, Exception):
                    raise
                with parts.default.map_httpcore_exceptions():
                    raise

    return module.AsyncHTTPTransport, LeanAsyncTransport
