"""The way to the broker: where it is, and transports that send a client's calls there with their grant.

A client that has a broker decides nothing itself: policy, redaction, budgets and trail are the broker's. What goes over the
socket is the SDK's own request, with the grant in the place of the key. If the broker isn't there, nothing is sent.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from safellm._core.origin import Origin
from safellm.errors import GuardFailure, Reason, Refused
from safellm.stores.conversations import current_conversation
from safellm.stores.scopes import current_scopes
from safellm.transports.broker_address import BrokerAddress
from safellm.transports.driver import Driver
from safellm.transports.heads import read_head

ORIGIN_HEADER = "safellm-origin"  # where the SDK would have sent the request
DIALECT_HEADER = "safellm-dialect"
CONVERSATION_HEADER = "safellm-conversation"
REFUSAL_HEADER = "x-safellm-refusal"  # a refusal's parts: JSON, base64url
MARK_HEADER = "x-safellm-mark"  # by which a program knows the broker's own messages on a websocket
_REFUSAL_BYTES = 8192
_OWN_KEY = "safellm"


def unavailable(why: str) -> GuardFailure:
    """Return the refusal of a call whose broker can't be asked."""
    return GuardFailure(
        f"The broker can't be asked ({why})",
        guard="broker",
        reason=Reason.BROKER_UNAVAILABLE,
        remedy="Start it (safellm broker run) or see `safellm broker status`; calls never go past it.",
    )


def packed(error: Refused) -> str:
    """Return a refusal as a header's value."""
    parts = [error.what, error.guard, str(error.reason), error.remedy, error.status, error.sent]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode("ascii")


def unpacked(text: str) -> Refused | None:
    """Return the refusal of a header's value, or None when it can't be read."""
    try:
        what, guard, reason, remedy, status, sent = json.loads(base64.urlsafe_b64decode(text[:_REFUSAL_BYTES]))
        kind = GuardFailure if reason in (Reason.GUARD_ERROR, Reason.AUDIT_UNAVAILABLE) else Refused
        return kind(
            str(what),
            guard=str(guard),
            reason=Reason(reason),
            remedy=str(remedy),
            status=int(status),
            sent=bool(sent),
        )
    except (ValueError, TypeError):
        return None


def marked(event: dict[str, Any], error: Refused, mark: str) -> str:
    """Return the message that tells a program of a websocket what was refused."""
    return json.dumps({_OWN_KEY: [mark, packed(error)], **event})


def refused_in(message: str | bytes, mark: str) -> Refused | None:
    """Return the refusal that a message of a websocket is; None for the provider's own."""
    head = f'{{"{_OWN_KEY}": ["{mark}", "'
    text = message if isinstance(message, str) else ""
    if not mark or not text.startswith(head):
        return None
    return unpacked(text[len(head) :].partition('"')[0])


def address_of(driver: Driver) -> BrokerAddress:
    """Return where the broker of a client is."""
    if driver.broker is None:
        raise unavailable("there is none")
    return driver.broker


def narrowed(driver: Driver) -> str:
    """Return the grant that a call is made with: the client's, narrowed by the scopes around the call."""
    held = driver.grant
    if held is None:
        raise unavailable("there is no grant")
    grant = held.grant
    for scope in current_scopes():
        grant = grant.narrow(account=f"scope-{scope.id}")  # accounts of its own, as without a broker
        for name, value in scope.caveats:
            grant = grant.narrow(**{name: value})
    return grant.text()


def headers_for(headers: list[tuple[bytes, bytes]], driver: Driver, origin: Origin | str) -> list[tuple[bytes, bytes]]:
    """Return a request's headers as the broker gets them: with the grant in place of its placeholder."""
    grant = narrowed(driver).encode("ascii")
    out = []
    for name, value in headers:
        if name.lower() == b"host" or name.lower().startswith(b"safellm-"):
            continue
        for placeholder in driver.credentials:
            value = value.replace(placeholder.encode("ascii"), grant)  # noqa: PLW2901 - the copy that is sent
        out.append((name, value))
    out.append((b"host", address_of(driver).origin.removeprefix("http://").encode("ascii")))
    out.append((ORIGIN_HEADER.encode(), str(origin).encode("ascii")))
    out.append((DIALECT_HEADER.encode(), driver.tools.adapter.name.encode("ascii")))
    named = current_conversation()
    if named is not None:
        out.append((CONVERSATION_HEADER.encode(), base64.urlsafe_b64encode(named.encode("utf-8", "surrogatepass"))))
    return out


@cache
def relays(module: ModuleType) -> dict[str, type]:  # noqa: C901 - two of them, made together so that they stay equal
    """Return the transports of a module (httpx or httpx2) that send to the broker, sync and async."""
    from safellm.transports.http import refusal_response  # noqa: PLC0415 - it imports this module

    def request_for(request: Any, driver: Driver, address: BrokerAddress) -> Any:
        if address.socket is not None and not Path(address.socket).exists():
            raise unavailable("its socket isn't there")
        head = read_head(request)
        sent = headers_for(request.headers.raw, driver, head.origin)
        extensions = {name: value for name, value in request.extensions.items() if name == "timeout"}
        url = address.origin + request.url.raw_path.decode("ascii")
        copied = module.Request(request.method, url, headers=sent, stream=request.stream, extensions=extensions)
        copied.safellm_passed = True  # a patched transport below lets it through: see `safellm.auto`
        return copied

    def refused(error: Refused, request: Any, driver: Driver) -> Any:
        response = refusal_response(module, error, request, driver.tools.adapter.refusal_body(error))
        if driver.raises:
            raise driver.native(error, response) if driver.native is not None else error
        return response

    def answered(response: Any, request: Any, driver: Driver) -> Any:
        text = response.headers.get(REFUSAL_HEADER)
        error = unpacked(text) if text else None
        return response if error is None else refused(error, request, driver)

    class RelayTransport(module.BaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Sends every call of a sync client to the broker."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            address = address_of(driver)
            self._unused, self._address = inner, address
            self._way = module.HTTPTransport(uds=address.socket, trust_env=False)
            self.safellm_driver = driver

        def handle_request(self, request: Any) -> Any:
            driver = self.safellm_driver
            try:
                copied = request_for(request, driver, self._address)
                response = self._way.handle_request(copied)
            except Refused as error:
                return refused(error, request, driver)
            except module.ConnectError as error:
                return refused(unavailable(type(error).__name__), request, driver)
            made = answered(response, request, driver)
            if made is not response:
                response.close()
            return made

        def close(self) -> None:
            self._way.close()
            self._unused.close()

    class AsyncRelayTransport(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async client."""

        def __init__(self, inner: Any, driver: Driver) -> None:
            address = address_of(driver)
            self._unused, self._address = inner, address
            self._way = module.AsyncHTTPTransport(uds=address.socket, trust_env=False)
            self.safellm_driver = driver

        async def handle_async_request(self, request: Any) -> Any:
            driver = self.safellm_driver
            try:
                copied = request_for(request, driver, self._address)
                response = await self._way.handle_async_request(copied)
            except Refused as error:
                return refused(error, request, driver)
            except module.ConnectError as error:
                return refused(unavailable(type(error).__name__), request, driver)
            made = answered(response, request, driver)
            if made is not response:
                await response.aclose()
            return made

        async def aclose(self) -> None:
            await self._way.aclose()
            await self._unused.aclose()

    return {"sync": RelayTransport, "async": AsyncRelayTransport}
