"""A stream that is closed while it is read: the reader sees the library's own error, and the trail has one outcome."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest
import requests
from requests.adapters import BaseAdapter

from safellm._core.exchange import Exchange
from safellm._core.origin import parse_origin
from safellm.client import prepare
from safellm.stores.journal.files import find
from safellm.testing import LoopbackProvider
from safellm.transports import http1
from safellm.transports.driver import Driver
from safellm.transports.heads import read_head
from safellm.transports.http import guard_client
from safellm.transports.requests import guard_session
from safellm.transports.requests_answer import _Raw
from safellm_openai.adapter import ADAPTER
from safellm_openai.errors import native_error

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "stream": True}
_EVENT = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%s "}}]}\n\n'
PIECES = [_EVENT % word for word in (b"one", b"two", b"three")]
DONE = b"data: [DONE]\n\n"
FAMILIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """A folder of its own for each test, and nothing left behind."""


def _driver(url: str = URL) -> Driver:
    return prepare(ADAPTER, None, sdk="test").driver(parse_origin(url), in_code=True, native=native_error)


def _events(home: Path) -> Counter[str]:
    lines = [line for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]
    return Counter(json.loads(line)["event.name"] for line in lines)


def _once(home: Path) -> bool:
    seen = _events(home)
    return seen["call.intent"] == seen["call.outcome"] == 1


def _in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


class Script:
    """An answer that comes in pieces; before one of them, something happens."""

    def __init__(self, pieces: list[bytes], at: int) -> None:
        self.pieces, self.at = pieces, at
        self.happens: Any = None

    def response(self, module: Any, request: Any) -> Any:
        script = self

        class Stream(module.SyncByteStream, module.AsyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                for number, piece in enumerate([*script.pieces, b""]):
                    if number == script.at:
                        script.happens()
                    if piece:
                        yield piece

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for number, piece in enumerate([*script.pieces, b""]):
                    if number == script.at:
                        await script.happens()
                    if piece:
                        yield piece

        return module.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream(), request=request)


@pytest.mark.parametrize("at", [1, 2, len(PIECES)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_thread_that_reads_what_another_one_closes_gets_the_library_s_error(family: str, at: int, home: Path) -> None:
    """Whatever piece is on its way by then, and if none is; one outcome is recorded, and reading again says the same."""
    module: Any = importlib.import_module(family)
    script, came = Script(PIECES, at), []
    client = module.Client(transport=module.MockTransport(lambda request: script.response(module, request)))
    with guard_client(client, _driver()) as guarded:
        response = guarded.send(guarded.build_request("POST", URL, json=BODY), stream=True)
        script.happens = lambda: _in_thread(response.close)
        with pytest.raises(module.ReadError, match="closed"):
            came.extend(response.iter_bytes())
        with pytest.raises(module.ReadError, match="closed"):
            next(response.stream._stream)
    assert b"".join(came) in b"".join(PIECES)
    assert _once(home)


@pytest.mark.parametrize("at", [1, 2, len(PIECES)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_that_reads_what_another_one_closes_gets_the_library_s_error(family: str, at: int, home: Path) -> None:
    """The same of an async client."""
    module: Any = importlib.import_module(family)
    script, came = Script(PIECES, at), []

    async def answer(request: Any) -> Any:
        return script.response(module, request)

    async def run() -> None:
        client = module.AsyncClient(transport=module.MockTransport(answer))
        async with guard_client(client, _driver()) as guarded:
            response = await guarded.send(guarded.build_request("POST", URL, json=BODY), stream=True)
            script.happens = lambda: asyncio.create_task(response.aclose())
            with pytest.raises(module.ReadError, match="closed"):
                async for piece in response.aiter_bytes():
                    came.append(piece)  # noqa: PERF401 - those before the error count
            with pytest.raises(module.ReadError, match="closed"):
                await anext(response.stream._stream)

    asyncio.run(run())
    assert b"".join(came) in b"".join(PIECES)
    assert _once(home)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_that_is_closed_behind_its_end_mark_has_ended(family: str, home: Path) -> None:
    """Nothing of it is missing, so a reader that goes on sees an end."""
    module: Any = importlib.import_module(family)
    script = Script([*PIECES, DONE], len(PIECES) + 1)
    client = module.Client(transport=module.MockTransport(lambda request: script.response(module, request)))
    with guard_client(client, _driver()) as guarded:
        response = guarded.send(guarded.build_request("POST", URL, json=BODY), stream=True)
        script.happens = lambda: _in_thread(response.close)
        assert b"".join(response.iter_bytes()) == b"".join([*PIECES, DONE])
    assert _once(home)


@pytest.mark.parametrize("method", ["feed", "end"])
@pytest.mark.parametrize("kept_open", [False, True])
def test_a_thread_that_reads_an_answer_of_requests_which_another_one_closes_gets_the_library_s_error(
    method: str, kept_open: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fresh connection, which is the library's, and on an idle one."""
    below = getattr(Exchange, method)
    happens: list[Callable[[], None]] = []

    def before(exchange: Exchange, *given: Any, **named: Any) -> Any:
        if len(happens) == 2:
            _in_thread(happens.pop())
        return below(exchange, *given, **named)

    with LoopbackProvider() as provider, guard_session(requests.Session(), _driver(provider.origin)) as session:
        url = f"{provider.base_url}/chat/completions"
        if kept_open:
            session.post(url, json={**BODY, "stream": False})
        monkeypatch.setattr(Exchange, method, before)
        with session.post(url, json=BODY, stream=True) as answer:
            happens[:] = [answer.close] * 2
            if method == "feed":
                with pytest.raises(requests.exceptions.ChunkedEncodingError, match="closed"):
                    _ = answer.content
            else:  # nothing of it is missing
                assert answer.content.endswith(DONE)
        assert session.post(url, json=BODY).status_code == 200
    seen = _events(home)
    assert seen["call.intent"] == seen["call.outcome"] == 2 + kept_open


def _at_each_step(
    code: Any, run: Callable[[], Callable[[], Any]], other: Callable[[], Any], first: int = 0
) -> Iterator[int]:
    """Run something again and again, each time with another thing, as of another thread, at the next step of some code."""
    step, met = first, True
    while met:
        seen, met = -1, False

        def trace(frame: FrameType, event: str, _: Any, step: int = step) -> Any:
            nonlocal seen, met
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                seen += 1
                if seen == step and not met:
                    met = True
                    _in_thread(other)
            return trace

        work, before = run(), sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
        yield step
        step += 1


def test_a_connection_that_two_threads_give_back_is_back_once() -> None:
    """Twice in its pool, it would bring one call the answer to another."""

    class Link:
        sock = None

        def close(self) -> None:
            """It isn't asked for."""

    class Pool:
        def __init__(self) -> None:
            self.back: list[Link] = []
            self._put_conn = self.back.append

    pools: list[Pool] = []
    answers: list[_Raw] = []
    head = http1.answer_head(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    assert head is not None

    def run() -> Callable[[], None]:
        pools.append(Pool())
        answers.append(_Raw(pools[-1], Link(), head, 1.0))
        return answers[-1].close

    assert len([*_at_each_step(_Raw._release.__code__, run, lambda: answers[-1].close())]) > 5
    answers.clear()
    assert all(len(pool.back) == 1 for pool in pools)


def test_l_2_a_call_that_two_threads_end_is_settled_once(home: Path) -> None:
    """Whoever is first: the one who read to the end, or the one who closed."""
    driver = _driver()
    body = json.dumps(BODY).encode()
    request = importlib.import_module(FAMILIES[0]).Request("POST", URL, content=body)
    calls: list[Exchange] = []

    def run() -> Callable[[], Any]:
        exchange, _ = driver.begin(read_head(request), body)
        exchange.response(200, (("content-type", "text/event-stream"),))
        exchange.end()
        calls.append(exchange)
        return lambda: driver.finish(exchange)

    count = len([*_at_each_step(Exchange.finish.__code__, run, lambda: driver.abandon(calls[-1], failure="closed"))])
    assert count > 20
    seen = _events(home)
    assert seen["call.intent"] == seen["call.outcome"] == len(calls) == count


def test_a_connection_of_requests_is_given_back_by_the_one_who_reads(home: Path) -> None:
    """While a thread reads, the one that closes leaves the connection alone: the library isn't made for two."""
    reading: list[Callable[[], None]] = []
    closes: list[str] = []

    class Raw:
        """What the library reads an answer from."""

        headers: ClassVar[dict[str, str]] = {}
        version, chunked = 11, False

        def read1(self, _: int, **__: Any) -> bytes:
            if not reading:
                return PIECES[0]
            _in_thread(reading.pop())
            assert not closes, "closed under the one who reads"
            return PIECES[1]

    class Adapter(BaseAdapter):
        def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
            made = requests.Response()
            made.status_code, made.url = 200, request.url or ""
            made.headers["content-type"] = "text/event-stream"
            made.raw = Raw()
            made.close = lambda: closes.append(threading.current_thread().name)  # type: ignore[method-assign]
            return made

        def close(self) -> None:
            """Nothing is open."""

    with guard_session(requests.Session(), _driver()) as session:
        session.mount("https://", Adapter())
        answer = session.post(URL, json=BODY, stream=True)
        pieces = answer.iter_content(None)
        assert next(pieces) == PIECES[0]
        reading.append(answer.raw.close)
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="closed"):
            next(pieces)
        assert set(closes) == {threading.current_thread().name}
    assert _once(home)
