"""The shells for `httpx` and `httpx2`, sync and async: one source, made once for each module.

They read the request, run the exchange, send what it forwards, and hand on what it answers. Ledger and trail calls block, so
the async shell makes them in a worker thread; the work for each chunk runs inline.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from safellm._core.adapter import Adapter
from safellm._core.call import RequestHead
from safellm._core.effects import Forward, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm._core.origin import make_origin
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.transports.driver import Driver

REFUSAL = "safellm.refused"  # key in a response's extensions; they come from transports, never from the wire
_FAMILIES = ("httpx2", "httpx")
# Errors of both modules after which not a byte of the request can have left.
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError")


def guard_client(client: Any, driver: Driver) -> Any:
    """Return an HTTP client all of whose transports and mounts are guarded.

    Args:
        client: A sync or async client of httpx or httpx2. It is changed in place; copy it first if it is not yours.
        driver: What guards.

    Raises:
        ConfigurationError: the client is of another family.
    """
    shells = _shells(_family(client))
    wrap = shells["async"] if hasattr(client, "aclose") else shells["sync"]
    client._transport = _wrapped(client._transport, wrap, driver)
    for pattern, transport in client._mounts.items():
        client._mounts[pattern] = None if transport is None else _wrapped(transport, wrap, driver)
    return client


def guard_of(client: Any) -> Driver | None:
    """Return the driver of a client that is guarded already, else None."""
    driver = getattr(getattr(client, "_transport", None), "safellm_driver", None)
    return driver if isinstance(driver, Driver) else None


def own_copy(client: Any) -> Any:
    """Return a shallow copy of a caller's client, so that guarding it changes nothing for its other users.

    Connection pool, cookies and hooks are shared with the original.
    """
    twin = copy.copy(client)
    twin._mounts = dict(client._mounts)
    return twin


def _wrapped(transport: Any, wrap: type, driver: Driver) -> Any:
    return transport if isinstance(transport, wrap) else wrap(transport, driver)


def _family(client: Any) -> ModuleType:
    for base in type(client).__mro__:
        name = base.__module__.partition(".")[0]
        if name in _FAMILIES:
            return sys.modules[name]
    raise ConfigurationError(
        f"A client of type {type(client).__name__} can't be guarded",
        remedy="Pass an httpx or httpx2 client as http_client.",
    )


def read_head(request: Any) -> RequestHead:
    """Return a request's head.

    Raises:
        Refused: the URL names no host that can be compared.
    """
    url = request.url
    try:
        if url.userinfo:
            raise ConfigurationError("The URL holds a user name or password", remedy="Send credentials in a header.")
        origin = make_origin(url.scheme, url.host if url.host.isascii() else url.raw_host.decode("ascii"), url.port)
    except ConfigurationError as error:
        raise Refused(
            error.problem, guard="egress", reason=Reason.EGRESS_REQUEST, remedy=error.remedy, status=400
        ) from None
    return RequestHead(
        method=request.method,
        origin=origin,
        path=url.path,
        query=url.query.decode("ascii", "replace"),
        headers=tuple((name.lower(), value) for name, value in request.headers.multi_items()),
        extensions=frozenset(request.extensions),
    )


def _without_frames(error: BaseException) -> BaseException:
    """Cut off frames and causes: their locals hold the request with the real key (THREATS K.4)."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


@cache
def _shells(module: ModuleType) -> dict[str, type]:  # noqa: C901 - two shells, made together so that they stay equal
    def outgoing(request: Any, forward: Forward, driver: Driver) -> tuple[Any, bool]:
        headers, injected = driver.with_credentials(forward.headers)
        body = {"stream": request.stream} if forward.body is None else {"content": forward.body}
        copied = module.Request(request.method, request.url, headers=headers, extensions=request.extensions, **body)
        return copied, injected

    def refusal(error: Refused, request: Any, adapter: Adapter) -> Any:
        body = adapter.refusal_body(error)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-should-retry": "false",  # the SDKs obey it: a refusal is final
            "x-safellm-reason": str(error.reason),
        }
        # Made from a stream: `response.elapsed` needs one to be closed.
        return module.Response(
            error.status, headers=headers, stream=module.ByteStream(body), extensions={REFUSAL: error}, request=request
        )

    def raised(error: Refused, request: Any, driver: Driver) -> Exception:
        """Return what the program's loop over a stream gets: the SDK's own kind of error where there is one."""
        response = refusal(error, request, driver.tools.adapter)
        return driver.native(error, response) if driver.native is not None else error

    def answered(inner: Any, headers: tuple[tuple[str, str], ...], stream: Any) -> Any:
        return module.Response(inner.status_code, headers=list(headers), stream=stream, extensions=inner.extensions)

    def items(response: Any) -> tuple[tuple[str, str], ...]:
        return tuple(response.headers.multi_items())

    def failure_of(error: BaseException) -> tuple[str, bool]:
        """Return the kind of a transport error, and whether anything can have been sent."""
        name = type(error).__name__
        if isinstance(error, Refused):
            return "refused", True
        kind = "timeout" if "Timeout" in name else "connection" if isinstance(error, Exception) else "cancelled"
        return kind, name not in _NOT_SENT

    class GuardedStream(module.SyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """An answer's bytes, treated as they come. An iterator, not a generator: leaving it early runs no code by surprise."""

        def __init__(self, inner: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any) -> None:
            self._inner, self._injected, self._over = inner, injected, False
            self._exchange, self._driver, self._request = exchange, driver, request
            self._source = iter(inner.stream)

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            failed: BaseException | None = None
            try:
                while not self._over:
                    if out := self._piece():
                        return out
            except Refused as error:
                self._over = True
                self._driver.abandon(self._exchange, failure="refused")
                self._inner.close()
                raise raised(error, self._request, self._driver) from None
            except BaseException as error:
                self._over = True
                self._driver.abandon(self._exchange, failure=failure_of(error)[0])
                if not self._injected:
                    raise
                failed = _without_frames(error)
            if failed is not None:
                raise failed
            raise StopIteration

        def _piece(self) -> bytes:
            chunk = next(self._source, None)
            if chunk is not None:
                return self._exchange.feed(chunk)
            self._over = True
            out = self._exchange.end()
            self._driver.finish(self._exchange)
            return out

        def close(self) -> None:
            self._over = True
            try:
                self._driver.abandon(self._exchange, failure="closed")
            finally:
                self._inner.close()

        def __del__(self) -> None:
            # Dropped without being closed, as older SDKs do when a loop over a stream is left.
            self._driver.abandon(self._exchange, failure="closed")

    class AsyncGuardedStream(module.AsyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async answer."""

        def __init__(self, inner: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any) -> None:
            self._inner, self._injected, self._over = inner, injected, False
            self._exchange, self._driver, self._request = exchange, driver, request
            self._source = aiter(inner.stream)

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            failed: BaseException | None = None
            try:
                while not self._over:
                    if out := await self._piece():
                        return out
            except Refused as error:
                self._over = True
                await self._abandon("refused")
                await closed(self._inner)
                raise raised(error, self._request, self._driver) from None
            except BaseException as error:
                self._over = True
                await self._abandon(failure_of(error)[0])
                if not self._injected:
                    raise
                failed = _without_frames(error)
            if failed is not None:
                raise failed
            raise StopAsyncIteration

        async def _piece(self) -> bytes:
            chunk = await anext(self._source, None)
            if chunk is not None:
                return self._exchange.feed(chunk)
            self._over = True
            out = self._exchange.end()
            await in_thread(self._driver.finish, self._exchange)
            return out

        async def aclose(self) -> None:
            self._over = True
            try:
                await self._abandon("closed")
            finally:
                await self._inner.aclose()

        def __del__(self) -> None:
            # Dropped without being closed: nobody can await any more, and the driver doesn't need it.
            self._driver.abandon(self._exchange, failure="closed")

        async def _abandon(self, failure: str) -> None:
            if self._exchange.state is not State.CLOSED:  # a stream that was read to its end needs no thread
                await in_thread(self._driver.abandon, self._exchange, failure=failure)

    class GuardTransport(module.BaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Guards every call of a sync client."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            self._inner = inner
            self.safellm_driver = driver

        def handle_request(self, request: Any) -> Any:
            driver = self.safellm_driver
            adapter = driver.tools.adapter
            try:
                head = read_head(request)
            except Refused as error:
                driver.deny(error)
                return refusal(error, request, adapter)
            exchange, decision = driver.begin(head, request.read())
            if isinstance(decision, Refuse):
                return refusal(decision.error, request, adapter)
            failed: BaseException | None = None
            inner, injected = self._send(request, decision, exchange)
            try:
                answer = exchange.response(inner.status_code, items(inner))
                if answer.form is not Form.WHOLE:
                    stream = GuardedStream(inner, injected, exchange, driver, request)
                    return answered(inner, answer.headers, stream)
                body = b"".join([exchange.feed(chunk) for chunk in inner.stream]) + exchange.end()
                driver.finish(exchange)
            except Refused as error:
                driver.abandon(exchange, failure="refused")
                inner.close()
                return refusal(error, request, adapter)
            except BaseException as error:
                driver.abandon(exchange, failure=failure_of(error)[0])
                inner.close()
                if not injected:
                    raise
                failed = _without_frames(error)
            if failed is not None:
                inner = None  # it leads to the request with the real key, and this frame goes along with the error
                raise failed
            inner.close()
            headers = (*answer.headers, ("content-length", str(len(body))))
            return answered(inner, headers, module.ByteStream(body))

        def _send(self, request: Any, forward: Forward, exchange: Exchange) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = False
            try:
                copied, injected = outgoing(request, forward, driver)
                return self._inner.handle_request(copied), injected
            except BaseException as error:
                kind, sent = failure_of(error)
                driver.abandon(exchange, failure=kind, sent=sent)
                if not injected:
                    raise
                copied = None
                failed = _without_frames(error)
            raise failed

        def close(self) -> None:
            self._inner.close()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "_inner":
                raise AttributeError(name)
            return getattr(self._inner, name)

    class AsyncGuardTransport(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Guards every call of an async client."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            self._inner = inner
            self.safellm_driver = driver

        async def handle_async_request(self, request: Any) -> Any:
            driver = self.safellm_driver
            adapter = driver.tools.adapter
            try:
                head = read_head(request)
            except Refused as error:
                await in_thread(driver.deny, error)
                return refusal(error, request, adapter)
            exchange, decision = await in_thread(driver.begin, head, await request.aread())
            if isinstance(decision, Refuse):
                return refusal(decision.error, request, adapter)
            failed: BaseException | None = None
            inner, injected = await self._send(request, decision, exchange)
            try:
                answer = exchange.response(inner.status_code, items(inner))
                if answer.form is not Form.WHOLE:
                    stream = AsyncGuardedStream(inner, injected, exchange, driver, request)
                    return answered(inner, answer.headers, stream)
                body = b"".join([exchange.feed(chunk) async for chunk in inner.stream]) + exchange.end()
                await in_thread(driver.finish, exchange)
            except Refused as error:
                await in_thread(driver.abandon, exchange, failure="refused")
                await inner.aclose()
                return refusal(error, request, adapter)
            except BaseException as error:
                await in_thread(driver.abandon, exchange, failure=failure_of(error)[0])
                await closed(inner)
                if not injected:
                    raise
                failed = _without_frames(error)
            if failed is not None:
                inner = None  # it leads to the request with the real key, and this frame goes along with the error
                raise failed
            await inner.aclose()
            headers = (*answer.headers, ("content-length", str(len(body))))
            return answered(inner, headers, module.ByteStream(body))

        async def _send(self, request: Any, forward: Forward, exchange: Exchange) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = False
            try:
                copied, injected = outgoing(request, forward, driver)
                return await self._inner.handle_async_request(copied), injected
            except BaseException as error:
                kind, sent = failure_of(error)
                await in_thread(driver.abandon, exchange, failure=kind, sent=sent)
                if not injected:
                    raise
                copied = None
                failed = _without_frames(error)
            raise failed

        async def aclose(self) -> None:
            await self._inner.aclose()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "_inner":
                raise AttributeError(name)
            return getattr(self._inner, name)

    return {"sync": GuardTransport, "async": AsyncGuardTransport}


async def in_thread(function: Any, *arguments: Any, **named: Any) -> Any:
    """Run a blocking call in a worker thread and wait for its end, cancelled or not: a hold must not be forgotten."""
    import anyio  # noqa: PLC0415 - sync programs never need it
    import anyio.to_thread  # noqa: PLC0415

    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(lambda: function(*arguments, **named))


async def closed(response: Any) -> None:
    """Close a response whatever happens around it."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    with anyio.CancelScope(shield=True):
        await response.aclose()
