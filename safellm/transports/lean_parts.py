"""What both worlds need to send plain requests over the idle connections of a pool of `httpcore` or `httpcore2`: see `lean`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from logging import DEBUG, getLogger
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import Any, Final

from safellm.transports import http1
from safellm.transports.raw_headers import ways

READ: Final = 65536  # bytes that are asked for at once, as in the library
JOINED: Final = 1 << 18  # bytes of a body that is written together with its head
NO_ANSWER: Final = "Server disconnected without sending a response."
_HEAD: Final = "written:"  # the bytes of a head before and behind the body's length, which is all that differs
_LENGTH_NAME: Final = b"content-length"
_PORTS: Final = {b"http": 80, b"https": 443}
_OF_LINKS = attrgetter(
    "_state", "_origin", "_request_count", "_expire_at", "_keepalive_expiry", "_network_stream", "has_expired",
    "_h11_state.trailing_data", "_receive_response_headers", "_receive_response_body",
)  # fmt: skip


class Parts:
    """What both worlds need of one library.

    Args:
        module: httpx or httpx2.
        core: The library under it.
        world: What names of classes begin with: nothing, or `Async`.

    Raises:
        AttributeError: something that is relied on isn't there, or is somebody else's; also KeyError, TypeError.
    """

    def __init__(self, module: Any, core: Any, world: str) -> None:
        inside = f"{core.__name__}._{world.lower() or 'sync'}"
        http11, connection, pool = (
            sys.modules[f"{inside}.{one}"] for one in ("http11", "connection", "connection_pool")
        )
        self.core, self.module = core, module
        self.default: Any = sys.modules[f"{module.__name__}._transports.default"]
        self.h11: Any = http11.h11
        # Kinds of connections, in the pool and under these.
        self.pooled, self.link = getattr(core, f"{world}HTTPConnection"), getattr(core, f"{world}HTTP11Connection")
        self._called = f"handle_{world.lower()}_request" if world else "handle_request"
        self._own = [
            (kind, self._method(kind, home))
            for kind, home in (
                (getattr(module, f"{world}HTTPTransport"), self.default),
                (getattr(core, f"{world}ConnectionPool"), pool),
                (self.pooled, connection),
                (self.link, http11),
            )
        ]
        _OF_LINKS(self.link(core.Origin(b"http", b"host", 80), None))
        attrgetter("connection")(getattr(pool, f"{world}PoolRequest")(None))
        attrgetter("_stream")(module.ByteStream(b""))
        states = http11.HTTPConnectionState
        self.active, self.idle = states.ACTIVE, states.IDLE
        self.body = module.ByteStream
        self.logger = getLogger(f"{core.__name__}.http11")
        self.items_of, self.headers_of = ways(module)

    def _method(self, kind: type, home: ModuleType) -> Any:
        """Return the method that requests go through, if it is the library's: wrappers copy names, but not globals."""
        method = kind.__dict__[self._called]
        if type(method) is not FunctionType or method.__globals__ is not home.__dict__:
            raise AttributeError(self._called)
        return method

    def is_own(self, pool: Any) -> bool:
        """Return whether nobody replaced a method that requests go through."""
        called = self._called
        for kind, method in self._own:
            if getattr(kind, called) is not method:
                return False
        return called not in pool.__dict__

    def has_more(self, link: Any) -> bool:
        """Return whether the library's parser holds bytes behind an answer: they would be taken for the next one."""
        return bool(link._h11_state.trailing_data[0])

    def plain(self, request: Any) -> bytes | None:
        """Return the head of a plain request that nobody traces."""
        stream = request.stream
        if type(stream) is not self.body or "trace" in request.extensions or self.logger.isEnabledFor(DEBUG):
            return None
        data = stream._stream
        if type(data) is not bytes or "target" in request.extensions:
            return None
        items, target, length = self.items_of(request.headers), request.url.raw_path, b"%d" % len(data)
        known, name, at = request.__dict__.get("safellm_known") or (None, "", 0)
        if known is None or items[at : at + 1] != [(b"Content-Length", _LENGTH_NAME, length)]:
            return http1.request_head(request.method.encode("ascii"), target, items, len(data))
        # What stands between the guard and this transport (who signs or traces) may have changed the request.
        asked, remembered = (request.method, target, items[:at], items[at + 1 :]), known.get(name := f"{_HEAD} {name}")
        if remembered is not None and remembered[0] == asked:
            return b"%s%s%s" % (remembered[1], length, remembered[2])
        head = http1.request_head(request.method.encode("ascii"), target, items, len(data))
        line = b"\r\nContent-Length: %s\r\n" % length
        if head is not None and head.count(line) == 1:
            begin, _, end = head.partition(line)
            known[name] = asked, begin + b"\r\nContent-Length: ", b"\r\n" + end
        return head

    @staticmethod
    def sent(request: Any) -> None:
        """Tell whoever wants to know that a request is on its way: what he makes ready now delays nobody."""
        tell = request.__dict__.get("safellm_sent")
        if tell is not None:
            tell()

    def take(self, pool: Any, url: Any) -> Any:
        """Return an idle connection to this place, which now is taken; None if the library has to find one."""
        scheme, host, now = url.raw_scheme, url.raw_host, time.monotonic()
        port = url.port or _PORTS.get(scheme)
        found: Any = None
        for pooled in pool._connections:
            link: Any = getattr(pooled, "_connection", None)
            if type(link) is not self.link or type(pooled) is not self.pooled or link._state is not self.idle:
                continue
            if link._expire_at is not None and link._expire_at < now:
                return None  # the library closes it, wherever it leads to
            origin = link._origin
            if found is None and origin.host == host and origin.port == port and origin.scheme == scheme:
                found = pooled
        if found is None:
            return None
        # Who waits goes first, and what is promised to somebody is his; what has expired is the library's to close.
        link, waiting = found._connection, pool._requests
        if (waiting and any(one.connection in (None, found) for one in waiting)) or link.has_expired():
            return None
        if self.has_more(link):
            link._expire_at = 0.0
            return None
        link._request_count += 1
        link._state, link._expire_at = self.active, None
        return link

    def give_back(self, link: Any, reader: http1.Sized | http1.Chunked | None) -> bool:
        """Mark a connection as idle if its answer is whole and all that came; nothing is awaited, so nobody cancels it.

        Args:
            link: The connection.
            reader: Of the answer's body; None: the library's parser.

        Returns:
            Whether it was; otherwise it has to be closed.
        """
        if reader is None:
            parser, done = link._h11_state, self.h11.DONE
            if parser.our_state is not done or parser.their_state is not done or self.has_more(link):
                return False
            parser.start_next_cycle()
        elif not (reader.over and reader.clean):
            return False
        link._state = self.idle
        if link._keepalive_expiry is not None:
            link._expire_at = time.monotonic() + link._keepalive_expiry
        return True

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

    def parsed(self, link: Any, found: tuple[Any, ...], stream: Any) -> Any:
        """Return the response of what the library's parser says; before httpcore 1.0.4 that were four things."""
        version, status, reason, headers, *_ = found
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

    def _take(self, reader: http1.Sized | http1.Chunked, data: bytes) -> Iterator[bytes]:
        try:
            yield from reader.feed(data)
        except ValueError:
            raise self._parts.core.RemoteProtocolError("malformed chunk footer") from None
        if reader.rest is not None:
            self._reader = None
            self._parts.parse_it(self._link, http1.SAID_CHUNKED)
            self._link._h11_state.next_event()
            self._link._h11_state.receive_data(reader.rest)
