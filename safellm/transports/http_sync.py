"""The shell for sync clients of httpx and httpx2: moves the bytes of one call past the guards."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, perf_counter
from types import ModuleType
from typing import Any

from safellm._core.call import RequestHead
from safellm._core.effects import Forward, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm.errors import Refused
from safellm.stores.accounts import EXTENSION
from safellm.transports.ahead import Ahead
from safellm.transports.deadline import CURRENT, Deadline
from safellm.transports.driver import Driver
from safellm.transports.http_parts import Parts, reads_at_once, without_frames
from safellm.transports.tail import can_be_read, read_tail


def sync_shell(module: ModuleType, parts: Parts) -> type:  # noqa: C901 - a stream and a transport, of classes that are a parameter
    """Return the guarded transport for sync clients of a module."""

    class GuardedStream(module.SyncByteStream):  # type: ignore[name-defined, misc]  # the module is a parameter
        """An answer's bytes, treated as they come. An iterator, not a generator: leaving it early runs no code by surprise."""

        def __init__(  # noqa: PLR0913 - the parts of one call
            self, body: Any, injected: bool, exchange: Exchange, driver: Driver, request: Any, deadline: Deadline,
            ahead: Ahead, said: Any,
        ) -> None:  # fmt: skip
            self._body, self._injected, self._said = body, injected, said
            self._over = self._whole = self._closed = False
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
                    out, self._whole = self._exchange.end(), True
                    self._driver.finish(self._exchange)
                    self._release()
                    if out:
                        return out
            except Refused as error:
                self._over = True
                self._exchange.cut(error)  # or the trail wouldn't have the reason, if it isn't its own
                self._driver.abandon(self._exchange, failure="refused")
                self._release()
                failed = parts.raised(error, self._request, self._driver)
            except BaseException as error:
                failed = self._broken(error)
                if failed is error and not self._injected:
                    raise
            finally:
                CURRENT.reset(token)
            raise failed or self._ended()

        def _broken(self, error: BaseException) -> BaseException | None:
            """Settle what an error has ended; return what the reader gets for it, None where it just ends."""
            self._over = True
            self._driver.abandon(self._exchange, failure="closed" if self._closed else parts.failure_of(error)[0])
            if self._closed and not parts.is_own(error):
                return None  # nothing but what comes of closing it
            if self._injected:
                without_frames(error)
                self._release()
            return error

        def _ended(self) -> Exception:
            """Return what tells a reader that nothing more comes: an end, unless another thread closed it before that."""
            is_cut = self._closed and not (self._whole or self._exchange.has_ended)
            return parts.closed() if is_cut else StopIteration()

        def close(self) -> None:
            self._over = self._closed = True
            try:
                self._driver.abandon(self._exchange, failure="closed")
                if self._body is not None and self._exchange.has_ended and can_be_read(self._said):
                    read_tail(self._source, self._said["network_stream"])
            finally:
                self._release()

        def _release(self) -> None:
            """Close the connection's side, and let go of it: it leads to the request with the real key (THREATS K.4)."""
            body, self._body, self._source = self._body, None, iter(())
            if body is not None:
                body.close()

        def __del__(self) -> None:
            # Dropped without being closed, as older SDKs do when a loop over a stream is left.
            if self._exchange.state is not State.CLOSED:
                self._driver.abandon(self._exchange, failure="closed")

    class GuardTransport(module.BaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Guards every call of a sync client."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            self._inner = inner
            self.safellm_driver = driver

        def handle_request(self, request: Any) -> Any:
            driver, began = self.safellm_driver, perf_counter()
            body = request.read()
            asked = parts.asked(request)
            try:
                head = driver.heads.read(request, asked[2])
            except Refused as error:
                driver.deny(error)
                return parts.refused(error, request, driver)
            exchange, decision = driver.begin(head, body, answers=True)
            if isinstance(decision, Refuse):
                return parts.refused(decision.error, request, driver)
            deadline = Deadline(driver.tools.policy)
            token = CURRENT.set(deadline)
            try:
                begun = began if reads_at_once(head) else None
                # What was sent holds the key, and leads to it: no name is given to it here (THREATS K.4).
                return self._receive(
                    request, exchange, deadline, begun, *self._send(asked, head, decision, exchange, deadline)
                )
            except Refused as error:
                failed = without_frames(error)
            finally:
                CURRENT.reset(token)
            return parts.refused(failed, request, driver)

        def _receive(  # noqa: PLR0913 - the parts of one call
            self, request: Any, exchange: Exchange, deadline: Deadline, begun: float | None, inner: Any, injected: bool
        ) -> Any:
            driver, source = self.safellm_driver, inner.stream
            try:
                given = parts.pairs(inner)
                answer = exchange.response(inner.status_code, given)
                inner.extensions[EXTENSION] = exchange.account
                if answer.form is not Form.WHOLE:
                    ahead = parts.ahead_of(inner, driver)
                    stream = GuardedStream(
                        source, injected, exchange, driver, request, deadline, ahead, inner.extensions
                    )
                    return parts.answered(inner, None if answer.headers is given else answer.headers, stream)
                for chunk in source:
                    deadline.left()
                    exchange.feed(chunk)
                body = exchange.end()
                driver.finish(exchange)
                source.close()
                return parts.whole(inner, exchange, answer.headers, body, begun)
            except BaseException as error:
                if isinstance(error, Refused):
                    exchange.cut(error)
                driver.abandon(exchange, failure=parts.failure_of(error)[0])
                source.close()
                if not injected and not isinstance(error, Refused):
                    raise
                failed = without_frames(error)
            # They lead to the request with the real key, and this frame goes along with the error.
            inner = source = None
            raise failed

        def _send(
            self, asked: Any, head: RequestHead, forward: Forward, exchange: Exchange, deadline: Deadline
        ) -> tuple[Any, bool]:
            driver = self.safellm_driver
            injected = signing = False
            try:
                if forward.local is not None:
                    return parts.local(forward.local), False
                copied, injected = parts.outgoing(asked, head, forward, driver, deadline)
                copied.safellm_sent = exchange.expect
                if (sign := copied.__dict__.get("safellm_sign")) is not None:
                    signing = True
                    copied.read()
                    sign(copied)  # over what leaves: nothing below changes it
                    signing, injected = False, True
                return self._inner.handle_request(copied), injected
            except BaseException as error:
                kind, sent = parts.failure_of(error)
                driver.abandon(exchange, failure=kind, sent=sent and not signing)
                if isinstance(error, Refused) and "reason" not in exchange.account.outcome:
                    driver.deny(error)  # or the trail wouldn't have the reason
                if not injected:
                    raise
                copied = None
                failed = without_frames(error)
            raise failed

        def close(self) -> None:
            self._inner.close()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or name == "_inner":
                raise AttributeError(name)
            return getattr(self._inner, name)

    return GuardTransport
