"""The asyncio half of the shell for the library `websockets`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import inspect
import socket
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from safellm.errors import Reason, Refused
from safellm.transports.http import in_thread
from safellm.transports.network import check_addresses
from safellm.transports.websocket_library import (
    GOOD_BYE_SECONDS,
    Plan,
    plan_for,
    plan_of,
    real_headers,
    refuse_payload,
    unique,
    without_frames,
)
from safellm.transports.websocket_messages import Ready, Received, Steps
from safellm.transports.websocket_opening import GUARDED, Opening, leads_nowhere
from safellm.transports.websocket_steps import Guarded

if TYPE_CHECKING:
    from safellm.transports.websocket_relay import RelayPlan


def guard_async(base: Any) -> Any:
    """Return a subclass of the asyncio library's `connect` (or of an SDK's own) that guards announced addresses."""
    return base if hasattr(base, GUARDED) else _guarded(base)


def guard_connecting(connecting: Any, opening: Opening, uri: str, options: dict[str, Any]) -> None:
    """Have an object of the library's `connect`, which is being made, open a guarded connection.

    Args:
        connecting: The object; of another class from now on.
        opening: Where the connection goes.
        uri: Path and query count.
        options: That the library was given.

    Raises:
        Refused: it may not be opened, as the SDK's own error.
    """
    connecting.__class__ = guard_async(type(connecting))
    connecting.safellm_begin(plan_for(opening, uri, options))


@cache
def _guarded(base: Any) -> Any:  # noqa: C901 - one class
    class connect(base):  # type: ignore[misc]  # noqa: N801 - the library's name; the base is a parameter
        __doc__ = base.__doc__
        safellm_plan: Plan | RelayPlan | None = None

        def __init__(self, uri: str, *arguments: Any, **options: Any) -> None:
            if leads_nowhere(uri):
                self.safellm_begin(plan_of(uri, options))
            else:
                super().__init__(uri, *arguments, **options)

        def safellm_begin(self, plan: Plan | RelayPlan) -> None:
            """Make the library's object as the plan says."""
            self.safellm_plan = plan
            if not hasattr(
                base, "create_connection"
            ):  # of 13.0: nothing could be decided before it opens the connection
                error = Refused(
                    "This release of the library websockets opens connections where no guard can stand",
                    guard="mediation",
                    reason=Reason.MEDIATION_UNSUPPORTED,
                    remedy="Install websockets 13.1 or newer.",
                )
                plan.driver.deny(error)
                raise plan.refused(error)
            if not isinstance(plan, Plan):
                from safellm.transports.websocket_relay import library_options  # noqa: PLC0415 - only with a broker

                knows_proxies = "proxy" in inspect.signature(super().__init__).parameters
                super().__init__(plan.uri, **library_options(plan, knows_proxies=knows_proxies))
                return
            factory = functools.partial(_async_connection(), safellm_plan=plan)
            setattr(factory, GUARDED, True)
            if plan.proxy is not None:
                try:
                    plan.options["proxy"] = plan.through_proxy(super().__init__)
                except Refused as error:
                    plan.driver.deny(error)
                    raise plan.refused(error) from None
            super().__init__(plan.uri, create_connection=factory, **plan.options)

        async def create_connection(self) -> Any:
            plan = self.safellm_plan
            if not isinstance(plan, Plan):
                return await super().create_connection()
            session = plan.take()
            try:
                plan.headers = await run(session.open())
            except Refused as error:  # the trail has it
                raise plan.refused(error) from None
            try:
                if plan.proxy is None:
                    self.connection_kwargs["sock"] = await _checked_socket(plan)
            except Refused as error:
                refused = error
            else:
                return await super().create_connection()
            await in_thread(plan.driver.deny, refused)
            raise plan.refused(refused)

        def process_redirect(self, exc: Exception) -> Any:
            return super().process_redirect(exc) if self.safellm_plan is None else exc

        def __await__(self) -> Any:
            if self.safellm_plan is None:
                return super().__await__()
            return self._safellm_opened().__await__()

        async def _safellm_opened(self) -> Any:
            plan = self.safellm_plan
            failed: BaseException
            try:
                return await _Awaitable(super().__await__)
            except BaseException as error:  # noqa: BLE001 - told without its frames, which lead to the key
                failed = without_frames(error) if plan is None or isinstance(plan, Plan) else plan.failed(error)
            if isinstance(plan, Plan):
                await in_thread(
                    plan.session.abandon, "refused" if isinstance(failed, Refused) else "connection", sent=False
                )
            raise failed

        __iter__ = __await__

    setattr(connect, GUARDED, True)
    connect.__name__, connect.__qualname__, connect.__module__ = base.__name__, base.__qualname__, base.__module__
    return connect


class _Awaitable:
    """What is awaited by calling a function."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __await__(self) -> Any:
        return self._function()


class _Pongs:
    """A provider that pings and reads nothing can't pile up pongs: the newest waits (RFC 6455 5.5.3).

    Args:
        protocol: The library's, of one connection; what it sends goes through here from now on.
    """

    def __init__(self, protocol: Any) -> None:
        from websockets.frames import OP_PONG  # noqa: PLC0415 - there when it is called

        self.is_full = False
        self._owed: Any = None
        self._kind = OP_PONG
        self._protocol, self._send = protocol, protocol.send_frame
        protocol.send_frame = self._guarded

    def _guarded(self, frame: Any) -> None:
        if self.is_full and frame.opcode is self._kind:
            self._owed = frame
        else:
            self._send(frame)

    def catch_up(self) -> bool:
        """Note that there is room again; return whether there is something to send."""
        from websockets.protocol import OPEN  # noqa: PLC0415 - there when it is called

        self.is_full = False
        owed, self._owed = self._owed, None
        if owed is None or self._protocol.state is not OPEN:
            return False
        self._send(owed)
        return True


async def run(steps: Steps[Any]) -> Any:
    """Carry out steps; what may wait is done in a thread."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await in_thread(step)
            except Exception as error:  # noqa: BLE001 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        return done.value


async def _checked_socket(plan: Plan) -> socket.socket:
    import asyncio  # noqa: PLC0415 - sync programs never need it

    loop, (host, port) = asyncio.get_running_loop(), plan.target
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = unique(found)
    check_addresses(host, port, addresses, plan.driver)
    failed: OSError | None = None
    for address in addresses:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            await loop.sock_connect(made, (address, port))
        except OSError as error:
            failed = error
            made.close()
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failed or OSError("the name leads nowhere")


@cache
def _async_connection() -> Any:  # noqa: C901 - one class
    import asyncio  # noqa: PLC0415 - sync programs never need it

    from websockets.asyncio.client import ClientConnection  # noqa: PLC0415 - there when it is called
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK  # noqa: PLC0415
    from websockets.frames import OP_CLOSE  # noqa: PLC0415

    class GuardedConnection(ClientConnection):
        """The same for asyncio."""

        def __init__(self, *arguments: Any, safellm_plan: Plan, **options: Any) -> None:
            self._plan, self._session = safellm_plan, safellm_plan.session
            self._guarded = Guarded(safellm_plan)
            self._sending = asyncio.Lock()
            super().__init__(*arguments, **options)
            self._pongs = _Pongs(self.protocol)

        async def handshake(self, additional_headers: Any = None, *arguments: Any, **options: Any) -> None:  # noqa: ARG002 - ours count
            with real_headers(self, self._plan) as headers:
                await super().handshake(headers, *arguments, **options)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._pongs.is_full = True

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._pongs.catch_up():
                self.send_data()

        def process_event(self, event: Any) -> None:
            super().process_event(event)
            if getattr(event, "opcode", None) is OP_CLOSE:  # before any error quotes it, whoever asks first
                self._session.neutralise(self.protocol.close_rcvd)

        async def send(self, message: Any, *arguments: Any, **options: Any) -> None:
            async with self._sending:
                ready: Ready = await run(self._guarded.sending(message))
                try:
                    await super().send(ready.data, *arguments, **options)
                except BaseException:
                    await in_thread(ready.failed)
                    raise
            if ready.finish is not None:
                await run(self._guarded.sent(ready.finish))

        async def recv(self, decode: bool | None = None) -> Any:
            while not self._guarded.is_ready:
                try:
                    async with asyncio.timeout(self._guarded.patience()):
                        message = await super().recv()
                except TimeoutError:
                    await self._take(self._guarded.late())
                except ConnectionClosed as closed:
                    kind = "closed" if isinstance(closed, ConnectionClosedOK) else "connection"
                    await in_thread(self._session.abandon, kind)
                    raise
                else:
                    await self._take(self._guarded.taking(message))
            return self._guarded.next(decode=decode)

        async def _take(self, steps: Steps[Received]) -> None:
            found: Received = await run(steps)
            if found.close:
                # What the provider goes on saying is read by nobody, and may be in the way of its good-bye.
                self.close_timeout = GOOD_BYE_SECONDS
                await super().close()
            if found.failed is not None:
                raise found.failed from None

        async def recv_streaming(self, decode: bool | None = None) -> Any:
            yield await self.recv(decode=decode)

        async def ping(self, data: Any = None, *arguments: Any, **options: Any) -> Any:
            refuse_payload(data, self._plan)
            return await super().ping(data, *arguments, **options)

        async def pong(self, data: Any = b"") -> None:
            refuse_payload(data, self._plan)
            await super().pong(data)

        async def close(self, code: int = 1000, reason: str = "") -> None:
            try:
                await super().close(code, self._session.said_at_the_end(reason))
            finally:
                await in_thread(self._session.abandon, "closed")

    return GuardedConnection
