"""The sync half of the shell for the library `websockets`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

from safellm.errors import Refused
from safellm.transports.network import check_addresses
from safellm.transports.websocket import Received, Steps, broken
from safellm.transports.websocket_library import (
    GOOD_BYE_SECONDS,
    GUARDED,
    OPEN_SECONDS,
    Plan,
    as_wanted,
    leads_nowhere,
    plan_of,
    refuse_payload,
    scrub,
    text_or_bytes,
    unique,
    without_frames,
)


def guard_sync(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Return the sync library's `connect` for announced addresses; others go to the given one."""
    if hasattr(connect, GUARDED):
        return connect

    @functools.wraps(connect)
    def guarded(uri: str, *arguments: Any, **options: Any) -> Any:
        return _open(connect, uri, options) if leads_nowhere(uri) else connect(uri, *arguments, **options)

    setattr(guarded, GUARDED, True)
    return guarded


def _run(steps: Steps[Any]) -> Any:
    """Carry out steps; blocks."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step()
            except Exception as error:  # noqa: BLE001 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value


def _open(connect: Callable[..., Any], uri: str, options: dict[str, Any]) -> Any:
    plan = plan_of(uri, options)
    session, driver = plan.session, plan.driver
    failed: BaseException
    try:
        plan.headers = _run(session.open())
    except Refused as error:  # the trail has it
        raise plan.refused(error) from None
    try:
        if plan.proxy is not None:
            plan.options["proxy"] = plan.through_proxy(connect)
        else:
            plan.options["sock"] = _checked_socket(plan)
        factory = functools.partial(_sync_connection(), safellm_plan=plan)
        setattr(factory, GUARDED, True)
        return connect(plan.uri, create_connection=factory, **plan.options)
    except Refused as error:
        session.abandon("refused", sent=False)
        driver.deny(error)
        failed = plan.refused(error)
    except BaseException as error:  # noqa: BLE001 - told without its frames, which lead to the key
        session.abandon("connection", sent=False)
        failed = without_frames(error)
    raise failed


def _checked_socket(plan: Plan) -> socket.socket:
    host, port = plan.target
    addresses = unique(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    check_addresses(host, port, addresses, plan.driver)
    failed: OSError | None = None
    for address in addresses:
        try:
            made = socket.create_connection((address, port), timeout=plan.options.get("open_timeout", OPEN_SECONDS))
        except OSError as error:
            failed = error
        else:
            made.settimeout(None)
            return made
    raise failed or OSError("the name leads nowhere")


@cache
def _sync_connection() -> Any:  # noqa: C901 - one class
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK  # noqa: PLC0415 - there when it is called
    from websockets.sync.client import ClientConnection  # noqa: PLC0415

    class GuardedConnection(ClientConnection):
        """A sync connection whose messages are guarded."""

        def __init__(self, *arguments: Any, safellm_plan: Plan, **options: Any) -> None:
            self._plan, self._session = safellm_plan, safellm_plan.session
            self._ready: deque[tuple[bytes, bool]] = deque()
            self._sending = threading.Lock()
            super().__init__(*arguments, **options)

        def handshake(self, additional_headers: Any = None, *arguments: Any, **options: Any) -> None:
            # Not those that come along: versions of the library differ in where they keep them.
            additional_headers = headers = self._plan.headers
            real, _injected = self._plan.driver.with_credentials(additional_headers)
            try:
                super().handshake(real, *arguments, **options)
            finally:
                real.clear()
                scrub(getattr(self, "request", None), headers)
            self._session.opened()

        def send(self, message: Any, *arguments: Any, **options: Any) -> None:
            plan, failed = self._plan, None
            with self._sending:
                try:
                    ready = _run(self._session.send(text_or_bytes(message, plan.driver)))
                except Refused as error:
                    failed = plan.refused(error)
                except Exception as error:  # noqa: BLE001 - a message whose guard broke isn't sent (P8)
                    failed = plan.refused(broken(error, sent=False))
                if failed is not None:
                    raise failed
                try:
                    super().send(ready.data, *arguments, **options)
                except BaseException:
                    ready.failed()
                    raise
            if ready.finish is not None:
                self._finish(ready.finish)

        def _finish(self, finish: Callable[[], Any]) -> None:
            try:
                rest = finish()
                if rest is not None:
                    rest()
            except Refused as error:
                failed = self._plan.refused(error)
            else:
                return
            raise failed

        def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:
            while not self._ready:
                try:
                    message = super().recv(timeout)
                except ConnectionClosed as closed:
                    self._session.abandon("closed" if isinstance(closed, ConnectionClosedOK) else "connection")
                    self._session.neutralise(closed)
                    raise
                self._take(message)
            data, text = self._ready.popleft()
            return as_wanted(data, text=text, decode=decode)

        def _take(self, message: str | bytes) -> None:
            try:
                found: Received = _run(self._session.receive(message))
            except Refused as error:
                refused = error
            except Exception as error:  # noqa: BLE001 - an unguarded message must not reach the program
                if self._session.ended:
                    return  # closed meanwhile by another thread; the library says so next
                refused = broken(error, sent=True)
            else:
                self._ready += [(one, isinstance(message, str)) for one in found.messages]
                if found.close:
                    self._give_up()
                return
            self._session.abandon("refused")
            self._give_up()
            raise self._plan.refused(refused)

        def _give_up(self) -> None:
            # What the provider goes on saying is read by nobody, and may be in the way of its good-bye.
            self.close_timeout = GOOD_BYE_SECONDS
            super().close()

        def recv_streaming(self, decode: bool | None = None) -> Any:
            yield self.recv(decode=decode)

        def ping(self, data: Any = None, *arguments: Any, **options: Any) -> Any:
            refuse_payload(data, self._plan)
            return super().ping(data, *arguments, **options)

        def pong(self, data: Any = b"") -> None:
            refuse_payload(data, self._plan)
            super().pong(data)

        def close(self, code: int = 1000, reason: str = "") -> None:
            try:
                super().close(code, self._session.said_at_the_end(reason))
            finally:
                self._session.abandon("closed")

    return GuardedConnection
