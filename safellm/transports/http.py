"""The shells for `httpx` and `httpx2`, sync and async: one source, made once for each module.

They read the request, run the exchange, send what it forwards, and hand on what it answers. Ledger and trail calls may block:
the async shell has a worker thread make them when they have to wait. The work for each chunk runs inline.

What needn't change isn't made anew: the copy of the request that is sent shares all but its headers, and the network's response
goes on as it is, with the guarded bytes as its stream.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from time import monotonic
from types import ModuleType
from typing import Any, TypeVar

from safellm._core.adapter import Adapter
from safellm._core.effects import Decision, Forward, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm.errors import ConfigurationError, Refused
from safellm.transports.ahead import Ahead
from safellm.transports.deadline import CURRENT, Deadline
from safellm.transports.driver import Driver, Pending
from safellm.transports.heads import ODD_BYTES, read_head
from safellm.transports.own import secure_client

__all__ = [
    "REFUSAL",
    "guard_client",
    "guard_of",
    "guard_transport",
    "in_thread",
    "own_copy",
    "read_head",
    "refusal_response",
]
REFUSAL = "safellm.refused"  # key in a response's extensions; they come from transports, never from the wire
_FAMILIES = ("httpx2", "httpx")
_IDENTITY = (b"accept-encoding", b"accept-encoding", b"identity")
_ENCODING = frozenset({b"accept-encoding"})
_DESCRIBING = frozenset({b"accept-encoding", b"content-length", b"transfer-encoding"})  # also the body that is replaced
# Errors of both modules after which not a byte of the request can have left.
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError")


_Error = TypeVar("_Error", bound=BaseException)


def guard_client(client: Any, driver: Driver, *, own: bool = False) -> Any:
    """Return an HTTP client all of whose transports and mounts are guarded.

    Args:
        client: A sync or async client of httpx or httpx2. It is changed in place; copy it first if it is not yours.
        driver: What guards.
        own: The program gave no client, so the connections of this one are checked as well; see `own.py`.

    Raises:
        ConfigurationError: the client is of another family, or it is the program's own and the mode is strict.
    """
    module = _family(client)
    if driver.broker is not None:
        pass  # nothing goes through its connections: the broker has its own
    elif own:
        secure_client(module, client, driver)
    elif driver.tools.policy.is_strict:
        raise ConfigurationError(
            "Strict mode takes no HTTP client from code: nothing checks which connections it opens",
            remedy="Leave http_client out; egress.proxy, egress.ca_bundle and egress.private of the policy say the rest.",
        )
    shells = _ways(module, driver)
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

    Connection pool, cookies and hooks are shared with the original, and so is whether it is closed.
    """
    twin = copy.copy(client)
    twin._mounts = dict(client._mounts)
    if "_state" in twin.__dict__:  # else it is no client of httpx, and what it keeps is its own business
        del twin._state
        kind: Any = type(client)
        twin.__class__ = _sharing(kind)
        twin._safellm_original = client
    return twin


@cache
def _sharing(base: Any) -> Any:
    """Return the class of copies that are open and closed together with their originals."""

    def get(self: Any) -> Any:
        return self._safellm_original._state

    def put(self: Any, state: Any) -> None:
        self._safellm_original._state = state

    return type(base.__name__, (base,), {"_state": property(get, put), "__module__": base.__module__})


def guard_transport(module: ModuleType, transport: Any, driver: Driver) -> Any:
    """Return a guarded transport around one of httpx or httpx2 (`module`), sync or async as the given one is."""
    return _ways(module, driver)["async" if hasattr(transport, "handle_async_request") else "sync"](transport, driver)


def refusal_response(module: ModuleType, error: Refused, request: Any, body: bytes) -> Any:
    """Return the HTTP response that stands for a refusal.

    Args:
        module: httpx or httpx2.
        error: What a guard said.
        request: What was refused, of that module.
        body: The error as the provider would write it, JSON.
    """
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


def _ways(module: ModuleType, driver: Driver) -> dict[str, type]:
    if driver.broker is None:
        return _shells(module)
    from safellm.transports.relay import relays  # noqa: PLC0415 - only with a broker

    return relays(module)


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


def _without_frames(error: _Error) -> _Error:
    """Cut off frames and causes: their locals hold the request with the real key (THREATS K.4)."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


@cache
def _shells(module: ModuleType) -> dict[str, type]:  # noqa: C901, PLR0915 - two shells, made together so that they stay equal
    # Headers as httpx keeps them: name, name in lower case, value. Its public ways decode and encode each of them.
    probe = getattr(module.Headers([(b"A", b"b")]), "_list", None)
    keeps_triples = probe == [(b"A", b"a", b"b")]

    def items_of(headers: Any) -> list[tuple[bytes, bytes, bytes]]:
        if keeps_triples:
            return headers._list  # type: ignore[no-any-return]
        return [(name, name.lower(), value) for name, value in headers.raw]

    def headers_of(items: list[tuple[bytes, bytes, bytes]]) -> Any:
        if not keeps_triples:
            return module.Headers([(name, value) for name, _, value in items])
        made = module.Headers()
        made._list = items
        return made

    def outgoing(request: Any, forward: Forward, driver: Driver, deadline: Deadline) -> tuple[Any, bool]:
        if forward.own_headers and type(request) is module.Request:
            body = forward.body
            replaced = _ENCODING if body is None else _DESCRIBING
            sent = [item for item in items_of(request.headers) if item[1] not in replaced]
            sent.append(_IDENTITY)
            injected = driver.inject(sent)
            copied = object.__new__(module.Request)
            copied.__dict__.update(request.__dict__)
            if body is not None:
                sent.append((b"Content-Length", b"content-length", b"%d" % len(body)))
                copied.stream, copied._content = module.ByteStream(body), body
            copied.headers, copied.extensions = headers_of(sent), dict(request.extensions)
        else:
            headers, injected = driver.with_credentials(forward.headers)
            encoded = [(name.encode("latin-1"), value.encode("utf-8", ODD_BYTES)) for name, value in headers]
            content = {"stream": request.stream} if forward.body is None else {"content": forward.body}
            copied = module.Request(
                request.method, request.url, headers=encoded, extensions=request.extensions, **content
            )
        timeouts = copied.extensions.get("timeout")
        if timeouts and (timeouts.get("read") is None or timeouts["read"] > deadline.seconds):
            copied.extensions = {**copied.extensions, "timeout": {**timeouts, "read": deadline.seconds}}
        copied.safellm_passed = True  # a patched transport below lets it through: see `safellm.auto`
        return copied, injected

    def refusal(error: Refused, request: Any, adapter: Adapter) -> Any:
        return refusal_response(module, error, request, adapter.refusal_body(error))

    def raised(error: Refused, request: Any, driver: Driver) -> Exception:
        """Return what the program's loop over a stream gets: the SDK's own kind of error where there is one."""
        response = refusal(error, request, driver.tools.adapter)
        return driver.native(error, response) if driver.native is not None else error

    def refused(error: Refused, request: Any, driver: Driver) -> Any:
        """Answer a refusal, or raise it where the SDK has no place for its own errors of our making."""
        if driver.raises:
            raise raised(error, request, driver) from None
        return refusal(error, request, driver.tools.adapter)

    def answered(inner: Any, kept: tuple[tuple[str, str], ...] | None, stream: Any, length: int | None = None) -> Any:
        """Return the response for the program.

        Args:
            inner: What the network's transport answered. It goes on itself, unless its body is in it already.
            kept: Headers that stay, of those that it has; None for all.
            stream: The body.
            length: Of the body, if it is known and not said.
        """
        headers = inner.headers
        if kept is not None:
            names = {name for name, _ in kept}
            left = [item for item in items_of(headers) if item[1].decode("latin-1") in names]
            if length is not None:
                left.append((b"content-length", b"content-length", b"%d" % length))
            headers = headers_of(left)
        if type(inner) is module.Response and "_content" not in inner.__dict__:
            inner.headers, inner.stream = headers, stream
            return inner
        return module.Response(inner.status_code, headers=headers, stream=stream, extensions=inner.extensions)

    def pairs(response: Any) -> tuple[tuple[str, str], ...]:
        items = items_of(response.headers)
        return tuple([(name.decode("latin-1"), value.decode("utf-8", ODD_BYTES)) for _, name, value in items])

    def ahead_of(inner: Any, driver: Driver) -> Ahead:
        """Return what looks ahead; nobody where a grant is held, which may be revoked between two pieces (THREATS K.10)."""
        return Ahead(inner.extensions.get("network_stream") if driver.grant is None else None)

    def failure_of(error: BaseException) -> tuple[str, bool]:
        """Return the kind of a transport error, and whether anything can have been sent."""
        name = type(error).__name__
        if isinstance(error, Refused):
            return "refused", error.sent
        kind = "timeout" if "Timeout" in name else "connection" if isinstance(error, Exception) else "cancelled"
        return kind, name not in _NOT_SENT

    class GuardedStream(module.SyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """An answer's bytes, treated as they come. An iterator, not a generator: leaving it early runs no code by surprise."""

        def __init__(  # noqa: PLR0913 - the parts of one call
            self, body: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any, deadline: Deadline,
            ahead: Ahead,
        ) -> None:  # fmt: skip
            self._body, self._injected, self._over = body, injected, False
            self._exchange, self._driver, self._request, self._deadline = exchange, driver, request, deadline
            self._source, self._feed, self._gather = iter(body), driver.feeder(exchange), ahead.gather

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            failed: BaseException | None = None
            token = CURRENT.set(self._deadline)
            try:
                if not self._over:
                    for chunk in () if self._exchange.cut_off else self._source:
                        if monotonic() >= self._deadline.at:
                            raise self._deadline.passed()
                        if out := self._feed(self._gather(chunk, self._source)):
                            return out
                    self._over = True
                    out = self._exchange.end()
                    self._driver.finish(self._exchange)
                    self._release()
                    if out:
                        return out
            except Refused as error:
                self._over = True
                self._driver.abandon(self._exchange, failure="refused")
                self._release()
                failed = raised(error, self._request, self._driver)
            except BaseException as error:
                self._over = True
                self._driver.abandon(self._exchange, failure=failure_of(error)[0])
                if not self._injected:
                    raise
                failed = _without_frames(error)
                self._release()
            finally:
                CURRENT.reset(token)
            if failed is not None:
                raise failed
            raise StopIteration

        def close(self) -> None:
            self._over = True
            try:
                self._driver.abandon(self._exchange, failure="closed")
            finally:
                self._release()

        def _release(self) -> None:
            """Close the connection's side, and let go of it: it leads to the request with the real key (THREATS K.4)."""
            body, self._body, self._source = self._body, None, iter(())
            if body is not None:
                body.close()

        def __del__(self) -> None:
            # Dropped without being closed, as older SDKs do when a loop over a stream is left.
            self._driver.abandon(self._exchange, failure="closed")

    class AsyncGuardedStream(module.AsyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async answer."""

        def __init__(  # noqa: PLR0913 - the parts of one call
            self, body: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any, deadline: Deadline,
            ahead: Ahead,
        ) -> None:  # fmt: skip
            self._body, self._injected, self._over = body, injected, False
            self._exchange, self._driver, self._request, self._deadline = exchange, driver, request, deadline
            self._source, self._feed, self._gather = aiter(body), driver.feeder(exchange), ahead.gather_async

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            failed: BaseException | None = None
            try:
                if not self._over:
                    async for chunk in _nothing() if self._exchange.cut_off else self._source:
                        if monotonic() >= self._deadline.at:
                            raise self._deadline.passed()
                        if out := await self._treat(chunk):
                            return out
                    self._over = True
                    out = await ended(self._exchange)
                    await finished(self._driver, self._exchange)
                    await self._release()
                    if out:
                        return out
            except Refused as error:
                self._over = True
                await self._abandon("refused")
                await self._release()
                failed = raised(error, self._request, self._driver)
            except BaseException as error:
                self._over = True
                await self._abandon(failure_of(error)[0])
                if not self._injected:
                    raise
                failed = _without_frames(error)
                await self._release()
            if failed is not None:
                raise failed
            raise StopAsyncIteration

        async def _treat(self, chunk: bytes) -> bytes:
            pieces = await self._gather(chunk, self._source)
            if not self._exchange.may_wait_for(pieces):
                return self._feed(pieces)
            treated: bytes = await in_thread(self._feed, pieces)
            return treated

        async def aclose(self) -> None:
            self._over = True
            try:
                await self._abandon("closed")
            finally:
                await self._release()

        async def _release(self) -> None:
            body, self._body, self._source = self._body, None, _nothing()
            if body is not None:
                await closed(body)

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
            try:
                head = driver.heads.read(request, items_of(request.headers))
            except Refused as error:
                driver.deny(error)
                return refused(error, request, driver)
            exchange, decision = driver.begin(head, request.read())
            if isinstance(decision, Refuse):
                return refused(decision.error, request, driver)
            deadline = Deadline(driver.tools.policy)
            token = CURRENT.set(deadline)
            try:
                return self._receive(request, exchange, deadline, *self._send(request, decision, exchange, deadline))
            except Refused as error:
                failed = _without_frames(error)
            finally:
                CURRENT.reset(token)
            return refused(failed, request, driver)

        def _receive(self, request: Any, exchange: Exchange, deadline: Deadline, inner: Any, injected: bool) -> Any:
            driver, source = self.safellm_driver, inner.stream
            try:
                given = pairs(inner)
                answer = exchange.response(inner.status_code, given)
                if answer.form is not Form.WHOLE:
                    ahead = ahead_of(inner, driver)
                    stream = GuardedStream(source, injected, exchange, driver, request, deadline, ahead)
                    return answered(inner, None if answer.headers is given else answer.headers, stream)
                for chunk in source:
                    deadline.left()
                    exchange.feed(chunk)
                body = exchange.end()
                driver.finish(exchange)
                source.close()
                if exchange.untouched:
                    return answered(inner, None, module.ByteStream(body))
                return answered(inner, answer.headers, module.ByteStream(body), len(body))
            except BaseException as error:
                driver.abandon(exchange, failure=failure_of(error)[0])
                source.close()
                if not injected and not isinstance(error, Refused):
                    raise
                failed = _without_frames(error)
            # They lead to the request with the real key, and this frame goes along with the error.
            inner = source = None
            raise failed

        def _send(self, request: Any, forward: Forward, exchange: Exchange, deadline: Deadline) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = False
            try:
                copied, injected = outgoing(request, forward, driver, deadline)
                return self._inner.handle_request(copied), injected
            except BaseException as error:
                kind, sent = failure_of(error)
                driver.abandon(exchange, failure=kind, sent=sent)
                if isinstance(error, Refused):
                    driver.deny(error)  # the trail has the reason
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
            try:
                head = driver.heads.read(request, items_of(request.headers))
            except Refused as error:
                await in_thread(driver.deny, error)
                return refused(error, request, driver)
            exchange, decision = driver.begin(head, await request.aread(), wait=False)
            decided: Decision = await in_thread(driver.resume, decision) if isinstance(decision, Pending) else decision
            if isinstance(decided, Refuse):
                return refused(decided.error, request, driver)
            deadline = Deadline(driver.tools.policy)
            try:
                return await self._receive(
                    request, exchange, deadline, *await self._send(request, decided, exchange, deadline)
                )
            except Refused as error:
                failed = _without_frames(error)
            return refused(failed, request, driver)

        async def _receive(
            self, request: Any, exchange: Exchange, deadline: Deadline, inner: Any, injected: bool
        ) -> Any:
            driver, source = self.safellm_driver, inner.stream
            try:
                given = pairs(inner)
                answer = exchange.response(inner.status_code, given)
                if answer.form is not Form.WHOLE:
                    ahead = ahead_of(inner, driver)
                    stream = AsyncGuardedStream(source, injected, exchange, driver, request, deadline, ahead)
                    return answered(inner, None if answer.headers is given else answer.headers, stream)
                with move_on_after(deadline.left()) as scope:
                    async for chunk in source:
                        exchange.feed(chunk)
                if scope.cancelled_caught:
                    raise deadline.passed()
                body = await ended(exchange)
                await finished(driver, exchange)
                await source.aclose()
                if exchange.untouched:
                    return answered(inner, None, module.ByteStream(body))
                return answered(inner, answer.headers, module.ByteStream(body), len(body))
            except BaseException as error:
                await in_thread(driver.abandon, exchange, failure=failure_of(error)[0])
                await closed(source)
                if not injected and not isinstance(error, Refused):
                    raise
                failed = _without_frames(error)
            # They lead to the request with the real key, and this frame goes along with the error.
            inner = source = None
            raise failed

        async def _send(
            self, request: Any, forward: Forward, exchange: Exchange, deadline: Deadline
        ) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = False
            try:
                copied, injected = outgoing(request, forward, driver, deadline)
                with move_on_after(deadline.left()):
                    return await self._inner.handle_async_request(copied), injected
                raise deadline.passed()
            except BaseException as error:
                kind, sent = failure_of(error)
                await in_thread(driver.abandon, exchange, failure=kind, sent=sent)
                if isinstance(error, Refused):
                    await in_thread(driver.deny, error)  # the trail has the reason
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


def move_on_after(seconds: float) -> Any:
    """Return a cancel scope that ends by itself."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    return anyio.move_on_after(seconds)


async def _nothing() -> AsyncIterator[bytes]:
    """What is left of an answer that is over."""
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def in_thread(function: Any, *arguments: Any, **named: Any) -> Any:
    """Run a blocking call in a worker thread and wait for its end, cancelled or not: a hold must not be forgotten."""
    import anyio  # noqa: PLC0415 - sync programs never need it
    import anyio.to_thread  # noqa: PLC0415

    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(lambda: function(*arguments, **named))


async def ended(exchange: Exchange) -> bytes:
    """Return the rest of an answer, from a thread if it has to wait for a person or the disk."""
    if not exchange.waits:
        return exchange.end()
    rest: bytes = await in_thread(exchange.end)
    return rest


async def finished(driver: Driver, exchange: Exchange) -> None:
    """Settle and record, in a thread only if that has to wait."""
    pending = driver.finish(exchange, wait=False)
    if pending is not None:
        await in_thread(driver.resume, pending)


async def closed(stream: Any) -> None:
    """Close a stream whatever happens around it."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    with anyio.CancelScope(shield=True):
        await stream.aclose()
