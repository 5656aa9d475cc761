"""A small HTTP/1.1 server on 127.0.0.1 for tests: it keeps every byte that arrives and can misbehave on purpose.

* One thread accepts, one thread serves each connection; leaving the `with` block ends all of them.
* The port is chosen by the operating system; nothing but 127.0.0.1 is bound.
* Why not `http.server`: the fault server must break HTTP itself, and a test must be able to see bytes of requests that
  never became whole.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_HOST = "127.0.0.1"
_RECEIVE_BYTES = 65_536
# Connections that wait to be accepted: beyond it the system resets them, and a thousand may come at once.
_BACKLOG = 4096
# A test server need not defend itself, but a defect in the client under test must not fill the memory either.
_HEAD_LIMIT_BYTES = 1 << 20
_BODY_LIMIT_BYTES = 1 << 28
_JOIN_SECONDS = 10.0
_REQUEST_LINE = re.compile(r"[!-~]+ [^ ]+ HTTP/1\.[01]")

REASONS: Mapping[int, str] = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request as it arrived.

    Attributes:
        method: As sent, upper case by convention.
        path: Path part of the target, still percent-encoded, without the query.
        query: What stood after `?`, or an empty text.
        headers: Names in lower case; of repeated ones the values are joined by a comma and a space.
        raw_headers: Names and values in order, as sent.
        body: After removal of chunked framing, bytes.
        json: The parsed body, or None if it isn't JSON.
        head: Request line and headers, the exact bytes.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    raw_headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    json: Any = field(repr=False)  # Any: the shape is the client's business, tests index into it
    head: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A well-formed answer: a whole body gets a content-length, an iterable one is sent in chunks as it is produced."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""


class Connection:
    """One accepted connection: whole requests in, any bytes out."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.closing = closing
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes as they are; raises OSError when the client has left or the server closes."""
        self._sock.sendall(data)

    def reset(self) -> None:
        """End the connection with RST instead of an orderly close."""
        # The layout of `struct linger` is two shorts on Windows, two ints elsewhere.
        layout = "hh" if hasattr(socket, "SIO_RCVALL") else "ii"
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(layout, 1, 0))
        self._sock.close()

    def send_answer(self, answer: Answer, *, head_only: bool = False) -> None:
        """Send one answer, framed by content-length or as chunks."""
        self.send(head_of(answer))
        if head_only:
            return
        if isinstance(answer.body, bytes):
            self.send(answer.body)
            return
        for piece in answer.body:
            if piece:  # an empty chunk would end the body
                self.send(chunk(piece))
        self.send(b"0\r\n\r\n")

    def read_request(self) -> SeenRequest | None:
        """Return the next request, or None when the client has gone or sends what isn't HTTP."""
        end = self._fill_until(b"\r\n\r\n", _HEAD_LIMIT_BYTES)
        if end is None:
            return None
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        if not _REQUEST_LINE.fullmatch(request_line) or any(":" not in line for line in lines):
            return None
        raw_headers = tuple((name, value.strip()) for name, value in (line.split(":", 1) for line in lines))
        headers: dict[str, str] = {}
        for name, value in raw_headers:
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_body(headers)
        if body is None:
            return None
        method, target, _ = request_line.split(" ")
        path, _, query = target.partition("?")
        return SeenRequest(
            method=method,
            path=path,
            query=query,
            headers=headers,
            raw_headers=raw_headers,
            body=body,
            json=parse_json(body),
            head=head,
        )

    def _read_body(self, headers: Mapping[str, str]) -> bytes | None:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = headers.get("content-length", "0")
        return self._take(int(length)) if length.isdecimal() and int(length) <= _BODY_LIMIT_BYTES else None

    def _read_chunks(self) -> bytes | None:
        body = bytearray()
        while True:
            end = self._fill_until(b"\r\n", _HEAD_LIMIT_BYTES)
            if end is None:
                return None
            size_text = bytes(self._buffer[:end]).split(b";", 1)[0].strip()
            del self._buffer[: end + 2]
            try:
                size = int(size_text, 16)
            except ValueError:
                return None
            if size < 0 or len(body) + size > _BODY_LIMIT_BYTES:
                return None
            piece = self._take(size + 2)
            if piece is None:
                return None
            if size == 0:
                return bytes(body)
            body += piece[:-2]

    def _take(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            if not self._receive():
                return None
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill_until(self, mark: bytes, limit: int) -> int | None:
        searched = 0
        while (at := self._buffer.find(mark, searched)) == -1:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if len(self._buffer) > limit or not self._receive():
                return None
        return at

    def _receive(self) -> bool:
        data = self._sock.recv(_RECEIVE_BYTES)
        self._buffer += data
        self.received += data
        return bool(data)


class LoopbackServer:
    """Base of the test servers: subclasses say in `serve` what one request gets.

    Attributes:
        requests: Every whole request that arrived, in order of arrival.
    """

    def __init__(self) -> None:
        self.requests: list[SeenRequest] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
        self._open: dict[socket.socket, threading.Thread] = {}
        self._barriers: dict[int, threading.Event] = {}  # ports of our own connections
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self.port = 0

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Answer one request; True keeps the connection open for another one."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a path."""
        return f"http://{_HOST}:{self.port}"

    @property
    def connection_count(self) -> int:
        """How many connections were accepted since the start, those without a request too."""
        self._settle()
        return len(self._connections)

    @property
    def received(self) -> tuple[bytes, ...]:
        """Every byte that arrived, one entry for each connection, incomplete requests too."""
        self._settle()
        return tuple(bytes(connection.received) for connection in self._connections)

    def start(self) -> Self:
        """Bind a free port and begin to accept."""
        listener = socket.create_server((_HOST, 0), backlog=_BACKLOG)
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._accepting = threading.Thread(
            target=self._accept, args=(listener,), name=f"accept-{self.port}", daemon=True
        )
        self._accepting.start()
        return self

    def close(self) -> None:
        """End all connections and threads; may be called twice."""
        if self._listener is None or self._accepting is None:
            return
        self._closing.set()
        # A connection of our own wakes `accept` on every platform; closing the listener does not.
        with socket.socket() as wake:
            wake.settimeout(_JOIN_SECONDS)
            if wake.connect_ex((_HOST, self.port)):
                self._listener.close()
        self._accepting.join(_JOIN_SECONDS)
        self._listener.close()
        with self._lock:
            still_open = dict(self._open)
        for sock in still_open:
            _shut(sock)
        for thread in still_open.values():
            thread.join(_JOIN_SECONDS)
        self._listener = self._accepting = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, (_, port) = listener.accept()
            if self._closing.is_set():
                sock.close()
                return
            barrier = self._barriers.pop(port, None)
            if barrier is not None:
                sock.close()
                barrier.set()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._closing)
            thread = threading.Thread(target=self._run, args=(sock, connection), name=f"serve-{self.port}", daemon=True)
            with self._lock:
                self._connections.append(connection)
                self._open[sock] = thread
            thread.start()

    def _run(self, sock: socket.socket, connection: Connection) -> None:
        try:
            while not self._closing.is_set():
                request = connection.read_request()
                if request is None:
                    break
                with self._lock:
                    self.requests.append(request)
                if not self.serve(request, connection):
                    break
        except OSError:
            pass  # the client left, or `close` ended the connection: both are ordinary ends
        finally:
            with self._lock:
                self._open.pop(sock, None)
            sock.close()

    def _settle(self) -> None:
        """Wait until every connection that was made before this call has been counted."""
        if self._listener is None or self._closing.is_set():
            return
        with socket.socket() as own:
            own.bind((_HOST, 0))
            barrier = threading.Event()
            self._barriers[own.getsockname()[1]] = barrier
            own.settimeout(_JOIN_SECONDS)
            own.connect((_HOST, self.port))
            if not barrier.wait(_JOIN_SECONDS):
                message = "the test server doesn't accept connections any more"
                raise RuntimeError(message)


def head_of(answer: Answer) -> bytes:
    """Return status line and headers, with the framing header that suits the body."""
    framing = f"content-length: {len(answer.body)}" if isinstance(answer.body, bytes) else "transfer-encoding: chunked"
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join([*lines, framing, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Return data in the framing of RFC 9112 section 7.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def cut_body(body: bytes | Iterable[bytes], cut: Callable[[bytes], Iterable[bytes]] | None) -> bytes | Iterable[bytes]:
    """Return the body cut anew by the caller's rule, which sees the whole of it, event borders or not."""
    if cut is None:
        return body
    whole = body if isinstance(body, bytes) else b"".join(body)
    return _pieces(cut(whole), whole)


def parse_json(body: bytes) -> Any:
    """Return the parsed body, or None if it isn't JSON."""
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _pieces(pieces: Iterable[bytes], whole: bytes) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        sent += len(piece)
        yield piece
    if sent != len(whole):
        message = f"write_chunks gave {sent} bytes of a body of {len(whole)}: it may cut, not drop or add"
        raise ValueError(message)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # its thread may have closed it already
        sock.shutdown(socket.SHUT_RDWR)
