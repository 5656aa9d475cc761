"""One connection of a program to the broker: HTTP/1.1 in, guarded calls out. `h11` reads, so that no request is read leniently.

A call belongs to its connection: when the program leaves, the call ends, is settled and recorded.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import h11

from safellm.broker.upstream import Upstream, Way, credential
from safellm.errors import Reason, Refused
from safellm.stores.conversations import conversation
from safellm.transports.http import REFUSAL
from safellm.transports.relay import CONVERSATION_HEADER, REFUSAL_HEADER, packed

_HEAD_BYTES = 64 * 1024
_AHEAD_BYTES = 1 << 20  # read from a program before the broker looks at it
_IDLE_S = 75.0
_OK, _BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE, _BAD_GATEWAY, _TIMEOUT = 200, 400, 403, 404, 413, 502, 504
_HOP = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"proxy-connection"}
)
CONTROL = "/safellm/"

Headers = list[tuple[str, str]]
Control = Callable[[str], dict[str, Any] | None]


class Connection(asyncio.Protocol):
    """One accepted connection.

    Args:
        upstream: Where calls go.
        welcome: Decides about the peer: returns its user and, where it is not welcome, why.
        hosts: What the Host header may say; None on a Unix socket, which no browser reaches.
        control: Answers `/safellm/…`; None where nobody is asked who he is.
        live: Connections of the broker; this one adds and removes itself.
        counts: Numbers for `safellm broker status`.
    """

    def __init__(  # noqa: PLR0913 - the world of a connection
        self,
        *,
        upstream: Upstream,
        welcome: Callable[[Any], tuple[int | None, str]],
        hosts: frozenset[str] | None,
        control: Control | None,
        live: set[Connection],
        counts: dict[str, int],
    ) -> None:
        self._upstream, self._welcome, self._hosts, self._control = upstream, welcome, hosts, control
        self._live, self._counts = live, counts
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._data, self._room = asyncio.Event(), asyncio.Event()
        self._ahead = 0
        self.busy = False
        self._closing = self._relays = False
        self._leaving = asyncio.Event()
        self._room.set()

    # -- asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._uid, self._unwelcome = self._welcome(transport.get_extra_info("socket"))
        self._live.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        """Take bytes; a program that sends faster than the broker reads waits."""
        self._ahead += len(data)
        if self._ahead > _AHEAD_BYTES:
            self._transport.pause_reading()
        with suppress(h11.RemoteProtocolError):  # told when the next event is asked for
            self._http.receive_data(data)
        self._data.set()

    def eof_received(self) -> None:
        """The program sends no more, and its transport closes."""
        with suppress(h11.RemoteProtocolError):
            self._http.receive_data(b"")
        self._data.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """End the call, if one is under way."""
        self._live.discard(self)
        self._room.set()
        self._task.cancel()

    def pause_writing(self) -> None:
        """The program reads slower than the provider writes."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._room.set()

    def leave(self) -> None:
        """Close when the call under way is over; at once if there is none."""
        self._closing = True
        self._leaving.set()
        if not self.busy:
            self._transport.close()

    async def ended(self, timeout_s: float) -> None:
        """Wait for the end, and cut what takes longer; it is settled all the same."""
        _, late = await asyncio.wait({self._task}, timeout=timeout_s)
        if late:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=timeout_s)

    # -- HTTP -------------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._closing:
                async with asyncio.timeout(_IDLE_S):
                    event = await self._next()
                if not isinstance(event, h11.Request):
                    break
                self.busy = True
                await self._answer(event)
                self.busy = False
                if self._relays or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except h11.RemoteProtocolError:
            with suppress(h11.LocalProtocolError):
                self._whole(_BAD_REQUEST, b'{"error": {"message": "This is no HTTP request."}}')
        except (TimeoutError, h11.LocalProtocolError, OSError):
            pass  # an idle or broken connection
        finally:
            self._live.discard(self)
            self._transport.close()

    async def _next(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._ahead = 0
            self._transport.resume_reading()
            self._data.clear()
            await self._data.wait()

    async def _answer(self, request: h11.Request) -> None:
        headers = [
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in request.headers
        ]
        try:
            self._check_peer(headers)
            self._upstream.refresh()
            method, target = request.method.decode("ascii"), request.target.decode("ascii")
            body = await self._body()
            if target.startswith(CONTROL):
                self._told(target)
                return
            if not target.startswith("/"):
                raise _request("The request names no path")
            self._counts["calls"] += 1
            way = await self._upstream.way(headers, target.partition("?")[0], self._uid)
            named = dict(headers).get(CONVERSATION_HEADER, "")
            with conversation(f"{way.grant_id}:{_decoded(named)}") if named else nullcontext():
                # Other protocols are ignored, as a server may (RFC 9110 7.8): some clients always offer HTTP/2.
                if method == "GET" and dict(headers).get("upgrade", "").lower() == "websocket":
                    await self._websocket(way, target, headers, request)
                else:
                    await self._forward(way.transport, self._upstream.request(method, target, headers, body, way))
        except Refused as error:
            self._counts["refused"] += 1
            await asyncio.to_thread(self._upstream.deny, error, uid=self._uid, grant=credential(headers))
            self._refused(error, headers)

    def _check_peer(self, headers: Headers) -> None:
        if self._unwelcome:
            raise Refused(
                self._unwelcome,
                guard="broker",
                reason=Reason.GRANT_DENIED,
                remedy="Ask the broker of your own user.",
            )
        named = dict(headers)
        # A page in a browser could send requests to this machine: it can't choose these headers (Fetch, forbidden names).
        if "origin" in named or "sec-fetch-site" in named:
            raise _request("Web pages may not use the broker")
        if self._hosts is not None and [value for name, value in headers if name == "host"] != [named.get("host", "")]:
            raise _request("The Host header stands more than once")
        if self._hosts is not None and named.get("host", "").lower() not in self._hosts:
            raise _request("The Host header names another host")  # DNS rebinding

    async def _body(self) -> bytes:
        most, parts, size = self._upstream.policy.limits.request_bytes, [], 0
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the request ended early")
            size += len(event.data)
            if size > most:
                raise Refused(
                    f"The request has more than {most} bytes",
                    guard="shape",
                    reason=Reason.SHAPE_LIMIT,
                    remedy="Raise limits.request_bytes in the broker's policy.",
                    status=_BAD_REQUEST,
                )
            parts.append(bytes(event.data))
        return b"".join(parts)

    async def _forward(self, transport: Any, request: Any) -> None:
        errors = self._upstream.module
        try:
            response = await transport.handle_async_request(request)
        except errors.TransportError as error:
            status = _TIMEOUT if isinstance(error, errors.TimeoutException) else _BAD_GATEWAY
            text = f"The provider can't be reached ({type(error).__name__})."
            self._whole(status, json.dumps({"error": {"message": text, "type": "api_connection_error"}}).encode())
            return
        try:
            kept = [
                (name, value)
                for name, value in response.headers.raw
                if name.lower() not in _HOP and not name.lower().startswith(b"x-safellm-")
            ]
            refusal = response.extensions.get(REFUSAL)
            if isinstance(refusal, Refused):
                self._counts["refused"] += 1
                kept += [
                    (b"x-safellm-reason", str(refusal.reason).encode()),
                    (REFUSAL_HEADER.encode(), packed(refusal).encode()),
                ]
            head = [h11.Response(status_code=response.status_code, headers=kept)]
            if "content-length" not in response.headers:
                self._send(*head)  # a stream: its beginning is told at once
                head.clear()
            try:
                async for chunk in response.stream:
                    if chunk:
                        self._send(*head, h11.Data(data=chunk))
                        head.clear()
                        if not self._room.is_set():
                            await self._room.wait()
            except Refused as error:
                self._broken_off(error, response.headers.get("content-type", ""))
                return
            except errors.TransportError:
                self._transport.abort()  # the program sees what a program sees without a broker: the connection broke
                return
            self._send(*head, h11.EndOfMessage())
        finally:
            await response.aclose()

    async def _websocket(self, way: Way, target: str, headers: Headers, request: h11.Request) -> None:
        """Open the provider's websocket, then the program's: what goes wrong before is an answer over HTTP."""
        from safellm.broker import sockets  # noqa: PLC0415 - with the first websocket

        policy = self._upstream.digest

        def holds() -> bool:
            self._upstream.refresh()
            return self._upstream.digest == policy

        try:
            provider = await sockets.open_to_provider(way, target, headers)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library says, nothing was opened
            answer = getattr(error, "response", None)  # of a provider that said no
            status = getattr(answer, "status_code", 0)
            text = f"The provider opens no websocket ({status or type(error).__name__})."
            failed = status if status >= _BAD_REQUEST else _BAD_GATEWAY
            self._whole(failed, json.dumps({"error": {"message": text, "type": "api_connection_error"}}).encode())
            return
        told = b"".join(b"%s: %s\r\n" % pair for pair in request.headers)
        head, (rest, _) = b"GET %s HTTP/1.1\r\n%s\r\n" % (request.target, told), self._http.trailing_data
        self._relays = True  # the library reads from now on
        most = self._upstream.policy.limits.request_bytes
        relay = sockets.Relay(self._transport, provider, way, most=most, holds=holds)
        try:
            await relay.run(head, rest, headers, self._leaving)
        finally:
            self._counts["refused"] += relay.refused

    def _broken_off(self, error: Refused, content_type: str) -> None:
        """Say in a stream why it ends, and end it so that nobody takes it for whole."""
        self._counts["refused"] += 1
        if content_type.startswith("text/event-stream"):
            body = {"error": {"message": str(error), "type": str(error.reason), "code": str(error.reason)}}
            line = f"event: error\ndata: {json.dumps(body)}\n\n"
            self._send(h11.Data(data=line.encode()))
        self._transport.close()

    def _told(self, target: str) -> None:
        answer = self._control(target.removeprefix(CONTROL)) if self._control is not None else None
        if answer is None:
            self._whole(_NOT_FOUND, b"{}")
        else:
            self._whole(_OK, json.dumps(answer).encode())

    def _refused(self, error: Refused, headers: Headers) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._transport.abort()
            return
        self._whole(
            error.status,
            self._upstream.refusal_body(error, headers),
            [
                (b"x-should-retry", b"false"),
                (b"x-safellm-reason", str(error.reason).encode()),
                (REFUSAL_HEADER.encode(), packed(error).encode()),
            ],
        )

    def _whole(self, status: int, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *(more or [])]
        if self._http.their_state not in (h11.DONE, h11.IDLE):
            head.append((b"connection", b"close"))  # the rest of the request was not read
        self._send(h11.Response(status_code=status, headers=head), h11.Data(data=body), h11.EndOfMessage())

    def _send(self, *events: Any) -> None:
        data = b"".join([self._http.send(event) or b"" for event in events])
        if data:
            self._transport.write(data)


def _request(what: str) -> Refused:
    return Refused(
        what,
        guard="broker",
        reason=Reason.EGRESS_REQUEST,
        remedy="Send the request from a program of this machine, to the address that the broker printed.",
    )


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text).decode("utf-8", "surrogatepass")
    except ValueError:
        raise _request("The name of the conversation can't be read") from None
