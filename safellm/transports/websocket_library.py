"""The shell for the library `websockets`, sync and asyncio: its own connections, guarded where messages go in and out.

An SDK is given an address that leads nowhere (`announce`), and what it calls to connect is replaced by a `connect` that knows what
the address stands for. So a connection that this module doesn't make fails: the real address is known here alone. Addresses of
others go on to the library as they came.

The rules of HTTP hold: the origin is one of the client's, addresses are checked before a socket is opened, TLS settings are ours,
no redirect is followed, and a managed key is put in when the opening request is written.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from safellm._core.call import RequestHead
from safellm._core.origin import Origin
from safellm.errors import Reason, Refused
from safellm.stores.tls import context_for, default_context, is_verified
from safellm.transports.driver import Driver
from safellm.transports.http import refusal_response
from safellm.transports.websocket import Session
from safellm.transports.websocket_opening import GUARDED, Opening, announced

if TYPE_CHECKING:
    from safellm.transports.websocket_relay import RelayPlan
    from safellm.transports.websocket_steps import Planned

GOOD_BYE_SECONDS = 0.2  # for a connection that we give up
OPEN_SECONDS = 10.0  # the library's own default
# Options that change neither where a connection goes nor who reads along.
_OPTIONS = frozenset(
    {"extensions", "subprotocols", "compression", "max_size", "max_queue", "write_limit", "ping_interval", "ping_timeout",
     "close_timeout", "open_timeout", "user_agent_header", "additional_headers", "ssl"}
)  # fmt: skip

# Not among the loggers that a program configures: the library logs headers and messages.
QUIET = logging.Logger("safellm.websocket", level=logging.CRITICAL + 1)  # noqa: LOG001 - none of the hierarchy's
setattr(QUIET, GUARDED, True)


@dataclass(slots=True)
class Plan:
    """What a connection is made from.

    Attributes:
        session: Its guard.
        driver: The client's.
        head: The request that opens it.
        uri: Where it goes.
        options: For the library.
        target: Host and port.
        proxy: On the way there; None for none.
        make: Makes the guard of one more connection.
        used: The guard has had its connection.
        headers: Of the opening request, as the guard let them pass: with placeholders of managed keys.
    """

    session: Session
    driver: Driver
    head: RequestHead
    uri: str
    options: dict[str, Any]
    target: tuple[str, int]
    make: Callable[[], Session]
    proxy: str | None = None
    used: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def take(self) -> Session:
        """Return the guard of the connection that is opened now: each has one of its own."""
        if self.used:
            self.session = self.make()
        self.used = True
        return self.session

    def through_proxy(self, connect: Callable[..., Any]) -> str | None:
        """Return the proxy for a `connect` of the library.

        Raises:
            Refused: this version of it knows none.
        """
        if "proxy" not in inspect.signature(connect).parameters:
            raise Refused(
                "This version of the library websockets goes through no proxy",
                guard="egress",
                reason=Reason.MEDIATION_UNSUPPORTED,
                remedy="Install websockets 15 or newer, or take the host out of the proxy's reach: NO_PROXY.",
            )
        return self.proxy

    def refused(self, error: Refused) -> Exception:
        """Return a refusal as the SDK's own error."""
        return native(self.driver, self.head, error)


def native(driver: Driver, head: RequestHead, error: Refused) -> Exception:
    """Return a refusal as the SDK's own error, with a response that stands for it."""
    error.__cause__ = error.__context__ = None
    module = sys.modules.get("httpx2") or sys.modules.get("httpx")
    if driver.native is None or module is None:
        return error.with_traceback(None)
    request = module.Request(head.method, f"{head.origin}{head.path}")
    response = refusal_response(module, error, request, driver.tools.adapter.refusal_body(error))
    return driver.native(error.with_traceback(None), response)


def plan_of(uri: str, options: dict[str, Any]) -> Plan | RelayPlan:
    """Return what a connection to an announced address is made from.

    Raises:
        Refused: it may not be made, as the SDK's own error.
    """
    opening = announced(uri)
    if opening is None:
        raise not_ours("The address of this websocket means nothing any more")
    return plan_for(opening, uri, options)


def plan_for(opening: Opening, uri: str, options: dict[str, Any]) -> Plan | RelayPlan:
    """Return what a connection is made from.

    Args:
        opening: Where it goes.
        uri: Path and query count.
        options: That the program or its SDK gave to the library.

    Raises:
        Refused: it may not be made, as the SDK's own error.
    """
    parts = urlsplit(uri)
    driver, origin = opening.driver, opening.origin
    headers = dict(options.get("additional_headers") or {})
    agent = options.get("user_agent_header")
    if agent is not None and "user-agent" not in {name.lower() for name in headers}:
        headers["user-agent"] = agent
    head = RequestHead(
        method="GET",
        origin=origin,
        path=parts.path or "/",
        query=parts.query,
        headers=tuple((name.lower(), str(value)) for name, value in headers.items()),
    )
    try:
        foreign = sorted(set(options) - _OPTIONS)
        if foreign:
            raise not_ours(f"The option {foreign[0]!r} can change where a websocket goes, or who reads along")
        if parts.username is not None or parts.password is not None:
            raise not_ours("The address of this websocket holds a user name or a password")
        if driver.broker is not None:
            from safellm.transports.websocket_relay import relay_plan  # noqa: PLC0415 - only with a broker

            return relay_plan(driver, head, options)
        scan = driver.tools.scanner.scan
        if any(scan(str(one)) for one in options.get("subprotocols") or ()):
            raise not_ours("A subprotocol of this websocket holds a secret or personal data")

        def make() -> Session:
            return Session(driver, opening.dialect(head.path, head.query), head)

        session = make()
        proxy = _proxy_for(driver, origin)
    except Refused as error:
        driver.deny(error)
        raise native(driver, head, error) from None
    scheme = "wss" if origin.scheme == "https" else "ws"
    real = f"{scheme}://{str(origin).partition('://')[2]}{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    kept = {name: value for name, value in options.items() if name not in ("ssl", "additional_headers")}
    most = driver.tools.policy.limits.event_bytes
    given = kept.get("max_size")
    kept |= {"max_size": most if given is None else min(given, most), "logger": QUIET, "user_agent_header": None}
    if scheme == "wss":
        kept["ssl"] = _tls(driver, options.get("ssl"))
    return Plan(session, driver, head, real, kept, (origin.host, origin.port), make, proxy)


def not_ours(what: str) -> Refused:
    """Return what is said to a connection that the SDK would not have asked for."""
    return Refused(
        what,
        guard="egress",
        reason=Reason.EGRESS_REQUEST,
        remedy="Open the connection with the SDK's own method, without it.",
    )


def _tls(driver: Driver, given: Any) -> Any:
    context = given if is_verified(given) else default_context()
    return context_for(driver.tools.policy, context, http2=False)


def _proxy_for(driver: Driver, origin: Origin) -> str | None:
    """Return the proxy of the policy, or in guard mode that of the environment; None to connect directly.

    Raises:
        Refused: what is said would go through it unencrypted.
    """
    import urllib.request  # noqa: PLC0415 - knows the settings of each platform

    policy = driver.tools.policy
    if origin.is_loopback:
        return None
    proxy = policy.egress.proxy
    if proxy is None and not policy.is_strict and not urllib.request.proxy_bypass(origin.host):
        known = urllib.request.getproxies()
        proxy = known.get("https" if origin.scheme == "https" else "http") or known.get("all")
    if proxy is not None and origin.scheme != "https":
        raise Refused(
            f"This websocket to {origin} would go through a proxy without encryption",
            guard="egress",
            reason=Reason.EGRESS_PLAINTEXT,
            remedy="Use wss, or take the host out of the proxy's reach: NO_PROXY.",
        )
    return proxy


def unique(found: Iterable[Any]) -> list[str]:
    """Return the addresses that a name leads to, of what `getaddrinfo` says."""
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def without_frames(error: BaseException) -> BaseException:
    """Cut off frames and causes: their locals lead to the real key (THREATS K.4)."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def text_or_bytes(message: object, driver: Driver) -> str | bytes:
    """Return a message that the program sends.

    Raises:
        Refused: it comes in fragments.
    """
    if isinstance(message, str):
        return message
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message)
    error = Refused(
        "A message that is sent in fragments can't be decided about before it is whole",
        guard="shape",
        reason=Reason.SHAPE_MALFORMED,
        remedy="Send it as one text.",
        status=400,
    )
    driver.deny(error)
    raise error


def refuse_payload(data: object, plan: Planned | RelayPlan) -> None:
    """Refuse what a program would put into a ping or a pong: no guard reads it.

    Raises:
        Refused: there is something, as the SDK's own error.
    """
    if data not in (None, b"", ""):
        error = not_ours("A ping with a payload would carry it past the guard")
        plan.driver.deny(error)
        raise plan.refused(error)


def as_wanted(data: bytes, *, text: bool, decode: bool | None) -> str | bytes:
    """Return a message as `recv` was asked for it: by its frame, or as text or bytes."""
    return data.decode("utf-8") if (text if decode is None else decode) else data


@contextmanager
def real_headers(connection: Any, plan: Plan) -> Iterator[list[tuple[str, str]]]:
    """Give the headers of an opening request with the real keys; afterwards nothing holds them (THREATS K.4)."""
    headers = plan.headers
    real, _injected = plan.driver.with_credentials(headers)
    try:
        yield real
    finally:
        real.clear()
        scrub(getattr(connection, "request", None), headers)
    plan.session.opened()


def scrub(request: Any, headers: Iterable[tuple[str, str]]) -> None:
    """Put the placeholders back into the request that the connection keeps."""
    if request is not None:
        for name, value in headers:
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
