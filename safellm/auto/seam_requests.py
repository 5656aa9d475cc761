"""The seam of `requests`: `HTTPAdapter.send`, under every session."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from safellm._core.origin import Origin
from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.auto.seam_httpx import check_strict, error_body, leads_away
from safellm.errors import Refused

_POSITIONS = ("stream", "timeout", "verify", "cert", "proxies")
_LIBRARY = "requests"
_CHECKED = "_safellm_checked"  # attribute of an adapter: its own adapters for strict mode, by driver


def patch(module: ModuleType, patches: Patches) -> None:
    """Guard the adapter that opens connections."""

    def send(original: Any) -> Any:
        def guarded(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
            named |= dict(zip(_POSITIONS, arguments, strict=False))
            target = _target(request)
            if target is None:
                return original(self, request, **named)
            if not gate.STATE.installed or getattr(request, "safellm_passed", False) is True:
                with gate.passing(target.origin):
                    return original(self, request, **named)
            from safellm.transports.requests import GuardAdapter, refusal_response  # noqa: PLC0415

            try:
                driver = gate.driver_of(target, native=False, library=_LIBRARY)
                check_strict(driver, request)
                inner: Any = _Inner(self, _way(self, original, driver), driver, target.origin)
                return GuardAdapter(inner, driver).send(request, **named)
            except Refused as error:
                return refusal_response(error, request, error_body(error))

        return guarded

    def close(original: Any) -> Any:
        def closed(self: Any) -> None:
            original(self)
            for _, checked in self.__dict__.pop(_CHECKED, {}).values():
                checked.close()

        return closed

    patches.replace(module.HTTPAdapter, "send", send)
    patches.replace(module.HTTPAdapter, "close", close)


def _way(adapter: Any, send: Any, driver: Any) -> Any:
    """Return what sends: the adapter itself, in strict mode one of ours, which lives as long as the adapter does."""
    if not driver.tools.policy.is_strict:
        return send
    from safellm.transports.checked_requests import CheckedAdapter  # noqa: PLC0415 - for strict mode only

    known = adapter.__dict__.setdefault(_CHECKED, {})
    if id(driver) not in known:
        known[id(driver)] = (driver, CheckedAdapter(driver))
    checked = known[id(driver)][1]
    return lambda _, request, **options: checked.send(request, **options)


class _Inner:
    """What sends for the guard: the adapter's own method, and no hop to another origin (THREATS E.2)."""

    def __init__(self, adapter: Any, send: Any, driver: Any, origin: Origin) -> None:
        self._adapter, self._send, self._driver, self._origin = adapter, send, driver, origin

    def send(self, request: Any, **options: Any) -> Any:
        """Send it.

        Raises:
            Refused: the answer leads away; recorded.
        """
        with gate.passing(self._origin):  # the seams below let it through
            response = self._send(self._adapter, request, **options)
        error = leads_away(response, self._origin)
        if error is None:
            return response
        response.close()
        self._driver.deny(error)
        raise error

    def close(self) -> None:
        """Nothing: the session closes its adapters."""


def _target(request: Any) -> Any:
    try:
        parts = urlsplit(request.url or "")
        port = parts.port
    except ValueError:
        return None  # `requests` will complain about it
    agent = request.headers.get("user-agent", "") or ""
    agent = agent.decode("latin-1") if isinstance(agent, bytes) else agent
    return gate.find(parts.scheme, parts.hostname or "", port, parts.path, library=_LIBRARY, agent=agent)
