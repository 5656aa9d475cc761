"""How an OpenAI client connects to a websocket: what the SDK calls to connect, and what it is told of the address.

A resource's `connect` is called with a stand-in for the client that differs in one thing: the address of its websockets leads
nowhere, but for the guarded `connect` of the library, which the SDK gets in place of the library's own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from safellm._core.sockets import SocketDialect
from safellm.errors import Reason, Refused

_TRANSLATIONS = "openai.resources.realtime.translations.translations"

Dialects = Callable[[str, str], SocketDialect]


class _StandIn:
    """The client, but for the address of its websockets. Whoever connects with it keeps it as long as the connection."""

    def __init__(self, client: Any, dialect: Dialects) -> None:
        self._safellm_client, self._safellm_dialect = client, dialect
        self._safellm_opening: Any = None
        self._safellm_url: Any = None

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:
        """The client's class: the SDK asks for it where Azure's addresses differ."""
        return type(self._safellm_client)

    @property
    def websocket_base_url(self) -> Any:
        """An address that only the guarded `connect` understands."""
        from safellm.transports.websocket_opening import Opening, announce  # noqa: PLC0415

        driver, origin, url = _target(self._safellm_client)
        opening = self._safellm_opening
        if opening is None or opening.driver is not driver or opening.origin != origin:
            self._safellm_opening = Opening(driver=driver, origin=origin, dialect=self._safellm_dialect)
            # As `wss` whatever it stands for: should anything else ever connect to it, it would do so encrypted.
            self._safellm_url = url.copy_with(scheme="wss", host=announce(self._safellm_opening), port=None)
        return self._safellm_url

    def _configure_realtime(self, *arguments: Any, **options: Any) -> Any:
        # Azure's clients make address and headers here; ours refuses, but for this stand-in.
        return _own_method(self._safellm_client, "_configure_realtime")(self, *arguments, **options)

    def _configure_realtime_with_api_key(self, *arguments: Any, **options: Any) -> Any:
        make = _own_method(self._safellm_client, "_configure_realtime_with_api_key")
        if make is None:  # older SDKs
            options.pop("api_key", None)
            return self._configure_realtime(*arguments, **options)
        return make(self, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._safellm_client, name)


class _Told(_StandIn):
    """The client, for helpers of the SDK that look at the address of its websockets before they call a guarded `connect`."""

    @property
    def websocket_base_url(self) -> Any:
        """None unless the program gave one, as with the SDK's own client; else the address that leads nowhere, with its query."""
        return None if _given(self._safellm_client) is None else super().websocket_base_url


def _own_method(client: Any, name: str) -> Any:
    """Return a method of the SDK's own class, past what ours puts in its place; None where it has none."""
    kinds = [one for one in type(client).__mro__ if one.__module__.startswith("openai.")]
    return next((vars(one)[name] for one in kinds if name in vars(one)), None)


def guarded_resource(client: Any, resource: Any, dialect: Dialects) -> Any:
    """Have a resource's `connect` open guarded connections.

    Args:
        client: The guarded client.
        resource: Of its `responses`, `realtime`.
        dialect: Returns the protocol of a connection at a path with a query.
    """
    if "connect" in vars(resource) or not hasattr(type(resource), "connect"):
        return resource

    @functools.wraps(resource.connect)
    def connect(*arguments: Any, **options: Any) -> Any:
        _replace_connect()
        return type(resource)(_StandIn(client, dialect)).connect(*arguments, **options)

    resource.connect = connect
    if type(resource).__module__ == _TRANSLATIONS:
        resource._client = _Told(client, dialect)  # noqa: SLF001 - where the SDK's `TranslationSession` finds its client
    return resource


def _target(client: Any) -> tuple[Any, Any, Any]:
    """Return the client's driver, and where its websockets go: origin and URL.

    Only the program says `websocket_base_url=`, no variable does. So it counts as `base_url=` in code does (THREATS E.1).

    Raises:
        ConfigurationError: strict mode takes no address from code.
        Refused: no connection can be guarded here.
    """
    from safellm.client import bind, origin_of  # noqa: PLC0415
    from safellm.transports.http import guard_of  # noqa: PLC0415

    driver = guard_of(client._client)  # noqa: SLF001 - where the SDK keeps its HTTP client
    if driver is None:
        raise Refused(
            "This client has no guard that a websocket could share",
            guard="mediation",
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy="Open the connection with a client that safellm made.",
        )
    given = _given(client)
    url = _http_url(client) if given is None else given
    plain = _plain(url)
    if given is not None:
        bind(driver, plain)
    return driver, origin_of(plain), url


def bind_given(client: Any, driver: Any) -> None:
    """Let a new client's websockets go where the program says with `websocket_base_url=`, and keys from variables with them.

    Raises:
        ConfigurationError: it is no address, or strict mode takes none from code.
    """
    from safellm.client import bind  # noqa: PLC0415

    given = _given(client)
    if given is not None:
        bind(driver, _plain(given), keys=True)


def _given(client: Any) -> Any:
    url = client._safellm_websocket_url  # noqa: SLF001 - our own class
    return None if url is None else type(client.base_url)(str(url))


def _plain(url: Any) -> Any:
    """Return the address with the scheme that stands for the same in HTTP."""
    return url.copy_with(scheme={"ws": "http", "wss": "https"}.get(url.scheme, url.scheme))


def _http_url(client: Any) -> Any:
    """Return what stands before the names of endpoints in an address; of Azure's clients a deployment may stand in `base_url`."""
    if _own_method(client, "_configure_realtime") is None:
        return client.base_url
    url = client._prepare_url("/realtime")  # noqa: SLF001 - as the SDK itself asks
    path, _, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=path.removesuffix(b"/realtime") + (b"?" + query if query else b""))


def _replace_connect() -> None:
    """Put the guarded `connect` where the SDK looks it up. What isn't announced passes through it untouched."""
    try:
        import websockets.asyncio.client  # noqa: PLC0415 - an extra of the SDK
        import websockets.sync.client  # noqa: F401, PLC0415
    except ImportError:
        return  # the SDK says what to install
    from safellm.transports.websocket_sync import guard_sync  # noqa: PLC0415

    sync: Any = sys.modules["websockets.sync.client"]
    sync.connect = guard_sync(sync.connect)
    try:
        own: Any = importlib.import_module("openai.lib._websocket")
    except ImportError:  # older SDKs use the library's own
        plain: Any = sys.modules["websockets.asyncio.client"]
        plain.connect = _guarded_connect(plain.connect)
        return
    own._WebSocketConnect = _guarded_connect(own._WebSocketConnect)  # noqa: SLF001 - what the SDK calls to connect
    # Azure's is made from it: loaded already, or later from what now stands there. Not by us, while a double may stand there.
    azure: Any = sys.modules.get("openai.lib._azure_websocket")
    if azure is not None:
        azure._AzureWebSocketConnect = _guarded_connect(azure._AzureWebSocketConnect)  # noqa: SLF001 - the same for Azure


def _guarded_connect(found: Any) -> Any:
    """Return what guards announced addresses in the place of the asyncio library's `connect`, or of what a program put there.

    A function around the library's own gives an object that is not connected yet: it is guarded then. Anything else that a program
    puts there, such as a test's double, gets the address that leads nowhere and has to do without a provider.
    """
    from safellm.transports.websocket_asyncio import guard_async, guard_connecting  # noqa: PLC0415
    from safellm.transports.websocket_opening import GUARDED, announced  # noqa: PLC0415

    if isinstance(found, type):
        return guard_async(found)
    if vars(found).get(GUARDED) is True:  # a double has every attribute that it is asked for
        return found

    def connecting(uri: str, *arguments: Any, **options: Any) -> Any:
        made, opening = found(uri, *arguments, **options), announced(uri)
        if opening is not None and hasattr(type(made), "create_connection") and not hasattr(type(made), GUARDED):
            guard_connecting(made, opening, uri, options)
        return made

    setattr(connecting, GUARDED, True)
    return connecting
