"""The shell for async clients of httpx and httpx2: the same as the sync one, and what blocks is done by a thread."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic, perf_counter
from types import ModuleType
from typing import Any

from safellm._core.call import RequestHead
from safellm._core.effects import Decision, Forward, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm.errors import Refused
from safellm.stores.accounts import EXTENSION
from safellm.transports.ahead import Ahead
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver, Pending
from safellm.transports.http_parts import Parts, reads_at_once, without_frames
from safellm.transports.tail import can_be_read, read_tail_async


def async_shell(module: ModuleType, parts: Parts) -> type:  # noqa: C901 - a stream and a transport, of classes that are a parameter
    """Return the guarded transport for async clients of a module."""

    class AsyncGuardedStream(module.AsyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async answer."""

        def __init__(  # noqa: PLR0913 - the parts of one call
            self, body: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any, deadline: Deadline,
            ahead: Ahead, said: Any,
        ) -> None:  # fmt: skip
            self._body, self._injected, self._said = body, injected, said
            self._over = self._whole = self._closed = False
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
                    out, self._whole = await ended(self._exchange), True
                    await finished(self._driver, self._exchange)
                    await self._release()
                    if out:
                        return out
            except Refused as error:
                self._over = True
                self._exchange.cut(error)  # or the trail wouldn't have the reason, if it isn't its own
                await self._abandon("refused")
                await self._release()
                failed = parts.raised(error, self._request, self._driver)
            except BaseException as error:
                failed = await self._broken(error)
                if failed is error and not self._injected:
                    raise
            raise failed or self._ended()

        async def _broken(self, error: BaseException) -> BaseException | None:
            """Settle what an error has ended; return what the reader gets for it, None where it just ends."""
            self._over = True
            await self._abandon("closed" if self._closed else parts.failure_of(error)[0])
            if self._closed and not parts.is_own(error):
                return None  # nothing but what comes of closing it
            if self._injected:
                without_frames(error)
                await self._release()
            return error

        def _ended(self) -> Exception:
            """Return what tells a reader that nothing more comes: an end, unless another task closed it before that."""
            is_cut = self._closed and not (self._whole or self._exchange.has_ended)
            return parts.closed() if is_cut else StopAsyncIteration()

        async def _treat(self, chunk: bytes) -> bytes:
            pieces = await self._gather(chunk, self._source)
            if not self._exchange.may_wait_for(pieces):
                return self._feed(pieces)
            treated: bytes = await in_thread(self._feed, pieces)
            return treated

        async def aclose(self) -> None:
            self._over = self._closed = True
            try:
                await self._abandon("closed")
                if self._body is not None and self._exchange.has_ended and can_be_read(self._said):
                    await read_tail_async(self._source, self._said["network_stream"])
            finally:
                await self._release()

        async def _release(self) -> None:
            body, self._body, self._source = self._body, None, _nothing()
            if body is not None:
                await closed(body)

        def __del__(self) -> None:
            # Dropped without being closed: nobody can await any more, and the driver doesn't need it.
            if self._exchange.state is not State.CLOSED:
                self._driver.abandon(self._exchange, failure="closed")

        async def _abandon(self, failure: str) -> None:
            if self._exchange.state is not State.CLOSED:  # a stream that was read to its end needs no thread
                await in_thread(self._driver.abandon, self._exchange, failure=failure)

    class AsyncGuardTransport(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Guards every call of an async client."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            self._inner = inner
            self.safellm_driver = driver

        async def handle_async_request(self, request: Any) -> Any:
            driver, began = self.safellm_driver, perf_counter()
            body = await request.aread()
            asked = parts.asked(request)
            try:
                head = driver.heads.read(request, asked[2])
            except Refused as error:
                await in_thread(driver.deny, error)
                return parts.refused(error, request, driver)
            exchange, decision = driver.begin(head, body, wait=False, answers=True)
            try:
                decided: Decision = (
                    await in_thread(driver.resume, decision) if isinstance(decision, Pending) else decision
                )
            except BaseException as error:  # cancelled: what was reserved is settled
                await in_thread(driver.abandon, exchange, failure=parts.failure_of(error)[0], sent=False)
                raise
            if isinstance(decided, Refuse):
                return parts.refused(decided.error, request, driver)
            deadline = Deadline(driver.tools.policy)
            try:
                begun = began if reads_at_once(head) else None
                return await self._receive(
                    request, exchange, deadline, begun, *await self._send(asked, head, decided, exchange, deadline)
                )
            except Refused as error:
                failed = without_frames(error)
            return parts.refused(failed, request, driver)

        async def _receive(  # noqa: PLR0913 - the parts of one call
            self, request: Any, exchange: Exchange, deadline: Deadline, begun: float | None, inner: Any, injected: bool
        ) -> Any:
            driver, source = self.safellm_driver, inner.stream
            try:
                given = parts.pairs(inner)
                answer = exchange.response(inner.status_code, given)
                inner.extensions[EXTENSION] = exchange.account
                if answer.form is not Form.WHOLE:
                    ahead = parts.ahead_of(inner, driver)
                    stream = AsyncGuardedStream(
                        source, injected, exchange, driver, request, deadline, ahead, inner.extensions
                    )
                    return parts.answered(inner, None if answer.headers is given else answer.headers, stream)
                with move_on_after(deadline.left()) as scope:
                    async for chunk in source:
                        exchange.feed(chunk)
                if scope.cancelled_caught:
                    raise deadline.passed()
                body = await ended(exchange)
                await finished(driver, exchange)
                await source.aclose()
                return parts.whole(inner, exchange, answer.headers, body, begun)
            except BaseException as error:
                if isinstance(error, Refused):
                    exchange.cut(error)
                await in_thread(driver.abandon, exchange, failure=parts.failure_of(error)[0])
                await closed(source)
                if not injected and not isinstance(error, Refused):
                    raise
                failed = without_frames(error)
            # They lead to the request with the real key, and this frame goes along with the error.
            inner = source = None
            raise failed

        async def _send(
            self, asked: Any, head: RequestHead, forward: Forward, exchange: Exchange, deadline: Deadline
        ) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = signing = False
            try:
                if forward.local is not None:
                    return parts.local(forward.local), False
                copied, injected = parts.outgoing(asked, head, forward, driver, deadline)
                copied.safellm_sent = exchange.expect
                with move_on_after(deadline.left()):
                    if (sign := copied.__dict__.get("safellm_sign")) is not None:
                        signing = True
                        await copied.aread()
                        await sign(copied)  # over what leaves: nothing below changes it
                        signing, injected = False, True
                    return await self._inner.handle_async_request(copied), injected
                raise deadline.passed()
            except BaseException as error:
                kind, sent = parts.failure_of(error)
                await in_thread(driver.abandon, exchange, failure=kind, sent=sent and not signing)
                if isinstance(error, Refused) and "reason" not in exchange.account.outcome:
                    await in_thread(driver.deny, error)  # or the trail wouldn't have the reason
                if not injected:
                    raise
                copied = None
                failed = without_frames(error)
            raise failed

        async def aclose(self) -> None:
            await self._inner.aclose()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "_inner":
                raise AttributeError(name)
            return getattr(self._inner, name)

    return AsyncGuardTransport


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

    begun, over = threading.Lock(), threading.Event()

    def work() -> Any:
        if not begun.acquire(blocking=False):
            return None
        try:
            return function(*arguments, **named)
        finally:
            over.set()

    def end() -> None:
        with suppress(Exception):  # the task is cancelled: nobody waits for what comes out
            work()  # unless it began
        over.wait()

    try:
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(work)
    except anyio.get_cancelled_exc_class():  # asyncio's own `cancel` heeds no scope, and the thread goes on
        await anyio.to_thread.run_sync(end)
        raise


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
