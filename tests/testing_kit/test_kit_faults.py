"""Each fault is what its name says, seen from a raw socket or through the real openai SDK."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import pytest

import openai
from safellm.testing import faults
from safellm.testing.faults import TEXT, Fault, FaultServer
from safellm.testing.sink import Sink

ENDLESS = (Fault.ENDLESS_HEADERS, Fault.ENDLESS_HEADER_LINE, Fault.ENDLESS_STREAM, Fault.ENDLESS_LINE, Fault.SLOW_DRIP)
GOOD = (Fault.NONE, Fault.ONE_BYTE_CHUNKS, Fault.GZIP_UNASKED, Fault.REDIRECT_RELATIVE)
BROKEN_TRANSPORT = (Fault.RESET_BEFORE_HEADERS, Fault.RESET_MID_BODY, Fault.CLOSE_BEFORE_HEADERS)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A running fault server that drips fast."""
    with FaultServer(drip_seconds=0.0005) as running:
        yield running


def client_for(server: FaultServer, fault: Fault) -> openai.OpenAI:
    """Return the SDK's client under a fault, without retries."""
    return openai.OpenAI(base_url=server.base_url(fault), api_key="k", max_retries=0, timeout=5)


def ask(client: openai.OpenAI, kind: str) -> tuple[str, object]:
    """Ask in one of four ways; return the text and the usage."""
    if kind == "chat":
        made = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        return made.choices[0].message.content or "", made.usage
    if kind == "chat stream":
        chunks = list(
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return text, next((chunk.usage for chunk in chunks if chunk.usage), None)
    if kind == "responses":
        response = client.responses.create(model="m", input="x")
        return response.output_text, response.usage
    events = list(client.responses.create(model="m", input="x", stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    return text, events[-1].response.usage if events[-1].type == "response.completed" else None


KINDS = ("chat", "chat stream", "responses", "responses stream")


def raw_answer(server: FaultServer, fault: Fault, *, stream: bool = False, limit: int | None = None) -> bytes:
    """Return the bytes that come back for one request, up to a limit."""
    body = json.dumps({"model": "m", "messages": [], "stream": stream}).encode()
    head = f"POST /{fault}/v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    got = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(head.encode() + body)
        if fault in {Fault.NONE, *GOOD} or fault.startswith("redirect"):
            sock.shutdown(socket.SHUT_WR)
        while limit is None or len(got) < limit:
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
    return bytes(got)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", GOOD)
def test_e_9_odd_but_right_answers_reach_the_sdk(server: FaultServer, fault: Fault, kind: str) -> None:
    """Odd framing of a right answer gives the right text and usage."""
    with client_for(server, fault) as client:
        text, usage = ask(client, kind)
    assert text == TEXT
    assert usage is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", BROKEN_TRANSPORT)
def test_e_9_broken_connections_are_errors(server: FaultServer, fault: Fault, kind: str) -> None:
    """A connection that breaks is a connection error of the SDK, and the request was recorded."""
    with client_for(server, fault) as client, pytest.raises(openai.APIConnectionError):
        ask(client, kind)
    assert len(server.requests_for(fault)) == 1


@pytest.mark.parametrize("fault", [Fault.STALL_BEFORE_HEADERS, Fault.STALL_MID_BODY])
def test_e_9_stall_ends_when_the_server_closes(fault: Fault) -> None:
    """A stall holds the client until the server closes, then at once."""
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            ask(client, "chat")
        except openai.APIConnectionError as error:
            outcome.append(error)

    with FaultServer() as server, client_for(server, fault) as client:
        thread = threading.Thread(target=call)
        thread.start()
        while not server.requests:
            time.sleep(0.005)
        assert thread.is_alive()
        assert outcome == []
        began = time.monotonic()
        server.close()
        thread.join(5)
        assert time.monotonic() - began < 2
        assert len(outcome) == 1


@pytest.mark.parametrize("fault", [Fault.STALL_BEFORE_HEADERS, Fault.STALL_MID_BODY])
def test_e_9_stall_is_bounded(fault: Fault) -> None:
    """A stall ends by itself after its time."""
    with FaultServer(stall_seconds=0.05) as server, client_for(server, fault) as client:
        with pytest.raises(openai.APIConnectionError):
            ask(client, "chat")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ENDLESS)
def test_e_9_endless_answers_end_when_the_client_leaves(server: FaultServer, fault: Fault, stream: bool) -> None:
    """What never ends goes on past any good answer, and the serving thread ends once the client has left."""
    limit = 3_000 if fault is Fault.SLOW_DRIP else 2_000_000
    got = raw_answer(server, fault, stream=stream, limit=limit)
    assert len(got) >= limit
    if fault is Fault.ENDLESS_HEADER_LINE:
        assert b"\r\n" not in got[20:]
    if fault is Fault.ENDLESS_HEADERS:
        assert b"\r\n\r\n" not in got
    deadline = time.monotonic() + 5
    while any(thread.name == f"serve-{server.port}" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the serving thread goes on without a client"
        time.sleep(0.01)


def test_e_9_endless_stream_is_made_of_good_events(server: FaultServer) -> None:
    """The SDK can read as many deltas as it likes."""
    with client_for(server, Fault.ENDLESS_STREAM) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in itertools.islice(stream, 3_000)]
        stream.close()
    assert pieces.count("A") >= 2_990


def test_e_9_bomb_is_small_on_the_wire_and_big_when_decoded() -> None:
    """The bomb is a valid gzip file of more than 1 GiB from about 1 MiB; decoded here piece by piece."""
    decoder, wire_bytes, decoded = zlib.decompressobj(zlib.MAX_WBITS | 16), 0, 0
    for piece in faults.bomb(b'{"a": 1}'):
        wire_bytes += len(piece)
        decoded += len(decoder.decompress(piece))
    assert decoder.eof
    assert decoded > 1 << 30
    assert wire_bytes < 2 << 20


def test_e_9_small_bomb_decodes_to_the_answer() -> None:
    """At its end the bomb holds the answer, so that a client without a limit would accept it."""
    decoded = gzip.decompress(b"".join(faults.bomb(b'{"a": 1}', 3 << 20)))
    assert len(decoded) == (3 << 20) + 8
    assert json.loads(decoded) == {"a": 1}


def test_e_9_bomb_is_announced_as_gzip(server: FaultServer) -> None:
    """On the wire it is an ordinary compressed answer."""
    got = raw_answer(server, Fault.GZIP_BOMB, limit=50_000)
    assert b"content-encoding: gzip" in got
    assert b"\x1f\x8b" in got


@pytest.mark.parametrize(("fault", "factor"), [(Fault.LENGTH_SHORT, 0.5), (Fault.LENGTH_LONG, 1.5)])
@pytest.mark.parametrize("stream", [False, True])
def test_e_9_content_length_is_wrong(server: FaultServer, fault: Fault, factor: float, stream: bool) -> None:
    """The stated length is half, or one and a half, of what is sent."""
    head, _, body = raw_answer(server, fault, stream=stream).partition(b"\r\n\r\n")
    stated = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    assert stated == int(len(body) * factor)


def test_e_9_half_event_ends_in_good_order(server: FaultServer) -> None:
    """The HTTP body is whole, the last event is not."""
    got = raw_answer(server, Fault.HALF_EVENT, stream=True)
    assert got.endswith(b"\r\n0\r\n\r\n")
    assert not got.removesuffix(b"\r\n0\r\n\r\n").endswith(b"\n\n")
    assert got.count(b"data: ") > 2
    with client_for(server, Fault.HALF_EVENT) as client:
        text, usage = ask(client, "chat stream")
    assert TEXT.startswith(text)
    assert text != TEXT
    assert usage is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [Fault.INVALID_UTF8, Fault.INVALID_JSON])
def test_e_9_unreadable_bodies_are_errors(server: FaultServer, fault: Fault, kind: str) -> None:
    """Bytes that aren't UTF-8 or aren't JSON are an error in the SDK: the fault is a real one."""
    with client_for(server, fault) as client, pytest.raises(ValueError):
        ask(client, kind)


def test_e_9_garbage_follows_the_answer(server: FaultServer) -> None:
    """After the JSON value, or after the end of the stream, more comes."""
    assert raw_answer(server, Fault.TRAILING_GARBAGE).endswith(b'}{"garbage": 1}')
    streamed = raw_answer(server, Fault.TRAILING_GARBAGE, stream=True)
    assert b"after the end" in streamed.split(b"data: [DONE]\n\n")[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "total"),
    [(Fault.USAGE_MISSING, None), (Fault.USAGE_NEGATIVE, -14), (Fault.USAGE_ZERO, 0), (Fault.USAGE_HUGE, 2 * 10**18)],
)
def test_b_3_usage_is_wrong(server: FaultServer, fault: Fault, total: int | None, kind: str) -> None:
    """The text is right, the usage is as the fault's name says."""
    with client_for(server, fault) as client:
        text, usage = ask(client, kind)
    assert text == TEXT
    assert getattr(usage, "total_tokens", None) == total


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_b_3_usage_comes_twice(server: FaultServer, path: str, stream: bool) -> None:
    """Two usages that contradict each other are in one answer."""
    import urllib.request

    body = json.dumps({"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}], "stream": stream})
    with urllib.request.urlopen(f"{server.base_url(Fault.USAGE_TWICE)}/{path}", body.encode()) as answer:
        text = answer.read().decode()
    totals = [int(part.split("}")[0].split(",")[0]) for part in text.replace(" ", "").split('"total_tokens":')[1:]]
    assert len(totals) == 2
    assert totals[0] > totals[1] == 0


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.value[-3:].isdecimal()])
def test_e_2_redirects_lead_where_they_were_told(fault: Fault) -> None:
    """Each redirect brings the unguarded SDK to the sink: the tests of the guard would see a leak."""
    with Sink() as sink, FaultServer(redirect_to=sink.url + "/x") as server, client_for(server, fault) as client:
        with pytest.raises(openai.PermissionDeniedError):
            ask(client, "chat")
        (met,) = sink.requests
        assert met.method == ("POST" if fault in {Fault.REDIRECT_307, Fault.REDIRECT_308} else "GET")
        assert raw_answer(server, fault).startswith(f"HTTP/1.1 {fault.value[-3:]} ".encode())


def test_e_2_loop_never_arrives(server: FaultServer) -> None:
    """A redirect loop leads to itself until the client gives up."""
    with client_for(server, Fault.REDIRECT_LOOP) as client, pytest.raises(openai.APIConnectionError):
        ask(client, "chat")
    assert len(server.requests_for(Fault.REDIRECT_LOOP)) > 3


def test_unknown_fault_is_named(server: FaultServer) -> None:
    """A misspelt path is told apart from every fault."""
    with openai.OpenAI(base_url=f"{server.origin}/nothing/v1", api_key="k") as client:
        with pytest.raises(openai.NotFoundError, match="no such fault"):
            client.models.list()


def test_every_fault_is_served(server: FaultServer) -> None:
    """No member of the list lacks its behaviour (what never ends is read up to a limit)."""
    for fault in Fault:
        if fault in {Fault.STALL_BEFORE_HEADERS, Fault.STALL_MID_BODY}:
            continue
        try:
            raw_answer(server, fault, stream=True, limit=2_000)
        except ConnectionResetError:
            assert "reset" in fault
        assert len(server.requests_for(fault)) >= 1, fault
