"""Websockets of a client that has a broker: what the SDK says goes there as it is, with the grant in the place of the key.

The guards are the broker's. What it refuses of a connection that is open, it says in a message with a mark that only it and this
module know; the next `recv` raises it, and the connection goes on.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from safellm._core.call import RequestHead
from safellm.errors import Reason, Refused
from safellm.stores.scopes import current_scopes
from safellm.transports.broker_address import BrokerAddress
from safellm.transports.driver import Driver
from safellm.transports.relay import (
    MARK_HEADER,
    REFUSAL_HEADER,
    address_of,
    headers_for,
    refused_in,
    unavailable,
    unpacked,
)
from safellm.transports.websocket_library import QUIET, native, refuse_payload, scrub, without_frames
from safellm.transports.websocket_opening import GUARDED

_WAIT_S = 10.0  # for the broker, which is on this machine
_OWN = frozenset({"host", "user-agent"})


@dataclass(slots=True)
class RelayPlan:
    """What a connection to the broker is made from.

    Attributes:
        driver: The client's.
        head: The request that would open the connection to the provider.
        options: For the library.
        address: Of the broker.
        scopes: That the connection is opened in: what it may do is narrowed by them, and by no later ones.
        mark: By which the broker's own messages are known, once the connection stands.
    """

    driver: Driver
    head: RequestHead
    options: dict[str, Any]
    address: BrokerAddress
    scopes: frozenset[str] = field(default_factory=lambda: frozenset(one.id for one in current_scopes()))
    mark: str = ""

    @property
    def uri(self) -> str:
        """What the library is told to connect to; with a Unix socket a mere form."""
        where = self.address.origin.removeprefix("http://")
        return f"ws://{where}{self.head.path}{'?' if self.head.query else ''}{self.head.query}"

    def refused(self, error: Refused) -> Exception:
        """Return a refusal as the SDK's own error."""
        return native(self.driver, self.head, error)

    def headers(self) -> dict[str, str]:
        """Return the headers of the opening request, with the grant.

        Raises:
            Refused: there is none.
        """
        given = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in self.head.headers]
        sent = headers_for(given, self.driver, self.head.origin)
        return {name.decode("latin-1"): value.decode("utf-8") for name, value in sent if name.decode() not in _OWN}

    def agent(self) -> str | None:
        """Return the program's name for itself."""
        return self.head.header("user-agent") or None

    def check_scopes(self) -> None:
        """Refuse a message in a scope that the broker doesn't know of.

        Raises:
            Exception: the SDK's own error.
        """
        if not self.scopes.issuperset(one.id for one in current_scopes()):
            raise self.refused(
                Refused(
                    "Through the broker, a scope that begins after a websocket was opened can't hold for it",
                    guard="grant",
                    reason=Reason.GRANT_DENIED,
                    remedy="Open the connection inside of the scope.",
                )
            )

    def opened(self, connection: Any) -> None:
        """Note how the broker marks its own messages, and take the grant out of what the connection keeps."""
        self.mark = "" if connection.response is None else connection.response.headers.get(MARK_HEADER, "")
        scrub(connection.request, self.head.headers)

    def told(self, message: str | bytes) -> Exception | None:
        """Return what the broker refused, if that is what a message says."""
        error = refused_in(message, self.mark)
        return None if error is None else self.refused(error)

    def failed(self, error: BaseException) -> BaseException:
        """Return what the program is told when no connection came about."""
        answer = getattr(error, "response", None)
        if answer is not None:
            said = unpacked(answer.headers.get(REFUSAL_HEADER, ""))
            return without_frames(error) if said is None else self.refused(said)
        if isinstance(error, Refused):
            return self.refused(error)
        return self.refused(unavailable(type(error).__name__)) if isinstance(error, OSError) else without_frames(error)


def relay_plan(driver: Driver, head: RequestHead, options: dict[str, Any]) -> RelayPlan:
    """Return what a connection to the broker is made from.

    Args:
        driver: Of a client that has a broker.
        head: The request that would open the connection to the provider.
        options: For the library, that neither change where it goes nor who reads along.
    """
    out = (
        "ssl",
        "additional_headers",
        "compression",
        "extensions",
        "user_agent_header",
    )  # for the broker's own connection
    kept = {name: value for name, value in options.items() if name not in out}
    most = driver.tools.policy.limits.event_bytes
    given = kept.get("max_size")
    kept |= {"max_size": most if given is None else min(given, most), "logger": QUIET, "compression": None}
    return RelayPlan(driver, head, kept, address_of(driver))


def open_relayed(connect: Callable[..., Any], plan: RelayPlan) -> Any:
    """Open a connection to the broker, with the sync library.

    Raises:
        Exception: the broker refuses it or isn't there, as the SDK's own error; or the library's.
    """
    failed: BaseException
    sock: socket.socket | None = None
    try:
        sock = _connected(plan.address)
        return connect(
            plan.uri,
            sock=sock,
            **({} if plan.address.socket is None else {"unix": True}),
            create_connection=_maker(_sync_connection(), plan),
            user_agent_header=plan.agent(),
            **plan.options,
        )
    except BaseException as error:  # noqa: BLE001 - told without its frames, which lead to the grant
        if sock is not None:
            sock.close()
        failed = plan.failed(error)
    raise failed


def library_options(plan: RelayPlan, *, knows_proxies: bool) -> dict[str, Any]:
    """Return what the asyncio library's `connect` is made with, besides the address.

    Args:
        plan: What the connection is made from.
        knows_proxies: This version would go through the one that a variable names.
    """
    way: dict[str, Any] = {"proxy": None} if knows_proxies else {}
    if plan.address.socket is not None:
        way = {"unix": True, "path": plan.address.socket}
    return {
        **way,
        "create_connection": _maker(_async_connection(), plan),
        "user_agent_header": plan.agent(),
        **plan.options,
    }


def _maker(kind: Any, plan: RelayPlan) -> Any:
    made = functools.partial(kind, safellm_plan=plan)
    setattr(made, GUARDED, True)
    return made


def _connected(address: BrokerAddress) -> socket.socket:
    if address.socket is not None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(_WAIT_S)
            made.connect(address.socket)
            made.settimeout(None)
        except BaseException:
            made.close()
            raise
        return made
    parts = urlsplit(address.origin)
    made = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_WAIT_S)
    made.settimeout(None)
    return made


@cache
def _sync_connection() -> Any:
    from websockets.sync.client import ClientConnection  # noqa: PLC0415 - there when it is called

    class RelayConnection(ClientConnection):
        """A sync connection to the broker."""

        def __init__(self, *arguments: Any, safellm_plan: RelayPlan, **options: Any) -> None:
            self._plan = safellm_plan
            super().__init__(*arguments, **options)

        def handshake(self, additional_headers: Any = None, *arguments: Any, **options: Any) -> None:  # noqa: ARG002 - ours count
            super().handshake(self._plan.headers(), *arguments, **options)
            self._plan.opened(self)

        def send(self, message: Any, *arguments: Any, **options: Any) -> None:
            self._plan.check_scopes()
            super().send(message, *arguments, **options)

        def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:
            message = super().recv(timeout)
            refused = self._plan.told(message)
            if refused is not None:
                raise refused from None
            return _as_wanted(message, decode)

        def recv_streaming(self, decode: bool | None = None) -> Any:
            yield self.recv(decode=decode)

        def ping(self, data: Any = None, *arguments: Any, **options: Any) -> Any:
            refuse_payload(data, self._plan)
            return super().ping(data, *arguments, **options)

    return RelayConnection


@cache
def _async_connection() -> Any:
    from websockets.asyncio.client import ClientConnection  # noqa: PLC0415 - there when it is called

    class RelayConnection(ClientConnection):
        """The same for asyncio."""

        def __init__(self, *arguments: Any, safellm_plan: RelayPlan, **options: Any) -> None:
            self._plan = safellm_plan
            super().__init__(*arguments, **options)

        async def handshake(self, additional_headers: Any = None, *arguments: Any, **options: Any) -> None:  # noqa: ARG002 - ours count
            await super().handshake(self._plan.headers(), *arguments, **options)
            self._plan.opened(self)

        async def send(self, message: Any, *arguments: Any, **options: Any) -> None:
            self._plan.check_scopes()
            await super().send(message, *arguments, **options)

        async def recv(self, decode: bool | None = None) -> Any:
            message = await super().recv()
            refused = self._plan.told(message)
            if refused is not None:
                raise refused from None
            return _as_wanted(message, decode)

        async def recv_streaming(self, decode: bool | None = None) -> Any:
            yield await self.recv(decode=decode)

        async def ping(self, data: Any = None, *arguments: Any, **options: Any) -> Any:
            refuse_payload(data, self._plan)
            return await super().ping(data, *arguments, **options)

    return RelayConnection


def _as_wanted(message: str | bytes, decode: bool | None) -> str | bytes:
    if decode is None:
        return message
    if decode:
        return message if isinstance(message, str) else message.decode("utf-8")
    return message.encode("utf-8") if isinstance(message, str) else message
