"""HTTP clients that are ours, because the program gave none: checked connections, own TLS settings, no plain http by proxy.

What a program makes itself stays as it made it, and is guarded from above only; strict mode takes no such client.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

from safellm._core.origin import Origin, make_origin
from safellm._core.policy import Policy
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.stores.tls import context_for
from safellm.transports.driver import Driver
from safellm.transports.lean import use_lean
from safellm.transports.network import checked_backend

_KEPT = ("_max_connections", "_max_keepalive_connections", "_keepalive_expiry", "_http1", "_http2", "_retries")
_NEEDED = ("_network_backend", "_ssl_context", "_connections")


def secure_client(module: ModuleType, client: Any, driver: Driver) -> None:
    """Put the last checks under a client's transports; before they are guarded, and before anything is sent.

    Args:
        module: Its family: httpx or httpx2.
        client: Changed in place.
        driver: Knows policy and bounds.

    Raises:
        ConfigurationError: a setting of the policy can't be used, or the library is not one that we know.
    """
    policy = driver.tools.policy
    if policy.is_strict or policy.egress.proxy is not None:
        client._mounts = {}
    for transport in (client._transport, *client._mounts.values()):
        secured = [_secure(module, each, driver) for each in _inner(transport)]  # all of them
        if transport is not None and not any(secured):
            raise _unknown(module)
    if policy.egress.proxy is not None:
        client._transport = _swapped(client._transport, lambda one: _through_proxy(module, one, policy))
    direct = [*_inner(client._transport)][-1]
    for pattern, transport in client._mounts.items():
        client._mounts[pattern] = _swapped(transport, lambda one: _no_plain_proxy(module, direct, one))


def _inner(transport: Any) -> Iterator[Any]:
    """Yield a transport and those that it wraps."""
    while transport is not None:
        yield transport
        transport = transport.__dict__.get("_inner")


def _swapped(transport: Any, make: Any) -> Any:
    """Replace the innermost of wrapped transports: what signs or changes requests stays above."""
    *outer, last = [*_inner(transport)] or [None]
    made = None if last is None else make(last)
    if not outer:
        return made
    outer[-1]._inner = made
    return transport


def _secure(module: ModuleType, transport: Any, driver: Driver) -> bool:
    """Secure one transport, and return whether it is one that connects; others only wrap."""
    if hasattr(transport, "safellm_each"):  # makes clients later, one for each loop
        transport.safellm_each = partial(secure_client, module, driver=driver)
        return True
    pool = transport.__dict__.get("_pool")
    if pool is None:
        return False
    _secure_pool(module, pool, driver.tools.policy, None if _is_proxy(pool) else driver)
    core = _core_of(pool)
    if core is not None and not _is_proxy(pool):
        use_lean(module, core, transport)
    return True


def _secure_pool(module: ModuleType, pool: Any, policy: Policy, driver: Driver | None) -> None:
    core = _core_of(pool)
    if core is None or not all(hasattr(pool, name) for name in _NEEDED):
        raise _unknown(module)
    pool._ssl_context = context_for(policy, pool._ssl_context, http2=bool(pool._http2))
    pool._network_backend = checked_backend(core, pool._network_backend, driver)
    url = getattr(pool, "_proxy_url", None)
    if url is not None and url.scheme == b"https" and pool._proxy_ssl_context is None:
        pool._proxy_ssl_context = context_for(policy, core.default_ssl_context(), http2=False)


def _unknown(module: ModuleType) -> ConfigurationError:
    return ConfigurationError(
        f"{module.__name__} {getattr(module, '__version__', '')} keeps its connections in a way that safellm doesn't know",
        remedy="Use a version of it that safellm names as supported.",
    )


def _core_of(pool: Any) -> ModuleType | None:
    return sys.modules.get(type(pool).__module__.partition(".")[0])


def _is_proxy(pool: Any) -> bool:
    return hasattr(pool, "_proxy_url") or getattr(pool, "_proxy", None) is not None


def _no_plain_proxy(module: ModuleType, direct: Any, transport: Any) -> Any:
    """Return a transport for a proxy of the environment that sends nothing through it unencrypted."""
    pool = transport.__dict__.get("_pool")
    return (
        _routes(module)[_is_async(transport)](direct, transport) if pool is not None and _is_proxy(pool) else transport
    )


def _through_proxy(module: ModuleType, direct: Any, policy: Policy) -> Any:
    """Return a transport that sends https through the policy's proxy, and calls to this machine directly."""
    if "_pool" not in direct.__dict__:
        return direct  # one that makes its clients later gives each of them the proxy
    made = (module.AsyncHTTPTransport if _is_async(direct) else module.HTTPTransport)(
        verify=direct._pool._ssl_context, proxy=module.Proxy(policy.egress.proxy), trust_env=False
    )
    for name in _KEPT:
        setattr(made._pool, name, getattr(direct._pool, name))
    _secure_pool(module, made._pool, policy, None)
    return _routes(module)[_is_async(direct)](direct, made)


def _is_async(transport: Any) -> bool:
    return hasattr(transport, "handle_async_request")


def _goes_direct(request: Any) -> bool:
    """Return whether a request stays on this machine.

    Raises:
        Refused: it would go through the proxy unencrypted.
    """
    url = request.url
    return stays_here(make_origin(url.scheme, url.raw_host.decode("ascii").strip("[]"), url.port))


def stays_here(origin: Origin) -> bool:
    """Return whether a call to an origin stays on this machine, and so goes past a proxy.

    Raises:
        Refused: it would go through the proxy unencrypted.
    """
    if origin.is_loopback:
        return True
    if origin.scheme != "https":
        raise Refused(
            f"This call to {origin} would go through a proxy without encryption",
            guard="egress",
            reason=Reason.EGRESS_PLAINTEXT,
            remedy="Use https, or take the host out of the proxy's reach: NO_PROXY.",
        )
    return False


@cache
def _routes(module: ModuleType) -> dict[bool, Any]:
    class ProxyRoute(module.BaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """Sends https through a proxy."""

        def __init__(self, direct: Any, proxied: Any) -> None:
            self._direct, self._proxied = direct, proxied

        def handle_request(self, request: Any) -> Any:
            return (self._direct if _goes_direct(request) else self._proxied).handle_request(request)

        def close(self) -> None:
            self._proxied.close()
            self._direct.close()

    class AsyncProxyRoute(module.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # the module is a parameter
        """The same for an async client."""

        def __init__(self, direct: Any, proxied: Any) -> None:
            self._direct, self._proxied = direct, proxied

        async def handle_async_request(self, request: Any) -> Any:
            return await (self._direct if _goes_direct(request) else self._proxied).handle_async_request(request)

        async def aclose(self) -> None:
            await self._proxied.aclose()
            await self._direct.aclose()

    return {False: ProxyRoute, True: AsyncProxyRoute}
