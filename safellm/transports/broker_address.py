"""Where the broker is: what `SAFELLM_BROKER` says."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from safellm.errors import ConfigurationError

VARIABLE = "SAFELLM_BROKER"
_HOST = "safellm.invalid"  # never resolved (RFC 2606): the socket's path is the address


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker listens.

    Attributes:
        socket: Path of its Unix socket, or None.
        origin: What requests name; with a socket a mere form.
    """

    socket: str | None
    origin: str


def broker_address(environ: Mapping[str, str]) -> BrokerAddress | None:
    """Return where `SAFELLM_BROKER` says that the broker is, or None when it isn't set.

    Raises:
        ConfigurationError: it is no absolute path and no loopback address, or no socket is there.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme == "http":
        return BrokerAddress(socket=None, origin=_loopback(text))
    path = Path(parts.path if parts.scheme == "unix" else text)
    if parts.scheme not in ("", "unix") or not path.is_absolute():
        raise _wrong("is no absolute path of a socket and no http://127.0.0.1:PORT")
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise _wrong("names something that is no socket")
    except OSError:
        raise _wrong("names a socket that isn't there") from None
    return BrokerAddress(socket=str(path), origin=f"http://{_HOST}")


def _loopback(text: str) -> str:
    parts = urlsplit(text)
    try:
        is_loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or parts.port is None or parts.path not in ("", "/"):
        raise _wrong("is an address of another machine, or has no port")  # a grant in the clear on a network
    return f"http://{parts.netloc}"


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{VARIABLE} {what}",
        remedy="Start it (safellm broker run) and set the variable to what it prints; calls never go past it.",
        where=f"variable {VARIABLE}",
    )
