"""The seam of `urllib3`: every attempt to send a request over one of its connection pools.

Retries and redirects come here again, each attempt for itself. `requests` and `botocore` stand on it: what a shell above has
guarded passes. Before 2.0 there is no place where an answer could be guarded, so calls to language models are refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

from safellm.auto import bridge, gate
from safellm.auto.hooks import Patches
from safellm.auto.seam_stdlib import WAY_OUT, destination, library_of
from safellm.auto.targets import Target
from safellm.errors import Refused

_LIBRARY = "urllib3"
_NOTHING = nullcontext()
_NEEDED = frozenset({"conn", "response_conn", "preload_content", "decode_content", "enforce_content_length"})


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the method that sends over a connection, and the one that asks a proxy for one."""
    pool = module.HTTPConnectionPool
    if not _NEEDED.issubset(inspect.signature(pool._make_request).parameters):  # noqa: SLF001 - the seam
        patches.replace(pool, "_make_request", _checked)
        return
    patches.replace(pool, "_make_request", _guarded)
    patches.replace(module.HTTPSConnectionPool, "_prepare_proxy", _tunnelled)


def _guarded(original: Any) -> Any:
    bind = inspect.signature(original).bind

    def _make_request(self: Any, conn: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        headers = named.get("headers") or (arguments[1] if len(arguments) > 1 else None)  # behind the body
        target = _target(self, conn, url, headers)
        if target is None:
            with _noted(self, conn, url):
                return original(self, conn, method, url, *arguments, **named)
        if gate.STATE.installed and not gate.is_passing(target.origin):
            if target.dialect.adapter or target.profile is not None:
                called = bind(self, conn, method, url, *arguments, **named)
                called.apply_defaults()
                return _send(original, called.arguments, target)
            gate.check(target, library_of(conn), WAY_OUT)
        with gate.passing(target.origin):  # the seams below let it through
            return original(self, conn, method, url, *arguments, **named)

    return _make_request


def _noted(pool: Any, connection: Any, url: str) -> AbstractContextManager[None]:
    """Keep the seam below from noting a call that was noted here, if calls are noted."""
    if gate.STATE.note is None:
        return _NOTHING
    origin = gate.origin_of(*_destination(pool, connection, url)[:3])
    return _NOTHING if origin is None else gate.passing(origin)


def _checked(original: Any) -> Any:
    def _make_request(self: Any, conn: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        target = _target(self, conn, url, None)
        if target is None:
            return original(self, conn, method, url, *arguments, **named)
        gate.check(target, "a urllib3 before 2.0", WAY_OUT)
        with gate.passing(target.origin):
            return original(self, conn, method, url, *arguments, **named)

    return _make_request


def _target(pool: Any, connection: Any, url: str, headers: Any) -> Target | None:
    scheme, host, port, path = _destination(pool, connection, url)
    agent = next((_text(value) for name, value in (headers or {}).items() if name.lower() == "user-agent"), "")
    library, path = library_of(connection), path.partition("?")[0]
    found = gate.find(scheme, host, port, path, library=library, agent=agent)
    if found is not None or not _leads_astray(pool, connection, url):
        return found
    return gate.find(*_place(pool), path, library=library, agent=agent)


def _destination(pool: Any, connection: Any, url: str) -> tuple[str, str, int | None, str]:
    """Return where a request goes, with its query: to the pool's host, or by an absolute URL through a proxy."""
    if "://" in url[:8]:
        scheme, host, port, path = destination(connection, url, ())
        _, mark, query = url.partition("?")
        return scheme, host, port, path + mark + query
    return *_place(pool), url


def _place(pool: Any) -> tuple[str, str, int | None]:
    return pool.scheme, str(pool.host).strip("[]"), pool.port


def _leads_astray(pool: Any, connection: Any, url: str) -> bool:
    """Return whether an absolute URL names another host than the one that gets it, which is no proxy (THREATS E.5)."""
    if "://" not in url[:8] or pool.proxy is not None:
        return False
    return gate.origin_of(*destination(connection, url, ())[:3]) != gate.origin_of(*_place(pool))


def _send(original: Any, parts: dict[str, Any], target: Target) -> Any:
    from safellm.transports import urllib3 as shell  # noqa: PLC0415 - with the first call to a model
    from safellm.transports.urllib3_parts import waits, whole_body  # noqa: PLC0415

    module = bridge.family()
    pool, connection, method = parts["self"], parts["conn"], parts["method"]
    timeout = pool._get_timeout(parts["timeout"])  # noqa: SLF001 - as the method itself does
    got: list[Any] = []
    place = shell.Place(pool)

    def transport(forwarded: Any) -> Any:
        body = forwarded.read()
        connect, read = shell.seconds_left(timeout)
        sent = {
            "body": body or (None if parts["body"] is None else b""),
            "headers": shell.headers_for(bridge.headers_of(forwarded, "latin-1")),
            "timeout": type(timeout)(connect=connect, read=read),
            "chunked": False,
            "preload_content": False,
            "decode_content": False,
        }
        with shell.in_time():
            raw = original(**{**parts, **sent})
        raw._pool = place  # noqa: SLF001 - as the method itself does
        got.append(raw)
        stream = bridge.stream_of(shell.pieces_of(raw), shell.closing(raw, connection))
        return module.Response(raw.status, headers=shell.came(raw), stream=stream)

    named = {name: parts[name] for name in ("preload_content", "decode_content", "enforce_content_length", "retries")}
    try:
        answer = _answer(parts, target, transport, timeout=waits(timeout), body=whole_body(parts["body"]))
    except module.TransportError as error:  # of a connection of ours
        failed = shell.native(error, pool)
    else:
        raw = got[0] if got and bridge.refusal_of(answer) is None else None
        place.settle(got[0] if got else None, parts["response_conn"], refused=raw is None)
        return shell.handed_on(raw, answer, pool=pool, request_method=method, request_url=parts["url"], **named)
    raise failed


def _answer(parts: dict[str, Any], target: Target, transport: Any, *, timeout: tuple[Any, Any], body: bytes) -> Any:
    from safellm.transports import urllib3 as shell  # noqa: PLC0415 - with the first call to a model

    scheme, host, port, path = _destination(parts["self"], parts["conn"], parts["url"])
    library = library_of(parts["conn"])
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}{'' if port is None else f':{port}'}{path}"
    name = parts["self"].conn_kw.get("server_hostname")
    try:
        request = bridge.request_of(
            parts["method"],
            url,
            (host, path),
            [(_text(name).encode("latin-1"), _text(value).encode("latin-1")) for name, value in _headers(parts)],
            body,
            seconds={"connect": timeout[0], "read": timeout[1]},
            renamed=(name is not None and name != host) or _leads_astray(parts["self"], parts["conn"], parts["url"]),
        )
    except Refused as error:
        return bridge.denied(error, target, library)
    return bridge.respond(request, target, library, transport, shell.is_unsent)


def _headers(parts: dict[str, Any]) -> Any:
    """Return the headers of a request, each as often as it is there."""
    headers = parts["headers"] or {}
    return headers.iteritems() if hasattr(headers, "iteritems") else headers.items()


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _tunnelled(original: Any) -> Any:
    def _prepare_proxy(self: Any, conn: Any) -> Any:
        """Open the way to a host through a proxy; what is sent over it is guarded when it is."""
        if not gate.STATE.installed:
            return original(self, conn)
        target = gate.find("https", str(self.host).strip("[]"), self.port, "/", library=_LIBRARY)
        if target is None or gate.is_passing(target.origin):  # a shell above has guarded it
            return original(self, conn)
        if not (target.dialect.adapter or target.profile is not None):
            return original(self, conn)
        try:
            if gate.driver_of(target, native=False, library=_LIBRARY).tools.policy.is_strict:
                return None  # it is not sent over this connection
        except Refused:
            return None  # nor at all
        with gate.passing(target.origin):
            return original(self, conn)

    return _prepare_proxy
