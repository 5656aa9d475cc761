"""The head of a request as the guards see it, read from httpx's and httpx2's own parts: what is checked is what is sent."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from safellm._core.call import RequestHead
from safellm._core.origin import Origin, make_origin
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.transports.memory import remember

ODD_BYTES = "surrogateescape"  # a header's bytes that are no UTF-8 come out again as they went in
# Parts of URLs that are read anew for each request otherwise: a client has one origin and a few paths.
_MOST_REMEMBERED = 512
_ENDPOINTS = 8
_LENGTH, _LENGTH_NAME = b"content-length", "content-length"
_ORIGINS: dict[tuple[bytes, bytes, int | None], Origin] = {}
_TARGETS: dict[bytes, tuple[str, str]] = {}


def read_head(request: Any, items: list[tuple[bytes, bytes, bytes]] | None = None) -> RequestHead:
    """Return a request's head.

    Args:
        request: Of httpx or httpx2.
        items: Its headers, if they are at hand: name, name in lower case, value.

    Raises:
        Refused: the URL names no host that can be compared.
    """
    url = request.url
    if items is None:
        items = [(name, name.lower(), value) for name, value in request.headers.raw]
    path, query = _target(url)
    return RequestHead(
        method=request.method,
        origin=_origin(url),
        path=path,
        query=query,
        headers=tuple([(name.decode("latin-1"), value.decode("utf-8", ODD_BYTES)) for _, name, value in items]),
        extensions=frozenset(request.extensions),
        timeout_s=_patience(request),
    )


class Heads:
    """Reads the heads of one client's requests, which mostly differ in their length alone.

    Kept is the last head to each of a few endpoints, as long as the client lives. Managed keys aren't in it.
    """

    __slots__ = ("_alike", "_known")

    def __init__(self) -> None:
        self._known: dict[Any, tuple[list[Any], int, RequestHead]] = {}
        self._alike: dict[Any, tuple[list[Any], RequestHead]] = {}

    def read(self, request: Any, items: list[tuple[bytes, bytes, bytes]]) -> RequestHead:
        """Return what `read_head` returns.

        Raises:
            Refused: the same.
        """
        place = getattr(request.url, "_uri_reference", None)
        if place is None:
            return read_head(request, items)
        key = (request.method, place)
        if (known := self._known.get(key)) is not None:
            before, at, head = known  # where the length stands, or the end
            if (
                len(items) == len(before)
                and items[:at] == before[:at]
                and items[at + 1 :] == before[at + 1 :]
                and (at == len(items) or items[at][1] == _LENGTH)
                and head.extensions == request.extensions.keys()
                and head.timeout_s == _patience(request)
            ):
                if items[at:] == before[at:]:
                    return head
                length = (_LENGTH_NAME, items[at][2].decode("utf-8", ODD_BYTES))
                return RequestHead(
                    method=head.method,
                    origin=head.origin,
                    path=head.path,
                    query=head.query,
                    headers=(*head.headers[:at], length, *head.headers[at + 1 :]),
                    extensions=head.extensions,
                    known=head.known,
                    timeout_s=head.timeout_s,
                )
        head = read_head(request, items)
        lengths = [at for at, item in enumerate(items) if item[1] == _LENGTH]
        if len(lengths) <= 1:
            remember(self._known, key, ([*items], lengths[0] if lengths else len(items), head), most=_ENDPOINTS)
        return head

    def like(self, head: RequestHead) -> RequestHead:
        """Return a head that shares what is known of the last one to its endpoint, if they differ in their length alone.

        Args:
            head: Of another library's request, read anew.
        """
        key = (head.method, head.origin, head.path, head.query)
        rest = [item for item in head.headers if item[0] != _LENGTH_NAME]
        is_plain = len(head.headers) - len(rest) <= 1 and not head.extensions
        before = self._alike.get(key)
        alike = before is not None and before[0] == rest and len(before[1].headers) == len(head.headers)
        if before is None or not alike or not is_plain or before[1].timeout_s != head.timeout_s:
            if is_plain:
                remember(self._alike, key, (rest, head), most=_ENDPOINTS)
            return head
        return RequestHead(
            method=head.method,
            origin=head.origin,
            path=head.path,
            query=head.query,
            headers=head.headers,
            known=before[1].known,
            timeout_s=head.timeout_s,
        )


def _patience(request: Any) -> float | None:
    timeouts = request.extensions.get("timeout")
    return timeouts.get("read") if timeouts else None


def _origin(url: Any) -> Origin:
    key = (url.raw_scheme, url.raw_host, url.port)
    found = _ORIGINS.get(key)
    if found is not None and not url.userinfo:
        return found
    try:
        if url.userinfo:
            raise ConfigurationError("The URL holds a user name or password", remedy="Send credentials in a header.")
        origin = make_origin(url.scheme, url.host if url.host.isascii() else url.raw_host.decode("ascii"), url.port)
    except ConfigurationError as error:
        raise Refused(
            error.problem, guard="egress", reason=Reason.EGRESS_REQUEST, remedy=error.remedy, status=400
        ) from None
    remember(_ORIGINS, key, origin, most=_MOST_REMEMBERED)
    return origin


def _target(url: Any) -> tuple[str, str]:
    raw = url.raw_path
    found = _TARGETS.get(raw)
    if found is None:
        found = (url.path, url.query.decode("ascii", "replace"))
        remember(_TARGETS, raw, found, most=_MOST_REMEMBERED)
    return found
