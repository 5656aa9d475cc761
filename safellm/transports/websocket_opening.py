"""Which websocket connections are ours: addresses that stand for one, and makers that guard it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from safellm._core.origin import Origin
from safellm._core.sockets import SocketDialect
from safellm.transports.driver import Driver

NOWHERE = ".websocket.safellm.invalid"  # RFC 6761 6.4: no such name exists
GUARDED = "safellm_guarded"  # attribute of what makes our connections, for seams that refuse all others


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True, eq=False)
class Opening:
    """Connections that an SDK is about to open. An address that was announced means something as long as this object lives.

    Attributes:
        driver: The client's.
        origin: Where they really go; `https` stands for `wss`.
        dialect: Returns the protocol at a path with a query, anew for each connection.
    """

    driver: Driver
    origin: Origin
    dialect: Callable[[str, str], SocketDialect]


_announced: WeakValueDictionary[str, Opening] = WeakValueDictionary()


def announce(opening: Opening) -> str:
    """Return the host that stands for an opening in the address that the SDK gets."""
    token = secrets.token_hex(16)
    _announced[token] = opening
    return token + NOWHERE


def announced(uri: str) -> Opening | None:
    """Return what an address stands for, or None."""
    return _announced.get((urlsplit(uri).hostname or "").removesuffix(NOWHERE)) if leads_nowhere(uri) else None


def leads_nowhere(uri: object) -> bool:
    """Return whether an address is one that `announce` made."""
    return isinstance(uri, str) and NOWHERE in uri


def is_guarded(host: str, maker: object) -> bool:
    """Return whether a connection is guarded here: its address stands for one, or our own shell makes it.

    Args:
        host: As the library will connect to.
        maker: What the library was given to make the connection with.
    """
    return host.endswith(NOWHERE) or getattr(maker, GUARDED, False) is True


def guarded_origin(uri: str, maker: object) -> Origin | None:
    """Return where a connection that is guarded here goes; None for all others.

    Args:
        uri: As the library was given it.
        maker: What the library was given to make the connection with.
    """
    opening = announced(uri)
    if opening is not None:
        return opening.origin
    plan = getattr(maker, "keywords", {}).get("safellm_plan") if getattr(maker, GUARDED, False) is True else None
    return None if plan is None else plan.head.origin
