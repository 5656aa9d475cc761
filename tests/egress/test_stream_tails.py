"""A stream's connection serves the next call although SDKs stop reading at the end mark, and only if nothing else is on it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

import openai
import safellm
from safellm.testing import LoopbackProvider
from safellm.testing.http_server import Connection, LoopbackServer, SeenRequest
from safellm.transports import http_async, http_sync, tail

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MESSAGES: Any = [{"role": "user", "content": "hello"}]
_LAST = b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(text: str, finish: str | None = None) -> bytes:
    value = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
    }  # fmt: skip
    return _chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


_STREAM = _HEAD + _event("one ") + _event("two", "stop") + _chunk(b"data: [DONE]\n\n")


class _Server(LoopbackServer):
    """Sends one stream in these pieces, each by itself; then waits until the client or the test ends it, or for a request."""

    def __init__(self, *pieces: bytes, stays: bool = True) -> None:
        super().__init__()
        self.pieces, self.stays, self.closes = pieces, stays, False
        self.left = threading.Event()

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        for piece in self.pieces:
            connection.send(piece)
        if self.closes:
            return False
        if not self.stays and connection.read_request() is None:
            self.left.set()
        return self.stays


def _ask(client: openai.OpenAI) -> list[str]:
    made = client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, stream=True)
    return [choice.delta.content or "" for chunk in made for choice in chunk.choices]


async def _ask_async(client: openai.AsyncOpenAI) -> list[str]:
    made = await client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, stream=True)
    return [choice.delta.content or "" async for chunk in made for choice in chunk.choices]


def _three(url: str, kind: str) -> list[list[str]]:
    """Return what three streams of one client say."""
    if kind == "sync":
        with safellm.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
            return [_ask(client) for _ in range(3)]

    async def run() -> list[list[str]]:
        async with safellm.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            return [await _ask_async(client) for _ in range(3)]

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another test's server had says nothing of this one's."""
    monkeypatch.setattr(tail, "_keeps", {})


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for an end than a busy machine takes to send it."""
    monkeypatch.setattr(tail, "_SECONDS", 10)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_streams_share_a_connection(kind: str) -> None:
    """Three streams that are read to their end mark, one connection: no handshake between them."""
    with LoopbackProvider() as provider:
        provider.reply_with("several words of an answer")
        assert {"".join(one) for one in _three(provider.base_url, kind)} == {"several words of an answer"}
        assert provider.connection_count == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("pieces", "connections"),
    [
        ((_STREAM + _LAST,), 1),
        ((_STREAM, _LAST), 1),
        ((_STREAM, _chunk(b": behind\n\n"), _LAST), 1),
        ((_STREAM, b"0\r\nx: y\r\n\r\n"), 1),
        ((_STREAM + _LAST + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",), 3),
    ],
    ids=["with the mark", "behind it", "behind more", "with a trailer", "before bytes of nobody"],
)  # fmt: skip
def test_the_end_is_read_if_it_comes(kind: str, pieces: tuple[bytes, ...], connections: int) -> None:
    """A connection on which something else stands is closed as the SDK would have closed it."""
    with _Server(*pieces) as server:
        assert _three(server.origin, kind) == [["one ", "two"]] * 3
        assert server.connection_count == connections


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_that_is_left_ends_its_connection_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider sees that nobody listens any more, and stops writing what would be paid for."""
    for module, name in ((http_sync, "read_tail"), (http_async, "read_tail_async")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("more was read"))
    with _Server(_HEAD + _event("one "), stays=False) as server:
        if kind == "sync":
            with safellm.OpenAI(base_url=server.origin, api_key="x") as client:
                made = client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, stream=True)
                next(iter(made))
                made.close()
                assert server.left.wait(10)
        else:

            async def run() -> None:
                async with safellm.AsyncOpenAI(base_url=server.origin, api_key="x") as client:
                    made = await client.chat.completions.create(model="gpt-4o", messages=_MESSAGES, stream=True)
                    await anext(aiter(made))
                    await made.close()
                    assert await asyncio.to_thread(server.left.wait, 10)

            asyncio.run(run())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_end_that_never_comes_keeps_nobody(kind: str) -> None:
    """The connection is closed, as the SDK would have closed it."""
    with _Server(_STREAM) as server:
        assert _three(server.origin, kind) == [["one ", "two"]] * 3
        assert server.connection_count == 3


@pytest.mark.usefixtures("patient")
def test_no_connection_is_kept_of_a_server_that_closes_after_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of that: a call that goes out at the moment when it closes would be lost. It is waited for once."""
    monkeypatch.setattr(tail, "_TRIAL_SECONDS", 0.5)
    with _Server(_STREAM + _LAST) as server:
        server.closes = True
        assert _three(server.origin, "sync") == [["one ", "two"]] * 3
        assert server.connection_count == 3
        assert list(tail._keeps.values()) == [False]


class _Closed:
    """A connection that the server has closed."""

    came = b""

    def get_extra_info(self, name: str) -> Any:
        return {"server_addr": ("192.0.2.1", 443), "is_readable": True}[name]


async def test_an_async_end_is_noted_alike() -> None:
    """Newer SDKs read it themselves; of older ones the connection isn't kept either."""

    async def nothing() -> AsyncIterator[bytes]:
        for piece in ():
            yield piece

    said = {"http_version": b"HTTP/1.1", "network_stream": _Closed()}
    assert tail.can_be_read(said)
    await tail.read_tail_async(nothing(), said["network_stream"])
    assert not tail.can_be_read(said)


def test_little_is_read_behind_the_end() -> None:
    """A provider that goes on and on doesn't keep the program."""
    read: list[int] = []
    pieces = (bytes(1) for turn in range(1000) if not read.append(turn))  # type: ignore[func-returns-value]
    tail.read_tail(pieces, None)
    assert 0 < len(read) < 10


class _Foreign(httpx2.BaseTransport):
    """Somebody's own transport, which counts what is asked for behind the end mark."""

    def __init__(self) -> None:
        self.asked = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        foreign = self

        class Body(httpx2.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield from (one.partition(b"\r\n")[2][:-2] for one in (_event("one "), _chunk(b"data: [DONE]\n\n")))
                foreign.asked += 1
                yield b""

        headers, extensions = {"content-type": "text/event-stream"}, {"http_version": b"HTTP/1.1"}
        return httpx2.Response(200, headers=headers, stream=Body(), extensions=extensions)


def test_a_foreign_transport_is_left_where_the_sdk_leaves_it() -> None:
    """A read of somebody else's transport can't be ended by us, so there is none."""
    foreign = _Foreign()
    with httpx2.Client(transport=foreign) as http:
        client = safellm.OpenAI(base_url="http://127.0.0.1:9", api_key="x", http_client=http)
        assert _ask(client) == ["one "]
    assert foreign.asked == 0
