"""The seam of websocket libraries: connections to language models go through the shell of websockets, or are refused.

Guarded are the sync and the asyncio `connect` of `websockets`, where the adapter knows the protocol at that path. What goes around
them (an object of the library's inside, its older client, `websocket-client`) is refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from safellm._core.origin import Origin
from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.auto.targets import Target

WAY_OUT = "Use the provider's HTTP endpoints, or one of the websockets that docs/websockets.md lists."
_LIBRARY = "websockets"
_SDKS = ("openai", "anthropic", "google.genai")  # whose websockets are known wherever they lead
_SHELL = "safellm.transports.websocket_opening"
_MOST_FRAMES = 64


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `websockets`: its sync and asyncio clients both make a `ClientProtocol` before they send anything."""

    def init(original: Any) -> Any:
        def start(self: Any, uri: Any, *arguments: Any, **named: Any) -> None:
            _check("wss" if uri.secure else "ws", uri.host, uri.port, uri.path, "websockets", maker=named.get("logger"))
            original(self, uri, *arguments, **named)

        return start

    patches.replace(module.ClientProtocol, "__init__", init)


def patch_connect(module: ModuleType, patches: Patches) -> None:
    """Patch `connect` of the sync and of the asyncio client."""
    if isinstance(module.connect, type):
        _patch_class(module.connect, patches)
        return

    def connect(original: Any) -> Any:
        def guarded(*arguments: Any, **named: Any) -> Any:
            uri, options = _given(arguments, named)
            ours = _own_origin(uri, options)
            if ours is not None:
                with gate.passing(ours):  # the seams below let it through
                    return original(*arguments, **named)
            target = _target(uri)
            opening = None if target is None else _opening(target, uri, options)
            if opening is None:
                return original(*arguments, **named)
            from safellm.transports.websocket_library import plan_for  # noqa: PLC0415 - for connections to models
            from safellm.transports.websocket_sync import open_guarded  # noqa: PLC0415

            with gate.passing(opening.origin):
                return open_guarded(original, plan_for(opening, uri, options))

        return guarded

    patches.replace(module, "connect", connect)


def _patch_class(connect: Any, patches: Patches) -> None:
    # The library's own, under the one that may stand there for our clients: whoever imported it before has that one.
    owner = next(one for one in connect.__mro__ if "safellm_guarded" not in vars(one))

    def init(original: Any) -> Any:
        def made(self: Any, *arguments: Any, **named: Any) -> None:
            uri, options = _given(arguments, named)
            target = _target(uri) if _own_origin(uri, options) is None else None
            opening = None if target is None else _opening(target, uri, options)
            if opening is None:
                original(self, *arguments, **named)
                return
            from safellm.transports.websocket_asyncio import guard_connecting  # noqa: PLC0415 - for connections to models

            guard_connecting(self, opening, uri, options)

        return made

    def create_connection(original: Any) -> Any:
        async def created(self: Any) -> Any:
            plan = getattr(self, "safellm_plan", None)
            if plan is None:
                return await original(self)
            with gate.passing(plan.head.origin):  # the seams below let it through
                return await original(self)

        return created

    patches.replace(owner, "__init__", init)
    if hasattr(owner, "create_connection"):
        patches.replace(owner, "create_connection", create_connection)


def _given(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return address and options of a call of `connect`."""
    uri = named.get("uri") or next((one for one in arguments if isinstance(one, str)), "")
    return uri, {name: value for name, value in named.items() if name != "uri"}


def _target(uri: str) -> Target | None:
    """Return the language model that an address leads to, or None."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None  # the library will complain about it
    return gate.find(parts.scheme, parts.hostname or "", port, parts.path, library=_LIBRARY, sdk=_calling_sdk())


def _own_origin(uri: str, options: Mapping[str, Any]) -> Origin | None:
    """Return where a connection that our own shell guards goes; None for all others."""
    shell = sys.modules.get(_SHELL)  # who didn't load it, makes none
    found: Origin | None = None if shell is None else shell.guarded_origin(uri, options.get("create_connection"))
    return found


def _opening(target: Target, uri: str, options: dict[str, Any]) -> Any:
    """Return what a guarded connection is made from; None where the plain one may pass.

    Raises:
        Refused: nothing can guard it.
    """
    if not gate.STATE.installed or gate.is_passing(target.origin):
        return None
    path = urlsplit(uri).path
    dialect = gate.sockets_of(target, path)
    if dialect is None:
        gate.check(target, _LIBRARY, WAY_OUT)
        return None
    from safellm.auto.seam_httpx import check_strict  # noqa: PLC0415 - with the first connection to a model
    from safellm.transports.websocket_opening import Opening  # noqa: PLC0415

    driver = gate.driver_of(target, native=bool(_calling_sdk()), library=_LIBRARY)
    headers = {name.lower(): value for name, value in dict(options.get("additional_headers") or {}).items()}
    check_strict(driver, SimpleNamespace(headers=headers))
    return Opening(driver=driver, origin=target.origin, dialect=dialect)


def patch_legacy(module: ModuleType, patches: Patches) -> None:
    """Patch the older client of `websockets`."""

    def handshake(original: Any) -> Any:
        async def guarded(self: Any, uri: Any, *arguments: Any, **named: Any) -> Any:
            _check("wss" if uri.secure else "ws", uri.host, uri.port, uri.path, "websockets")
            return await original(self, uri, *arguments, **named)

        return guarded

    patches.replace(module.WebSocketClientProtocol, "handshake", handshake)


def patch_websocket_client(module: ModuleType, patches: Patches) -> None:
    """Patch `websocket-client`."""

    def connect(original: Any) -> Any:
        def guarded(self: Any, url: str, *arguments: Any, **named: Any) -> Any:
            parts = urlsplit(url)
            _check(parts.scheme, parts.hostname or "", parts.port, parts.path, "websocket-client")
            return original(self, url, *arguments, **named)

        return guarded

    patches.replace(module.WebSocket, "connect", connect)


def _check(  # noqa: PLR0913 - the parts of an address
    scheme: str, host: str, port: int | None, path: str, library: str, *, maker: object = None
) -> None:
    """Refuse a connection to a language model, unless it is one that a guarded client makes.

    Args:
        scheme: `ws` or `wss`.
        host: As the library will connect to.
        port: None for the scheme's own.
        path: Of the address.
        library: Through which it goes, for reports.
        maker: What the library was given to make the connection with, by which our own are known.

    Raises:
        Refused: it is not guarded.
    """
    shell = sys.modules.get(_SHELL)
    if shell is not None and shell.is_guarded(host, maker):
        return
    target = gate.find(scheme, host, port, path, library=library, sdk=_calling_sdk())
    if target is not None:
        gate.check(target, library, WAY_OUT)


def _calling_sdk() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 - who is calling is all there is to know an SDK's websocket by
    for _ in range(_MOST_FRAMES):
        name = frame.f_globals.get("__name__", "")
        found = next((sdk for sdk in _SDKS if name == sdk or name.startswith(f"{sdk}.")), None)
        if found is not None:
            return "google" if found == "google.genai" else found
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""
