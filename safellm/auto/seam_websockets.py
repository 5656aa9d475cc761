"""The seam of websocket libraries: connections to language models are refused, unless a shell above guards them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from safellm.auto import gate
from safellm.auto.hooks import Patches

WAY_OUT = "Use the provider's HTTP endpoints, or the websocket methods of a client of safellm where it has them."
_SDKS = ("openai", "anthropic", "google.genai")  # whose websockets are refused wherever they lead
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
    """Patch `connect` of the sync and of the asyncio client: refused there, no connection is opened at all."""

    def connect(original: Any) -> Any:
        def guarded(*arguments: Any, **named: Any) -> Any:
            uri = named.get("uri") or next((one for one in arguments if isinstance(one, str)), "")
            parts = urlsplit(uri)
            maker = named.get("create_connection")
            _check(parts.scheme, parts.hostname or "", parts.port, parts.path, "websockets", maker=maker)
            return original(*arguments, **named)

        return guarded

    if isinstance(module.connect, type):
        patches.replace(module.connect, "__init__", connect)
    else:
        patches.replace(module, "connect", connect)


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
    target = gate.find(scheme, host, port, path, library=library, sdk=_calling_sdk())
    if target is not None and not _is_ours(host, maker):
        gate.check(target, library, WAY_OUT)


def _is_ours(host: str, maker: object) -> bool:
    """Return whether a connection is guarded: its address stands for one, or our own shell makes it."""
    from safellm.transports.websocket_library import GUARDED, NOWHERE  # noqa: PLC0415 - only for connections to models

    return host.endswith(NOWHERE) or getattr(maker, GUARDED, False) is True


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
