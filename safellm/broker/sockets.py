"""Websockets through the broker: a program's connection on one side, a guarded one to the provider on the other.

The guards of each message are the broker's, as over HTTP, and the grant counts for each of them. A message of the program that is
refused never leaves; the program is told in an event of the provider's own form for errors, and the connection goes on.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from safellm.auto.gate import sockets_of
from safellm.broker.upstream import Way, without_grant
from safellm.errors import Reason, Refused
from safellm.transports.relay import DIALECT_HEADER, MARK_HEADER, marked
from safellm.transports.websocket_opening import Opening, announce

GOING_AWAY, POLICY, NORMAL = 1001, 1008, 1000  # RFC 6455 7.4.1
AGAIN = 1012  # "service restart", of the same registry: connect again
_NO_STATUS, _ABNORMAL = 1005, 1006  # never sent
_CLOSE_S = 2.0
_REASON_BYTES = 123  # RFC 6455 5.5

Headers = list[tuple[str, str]]


async def open_to_provider(way: Way, target: str, headers: Headers) -> Any:
    """Return a guarded connection to the provider, of the library `websockets`.

    Args:
        way: Of the grant.
        target: Path and query, as the program asked.
        headers: Of the program's request, with the grant.

    Raises:
        Refused: it may not be opened, or nothing guards what is said there.
        Exception: of the library; it can't be opened.
    """
    dialect = sockets_of(way.target, target.partition("?")[0])
    named = dict(headers)
    if dialect is None or "sec-websocket-protocol" in named:
        what = (
            "Websockets to this address have no guard"
            if dialect is None
            else "Websockets with a subprotocol have no guard"
        )
        raise _unguarded(f"{what} in the broker")
    connect = _connect()
    sent = without_grant(headers, way)
    kept = {name: value for name, value in sent if not name.startswith("sec-websocket-")}
    opening = Opening(driver=way.driver, origin=way.origin, dialect=dialect)
    uri = f"wss://{announce(opening)}{target}"
    agent = kept.pop("user-agent", None)
    # The deadline of each answer is the guard's; the library's own pings find out whether the provider is there.
    return await connect(uri, additional_headers=kept, user_agent_header=agent, max_size=None)


class Relay:
    """A program's connection and the provider's, and what is carried between them.

    Args:
        transport: Of the program's connection.
        provider: The guarded connection.
        way: Of the grant.
        most: Bytes of a message of the program.
        holds: Says whether the policy that the connection was opened with is still the one in force.
    """

    def __init__(self, transport: Any, provider: Any, way: Way, *, most: int, holds: Callable[[], bool]) -> None:
        self._transport, self._provider, self._way, self._holds = transport, provider, way, holds
        self._program = _program()(most=most)
        self._mark = secrets.token_hex(16)
        self.refused = 0

    async def run(self, head: bytes, rest: bytes, headers: Headers, leaving: asyncio.Event) -> None:
        """Answer the program's opening request, and carry messages until one side ends.

        Args:
            head: The program's request.
            rest: What came after it.
            headers: Of that request.
            leaving: Set when the broker ends.
        """
        program = self._program
        self._transport.pause_reading()  # nothing overtakes the rest
        self._transport.set_protocol(program)
        program.connection_made(self._transport)
        program.data_received(head)
        tasks: list[asyncio.Task[_End]] = []
        end = _End(GOING_AWAY)
        try:
            # Our own programs know their refusals by the mark; a provider can't forge one.
            is_ours = any(name == DIALECT_HEADER for name, _ in headers)
            if not await program.accept({MARK_HEADER: self._mark} if is_ours else {}):
                return
            self._transport.resume_reading()
            program.data_received(rest)
            carried = (self._outwards(), self._inwards(), _left(leaving), self._gone())
            tasks = [asyncio.ensure_future(one) for one in carried]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            end = next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Each side hears how the other one ended; closing the provider's settles what is under way.
            code = NORMAL if end.code == POLICY else end.code
            await asyncio.gather(_close(self._provider, code, ""), _close(program, end.code, end.reason))

    async def _gone(self) -> _End:
        """Wait for the program's end; what it said last is still sent, unless the provider takes nothing."""
        await self._program.wait_closed()
        await asyncio.sleep(_CLOSE_S)
        return _End(GOING_AWAY)

    async def _tell(self, error: Refused) -> None:
        self.refused += 1
        said = json.loads(self._way.driver.tools.adapter.refusal_body(error))
        body = said if isinstance(said, dict) else {"error": said}
        await self._program.send(marked({"type": "error", "status": error.status, **body}, error, self._mark))

    async def _outwards(self) -> _End:
        try:
            while True:
                message = await self._program.recv()
                if not self._holds():  # as the next call over HTTP gets the new one
                    return _End(AGAIN, "the policy has changed: connect again")
                try:
                    await self._provider.send(message)
                except Refused as error:
                    await self._tell(error)
        except _closed() as error:
            return _ending(error)

    async def _inwards(self) -> _End:
        try:
            while True:
                await self._program.send(await self._provider.recv())
        except Refused as error:
            with suppress(_closed()):
                await self._tell(error)
            return _End(POLICY, str(error.reason))
        except _closed() as error:
            return _ending(error)


@dataclass(frozen=True, slots=True)
class _End:
    """How a connection is closed."""

    code: int
    reason: str = ""


async def _left(leaving: asyncio.Event) -> _End:
    await leaving.wait()
    return _End(GOING_AWAY, "the broker ends")


async def _close(connection: Any, code: int, reason: str) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.close(code, reason)
    except Exception:  # noqa: BLE001 - whatever is in the way of a good-bye
        connection.transport.abort()


def _ending(error: Any) -> _End:
    """Return how the other side is closed."""
    said = error.rcvd
    if said is None:
        return _End(GOING_AWAY)
    # Made harmless, a reason may have grown beyond what a frame takes.
    reason = said.reason.encode("utf-8", "replace")[:_REASON_BYTES].decode("utf-8", "ignore")
    return _End(NORMAL) if said.code in (_NO_STATUS, _ABNORMAL) else _End(said.code, reason)


def _unguarded(what: str) -> Refused:
    return Refused(
        what,
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy="Use a websocket that docs/websockets.md lists, or the provider's HTTP endpoints.",
    )


def _connect() -> Any:
    try:
        import websockets.asyncio.client  # noqa: PLC0415 - an extra
    except ImportError:
        raise Refused(
            "The broker has no library for websockets",
            guard="mediation",
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy="Where the broker runs: pip install 'openai[realtime]'.",
        ) from None
    from safellm.transports.websocket_asyncio import guard_async  # noqa: PLC0415

    return guard_async(websockets.asyncio.client.connect)


@cache
def _closed() -> Any:
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - there when it is called

    return ConnectionClosed


@cache
def _program() -> Any:  # noqa: C901 - one class and its protocol
    from websockets.asyncio.connection import Connection  # noqa: PLC0415 - there when it is called
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415
    from websockets.frames import OP_PONG  # noqa: PLC0415
    from websockets.protocol import CONNECTING, OPEN  # noqa: PLC0415
    from websockets.server import ServerProtocol  # noqa: PLC0415

    from safellm.transports.websocket_library import QUIET  # noqa: PLC0415

    class Protocol(ServerProtocol):
        """The library's, but a program that reads nothing can't pile up pongs: the newest waits (RFC 6455 5.5.3)."""

        is_full = False
        owed: Any = None

        def send_frame(self, frame: Any) -> None:
            if self.is_full and frame.opcode is OP_PONG:
                self.owed = frame
            else:
                super().send_frame(frame)

    class ProgramConnection(Connection):
        """A program's connection, on the transport that its request came by."""

        def __init__(self, *, most: int) -> None:
            self._server = Protocol(max_size=most, logger=QUIET)
            super().__init__(self._server, close_timeout=_CLOSE_S)
            self._asked: Any = None

        def process_event(self, event: Any) -> None:
            if self._asked is None:
                self._asked = event
            else:
                super().process_event(event)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._server.is_full = True

        def resume_writing(self) -> None:
            super().resume_writing()
            self._server.is_full = False
            owed, self._server.owed = self._server.owed, None
            if owed is not None and self._server.state is OPEN:
                self._server.send_frame(owed)
                self.send_data()

        async def accept(self, headers: dict[str, str]) -> bool:
            """Answer the opening request; one that is none is answered with an error: False, and the connection closes."""
            if self._asked is None:
                return False
            try:
                async with self.send_context(expected_state=CONNECTING):
                    answer = self._server.accept(self._asked)
                    for name, value in headers.items():
                        answer.headers[name] = value
                    self._server.send_response(answer)
            except ConnectionClosed:
                return False  # the program left
            if self._server.state is not OPEN:
                return False
            self.start_keepalive()
            return True

    return ProgramConnection
