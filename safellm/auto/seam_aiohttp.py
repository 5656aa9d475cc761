"""The seam of `aiohttp`: every hop of every request of its client, behind all middlewares of the program.

`ClientSession._request`, which `get`, `post`, `request` and `ws_connect` all call, gets one middleware more. It sees each request
as it is about to be sent, redirects too. A websocket's first request is one of them; the connection that `ws_connect` then makes
gets its guard before the program has it. With an aiohttp before 3.13, whose middlewares are missing or differ, calls to language
models are refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from safellm.auto import bridge, gate
from safellm.auto.hooks import Patches
from safellm.auto.targets import Target
from safellm.errors import Refused

WAY_OUT = "Use aiohttp 3.13 or later, httpx or requests for it."
WAY_OUT_OF_SOCKETS = "Use the provider's HTTP endpoints, or one of the websockets that docs/websockets.md lists."
_LIBRARY = "aiohttp"
# While `ws_connect` opens a connection: what guards it, once that is decided.
_opening: ContextVar[list[Any] | None] = ContextVar("safellm_opening", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request may take.

    Attributes:
        seconds: For a connection from the pool, a new one, and each read; None for ever.
        until: When it has to be over, by the clock of the loop.
    """

    seconds: dict[str, float | None]
    until: float | None


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `ClientSession._request`, and `_ws_connect`, which calls it."""
    takes = inspect.signature(module.ClientSession._request).parameters  # noqa: SLF001 - the seam
    known = "middlewares" in takes and hasattr(module.ClientRequest, "_body")
    patches.replace(module.ClientSession, "_request", _guarded if known else _checked)
    if known:
        patches.replace(module.ClientSession, "_ws_connect", _connecting)


def _guarded(original: Any) -> Any:
    async def _request(self: Any, method: str, str_or_url: Any, **named: Any) -> Any:
        chosen = named.get("middlewares")
        guard = partial(_hop, _patience(self, named.get("timeout")))
        named["middlewares"] = (*(self._middlewares if chosen is None else chosen), guard)
        if gate.STATE.installed:
            target = _first(self, str_or_url, named)
            if target is not None and not gate.is_passing(target.origin):
                named["auto_decompress"] = False  # the guards undo encodings, within their limits
        return await original(self, method, str_or_url, **named)

    return _request


async def _hop(patience: Patience, request: Any, handler: Any) -> Any:
    """Send one request of a session, past the guards if it goes to a language model."""
    url = request.url
    agent = request.headers.get("User-Agent", "")
    target = gate.find(url.scheme, url.raw_host or "", url.port, url.path, library=_LIBRARY, agent=agent)
    if target is None:
        return await handler(request)
    if gate.STATE.installed and not gate.is_passing(target.origin):
        opening = _opening.get()
        if opening is None and "websocket" not in request.headers.get("Upgrade", "").lower():
            return await _send(patience, request, handler, target)
        dialect = None if opening is None or opening else gate.sockets_of(target, url.raw_path)
        if opening is not None and dialect is not None:
            return await _open(request, handler, target, dialect, opening)
        await asyncio.to_thread(gate.check, target, "a websocket of aiohttp", WAY_OUT_OF_SOCKETS)
    with gate.passing(target.origin):  # the seams below let it through
        return await handler(request)


async def _send(patience: Patience, request: Any, handler: Any, target: Target) -> Any:
    from safellm.transports import aiohttp as shell  # noqa: PLC0415 - with the first call to a model

    module = bridge.family()
    got: list[Any] = []

    async def transport(forwarded: Any) -> Any:
        response = await shell.send_on(request, handler, bridge.headers_of(forwarded, "utf-8"), await forwarded.aread())
        got.append(response)
        stream = bridge.async_stream_of(*shell.pieces(response, forwarded.extensions["timeout"]["read"]))
        return module.Response(response.status, headers=shell.came(response), stream=stream)

    try:
        common = bridge.request_of(
            request.method,
            str(request.url),
            (request.url.raw_host or "", request.url.raw_path_qs),
            shell.pairs_of(request),
            await shell.read_body(request),
            seconds=patience.seconds,
            renamed=getattr(request, "server_hostname", None) is not None,
        )
        answer = await bridge.respond_async(common, target, _LIBRARY, transport, shell.is_unsent)
    except Refused as error:
        answer = await asyncio.to_thread(bridge.denied, error, target, _LIBRARY)
    except module.TransportError as error:  # of a connection of ours
        raise shell.native(error) from None
    if not got or bridge.refusal_of(answer) is not None:
        return shell.made(request, answer, patience.until)
    return shell.handed_on(got[0], request, answer)


def _connecting(original: Any) -> Any:
    async def _ws_connect(self: Any, url: Any, **named: Any) -> Any:
        target = _first(self, url, named) if gate.STATE.installed else None
        if target is not None and target.dialect.sockets and not gate.is_passing(target.origin):
            driver = await asyncio.to_thread(gate.driver_of, target, native=False, library=_LIBRARY)
            most = driver.tools.policy.limits.event_bytes
            named["max_msg_size"] = min(named.get("max_msg_size") or most, most)
        opening: list[Any] = []
        token = _opening.set(opening)
        try:
            connection = await original(self, url, **named)
        except BaseException:
            for plan in opening:
                await asyncio.to_thread(plan.session.abandon, "connection", sent=False)
            raise
        finally:
            _opening.reset(token)
        if not opening:
            return connection
        from safellm.transports.aiohttp_websocket import guard  # noqa: PLC0415 - for connections to models

        return guard(connection, opening[0])

    return _ws_connect


async def _open(request: Any, handler: Any, target: Target, dialect: Any, opening: list[Any]) -> Any:
    from safellm.auto.seam_httpx import check_strict  # noqa: PLC0415 - with the first connection to a model
    from safellm.transports.aiohttp_websocket import open_socket  # noqa: PLC0415

    driver = await asyncio.to_thread(gate.driver_of, target, native=False, library=_LIBRARY)
    await asyncio.to_thread(check_strict, driver, request)
    with gate.passing(target.origin):  # the seams below let it through
        response, plan = await open_socket(request, handler, driver, target.origin, dialect)
    opening.append(plan)
    return response


def _first(session: Any, str_or_url: Any, named: Mapping[str, Any]) -> Target | None:
    """Return what a request goes to at first; whatever the library can't read, it complains about itself."""
    try:
        url = session._build_url(str_or_url)  # noqa: SLF001 - as `_request` does
        host = url.raw_host or ""
        return gate.find(url.scheme, host, url.port, url.path, library=_LIBRARY, agent=_agent(session, named))
    except (ValueError, TypeError, AssertionError):
        return None


def _patience(session: Any, timeout: Any) -> Patience:
    found = timeout if hasattr(timeout, "sock_read") else session.timeout
    seconds = {"connect": found.sock_connect or found.connect, "pool": found.connect, "read": found.sock_read}
    until = asyncio.get_running_loop().time() + found.total if found.total else None
    return Patience(seconds=seconds, until=until)


def _checked(original: Any) -> Any:
    async def _request(self: Any, method: str, str_or_url: Any, **named: Any) -> Any:
        target = _first(self, str_or_url, named)
        if target is not None:
            await asyncio.to_thread(gate.check, target, "an aiohttp before 3.13", WAY_OUT)
        return await original(self, method, str_or_url, **named)

    return _request


def _agent(session: Any, named: Mapping[str, Any]) -> str:
    for headers in (named.get("headers"), session.headers):
        pairs: Any = headers.items() if isinstance(headers, Mapping) else headers or ()
        for name, value in pairs:
            if str(name).lower() == "user-agent":
                return str(value)
    return ""
