"""The seam of `httpx` and `httpx2`: the transports that open connections, whatever client or SDK they belong to.

A refusal is an ordinary HTTP response (403, 429 or 400 with the provider's JSON, and `x-safellm-reason`): SDKs make their own
errors of it, `raise_for_status()` does in raw code, and no library takes it for an outage and tries again.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from functools import partial
from types import ModuleType
from typing import Any

from safellm._core.origin import Origin, make_origin
from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.auto.targets import Target
from safellm.errors import ConfigurationError, Reason, Refused

_GOOGLE_SDK = "google-genai-sdk/"
_LINES = "_safellm_lines"  # attribute of a transport: its own transports for strict mode, by driver
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def patch(module: ModuleType, patches: Patches) -> None:
    """Guard both transports of httpx or httpx2."""
    library = f"{module.__name__} {getattr(module, '__version__', '')}".strip()
    patches.replace(module.HTTPTransport, "handle_request", lambda original: _sync(original, module, library))
    patches.replace(
        module.AsyncHTTPTransport, "handle_async_request", lambda original: _async(original, module, library)
    )
    for name in ("close", "__exit__"):  # a client ends its transport by the one or the other
        patches.replace(module.HTTPTransport, name, _close)
    for name in ("aclose", "__aexit__"):
        patches.replace(module.AsyncHTTPTransport, name, _aclose)


def patch_aiohttp_transport(module: ModuleType, patches: Patches) -> None:
    """Guard the transports that stand on aiohttp: openai's `DefaultAioHttpClient`, LiteLLM's, `httpx-aiohttp`'s."""
    for one in list(vars(module).values()):
        if isinstance(one, type) and one.__module__ == module.__name__ and "handle_async_request" in vars(one):
            family = _family(one)
            if family is not None:
                patches.replace(one, "handle_async_request", partial(_async, module=family, library="aiohttp"))
                if "aclose" in vars(one):
                    patches.replace(one, "aclose", _aclose)


def _family(transport: type) -> ModuleType | None:
    names = (base.__module__.partition(".")[0] for base in transport.__mro__)
    return next((sys.modules[name] for name in names if name in ("httpx", "httpx2")), None)


def _sync(original: Any, module: ModuleType, library: str) -> Any:
    def handle_request(self: Any, request: Any) -> Any:
        target = _target(request, library)
        if target is None:
            return original(self, request)
        if not gate.STATE.installed or _passed(request):
            with gate.passing(target.origin):
                return original(self, request)
        from safellm.transports.http import guard_transport  # noqa: PLC0415 - with the first call to a model

        try:
            driver = gate.driver_of(target, native=_is_sdk(request), library=library)
            check_strict(driver, request)
        except Refused as error:
            if target.dialect.raises and _is_sdk(request):
                raise gate.native_of(target, error, refused(module, request, error)) from None
            return refused(module, request, error)
        if driver.broker is not None:
            return _relay(self, Inner(module, driver, target.origin, None), driver).handle_request(request)
        line = _line(self, module.Client, module, driver)
        send = (lambda copied: original(self, copied)) if line is None else line.handle_request
        inner = Inner(module, driver, target.origin, send)
        return guard_transport(module, inner, driver).handle_request(request)

    return handle_request


def _async(original: Any, module: ModuleType, library: str) -> Any:
    async def handle_async_request(self: Any, request: Any) -> Any:
        target = _target(request, library)
        if target is None:
            return await original(self, request)
        if not gate.STATE.installed or _passed(request):
            with gate.passing(target.origin):
                return await original(self, request)
        from safellm.transports.http import guard_transport, in_thread  # noqa: PLC0415 - with the first call to a model

        try:
            driver = await in_thread(gate.driver_of, target, native=_is_sdk(request), library=library)
            await in_thread(check_strict, driver, request)
        except Refused as error:
            if target.dialect.raises and _is_sdk(request):
                raise gate.native_of(target, error, refused(module, request, error)) from None
            return refused(module, request, error)
        if driver.broker is not None:
            relay = _relay(self, AsyncInner(module, driver, target.origin, None), driver)
            return await relay.handle_async_request(request)
        line = _line(self, module.AsyncClient, module, driver)
        send = (lambda copied: original(self, copied)) if line is None else line.handle_async_request
        inner = AsyncInner(module, driver, target.origin, send)
        return await guard_transport(module, inner, driver).handle_async_request(request)

    return handle_async_request


def _line(transport: Any, kind: Any, module: ModuleType, driver: Any) -> Any:
    """Return the transport of ours that a call goes through in strict mode, else None: then it is the program's own.

    Its connections are checked when they are opened, with the policy's authorities and proxy (THREATS E.6-E.8). It lives as long as
    the program's transport does.
    """
    if not driver.tools.policy.is_strict:
        return None
    lines = transport.__dict__.setdefault(_LINES, {})
    if id(driver) not in lines:
        lines[id(driver)] = (driver, line_of(kind, module, driver))
    return lines[id(driver)][1]


def _relay(transport: Any, inner: Inner, driver: Any) -> Any:
    """Return the way to the broker, which lives as long as the program's transport does."""
    from safellm.transports.http import guard_transport  # noqa: PLC0415 - with the first call to a model

    lines = transport.__dict__.setdefault(_LINES, {})
    if id(driver) not in lines:
        lines[id(driver)] = (driver, guard_transport(inner.module, inner, driver))
    return lines[id(driver)][1]


def line_of(kind: Any, module: ModuleType, driver: Any) -> Any:
    """Return a transport of ours whose connections are checked; who asks for it closes it.

    Args:
        kind: `Client` or `AsyncClient` of the module.
        module: httpx or httpx2.
        driver: Knows policy and bounds.
    """
    from safellm.transports.own import secure_client  # noqa: PLC0415 - for strict mode only

    client = kind(trust_env=False, limits=module.Limits(max_connections=None, max_keepalive_connections=100))
    secure_client(module, client, driver)
    return client._transport  # noqa: SLF001 - what secures it keeps it there


def _close(original: Any) -> Any:
    def close(self: Any, *how: Any) -> None:
        original(self, *how)
        for _, line in self.__dict__.pop(_LINES, {}).values():
            line.close()

    return close


def _aclose(original: Any) -> Any:
    async def aclose(self: Any, *how: Any) -> None:
        await original(self, *how)
        for _, line in self.__dict__.pop(_LINES, {}).values():
            await line.aclose()

    return aclose


class Inner:
    """What sends for the guard: the transport's own method, and no hop to another origin (THREATS E.2)."""

    def __init__(self, module: ModuleType, driver: Any, origin: Origin, send: Any) -> None:
        self.module, self._driver, self._origin, self._send = module, driver, origin, send

    def handle_request(self, request: Any) -> Any:
        """Send it; an answer that leads away becomes a refusal."""
        with gate.passing(self._origin):  # the seams below let it through
            response = self._send(request)
        error = leads_away(response, self._origin)
        if error is None:
            return response
        response.close()
        self._driver.deny(error)
        return refused(self.module, request, error)

    def close(self) -> None:
        """Nothing: the client closes its transport."""


class AsyncInner(Inner):
    """The same for an async transport."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send it; an answer that leads away becomes a refusal."""
        from safellm.transports.http import in_thread  # noqa: PLC0415

        with gate.passing(self._origin):  # the seams below let it through
            response = await self._send(request)
        error = leads_away(response, self._origin)
        if error is None:
            return response
        await response.aclose()
        await in_thread(self._driver.deny, error)
        return refused(self.module, request, error)

    async def aclose(self) -> None:
        """Nothing: the client closes its transport."""


def _target(request: Any, library: str) -> Target | None:
    url = request.url
    agent = request.headers.get("user-agent", "")
    host = url.raw_host.decode("ascii", "replace").lower()
    sdk = _mark(request)
    return gate.find(url.scheme, host.strip("[]"), url.port, url.path, library=library, agent=agent, sdk=sdk)


def _mark(request: Any) -> str:
    own = str(getattr(request, "safellm_sdk", ""))
    return own or ("google" if _GOOGLE_SDK in request.headers.get("x-goog-api-client", "") else "")


def _passed(request: Any) -> bool:
    return getattr(request, "safellm_passed", False) is True


def _is_sdk(request: Any) -> bool:
    return bool(_mark(request)) or "x-stainless-lang" in request.headers


def refused(module: ModuleType, request: Any, error: Refused) -> Any:
    """Return the response that stands for a refusal where no driver could be made."""
    from safellm.transports.http import refusal_response  # noqa: PLC0415

    return refusal_response(module, error, request, error_body(error))


def error_body(error: Refused) -> bytes:
    """Return a refusal as most providers write an error, where no adapter is at hand."""
    kind = {400: "invalid_request_error", 429: "rate_limit_error"}.get(error.status, "permission_error")
    inner = {"message": str(error), "type": kind, "param": error.guard, "code": str(error.reason)}
    return json.dumps({"error": inner}).encode()


def check_strict(driver: Any, request: Any) -> None:
    """Strict mode takes keys from the vault only: what the request carries must be a placeholder of ours.

    Raises:
        Refused: it is something else; recorded.
    """
    if not driver.tools.policy.is_strict:
        return
    for name in ("authorization", "api-key", "x-api-key", "x-goog-api-key"):
        value = request.headers.get(name, "")
        if value and not any(one in value for one in driver.credentials):
            error = Refused(
                "Strict mode takes keys from the vault only, and this request brings one of its own",
                guard="egress",
                reason=Reason.KEY_UNBOUND,
                remedy="Store it with `safellm keys set`, and take it out of the environment and the code.",
            )
            driver.deny(error)
            raise error


def leads_away(response: Any, origin: Origin) -> Refused | None:
    """Return the refusal of an answer that sends the program on to another origin, else None."""
    if response.status_code not in _REDIRECTS:
        return None
    try:
        to = _joined(origin, response.headers.get("location", ""))
    except ConfigurationError:
        to = None
    if to == origin:
        return None
    return Refused(
        "The server sends this call on to another address",
        guard="egress",
        reason=Reason.EGRESS_ORIGIN,
        remedy="If the address is right, use it as base_url.",
        sent=True,
    )


def _joined(origin: Origin, location: str) -> Origin | None:
    from urllib.parse import urljoin, urlsplit  # noqa: PLC0415

    if any(c.isspace() or c == "\\" or ord(c) < 32 or ord(c) > 126 for c in location):  # noqa: PLR2004 - printable ASCII only
        return None
    try:
        parts = urlsplit(urljoin(f"{origin}/", location))
        return make_origin(parts.scheme, parts.hostname or "", parts.port)
    except ValueError:
        return None
