"""Addresses in a reply: which may be fetched without asking, and which links may hide behind a text.

Sources: WHATWG URL 4.4 (what browsers make of broken addresses); EchoLeak, CamoLeak (THREATS O.2). An address that stood in the
request is no better than another: the request holds other people's documents. Only the policy's allow-list counts.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

_STRIPPED: Final = re.compile(
    r"[\x00-\x1f\x7f]"
)  # browsers drop tab and line ends anywhere, other controls at the ends
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
_SCRIPT = re.compile(r"[\x00-\x20\xa0]*+(?:javascript|vbscript|livescript|mocha|data|blob|file|intent):", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_AS_WRITTEN = re.compile(r"[!#-%'-\[\]-~]*+")  # no escape, no entity, nothing that browsers drop
_PORT = re.compile(r":\d*$")
_AUTHORITY = re.compile(r"[/\\]*+([^/\\?#]*+)")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_DANGEROUS_STEP = re.compile(r"\.\.|%2e|%2f|%5c|\\", re.IGNORECASE)
# A picture that lies beside the page: the page's own server sees the request, and nothing else is in it.
_OWN_PICTURE = re.compile(
    r"(?!//)[\w.\-/~ ]{1,200}\.(?:png|jpe?g|gif|webp|svg|avif|bmp|ico)(?:#[\w\-]{0,40})?", re.IGNORECASE
)
_INLINE_PICTURE = re.compile(r"data:image/(?:png|gif|jpeg|webp);base64,[A-Za-z0-9+/=]*+", re.IGNORECASE)
# Schemes that no browser fetches: they name what the provider or the notebook made itself.
_OWN_SCHEMES: Final = frozenset({"sandbox", "attachment"})
_LINK_SCHEMES: Final = frozenset({"http", "https", "mailto", "tel", "ftp"}) | _OWN_SCHEMES
_LONGEST_QUERY: Final = 120  # characters; a longer one carries something
_LONGEST_FRAGMENT: Final = 200  # the same; names of headings are long words joined by hyphens
_PACKED = re.compile(r"[A-Za-z0-9+/_\-]{40,}|(?:%[0-9A-Fa-f]{2}[^%\s]{0,3}){8}")  # encoded data
_PACKED_FRAGMENT = re.compile(r"(?:%[0-9A-Fa-f]{2}[^%\s]{0,3}){8}")
_SAYS_ADDRESS = re.compile(r"\s*(?:https?://|www\.)([^\s/?#:@\\]+)", re.IGNORECASE)
_LONGEST_BELOW: Final = 200  # characters below an allowed path


@dataclass(frozen=True, slots=True)
class Allowed:
    """An origin that may be fetched from; with a path, only what lies below it, without a query."""

    scheme: str
    host: str
    port: str
    path: str


def parse_allowed(text: str) -> Allowed:
    """Return an entry of the allow-list.

    Raises:
        ValueError: it isn't `https://host[:port][/path/]`.
    """
    found = re.fullmatch(r"(https?)://([a-z0-9.\-]+|\[[0-9a-f:]+\])(?::(\d{1,5}))?(/[\w.\-/]*)?", text)
    path = (found[4] or "/") if found is not None else ""
    if found is None or ".." in path or not path.endswith("/"):
        msg = f"{text!r} is not an origin; write https://host, https://host:port or https://host/path/"
        raise ValueError(msg)
    return Allowed(found[1], found[2], found[3] or _DEFAULT_PORTS[found[1]], path)


def plain(written: str) -> str:
    """Return an address as a browser reads it: entities, Markdown's escapes and stripped characters undone."""
    if _AS_WRITTEN.fullmatch(written) is not None:
        return written
    return _STRIPPED.sub("", html.unescape(_ESCAPED.sub(r"\1", written))).strip()


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides about addresses.

    Args:
        allowed: Origins that may be fetched from and linked to.
        strict: No tag passes, no link outside the list hides behind a text, no picture is shown but from the list.
        pictures: Any picture may be shown at all.
    """

    allowed: tuple[Allowed, ...] = ()
    strict: bool = False
    pictures: bool = True

    def may_fetch(self, written: str) -> bool:
        """Return whether a renderer may fetch this without being asked."""
        if not self.pictures:
            return False
        address = plain(written)
        scheme = _scheme(address)
        if scheme is None:
            return not self.strict and _OWN_PICTURE.fullmatch(address) is not None
        if scheme in _DEFAULT_PORTS:
            return self._is_allowed(scheme, _split(address))
        if scheme == "data":
            return not self.strict and _INLINE_PICTURE.fullmatch(address) is not None
        return scheme in _OWN_SCHEMES

    def may_link(self, written: str, text: str) -> bool:
        """Return whether a link to this may stand behind a text."""
        address = plain(written)
        scheme = _scheme(address)
        if scheme is None:
            # beside the page, or on it
            return (not self.strict or address.startswith("#")) and not ("\\" in address and runs_script(address))
        if scheme not in _LINK_SCHEMES:
            return False
        if scheme not in _DEFAULT_PORTS:
            return not self.strict or scheme in {"mailto", "tel"}
        parts = _split(address)
        if self._is_allowed(scheme, parts):
            return True
        return not self.strict and not _carries(parts) and not _pretends(parts.host, text)

    def _is_allowed(self, scheme: str, parts: _Parts) -> bool:
        host, port, rest = parts
        for one in self.allowed:
            if (one.scheme, one.host, one.port) != (scheme, host, port or _DEFAULT_PORTS[scheme]):
                continue
            if one.path == "/":
                return True
            below = rest.startswith(one.path) and len(rest) - len(one.path) <= _LONGEST_BELOW
            if below and "?" not in rest and not _DANGEROUS_STEP.search(rest):
                return True
        return False


@lru_cache(maxsize=16)
def judge_of(origins: tuple[str, ...], *, strict: bool) -> Judge:
    """Return who decides about addresses by these entries of the allow-list; each answer asks for the same.

    Raises:
        ValueError: an entry is no origin; see `parse_allowed`.
    """
    return Judge(tuple(map(parse_allowed, origins)), strict)


def has_script(written: str) -> bool:
    """Return whether an address would run or open something else than a page."""
    scheme = _scheme(plain(written))
    return scheme is not None and scheme not in _LINK_SCHEMES


def runs_script(written: str) -> bool:
    """Return whether an address would run a script, or make a page out of itself."""
    return _SCRIPT.match(plain(written).replace("\\", "")) is not None  # some renderers take a backslash out anywhere


def _scheme(address: str) -> str | None:
    found = _SCHEME.match(address)
    if found is not None:
        return found[1].lower()
    # "//host" and what browsers take for it
    return "https" if address[:2] in {"//", "/\\", "\\/", "\\\\"} else None


class _Parts(NamedTuple):
    host: str
    port: str
    rest: str


def _split(address: str) -> _Parts:
    """Return the parts of an address with an authority; a host with user info before it is none."""
    found = _SCHEME.match(address)
    at = found.end() if found is not None else 0
    authority = _AUTHORITY.match(address, at)
    named = (authority[1] if authority is not None else "").lower()
    if "@" in named:
        return _Parts("", "", "")
    host, _, port = named.rpartition(":") if ":" in named and _PORT.search(named) else (named, "", "")
    return _Parts(host, port, address[authority.end() if authority is not None else at :] or "/")


def _carries(parts: _Parts) -> bool:
    """Return whether an address has room for more than a name: user info, a long or packed query or fragment."""
    host, _, rest = parts
    if not host:
        return True
    asked, _, fragment = rest.partition("#")
    query = asked.partition("?")[2]
    if len(query) > _LONGEST_QUERY or len(fragment) > _LONGEST_FRAGMENT:
        return True
    return _PACKED.search(query) is not None or _PACKED_FRAGMENT.search(fragment) is not None


def _pretends(host: str, text: str) -> bool:
    """Return whether the link's text is an address of another host."""
    said = _SAYS_ADDRESS.match(text.replace("*", "").replace("_", ""))
    if said is None:
        return False
    return said[1].lower().removeprefix("www.") != host.removeprefix("www.").replace("_", "")
