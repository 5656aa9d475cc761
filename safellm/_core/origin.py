"""Where a request may go: scheme, host and port, compared exactly (RFC 6454; THREATS E.1, E.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from safellm.errors import ConfigurationError

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """One (scheme, host, port). The host is lower-case ASCII without a trailing dot or brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{self.scheme}://{host}"
            if self.port == _DEFAULT_PORTS[self.scheme]
            else f"{self.scheme}://{host}:{self.port}"
        )

    @property
    def is_loopback(self) -> bool:
        """Whether this names the machine itself: `localhost`, 127.0.0.0/8 or ::1 (RFC 6761 6.3, RFC 1122 3.2.1.3)."""
        return _is_loopback(self.host)


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_origin(scheme: str, host: str, port: int | None) -> Origin:
    """Return the origin of parts that an HTTP library has already parsed; refuse what could name another host.

    Raises:
        ConfigurationError: the scheme isn't http(s), or the host isn't plain lower-case ASCII after IDNA.
    """
    scheme = scheme.lower()
    name = host.lower()
    if scheme not in _DEFAULT_PORTS:
        raise _bad(f"the scheme {scheme!r} can't be used")
    if not name or not set(name) <= _HOST_CHARACTERS or name.startswith((".", "-")) or name.endswith("."):
        raise _bad("the host is not a plain ASCII host name")
    number = _DEFAULT_PORTS[scheme] if port is None else port
    if not 0 < number < 65536:  # noqa: PLR2004 - RFC 793: 16 bits
        raise _bad("the port is out of range")
    return Origin(scheme, name, number)


def parse_origin(text: str) -> Origin:
    """Return the origin of a URL or of `host[:port]` as a person writes it in a setting; https unless said otherwise.

    Raises:
        ConfigurationError: it has user info, an unusable scheme, host or port.
    """
    # What is parsed here is only ever compared with what the HTTP library parsed; never sent.
    if any(c.isspace() or c == "\\" or ord(c) < 32 for c in text):  # noqa: PLR2004 - C0 controls
        raise _bad("an origin has no blanks, backslashes or control characters")
    if not text.isascii():
        # The codec `idna` is IDNA 2003: it drops U+200D, makes "ss" of U+00DF and a dot of U+2024, the sender does not.
        raise _bad("a host with other letters is written in its xn-- form")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad("the host or the port is malformed") from None
    if parts.username is not None or parts.password is not None:
        raise _bad("an origin has no user name or password")
    return make_origin(parts.scheme, host, port)


def check_proxy(text: str) -> Origin:
    """Return the origin of a proxy as the policy names it. A password has no place there: policies are shown and shared.

    Raises:
        ConfigurationError: it is no plain http or https address.
    """
    if "://" not in text or any(one in text.partition("://")[2].removesuffix("/") for one in "/?#"):
        raise ConfigurationError("Not a proxy", remedy="Write it as http://host:port or https://host:port.")
    return parse_origin(text)


def _bad(problem: str) -> ConfigurationError:
    return ConfigurationError(f"Not an origin: {problem}", remedy="Write it as https://host or https://host:port.")


def webhook_target(url: str, allowed: Iterable[str]) -> tuple[Origin, str]:
    """Return where events may be posted: the origin, and the path with its query.

    Args:
        url: The address.
        allowed: Origins of the policy; loopback is always allowed.

    Raises:
        ConfigurationError: it is no address, or of another origin.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    origin = parse_origin(f"{scheme}://{authority}")
    if not origin.is_loopback and origin not in {parse_origin(text) for text in allowed}:
        raise ConfigurationError(
            f"{origin} is not one of egress.origins", remedy="List it there: only these get events."
        )
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise _bad("the path has characters that an address can't hold")
    return origin, f"{slash or '/'}{path}"
