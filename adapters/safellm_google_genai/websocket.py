"""How live and music sessions of `google-genai` connect: what the SDK calls to connect, and what it is told of the address."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from google.genai import live, live_music
from safellm._core.origin import Origin, parse_origin
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.transports.http import guard_of
from safellm.transports.websocket_asyncio import guard_async
from safellm.transports.websocket_opening import Opening, announce
from safellm_google_genai.sockets import live_dialect


def address(api: Any, real: Any) -> str:
    """Return an address that stands for one connection to the real one.

    Args:
        api: The SDK's inner client, guarded.
        real: Where the SDK would connect to: origin and perhaps a path.

    Raises:
        Refused: no connection can be guarded here.
    """
    driver = guard_of(api._async_httpx_client)  # noqa: SLF001 - where the SDK keeps its HTTP client
    if driver is None:
        raise _unsupported("This client has no guard that a websocket could share")
    live_any: Any = live
    music_any: Any = live_music
    if not (isinstance(live_any.ws_connect, type) and isinstance(music_any.connect, type)):
        raise _unsupported("This version of the library websockets can't be guarded")
    # Where the SDK looks up what it connects with. What isn't announced passes through it untouched.
    live_any.ws_connect = guard_async(live_any.ws_connect)
    music_any.connect = guard_async(music_any.connect)
    text = real.decode() if isinstance(real, bytes) else str(real)
    scheme, _, rest = text.partition("://")
    try:
        origin = parse_origin(f"{ {'ws': 'http', 'wss': 'https'}.get(scheme, scheme) }://{rest}")
    except ConfigurationError as error:
        raise _unsupported(error.problem) from None
    unencrypted = Origin("http", origin.host, origin.port)
    if origin not in driver.bounds.origins and unencrypted in driver.bounds.origins:
        # The SDK makes `wss` of whatever it has; what the client is bound to decides, and the egress check after it.
        origin = unencrypted
    # The client keeps its openings: an address means something as long as they live.
    known = api.__dict__.setdefault("_safellm_openings", {})
    if (id(driver), origin) not in known:
        opening = Opening(driver=driver, origin=origin, dialect=live_dialect)
        known[id(driver), origin] = (opening, announce(opening))
    host = known[id(driver), origin][1]
    return f"wss://{host}{urlsplit(text).path.rstrip('/')}"


def _unsupported(what: str) -> Refused:
    return Refused(
        what,
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy="Use generate_content_stream or interactions, or websockets 14 or newer.",
    )
