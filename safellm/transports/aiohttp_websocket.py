"""The shell for websockets of `aiohttp`: its own connections, guarded between its messages and its frames.

What the library's connection reads messages from and writes frames to is replaced: whatever a program calls, and a class of its
own that it lets the library make, sees messages behind the guards and writes frames before them. The library still connects, with
the program's settings; so in strict mode and with a broker, where it may not, the connection is refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, hdrs

from safellm._core.call import RequestHead
from safellm._core.origin import Origin
from safellm._core.sockets import SocketDialect
from safellm.errors import Reason, Refused
from safellm.transports.aiohttp import send_on
from safellm.transports.driver import Driver
from safellm.transports.http import in_thread
from safellm.transports.websocket import Session
from safellm.transports.websocket_asyncio import run
from safellm.transports.websocket_library import native, not_ours, refuse_payload, without_frames
from safellm.transports.websocket_messages import Ready, Received, Steps
from safellm.transports.websocket_steps import Guarded

WAY_OUT = "Use the library websockets for it, which the policy lets connect as it asks."
_SWITCHED, _REDIRECTS = 101, range(300, 400)
# What opens a websocket; all but subprotocols and extensions is the library's own, or stands in its place.
_FIXED = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
_CHOSEN = ("sec-websocket-protocol", "sec-websocket-extensions")
_HANDSHAKE = frozenset({*_FIXED, *_CHOSEN, "sec-websocket-key"})
_GOOD = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
_MESSAGES = (WSMsgType.TEXT, WSMsgType.BINARY)


@dataclass(slots=True)
class SocketPlan:
    """What a connection is guarded by.

    Attributes:
        session: Its guard.
        driver: Of the address.
        head: The request that opens it.
    """

    session: Session
    driver: Driver
    head: RequestHead

    def refused(self, error: Refused) -> Exception:
        """Return a refusal as the program gets it."""
        return native(self.driver, self.head, error)


async def open_socket(
    request: Any, handler: Any, driver: Driver, origin: Origin, dialect: Callable[[str, str], SocketDialect]
) -> tuple[Any, SocketPlan]:
    """Send the request that opens a websocket, if it may be opened; return the answer and what guards the connection.

    Args:
        request: `aiohttp.ClientRequest`, the program's.
        handler: What sends one.
        driver: Of the address.
        origin: Where it goes.
        dialect: Returns the protocol at a path with a query.

    Raises:
        Refused: it may not be opened, or is led elsewhere.
        ClientError: as the library does.
    """
    pairs = [(name.lower(), value) for name, value in request.headers.items()]
    head = RequestHead(
        method="GET",
        origin=origin,
        path=request.url.raw_path,
        query=request.url.raw_query_string,
        headers=tuple(item for item in pairs if item[0] not in _HANDSHAKE),
    )
    plan = SocketPlan(Session(driver, dialect(head.path, head.query), head), driver, head)
    try:
        await in_thread(_check, request, pairs, driver)
        wanted = await run(plan.session.open())
    except Refused as error:
        raise plan.refused(error) from None
    failed: BaseException
    real, _ = driver.with_credentials(wanted)
    try:
        response = await send_on(request, handler, [*real, *_handshake(pairs)], b"")
    except BaseException as error:  # noqa: BLE001 - told without its frames, which lead to the key (THREATS K.4)
        failed = without_frames(error)
    else:
        response._request_info = request.request_info  # noqa: SLF001 - not the copy's, which may hold a managed key (K.4)
        if response.status == _SWITCHED:
            plan.session.opened()
        if response.status not in _REDIRECTS:  # if it opens nothing, the library says so
            return response, plan
        response.close()
        away = not_ours("The server leads this websocket to another address")
        await in_thread(driver.deny, away)
        failed = plan.refused(away)
    finally:
        real.clear()
    await in_thread(plan.session.abandon, "refused" if isinstance(failed, Refused) else "connection", sent=False)
    raise failed


def _check(request: Any, pairs: list[tuple[str, str]], driver: Driver) -> None:
    """Refuse what would connect in another way than the policy says, or to another name.

    Raises:
        Refused: it would.
    """
    if driver.tools.policy.is_strict or driver.broker is not None:
        error = Refused(
            "In strict mode and with a broker, aiohttp may not connect a websocket by itself",
            guard="mediation",
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy=WAY_OUT,
        )
    elif request.method != hdrs.METH_GET or request._body is not None:  # noqa: SLF001 - as `read_body` reads it
        error = not_ours("A websocket is opened with GET, and without a body")
    elif getattr(request, "server_hostname", None) is not None:
        error = not_ours("The option 'server_hostname' can change where a websocket goes")
    elif any(value.lower() != _FIXED[name].lower() for name, value in pairs if name in _FIXED):
        error = not_ours("A header of this websocket asks for another protocol")
    elif any(driver.tools.scanner.scan(value) for name, value in pairs if name in _CHOSEN):
        error = not_ours("A subprotocol of this websocket holds a secret or personal data")
    else:
        return
    driver.deny(error)
    raise error


def _handshake(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [item for item in pairs if item[0] in _HANDSHAKE]


def guard(connection: Any, plan: SocketPlan) -> Any:
    """Put the guard into a connection that the library has just made, and return it.

    Args:
        connection: `aiohttp.ClientWebSocketResponse`.
        plan: Of `open_socket`.
    """
    guarded = Guarded(plan)
    writer = _Writer(connection._writer, guarded)  # noqa: SLF001 - where frames go
    connection._reader = _Reader(connection._reader, guarded, writer)  # noqa: SLF001 - where messages come from
    connection._writer = writer  # noqa: SLF001
    connection._autoping = True  # noqa: SLF001 - what a ping says isn't shown to the program, nor could it answer
    raising: Any = _raising
    connection.__class__ = raising(type(connection))
    return connection


@cache
def _raising(base: Any) -> Any:
    async def receive(self: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the library's own argument
        """Return the next message; a refusal is raised, for half an answer mustn't look like a whole one."""
        message = await base.receive(self, timeout)
        failed = self._reader.failed
        if failed is not None and message.type is WSMsgType.ERROR and message.data is failed:
            raise failed from None
        return message

    return type(base.__name__, (base,), {"receive": receive, "__module__": base.__module__})


class _Writer:
    """Takes the frames that the library writes."""

    def __init__(self, inner: Any, guarded: Guarded) -> None:
        self._inner, self._guarded = inner, guarded
        self._sending = asyncio.Lock()
        self._pinged = b""
        self._closed = False

    def pinged(self, payload: bytes) -> None:
        """Note what the provider's last ping said: its answer says the same."""
        self._pinged = payload

    async def send_frame(self, message: Any, opcode: int, compress: int | None = None) -> None:
        """Write a frame.

        Raises:
            Refused: it isn't sent.
        """
        if opcode in _MESSAGES:
            await self._send(bytes(message), opcode, compress)
            return
        if opcode not in (WSMsgType.PING, WSMsgType.PONG):
            refuse_payload(b"a frame that is no message", self._guarded.plan)
        if opcode != WSMsgType.PONG or bytes(message) != self._pinged:
            refuse_payload(bytes(message), self._guarded.plan)
        await self._inner.send_frame(message, opcode, compress)

    async def _send(self, message: bytes, opcode: int, compress: int | None) -> None:
        async with self._sending:
            ready: Ready = await run(self._guarded.sending(message))
            try:
                await self._inner.send_frame(ready.data, opcode, compress)
            except BaseException:
                await in_thread(ready.failed)
                raise
        if ready.finish is not None:
            await run(self._guarded.sent(ready.finish))

    async def close(self, code: int = WSCloseCode.OK, message: bytes | str = b"") -> None:
        """Say good-bye, once."""
        if self._closed:
            return
        self._closed = True
        session = self._guarded.session
        reason = message if isinstance(message, str) else message.decode("utf-8", "replace")
        try:
            await self._inner.close(code, session.said_at_the_end(reason).encode())
        finally:
            await in_thread(session.abandon, "closed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Reader:
    """Gives the messages that the library hands on."""

    def __init__(self, inner: Any, guarded: Guarded, writer: _Writer) -> None:
        self._inner, self._guarded, self._writer = inner, guarded, writer
        self._ready: deque[Any] = deque()
        self._working: asyncio.Task[None] | None = None
        self.failed: Exception | None = None

    async def read(self) -> Any:
        """Return the next message. A program that stops waiting loses none.

        Raises:
            Refused: it is withheld; the library closes the connection.
        """
        while not self._ready:
            if self.failed is not None:
                raise self.failed
            if self._working is None:
                message = await self._next()
                self._working = asyncio.get_running_loop().create_task(self._take(message))
            working = self._working
            await asyncio.shield(working)
            self._working = None
        return self._ready.popleft()

    async def _next(self) -> Any:
        """Return the next message of the library; None when an answer has taken too long."""
        try:
            async with asyncio.timeout(self._guarded.patience()) as limit:
                return await self._inner.read()
        except TimeoutError:
            if not limit.expired():
                raise
            return None
        except asyncio.CancelledError:
            raise
        except BaseException:
            await in_thread(self._guarded.session.abandon, "connection")
            raise

    async def _take(self, message: Any) -> None:
        session = self._guarded.session
        if message is None:
            await self._treat(self._guarded.late(), None)
        elif message.type in _MESSAGES:
            await self._treat(self._guarded.taking(message.data), message)
        elif message.type is WSMsgType.CLOSE:
            said = SimpleNamespace(reason=message.extra)
            session.neutralise(said)
            self._ready.append(message._replace(extra=said.reason))
            await in_thread(session.abandon, "closed" if message.data in _GOOD else "connection")
        else:
            if message.type is WSMsgType.PING:
                self._writer.pinged(bytes(message.data))
            elif message.type is WSMsgType.ERROR:
                await in_thread(session.abandon, "connection")
            self._ready.append(message)

    async def _treat(self, steps: Steps[Received], message: Any) -> None:
        found: Received = await run(steps)
        while self._guarded.is_ready:
            self._ready.append(message._replace(data=self._guarded.next(decode=None)))
        self.failed = found.failed
        if found.close and found.failed is None:  # no more may come, and what came is whole
            await self._writer.close()
            self._ready.append(WSMessage(WSMsgType.CLOSE, int(WSCloseCode.OK), ""))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
