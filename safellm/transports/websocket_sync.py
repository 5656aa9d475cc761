"""The sync half of the shell for the library `websockets`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from safellm.errors import Refused
from safellm.transports.network import check_addresses
from safellm.transports.websocket_library import (
    GOOD_BYE_SECONDS,
    OPEN_SECONDS,
    Plan,
    plan_of,
    real_headers,
    refuse_payload,
    unique,
    without_frames,
)
from safellm.transports.websocket_messages import Ready, Received, Steps
from safellm.transports.websocket_opening import GUARDED, leads_nowhere
from safellm.transports.websocket_steps import Guarded
from safellm.transports.websocket_tls import SharedContext

if TYPE_CHECKING:
    from safellm.transports.websocket_relay import RelayPlan


def guard_sync(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Return the sync library's `connect` for announced addresses; others go to the given one."""
    if hasattr(connect, GUARDED):
        return connect

    @functools.wraps(connect)
    def guarded(uri: str, *arguments: Any, **options: Any) -> Any:
        return (
            open_guarded(connect, plan_of(uri, options)) if leads_nowhere(uri) else connect(uri, *arguments, **options)
        )

    setattr(guarded, GUARDED, True)
    return guarded


def run(steps: Steps[Any]) -> Any:
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


def open_guarded(connect: Callable[..., Any], plan: Plan | RelayPlan) -> Any:
    """Open a guarded connection.

    Args:
        connect: The library's own.
        plan: What it is made from.

    Raises:
        Exception: it may not be opened, as the SDK's own error; or the library's.
    """
    if not isinstance(plan, Plan):
        from safellm.transports.websocket_relay import open_relayed  # noqa: PLC0415 - only with a broker

        return open_relayed(connect, plan)
    session, driver = plan.take(), plan.driver
    failed: BaseException
    try:
        plan.headers = run(session.open())
    except Refused as error:  # the trail has it
        raise plan.refused(error) from None
    try:
        if plan.proxy is not None:
            plan.options["proxy"] = plan.through_proxy(connect)
        else:
            plan.options["sock"] = _checked_socket(plan)
        if "ssl" in plan.options:
            plan.options["ssl"] = SharedContext(plan.options["ssl"])
        factory = functools.partial(_sync_connection(), safellm_plan=plan)
        setattr(factory, GUARDED, True)
        return connect(plan.uri, create_connection=factory, **plan.options)
    except Refused as error:
        session.abandon("refused", sent=False)
        driver.deny(error)
        failed = plan.refused(error)
        _close_socket(plan)
    except BaseException as error:  # noqa: BLE001 - told without its frames, which lead to the key
        session.abandon("connection", sent=False)
        failed = without_frames(error)
        _close_socket(plan)
    raise failed


def _close_socket(plan: Plan) -> None:
    sock = plan.options.get("sock")
    if sock is not None:
        sock.close()  # the library leaves it open where it refuses an option


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
    from websockets.frames import OP_CLOSE  # noqa: PLC0415
    from websockets.sync.client import ClientConnection  # noqa: PLC0415

    class GuardedConnection(ClientConnection):
        """A sync connection whose messages are guarded."""

        def __init__(self, *arguments: Any, safellm_plan: Plan, **options: Any) -> None:
            self._plan, self._session = safellm_plan, safellm_plan.session
            self._guarded = Guarded(safellm_plan)
            self._sending = threading.Lock()
            super().__init__(*arguments, **options)

        def handshake(self, additional_headers: Any = None, *arguments: Any, **options: Any) -> None:  # noqa: ARG002 - ours count
            with real_headers(self, self._plan) as headers:
                super().handshake(headers, *arguments, **options)

        def process_event(self, event: Any) -> None:
            super().process_event(event)
            if getattr(event, "opcode", None) is OP_CLOSE:  # before any error quotes it, whoever asks first
                self._session.neutralise(self.protocol.close_rcvd)

        def send(self, message: Any, *arguments: Any, **options: Any) -> None:
            with self._sending:
                ready: Ready = run(self._guarded.sending(message))
                try:
                    super().send(ready.data, *arguments, **options)
                except BaseException:
                    ready.failed()
                    raise
            if ready.finish is not None:
                run(self._guarded.sent(ready.finish))

        def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:
            until = None if timeout is None else time.monotonic() + timeout
            while not self._guarded.is_ready:
                wanted = None if until is None else max(0.0, until - time.monotonic())
                try:
                    message = super().recv(self._guarded.patience(wanted))
                except TimeoutError:
                    self._take(self._guarded.late())
                    if until is not None and until <= time.monotonic():
                        raise
                except ConnectionClosed as closed:
                    self._session.abandon("closed" if isinstance(closed, ConnectionClosedOK) else "connection")
                    raise
                else:
                    self._take(self._guarded.taking(message))
            return self._guarded.next(decode=decode)

        def _take(self, steps: Steps[Received]) -> None:
            found = run(steps)
            if found.close:
                # What the provider goes on saying is read by nobody, and may be in the way of its good-bye.
                self.close_timeout = GOOD_BYE_SECONDS
                super().close()
            if found.failed is not None:
                raise found.failed from None

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
