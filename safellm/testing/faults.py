"""A provider on 127.0.0.1 that misbehaves, one named fault for each base URL (THREATS E.2, E.9, B.3).

    with FaultServer() as server:
        client = openai.OpenAI(base_url=server.base_url(Fault.RESET_MID_BODY), api_key="x", max_retries=0)

* Where the fault leaves room for it, the answer is a good one, of the kind that was asked for: chat or responses, plain
  or streamed.
* What never ends by itself ends when the client leaves or the server closes; nothing is produced ahead of the client's
  reading.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum

from safellm.testing import wire
from safellm.testing.endpoints import error, tag_of
from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest, chunk, head_of
from safellm.testing.replies import Reply

TEXT = "A good answer, as far as it goes."
BOMB_BYTES = (1 << 30) + (1 << 26)  # 1 GiB and 64 MiB once decoded, about 1 MiB on the wire
_BLOCK_BYTES = 1 << 20
_STALL_SECONDS = 30.0
_DRIP_SECONDS = 0.02


class Fault(StrEnum):
    """What goes wrong; the value is the first part of the path."""

    NONE = "none"
    RESET_BEFORE_HEADERS = "reset-before-headers"
    RESET_MID_BODY = "reset-mid-body"
    CLOSE_BEFORE_HEADERS = "close-before-headers"
    STALL_BEFORE_HEADERS = "stall-before-headers"
    STALL_MID_BODY = "stall-mid-body"
    ONE_BYTE_CHUNKS = "one-byte-chunks"
    SLOW_DRIP = "slow-drip"
    HALF_EVENT = "half-event"
    LENGTH_SHORT = "length-short"
    LENGTH_LONG = "length-long"
    GZIP_BOMB = "gzip-bomb"
    GZIP_UNASKED = "gzip-unasked"
    ENDLESS_STREAM = "endless-stream"
    ENDLESS_LINE = "endless-line"
    ENDLESS_HEADERS = "endless-headers"
    ENDLESS_HEADER_LINE = "endless-header-line"
    INVALID_UTF8 = "invalid-utf8"
    INVALID_JSON = "invalid-json"
    TRAILING_GARBAGE = "trailing-garbage"
    USAGE_TWICE = "usage-twice"
    USAGE_MISSING = "usage-missing"
    USAGE_NEGATIVE = "usage-negative"
    USAGE_ZERO = "usage-zero"
    USAGE_HUGE = "usage-huge"
    REDIRECT_301 = "redirect-301"
    REDIRECT_302 = "redirect-302"
    REDIRECT_303 = "redirect-303"
    REDIRECT_307 = "redirect-307"
    REDIRECT_308 = "redirect-308"
    REDIRECT_RELATIVE = "redirect-relative"
    REDIRECT_LOOP = "redirect-loop"


_USAGES = {Fault.USAGE_MISSING: None, Fault.USAGE_NEGATIVE: -7, Fault.USAGE_ZERO: 0, Fault.USAGE_HUGE: 10**18}
_REDIRECTS = {fault: int(fault.value[-3:]) for fault in Fault if fault.value[-3:].isdecimal()}


class FaultServer(LoopbackServer):
    """Serves every fault, each under its own base URL.

    Args:
        redirect_to: Where `REDIRECT_301` to `REDIRECT_308` lead: an absolute URL, used as it is.
        stall_seconds: How long a stall lasts at most; closing the server ends it at once.
        drip_seconds: Pause between the bytes of `SLOW_DRIP`.
    """

    def __init__(
        self,
        *,
        redirect_to: str | None = None,
        stall_seconds: float = _STALL_SECONDS,
        drip_seconds: float = _DRIP_SECONDS,
    ) -> None:
        super().__init__()
        self._redirect_to = redirect_to
        self._stall_seconds = stall_seconds
        self._drip_seconds = drip_seconds
        self._acts: dict[Fault, Callable[[SeenRequest, Connection], None]] = {
            Fault.RESET_BEFORE_HEADERS: lambda _, connection: connection.reset(),
            Fault.RESET_MID_BODY: _reset_mid_body,
            Fault.CLOSE_BEFORE_HEADERS: lambda _, __: None,
            Fault.STALL_BEFORE_HEADERS: lambda _, connection: self._stall(connection),
            Fault.STALL_MID_BODY: self._stall_mid_body,
            Fault.SLOW_DRIP: self._slow_drip,
            Fault.HALF_EVENT: _half_event,
            Fault.LENGTH_SHORT: lambda request, connection: _wrong_length(request, connection, 0.5),
            Fault.LENGTH_LONG: lambda request, connection: _wrong_length(request, connection, 1.5),
            Fault.ENDLESS_HEADERS: _endless_headers,
            Fault.ENDLESS_HEADER_LINE: _endless_header_line,
        }

    def base_url(self, fault: Fault) -> str:
        """Return the base URL under which every call meets this fault."""
        return f"{self.origin}/{fault}/v1"

    def requests_for(self, fault: Fault) -> list[SeenRequest]:
        """Return the requests that met this fault: one for each attempt on the wire."""
        return [request for request in self.requests if request.path.startswith(f"/{fault}/")]

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Misbehave as the first part of the path says; only `NONE` and redirects keep the connection."""
        name = request.path.split("/", 2)[1]
        if name not in set(Fault):
            connection.send_answer(error(404, f"There is no such fault. Known are: {', '.join(Fault)}"))
            return True
        fault = Fault(name)
        act = self._acts.get(fault)
        if act is None:
            connection.send_answer(self._answer(fault, request))
            return fault is Fault.NONE or fault.startswith("redirect")
        act(request, connection)
        return False

    def _answer(self, fault: Fault, request: SeenRequest) -> Answer:
        """Return the answer of the faults that keep to the framing of HTTP."""
        if fault.startswith("redirect"):
            return self._redirect(fault, request)
        body = good_body(request)
        bodies: dict[Fault, Callable[[], bytes | Iterator[bytes]]] = {
            Fault.NONE: lambda: body,
            Fault.ONE_BYTE_CHUNKS: lambda: (body[index : index + 1] for index in range(len(body))),
            Fault.GZIP_UNASKED: lambda: gzip.compress(body, mtime=0),
            Fault.GZIP_BOMB: lambda: bomb(body),
            Fault.ENDLESS_STREAM: lambda: _endless_stream(request),
            Fault.ENDLESS_LINE: lambda: _endless_line(request),
            Fault.INVALID_UTF8: lambda: body.replace(TEXT[:1].encode(), b"\xff\xc3\x28", 1),
            Fault.INVALID_JSON: lambda: body.replace(b'":', b'"=', 1),
            Fault.TRAILING_GARBAGE: lambda: body + (_extra_event(request) if is_stream(request) else b'{"garbage": 1}'),
            Fault.USAGE_TWICE: lambda: _usage_twice(request, body),
        }
        coded = (("content-encoding", "gzip"),) if fault in {Fault.GZIP_BOMB, Fault.GZIP_UNASKED} else ()
        made = good_body(request, _usage(fault, request)) if fault in _USAGES else bodies[fault]()
        return Answer(headers=(("content-type", content_type(request)), *coded), body=made)

    def _redirect(self, fault: Fault, request: SeenRequest) -> Answer:
        if fault is Fault.REDIRECT_LOOP:
            status, location = 307, request.path
        elif fault is Fault.REDIRECT_RELATIVE:
            status, location = 307, request.path.replace(f"/{fault}/", f"/{Fault.NONE}/", 1)
        elif self._redirect_to is None:
            return error(500, "FaultServer was made without redirect_to.")
        else:
            status, location = _REDIRECTS[fault], self._redirect_to
        return Answer(status=status, headers=(("location", location),))

    def _stall(self, connection: Connection) -> None:
        connection.closing.wait(self._stall_seconds)

    def _stall_mid_body(self, request: SeenRequest, connection: Connection) -> None:
        connection.send(_head(request) + chunk(_half(request)))
        self._stall(connection)

    def _slow_drip(self, request: SeenRequest, connection: Connection) -> None:
        """Send the good answer byte by byte, then go on with white space for ever."""
        connection.send(_head(request))
        for value in good_body(request):
            connection.send(chunk(bytes([value])))
            if connection.closing.wait(self._drip_seconds):
                return
        while not connection.closing.wait(self._drip_seconds):
            connection.send(chunk(b"\n"))


def is_stream(request: SeenRequest) -> bool:
    """Return whether the request asks for server-sent events."""
    return isinstance(request.json, dict) and bool(request.json.get("stream"))


def content_type(request: SeenRequest) -> str:
    """Return the content type of the good answer."""
    return "text/event-stream; charset=utf-8" if is_stream(request) else "application/json"


def good_body(request: SeenRequest, reply: Reply | None = None) -> bytes:
    """Return the whole body of a good answer: chat or responses, plain or streamed."""
    body = request.json if isinstance(request.json, dict) else {}
    if is_stream(request):
        body = {**body, "stream_options": {"include_usage": True}}
    made = wire.Call(tag=tag_of(request.path, request.body), created=0, body=body, reply=reply or Reply(text=TEXT))
    if request.path.endswith("/responses"):
        return b"".join(wire.response_stream(made)) if is_stream(request) else _json(wire.response_object(made))
    return b"".join(wire.chat_stream(made)) if is_stream(request) else _json(wire.chat_completion(made))


def bomb(body: bytes, decoded_bytes: int = BOMB_BYTES) -> Iterator[bytes]:
    """Yield a gzip file (RFC 1952) that decodes to white space and, after it, the body; made piece by piece.

    A block that was compressed with a full flush depends on nothing before it, so one block is compressed once and sent
    many times.
    """
    block = b" " * _BLOCK_BYTES
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    checksum, count = 0, decoded_bytes // _BLOCK_BYTES
    for _ in range(count):
        checksum = zlib.crc32(block, checksum)
        yield packed
    last = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    yield last.compress(body) + last.flush()
    size = (count * _BLOCK_BYTES + len(body)) & 0xFFFFFFFF
    yield struct.pack("<II", zlib.crc32(body, checksum), size)


def _json(value: wire.JsonObject) -> bytes:
    return json.dumps(value).encode()


def _head(request: SeenRequest) -> bytes:
    return head_of(Answer(headers=(("content-type", content_type(request)),), body=iter(())))


def _half(request: SeenRequest) -> bytes:
    """Return the begin of a good body: it ends inside the text, in a stream inside an event."""
    body = good_body(request)
    words = TEXT.split(" ", 2)
    end = body.find(words[1].encode() if is_stream(request) else TEXT.encode())
    return body[: end + 3]


def _reset_mid_body(request: SeenRequest, connection: Connection) -> None:
    connection.send(_head(request) + chunk(_half(request)))
    connection.reset()


def _half_event(request: SeenRequest, connection: Connection) -> None:
    """End the body in good order for HTTP, in the middle of what it says."""
    connection.send(_head(request) + chunk(_half(request)) + b"0\r\n\r\n")


def _wrong_length(request: SeenRequest, connection: Connection, factor: float) -> None:
    body = good_body(request)
    head = head_of(Answer(headers=(("content-type", content_type(request)),), body=body))
    right, wrong = f"content-length: {len(body)}", f"content-length: {int(len(body) * factor)}"
    connection.send(head.replace(right.encode(), wrong.encode()) + body)


def _endless_headers(_: SeenRequest, connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while not connection.closing.is_set():
        connection.send(b"".join(b"x-more-%d: %d\r\n" % (number + step, step) for step in range(100)))
        number += 100


def _endless_header_line(_: SeenRequest, connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nx-long: ")
    while not connection.closing.is_set():
        connection.send(b"x" * 4096)


def _endless_stream(request: SeenRequest) -> Iterator[bytes]:
    """Yield well-formed events for ever; of a plain answer, a text that never ends."""
    if not is_stream(request):
        yield from _endless_line(request)
    body = good_body(request)
    events = body.split(b"\n\n")
    delta = next(event for event in events if TEXT.split(" ", 1)[0].encode() in event) + b"\n\n"
    yield body[: body.find(delta)]
    while True:
        yield delta


def _endless_line(request: SeenRequest) -> Iterator[bytes]:
    yield _half(request)
    while True:
        yield b"more " * 800


def _extra_event(request: SeenRequest) -> bytes:
    text = "after the end"
    body = good_body(request, Reply(text=text, chunks=(text,)))
    return next(event for event in body.split(b"\n\n") if text.encode() in event) + b"\n\n"


def _usage(fault: Fault, request: SeenRequest) -> Reply:
    amount = _USAGES[fault]
    if amount is None:
        return Reply(text=TEXT, usage={})
    if request.path.endswith("/responses"):
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return Reply(
            text=TEXT, usage={"input_tokens": amount, "output_tokens": amount, "total_tokens": 2 * amount, **details}
        )
    return Reply(text=TEXT, usage={"prompt_tokens": amount, "completion_tokens": amount, "total_tokens": 2 * amount})


def _usage_twice(request: SeenRequest, body: bytes) -> bytes:
    """Return the body with a second usage of 0: a key that comes twice, or one more event at the end of a stream."""
    small = good_body(request, _usage(Fault.USAGE_ZERO, request))
    if not is_stream(request):
        usage = json.dumps(json.loads(small)["usage"]).encode()
        return body[:-1] + b', "usage": ' + usage + b"}"
    last = [event for event in small.split(b"\n\n") if event and event != wire.DONE.strip()][-1] + b"\n\n"
    return body.removesuffix(wire.DONE) + last + (wire.DONE if body.endswith(wire.DONE) else b"")
