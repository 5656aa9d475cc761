"""What both worlds need to send plain requests over the idle connections of a pool of `httpcore` or `httpcore2`: see `lean`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from logging import DEBUG, getLogger
from types import ModuleType
from typing import Any, Final

from safellm.transports import http1
from safellm.transports.raw_headers import ways

READ: Final = 65536  # bytes that are asked for at once, as in the library
JOINED: Final = 1 << 18  # bytes of a body that is written together with its head
NO_ANSWER: Final = "Server disconnected without sending a response."
_SAID_CHUNKED: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_PORTS: Final = {b"http": 80, b"https": 443}


class Parts:
    """What both worlds need of one library."""

    def __init__(self, module: ModuleType, core: ModuleType, world: str) -> None:
        self.core, self.module = core, module
        self.inside: Any = sys.modules[f"{core.__name__}.{world}.http11"]
        self.default: Any = sys.modules[f"{module.__name__}._transports.default"]
        self.h11: Any = self.inside.h11
        states = self.inside.HTTPConnectionState
        self.active, self.idle = states.ACTIVE, states.IDLE
        self.body = module.ByteStream
        self.logger = getLogger(f"{core.__name__}.http11")
        self.items_of, self.headers_of = ways(module)
        self.pooled: Any = None  # kinds of connections, in the pool and under these
        self.link: Any = None
        self.own: Any = None  # the library's methods, as long as nobody replaced them
        self.pools: Any = None

    def plain(self, request: Any) -> bytes | None:
        """Return the head of a plain request that nobody traces."""
        stream = request.stream
        if type(stream) is not self.body or "trace" in request.extensions or self.logger.isEnabledFor(DEBUG):
            return None
        data = stream._stream
        if type(data) is not bytes or "target" in request.extensions:
            return None
        return http1.request_head(
            request.method.encode("ascii"), request.url.raw_path, self.items_of(request.headers), len(data)
        )

    def take(self, pool: Any, url: Any) -> Any:
        """Return an idle connection to this place, which now is taken; None if the library has to find one."""
        scheme, host = url.raw_scheme, url.raw_host
        port = url.port or _PORTS.get(scheme)
        for pooled in pool._connections:
            link: Any = getattr(pooled, "_connection", None)
            if type(link) is not self.link or type(pooled) is not self.pooled or link._state is not self.idle:
                continue
            origin = link._origin
            if origin.host != host or origin.port != port or origin.scheme != scheme:
                continue
            # Who waits goes first, and what is promised to somebody is his; what has expired is the library's to close.
            waiting = pool._requests
            if (waiting and any(one.connection in (None, pooled) for one in waiting)) or link.has_expired():
                return None
            link._request_count += 1
            link._state, link._expire_at = self.active, None
            return link
        return None

    def give_back(self, link: Any) -> None:
        """Mark a connection whose answer is whole as idle."""
        link._state = self.idle
        if link._keepalive_expiry is not None:
            link._expire_at = time.monotonic() + link._keepalive_expiry

    def is_waited_for(self, pool: Any) -> bool:
        """Return whether the pool has something to do when a connection is free or gone."""
        return bool(pool._requests) or len(pool._connections) > pool._max_keepalive_connections

    def parse_it(self, link: Any, came: bytes) -> None:
        """Have the library's parser read an answer; of the request it needs to know that one was sent, and nothing else."""
        parser, h11 = link._h11_state, self.h11
        parser.send(h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"it")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(came)

    def answer(self, link: Any, head: http1.AnswerHead, stream: Any) -> Any:
        """Return the response of a plain answer."""
        response = self._response(link, head.status, None, (b"HTTP/1.1", head.reason), stream)
        response.headers = self.headers_of(head.headers)
        response.headers.encoding = "ascii"  # it would be found out by decoding all of them
        return response

    def parsed(self, link: Any, found: tuple[bytes, int, bytes, Any, bytes], stream: Any) -> Any:
        """Return the response of what the library's parser says."""
        version, status, reason, headers, _ = found
        return self._response(link, status, headers, (version, reason), stream)

    def _response(self, link: Any, status: int, headers: Any, said: tuple[bytes, bytes], stream: Any) -> Any:
        extensions = {"http_version": said[0], "reason_phrase": said[1], "network_stream": link._network_stream}
        return self.module.Response(status, headers=headers, stream=stream, extensions=extensions)


class Asked:
    """What the library's parser asks a request for. The request itself leads to the real key, and isn't kept (THREATS K.4)."""

    __slots__ = ("extensions",)

    def __init__(self, timeouts: Any) -> None:
        self.extensions = {"timeout": timeouts}


class Body:
    """The body of an answer, read from its connection."""

    _parts: Parts

    def __init__(self, pool: Any, link: Any, request: Any, head: http1.AnswerHead | None) -> None:
        self._pool, self._link = pool, link
        self._timeouts = request.extensions.get("timeout", {})
        self._first = b"" if head is None else head.rest
        self._reader: http1.Sized | http1.Chunked | None = None  # None: the library's parser reads it
        if head is not None:
            self._reader = http1.Chunked() if head.length is None else http1.Sized(head.length)
        self._closed = False

    def _take(self, reader: http1.Sized | http1.Chunked, data: bytes) -> list[bytes]:
        try:
            pieces, rest = reader.feed(data)
        except ValueError:
            raise self._parts.core.RemoteProtocolError("malformed chunk footer") from None
        if rest is not None:
            self._reader = None
            self._parts.parse_it(self._link, _SAID_CHUNKED)
            self._link._h11_state.next_event()
            self._link._h11_state.receive_data(rest)
        return pieces
