"""The plain case of HTTP/1.1: whatever is taken here is what `h11` takes, and everything else goes to it."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import h11
import httpcore
import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

import openai
import safellm
from safellm._core.answer import AnswerRules
from safellm._core.exchange import Exchange
from safellm._core.origin import parse_origin
from safellm.client import prepare
from safellm.testing import LoopbackProvider
from safellm.transports import http1, lean
from safellm.transports.lean import use_lean
from safellm.transports.lean_parts import Parts
from safellm.transports.requests import guard_session
from safellm_openai.adapter import ADAPTER

_NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-type",
        b"Transfer-Encoding",
        b"Connection",
        b"X-A",
        b"Set-Cookie",
        b"a b",
        b"Host",
        b"",
    ]
)
_VALUES = st.one_of(
    st.sampled_from(
        [b"5", b"0", b"05", b"5, 5", b"chunked", b"Chunked", b"close", b"keep-alive", b"", b" a", b"a  b", b"a\tb"]
    ),
    st.binary(max_size=6),
)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 100 Go", b"x"]
)
_PIECES = st.lists(st.binary(min_size=1, max_size=30), max_size=8)
_CUTS = st.lists(st.integers(0, 400), max_size=6)


def _asked(method: str = "POST", body: bytes = b"x") -> h11.Connection:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "h"), ("content-length", str(len(body)))]))
    parser.send(h11.Data(data=body))
    parser.send(h11.EndOfMessage())
    return parser


def _items(headers: list[tuple[bytes, bytes]]) -> http1.Headers:
    return [(name, name.lower(), value) for name, value in headers]


def _read(parser: h11.Connection) -> tuple[bytes, bool]:
    """Return the body that `h11` reads, and whether the connection can be used again."""
    body = b""
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, parser.our_state is h11.DONE and parser.their_state is h11.DONE
        else:
            pytest.fail(str(event))


@given(_LINES, _HEADERS, st.binary(max_size=8))
def test_an_answer_that_is_taken_is_read_as_h11_reads_it(
    line: bytes, headers: list[tuple[bytes, bytes]], rest: bytes
) -> None:
    """Status, reason, headers, framing and reuse are equal; `h11` never refuses what is taken here."""
    data = b"\r\n".join([line, *(b"%s: %s" % item for item in headers), b"", b""]) + rest
    found = http1.answer_head(data)
    if found is None:
        return
    parser = _asked()
    parser.receive_data(data[: len(data) - len(found.rest)])
    event = parser.next_event()
    assert isinstance(event, h11.Response)
    raw = [(name, value) for name, _, value in found.headers]
    assert (event.status_code, event.reason, event.headers.raw_items()) == (found.status, found.reason, raw)
    assert [(lower, value) for _, lower, value in found.headers] == list(event.headers)
    assert data.endswith(found.rest)
    body = b"0\r\n\r\n" if found.length is None else b"z" * found.length if found.length <= 5 else None
    if body is not None:
        parser.receive_data(body)
        assert _read(parser) == (b"" if found.length is None else body, True)


def test_the_usual_answers_are_taken() -> None:
    """The property above would hold for a reader that takes nothing."""
    sized = http1.answer_head(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    chunked = http1.answer_head(
        b"HTTP/1.1 429 \r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\r\n"
    )
    assert sized is not None
    assert (sized.length, sized.rest) == (2, b"{}")
    assert chunked is not None
    assert (chunked.status, chunked.length, chunked.reason) == (429, None, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 2\r\ncontent-length: 2", b"content-length: 2\r\ntransfer-encoding: chunked", b"x: y",
        b"content-length: +2", b"content-length: 2\r\nx : y", b"content-length: 2\r\n folded", b"content-length: 2\nx: y",
        b"content-length: 2\r\nconnection: close", b"content-length: 2\r\nx:y", b"content-length: 2\r\nx: \x00",
        b"transfer-encoding: gzip, chunked", b"content-length: 2\r\nx: caf\xe9",
    ],
)  # fmt: skip
def test_everything_unusual_is_left_to_the_library(head: bytes) -> None:
    """Two lengths, both framings, no framing, folded lines, other line ends, bytes beyond ASCII: `h11` decides."""
    assert http1.answer_head(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n{}") is None


@given(
    _HEADERS,
    st.sampled_from([b"POST", b"GET", b"HEAD", b"P T"]),
    st.sampled_from([b"/", b"/v1?a=b", b"/a b", b"/\r\n"]),
)
def test_a_request_that_is_taken_is_written_as_h11_writes_it(
    headers: list[tuple[bytes, bytes]], method: bytes, target: bytes
) -> None:
    """The bytes are equal; nothing that `h11` refuses is written."""
    for given_headers in (headers, [(b"Host", b"h"), *headers], [(b"Host", b"h"), *headers, (b"Content-Length", b"5")]):
        wrote = http1.request_head(method, target, _items(given_headers), 5)
        if wrote is not None:
            request = h11.Request(method=method, target=target, headers=given_headers)
            assert wrote == h11.Connection(h11.CLIENT).send(request)


def test_the_usual_request_is_taken_and_a_line_break_in_a_header_is_not() -> None:
    """The property above would hold for a writer that takes nothing."""
    usual = _items([(b"Host", b"h"), (b"Authorization", b"Bearer x"), (b"Content-Length", b"5")])
    assert http1.request_head(b"POST", b"/v1", usual, 5) is not None
    assert http1.request_head(b"POST", b"/v1", usual, 6) is None
    assert http1.request_head(b"POST", b"/v1", [*usual, (b"X", b"x", b"a\r\nY: b")], 5) is None
    assert http1.request_head(b"POST", b"/v1", [*usual, (b"Host", b"host", b"other")], 5) is None


@given(
    _PIECES, _CUTS, st.sampled_from([b"", b";ext=1", b" "]), st.sampled_from([b"", b"x: y\r\n"]), st.binary(max_size=3)
)
def test_chunks_are_read_as_h11_reads_them_however_they_are_cut(
    pieces: list[bytes], cuts: list[int], extension: bytes, trailer: bytes, behind: bytes
) -> None:
    """The body is equal, for extensions and trailers by handing on what only a whole parser reads."""
    chunks = [b"%x%s\r\n%s\r\n" % (len(one), extension if at % 2 else b"", one) for at, one in enumerate(pieces)]
    sent = b"".join(chunks) + b"0\r\n" + trailer + b"\r\n" + behind
    edges = [0, *sorted({cut % len(sent) for cut in cuts} - {0}), len(sent)]
    reader, body, rest, at = http1.Chunked(), b"", None, 0
    for low, high in zip(edges, edges[1:], strict=False):
        if reader.over or rest is not None:
            break
        taken = b"".join(reader.feed(sent[low:high]))
        body, at, rest = body + taken, high, reader.rest
    if rest is not None:
        parser = _asked()
        parser.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + rest + sent[at:])
        assert isinstance(parser.next_event(), h11.Response)
        body += _read(parser)[0]
    else:
        assert reader.over
        assert reader.clean == (at == len(sent) - len(behind))
    assert body == b"".join(pieces)
    assert rest is not None or not trailer


def test_a_chunk_without_its_end_is_refused() -> None:
    """As by `h11`: bytes that belong to no chunk are no part of the body."""
    with pytest.raises(ValueError):
        list(http1.Chunked().feed(b"1\r\nxy\r\n"))


# -- over real connections ----------------------------------------------------------------------------------------------


@contextmanager
def _server(*answers: bytes, several: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Serve these answers in turn, each to one request; a connection is closed when the client or the list ends it.

    Args:
        answers: What is sent.
        several: Serve more than one connection at a time.
    """
    asked: list[bytes] = []
    left = list(answers)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(10)

        def serve() -> None:
            while left:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                if several:
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()
                else:
                    talk(connection)

        def talk(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(10)
                while left:
                    got = b""
                    while b"\r\n\r\n" not in got or not got.endswith(b"body"):
                        data = connection.recv(65536)
                        if not data:
                            return
                        got += data
                    asked.append(got)
                    connection.sendall(left.pop(0))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", asked
        left.clear()


def _client() -> tuple[httpx.Client, Any]:
    client = httpx.Client(trust_env=False)
    pool = client._transport._pool  # type: ignore[attr-defined]
    use_lean(httpx, httpcore, client._transport)
    return client, pool


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("second", "stays"),
    [
        (_OK, True), (_CHUNKS, True), (_CHUNKS.replace(b"0\r\n\r\n", b"0\r\na: b\r\n\r\n"), True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, True), (_OK.replace(b"OK", b"OK", 1).replace(b"Length: 2", b"Length: 02"), True),
        (_OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", False),
    ],
)  # fmt: skip
def test_a_connection_is_used_again_only_when_its_answer_was_all_there_was(second: bytes, stays: bool) -> None:
    """Whichever parser read the second answer; bytes behind an answer would be taken for the next one."""
    with _server(_OK, second, _OK) as (url, asked):
        client, pool = _client()
        with client:
            assert [client.post(url, content=b"body").text for _ in range(2)] == ["ok", "ok"]
            assert len(pool.connections) == (1 if stays else 0)
            if stays:
                assert client.post(url, content=b"body").text == "ok"
    assert all(one.startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1") for one in asked)


def test_errors_are_those_of_the_library() -> None:
    """A body that ends early, a server that says nothing, a broken chunk: the same classes, and no connection stays."""
    broken = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "received 2 bytes, expected 9"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", "incomplete chunked read"),
        (b"", "without sending a response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok", "malformed chunk footer"),
    ]
    for answer, words in broken:
        with _server(_OK, answer) as (url, _):
            client, pool = _client()
            with client:
                client.post(url, content=b"body")
                with pytest.raises(httpx.RemoteProtocolError, match=words):
                    client.post(url, content=b"body")
                assert pool.connections == []


def test_an_answer_that_is_left_early_ends_its_connection() -> None:
    """What is left of it can't be taken for the next answer."""
    with _server(_OK, _CHUNKS[:-8]) as (url, _):
        client, pool = _client()
        with client:
            client.post(url, content=b"body")
            with client.stream("POST", url, content=b"body") as answer:
                assert next(answer.iter_raw()) == b"o"
            assert pool.connections == []


def test_async_connections_do_the_same() -> None:
    """One request after another, sized and in chunks, with an answer that only the library reads between them."""

    async def run(url: str) -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as client:
            pool: Any = client._transport._pool  # type: ignore[attr-defined]
            use_lean(httpx, httpcore, client._transport)
            texts = [(await client.post(url, content=b"body")).text for _ in range(4)]
            assert len(pool.connections) == 1
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(url, content=b"body")
            return texts

    with _server(
        _OK, _CHUNKS, b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, _OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    ) as (url, _):
        assert asyncio.run(run(url)) == ["ok"] * 4


def test_a_traced_request_takes_the_librarys_own_way() -> None:
    """Whoever asks for the library's trace events gets all of them."""
    events: list[str] = []
    with _server(_OK, _OK) as (url, _):
        client, _pool = _client()
        with client:
            client.post(url, content=b"body")
            client.post(url, content=b"body", extensions={"trace": lambda name, _info: events.append(name)})
    assert "http11.send_request_headers.complete" in events


@pytest.mark.parametrize("place", ["transport", "pool", "one pool"])
def test_who_replaces_a_method_of_the_library_gets_every_request(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mocks for tests replace the transport's or the pool's method, also while there is an idle connection to use."""
    with _server(_OK) as (url, asked):
        client, pool = _client()
        with client:
            client.post(url, content=b"body")
            if place == "transport":
                monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _self, _request: httpx.Response(418))
            else:
                owner = pool if place == "one pool" else httpcore.ConnectionPool
                monkeypatch.setattr(owner, "handle_request", lambda *_: httpcore.Response(418))
            assert client.post(url, content=b"body").status_code == 418
            assert len(asked) == 1


def test_concurrent_requests_share_the_pool_and_its_limits() -> None:
    """Two connections at most, of which one is kept: eight threads get their answers, and the rest is closed."""
    limits = httpx.Limits(max_connections=2, max_keepalive_connections=1)
    answers = [_OK] * 65  # one is left, so the server goes on listening
    with _server(*answers, several=True) as (url, asked):
        with httpx.Client(trust_env=False, limits=limits, timeout=60) as client:
            pool: Any = client._transport._pool  # type: ignore[attr-defined]
            use_lean(httpx, httpcore, client._transport)
            with ThreadPoolExecutor(8) as threads:
                texts = list(threads.map(lambda _: client.post(url, content=b"body").text, range(64)))
            assert texts == ["ok"] * 64
            assert [one.is_idle() for one in pool.connections] == [True]
            assert not pool._requests
        assert len(asked) == 64


def test_bytes_behind_the_librarys_own_answer_are_no_answer_to_the_next_request() -> None:
    """The first answer on a connection is the library's to read; what came behind it ends the connection."""
    with _server(_OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", _OK, several=True) as (url, _):
        client, pool = _client()
        with client:
            assert client.post(url, content=b"body").text == "ok"
            (first,) = pool.connections
            assert client.post(url, content=b"body").text == "ok"
            assert pool.connections != [first]


def test_an_empty_answer_that_nobody_read_hides_nothing_behind_it() -> None:
    """Closed before its body was asked for: what came behind it isn't forgotten with it."""
    with _server(_OK, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n") as (url, _):
        client, pool = _client()
        with client:
            client.post(url, content=b"body")
            with client.stream("POST", url, content=b"body"):
                pass
            assert pool.connections == []


def test_idle_connections_that_nobody_needs_are_closed_when_they_expire() -> None:
    """Also while each call finds a younger one to use: the library looks at all of them at every request."""
    with _server(*[_OK] * 9, several=True) as (url, _):
        client, pool = _client()
        with client:
            with client.stream("POST", url, content=b"body"), client.stream("POST", url, content=b"body") as second:
                second.read()
            with (
                client.stream("POST", url, content=b"body") as first,
                client.stream("POST", url, content=b"body") as second,
            ):
                first.read()
                second.read()
            assert len(pool.connections) == 2
            pool.connections[1]._connection._expire_at = 0.0
            assert client.post(url, content=b"body").text == "ok"
            assert len(pool.connections) == 1


@pytest.mark.parametrize("answer", [_OK, b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, _OK.replace(b"h: 2", b"h: 9")])
def test_who_is_cancelled_while_closing_leaves_no_connection_behind(answer: bytes) -> None:
    """A task's cancellation isn't stopped by shields: the connection is idle or closed at once, and its place is free."""

    async def run(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            pool: Any = client._transport._pool  # type: ignore[attr-defined]
            use_lean(httpx, httpcore, client._transport)
            await client.post(url, content=b"body")
            response = await client.send(client.build_request("POST", url, content=b"body"), stream=True)
            pieces = response.stream.__aiter__()
            await anext(pieces)
            if answer.endswith(b"2\r\n\r\nok"):
                with pytest.raises(StopAsyncIteration):
                    await anext(pieces)

            async def close() -> None:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await response.aclose()

            with suppress(asyncio.CancelledError):
                await asyncio.create_task(close())
            assert [one.is_idle() for one in pool.connections] in ([], [True])
            assert (await client.post(url, content=b"body")).text == "ok"

    with _server(_OK, answer, _OK) as (url, _):
        asyncio.run(run(url))


def test_nobody_takes_a_connection_that_is_half_given_back() -> None:
    """The library's parser is made ready for the next answer under the pool's lock."""
    free = []
    with _server(_OK, b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, _OK) as (url, _):
        client, pool = _client()
        with client:
            client.post(url, content=b"body")
            parser = pool.connections[0]._connection._h11_state
            inner, lock = parser.start_next_cycle, pool._optional_thread_lock._lock

            def is_free() -> bool:
                if got := lock.acquire(blocking=False):
                    lock.release()
                return got

            def looked_at() -> None:
                with ThreadPoolExecutor(1) as threads:
                    free.append(threads.submit(is_free).result())
                inner()

            parser.start_next_cycle = looked_at
            assert client.post(url, content=b"body").text == "ok"
    assert free == [False]


@pytest.fixture
def new_kinds() -> Iterator[None]:
    """What was found out about the library isn't known, and is forgotten afterwards."""
    lean._kinds.cache_clear()
    yield
    lean._kinds.cache_clear()


@pytest.mark.usefixtures("new_kinds")
@pytest.mark.parametrize("place", [httpx.HTTPTransport, httpcore.ConnectionPool, httpcore.HTTPConnection])
def test_a_library_that_is_wrapped_already_goes_its_own_way(place: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders wrap with the names of what they wrap, and may have come first."""
    called = []
    inner = place.handle_request  # type: ignore[attr-defined]

    @functools.wraps(inner)
    def recorded(*arguments: Any) -> Any:
        called.append(arguments)
        return inner(*arguments)

    monkeypatch.setattr(place, "handle_request", recorded)
    with _server(_OK, _OK) as (url, _):
        client, _pool = _client()
        with client:
            for _ in range(2):
                client.post(url, content=b"body")
    assert len(called) == 2


@pytest.mark.usefixtures("new_kinds")
@pytest.mark.parametrize("name", ["_state", "_h11_state", "_receive_response_body", "_expire_at"])
def test_a_library_that_lacks_something_is_left_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is relied on is looked for when a client is made, not in the middle of a call."""

    class Other(httpcore.HTTP11Connection):
        def __getattribute__(self, asked: str) -> Any:
            if asked == name:
                raise AttributeError(asked)
            return super().__getattribute__(asked)

    monkeypatch.setattr(httpcore, "HTTP11Connection", Other)
    monkeypatch.setattr(Other, "handle_request", httpcore.HTTP11Connection.__mro__[1].handle_request)
    with httpx.Client(trust_env=False) as client:
        use_lean(httpx, httpcore, client._transport)
        assert type(client._transport) is httpx.HTTPTransport


def test_what_the_library_says_of_an_answer_may_be_less() -> None:
    """Four things before httpcore 1.0.4, five since."""
    link: Any = httpcore.HTTP11Connection(httpcore.Origin(b"http", b"h", 80), None)  # type: ignore[arg-type]
    found = (b"HTTP/1.0", 200, b"fine", [(b"a", b"b")])
    for one in (found, (*found, b"")):
        response = Parts(httpx, httpcore, "").parsed(link, one, httpx.ByteStream(b""))
        assert (response.http_version, response.status_code, response.reason_phrase) == ("HTTP/1.0", 200, "fine")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_headers_that_change_below_the_guard_are_sent_as_they_are(kind: str) -> None:
    """Who signs or traces stands between the guard and the connection: a remembered head isn't sent in place of theirs."""
    messages: Any = [{"role": "user", "content": "write to bob@mail.example.com"}]
    asked = {"model": "gpt-4o", "messages": messages}

    def changed(request: Any, number: int) -> None:
        request.headers["traceparent"] = request.headers["user-agent"] = f"number {number}"

    with LoopbackProvider() as provider:
        if kind == "sync":
            with safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client:
                transport: Any = client._client._transport._inner
                sent = transport.handle_request
                for number in range(4):
                    client.chat.completions.create(**asked)
                    transport.handle_request = lambda one, at=number: changed(one, at) or sent(one)
        else:

            async def run() -> None:
                async with safellm.AsyncOpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client:
                    transport: Any = client._client._transport._inner
                    sent = transport.handle_async_request
                    for number in range(4):
                        await client.chat.completions.create(**asked)
                        transport.handle_async_request = lambda one, at=number: changed(one, at) or sent(one)

            asyncio.run(run())
        seen = [(one.headers.get("traceparent"), one.headers["user-agent"]) for one in provider.requests]
    assert seen[1:] == [(f"number {number}",) * 2 for number in range(3)]
    assert provider.connection_count == 1


class _Late:
    """Stands in for what makes ready for an answer: waits until the provider has the request, and writes down what it has."""

    def __init__(self, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[int] = []
        made_ready = Exchange.expect

        def expect(exchange: Exchange) -> None:
            expected = len(self.seen) + 2  # the first request opens the connection, in the library's own way
            end = time.monotonic() + 5
            while len(provider.requests) < expected and time.monotonic() < end:
                time.sleep(0.001)
            self.seen.append(len(provider.requests))
            made_ready(exchange)

        monkeypatch.setattr(Exchange, "expect", expect)


@pytest.mark.parametrize("kind", ["sync", "async", "requests"])
def test_what_an_answer_needs_is_made_ready_while_the_provider_works(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is on its way by then, so the program waits for neither."""
    asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    with LoopbackProvider() as provider:
        late = _Late(provider, monkeypatch)
        if kind == "sync":
            with safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client:
                texts = [_text(client.chat.completions.create(**asked)) for _ in range(3)]
        elif kind == "async":

            async def run() -> list[str]:
                async with safellm.AsyncOpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client:
                    return [
                        "".join([one.choices[0].delta.content or "" async for one in await made if one.choices])
                        for made in [client.chat.completions.create(**asked) for _ in range(3)]
                    ]

            texts = asyncio.run(run())
        else:
            driver = prepare(ADAPTER, None, sdk="test").driver(parse_origin(provider.origin), in_code=True, native=None)
            with guard_session(requests.Session(), driver) as session:
                answers = [session.post(f"{provider.base_url}/chat/completions", json=asked).text for _ in range(3)]
            texts = ["".join(re.findall(r'"content": ?"([^"]+)"', one)) for one in answers]
        assert late.seen == [2, 3]
    assert len(set(texts)) == 1
    assert "hello" in texts[0]


def _text(stream: Any) -> str:
    return "".join(one.choices[0].delta.content or "" for one in stream if one.choices)


def test_what_breaks_while_an_answer_is_awaited_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, records: Callable[[], list[dict[str, Any]]]
) -> None:
    """The program is told by the SDK's own error, its connection isn't used again, and the next call goes through."""
    asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "stream": True}

    def broken(_: AnswerRules) -> None:
        raise ZeroDivisionError

    with (
        LoopbackProvider() as provider,
        safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client,
    ):
        assert "hello" in _text(client.chat.completions.create(**asked))
        with monkeypatch.context() as broke, pytest.raises(openai.APIStatusError, match="ZeroDivisionError"):
            broke.setattr(AnswerRules, "expect_text", broken)
            client.chat.completions.create(**asked)
        assert "hello" in _text(client.chat.completions.create(**asked))
        assert provider.connection_count == 2
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome"] * 3
    assert [one.get("reason") for one in records()] == [None, None, None, "guard.error", None, None]
