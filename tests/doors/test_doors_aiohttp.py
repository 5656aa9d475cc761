"""Raw `aiohttp` under `safellm.install()`: every request to a language model is guarded, and nothing else is touched."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import io
import json
import traceback
from contextlib import closing
from socket import create_server
from typing import ClassVar

import pytest
from doors_support import MAIL, body, nothing_leaked
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import safellm
from safellm._core.origin import parse_origin
from safellm.auto import gate, seam_aiohttp
from safellm.auto.hooks import Patches
from safellm.auto.targets import dialect_named
from safellm.testing.faults import Fault, FaultServer
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply

aiohttp = pytest.importorskip("aiohttp", minversion="3.13")
from yarl import URL  # noqa: E402 - it comes with aiohttp

ANSWER = f'You wrote: "mail {MAIL}"'
PATH = "/chat/completions"
EVENTS = ["call.intent", "call.outcome"]


def said(answer):
    return answer["choices"][0]["message"]["content"]


def streamed(data):
    """Return the text that the events of a stream say."""
    events = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: {")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in events if one["choices"])


async def by_lines(content):
    return b"".join([line async for line in content])


async def by_any(content):
    return b"".join([piece async for piece in content.iter_any()])


async def by_sevens(content):
    pieces = [piece async for piece in content.iter_chunked(7)]
    assert max(map(len, pieces)) <= 7
    return b"".join(pieces)


async def by_chunks(content):
    pieces = [one async for one in content.iter_chunks()]
    whole = b"".join(piece for piece, _ in pieces)
    assert pieces[-1][1] or not whole.startswith(b"data:")  # a stream's chunks of HTTP have ends
    return whole


async def by_until_eof(content):
    whole = b""
    while not content.at_eof():
        whole += await content.readline()
    return whole


WAYS = [by_lines, by_any, by_sevens, by_chunks, by_until_eof, lambda content: content.read()]


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
async def test_an_answer_says_the_same_however_it_is_read(installed, model_at, way, records):
    """Whole and streamed, by lines, pieces and chunks: the values are back, and placeholders left."""
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(json.loads(await way(answer.content))) == ANSWER
        async with session.post(model_at.base_url + PATH, json={**body(), "stream": True}) as answer:
            assert streamed(await way(answer.content)) == ANSWER
    nothing_leaked(model_at, 2)
    assert [one["event.name"] for one in records()] == EVENTS * 2
    assert records()[0]["safellm.sdk"].startswith("aiohttp")


async def test_the_response_itself_reads_as_ever(installed, model_at):
    """`json`, `text` and `read` agree, again and again; the head says what the body is; the class is the library's."""
    async with aiohttp.ClientSession(base_url=model_at.base_url + "/") as session:
        async with session.post("chat/completions", json=body(), params={"a": "1"}) as answer:
            assert isinstance(answer, aiohttp.ClientResponse)
            assert (answer.status, answer.reason, answer.ok) == (200, "OK", True)
            content = await answer.read()
            assert int(answer.headers["content-length"]) == len(content)
            assert (b"content-length", str(len(content)).encode()) in answer.raw_headers
            assert said(await answer.json()) == said(json.loads(await answer.text())) == ANSWER
            answer.raise_for_status()
        async with session.get("models") as answer:
            assert (await answer.json())["object"] == "list"
    assert model_at.requests[0].path.endswith("/chat/completions")


async def test_headers_arrive_as_they_do_without_the_guard(model_at, learn):
    """Values beyond ASCII, and those that are there twice: the same bytes on the wire."""
    headers = [("x-note", "café"), ("x-tag", "a"), ("x-tag", "b")]
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(model_at.base_url + "/models", headers=headers) as answer:
                assert answer.status == 200
            safellm.install()
            learn(model_at.origin)
    plain, guarded = (sorted(one.head.lower().split(b"\r\n")) for one in model_at.requests)
    assert [one for one in guarded if one.startswith(b"x-")] == [one for one in plain if one.startswith(b"x-")]
    assert "x-note: café".encode() in plain


async def pieces(data):
    for start in range(0, len(data), 9):
        yield data[start : start + 9]


JSON = json.dumps(body()).encode()
TYPE = {"content-type": "application/json"}
BODIES = {
    "json": lambda: {"json": body()},
    "bytes": lambda: {"data": JSON, "headers": TYPE},
    "text": lambda: {"data": JSON.decode(), "headers": TYPE},
    "file": lambda: {"data": io.BytesIO(JSON), "headers": TYPE},
    "reader": lambda: {"data": io.BufferedReader(io.BytesIO(JSON)), "headers": TYPE},
    "iterator": lambda: {"data": pieces(JSON), "headers": TYPE},
    "chunked": lambda: {"data": JSON, "headers": TYPE, "chunked": True},
    "compressed": lambda: {"data": JSON, "headers": TYPE, "compress": "gzip"},
}


@pytest.mark.parametrize("kind", BODIES)
async def test_every_kind_of_body_is_guarded(installed, model_at, kind):
    """Whatever the body comes from: all of it is read, placeholders are sent, and the length is right."""
    async with aiohttp.ClientSession() as session, session.post(model_at.base_url + PATH, **BODIES[kind]()) as answer:
        assert said(await answer.json()) == ANSWER
    nothing_leaked(model_at, 1)
    request = model_at.requests[0]
    assert json.loads(request.body)["messages"][0]["content"].startswith("mail X-EMAIL-")
    assert request.headers["content-length"] == str(len(request.body))
    assert "content-encoding" not in request.headers


async def test_a_file_in_a_form_is_guarded(installed, model_at, tmp_path):
    """The text of an uploaded file is guarded; the form stays a form, and the file is closed."""
    (tmp_path / "a.txt").write_text(f"mail {MAIL}", "utf-8")
    opened = (tmp_path / "a.txt").open("rb")
    form = aiohttp.FormData()
    form.add_field("purpose", "assistants")
    form.add_field("file", opened, filename="a.txt", content_type="text/plain")
    async with aiohttp.ClientSession() as session, session.post(model_at.base_url + "/files", data=form) as answer:
        assert (await answer.json())["filename"] == "a.txt"
    nothing_leaked(model_at, 1)
    assert opened.closed


@hypothesis_settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 60))
def test_streaming_equals_not_streaming_for_every_cut(written, read):
    """However the provider cuts what it writes, and however the program cuts what it reads: the text is the same."""

    async def go():
        async with aiohttp.ClientSession() as session:
            async with session.post(_PROVIDER.base_url + PATH, json={**body(), "stream": True}) as answer:
                return b"".join([piece async for piece in answer.content.iter_chunked(read)])

    _PROVIDER.write_chunks = lambda data: [data[i : i + written] for i in range(0, len(data), written)]
    gate.STATE.learnt[parse_origin(_PROVIDER.origin)] = dialect_named("openai")
    safellm.install()
    assert streamed(asyncio.run(go())) == ANSWER


@pytest.fixture(autouse=True, scope="module")
def _one_provider():
    global _PROVIDER
    with LoopbackProvider() as _PROVIDER:
        yield


async def test_a_refusal_is_an_http_answer(model_at, records):
    """Once the budget is spent: 429 with the provider's JSON and the reason; `raise_for_status` raises aiohttp's error."""
    safellm.install({"budget": {"limits": [{"requests": 1}]}})
    async with aiohttp.ClientSession() as session:
        first, second = [await session.post(model_at.base_url + PATH, json=body()) for _ in range(2)]
        assert (first.status, second.status, second.reason) == (200, 429, "Refused")
        assert second.headers["x-safellm-reason"] == "budget.exceeded"
        assert "budget" in (await second.json())["error"]["message"]
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            second.raise_for_status()
        assert caught.value.status == 429
        with pytest.raises(aiohttp.ClientResponseError):
            await session.post(model_at.base_url + PATH, json=body(), raise_for_status=True)
        first.release()
    nothing_leaked(model_at, 1)
    assert [one["event.name"] for one in records()].count("call.outcome") == 1


async def test_a_refusal_within_an_answer_is_aiohttp_s_error_too(model_at, records):
    """An answer that grows past its limit ends in an error that is `Refused` and `ClientPayloadError`, and is recorded."""
    safellm.install({"limits": {"response_bytes": 1024}})
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json={**body(), "stream": True}) as answer:
            with pytest.raises(aiohttp.ClientPayloadError) as caught:
                await answer.read()
            assert isinstance(caught.value, safellm.Refused)
            assert caught.value.sent
    assert records()[-1]["event.name"] == "call.outcome"


async def settled(records):
    """Wait until the last call is in the trail to its end."""
    async with asyncio.timeout(10):
        while records()[-1]["event.name"] != "call.outcome":  # noqa: ASYNC110 - a file is what is waited for
            await asyncio.sleep(0.01)


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # aiohttp says that a connection was dropped
@pytest.mark.parametrize("how", ["context", "close", "drop"])
async def test_an_answer_that_is_left_early_is_settled(installed, faults_at, how, records):
    """Left by `async with`, closed, or dropped together with its session: the outcome is in the trail."""
    async with aiohttp.ClientSession() as session:
        url = faults_at.base_url(Fault.STALL_MID_BODY) + PATH
        answer = await session.post(url, json={**body("hi"), "stream": True})
        assert await answer.content.readline()
        if how == "context":
            async with answer:
                pass
            assert len(records()) == 2  # at once
        elif how == "close":
            answer.close()
            await settled(records)
    del answer
    gc.collect()
    await settled(records)
    assert [one["event.name"] for one in records()] == EVENTS
    assert records()[1]["error.type"] == "closed"


async def test_a_connection_that_is_left_early_is_not_used_again(installed, model_at):
    """The next call of the session reads its own answer."""
    model_at.write_chunks = lambda data: [data[i : i + 50] for i in range(0, len(data), 50)]
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json={**body(), "stream": True}) as answer:
            assert await answer.content.readany()
        async with session.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(await answer.json()) == ANSWER


async def test_a_reader_that_gives_up_loses_nothing(installed, learn):
    """A read that is cancelled by a timeout of the program takes no piece with it."""
    data, given_up = b"", 0
    with FaultServer(drip_seconds=0.003) as slow:
        learn(slow.origin)
        async with aiohttp.ClientSession() as session:
            url = slow.base_url(Fault.SLOW_DRIP) + PATH
            async with session.post(url, json={**body("hi"), "stream": True}) as answer:
                while b"\n\n" not in data:
                    try:
                        data += await asyncio.wait_for(answer.content.readany(), 0.001)
                    except TimeoutError:
                        given_up += 1
    assert given_up
    assert json.loads(data.removeprefix(b"data: "))["object"] == "chat.completion.chunk"


async def test_time_limits_of_the_session_count(installed, faults_at, records):
    """A server that falls silent ends in the timeout that aiohttp raises, before the answer and within it."""
    limits = aiohttp.ClientTimeout(sock_read=0.2)
    async with aiohttp.ClientSession(timeout=limits) as session:
        for fault in (Fault.STALL_BEFORE_HEADERS, Fault.STALL_MID_BODY):
            with pytest.raises(TimeoutError):
                async with session.post(
                    faults_at.base_url(fault) + PATH, json={**body("hi"), "stream": True}
                ) as answer:
                    await answer.read()
        with pytest.raises(TimeoutError):
            url = faults_at.base_url(Fault.STALL_MID_BODY) + PATH
            total = aiohttp.ClientTimeout(total=0.2)
            async with session.post(url, json={**body("hi"), "stream": True}, timeout=total) as answer:
                await answer.read()
    assert [one["event.name"] for one in records()] == EVENTS * 3
    assert {one["error.type"] for one in records()[1::2]} == {"timeout"}


async def test_e_9_the_time_of_a_call_is_limited(faults_at):
    """The policy's limit ends an answer that drips on for ever."""
    safellm.install({"limits": {"response_seconds": 1}})
    url = faults_at.base_url(Fault.SLOW_DRIP) + PATH
    async with aiohttp.ClientSession() as session, session.post(url, json={**body("hi"), "stream": True}) as answer:
        with pytest.raises(safellm.Refused) as caught:
            await answer.read()
    assert caught.value.reason == safellm.Reason.SHAPE_LIMIT
    url = faults_at.base_url(Fault.STALL_MID_BODY) + PATH
    forever = aiohttp.ClientTimeout()
    async with aiohttp.ClientSession(timeout=forever) as session:
        async with session.post(url, json={**body("hi"), "stream": True}) as answer:
            with pytest.raises(aiohttp.ServerTimeoutError):
                await answer.read()
        async with session.post(faults_at.base_url(Fault.STALL_BEFORE_HEADERS) + PATH, json=body("hi")) as answer:
            assert (answer.status, answer.headers["x-safellm-reason"]) == (400, "shape.limit")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compressed_answer_is_guarded(installed, faults_at, stream):
    """Compression that was not asked for is undone by the guards, once; nothing of it is left in the head."""
    url = faults_at.base_url(Fault.GZIP_UNASKED) + PATH
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={**body("hi"), "stream": stream}) as answer:
            assert "content-encoding" not in answer.headers
            content = await answer.read()
    assert (streamed(content) if stream else said(json.loads(content))) == "A good answer, as far as it goes."
    assert faults_at.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_e_2_a_redirect_to_another_origin_is_refused(installed, model_at, sink, status):
    """The answer that leads away becomes a 403; the other address gets nothing."""
    model_at.reply_with(Reply(status=status, headers={"location": f"{sink.origin}/v1/chat/completions"}, raw_body=b""))
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json=body(), headers={"x-api-key": "k"}) as answer:
            assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "egress.origin")


@pytest.mark.parametrize("kind", ["json", "file", "iterator"])
async def test_a_redirect_within_an_origin_is_guarded_again(installed, model_at, records, kind):
    """Each hop is a call of its own: guarded, recorded, with the same body."""
    target = Reply(status=307, headers={"location": "/v1/chat/completions"}, raw_body=b"")
    model_at.reply_with(target, lambda request: f"You wrote: {json.loads(request.body)['messages'][0]['content']}")
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, **BODIES[kind]()) as answer:
            assert said(await answer.json()) == f"You wrote: mail {MAIL}"
            assert len(answer.history) == 1
    nothing_leaked(model_at, 2)
    assert model_at.requests[0].body == model_at.requests[1].body
    assert [one["event.name"] for one in records()] == EVENTS * 2


async def test_a_redirect_from_elsewhere_to_a_model_is_guarded(installed, model_at):
    """The hop that goes to a model is guarded, whoever sent the program there."""
    with LoopbackProvider() as elsewhere:
        elsewhere.reply_with(Reply(status=307, headers={"location": model_at.base_url + PATH}, raw_body=b""))
        async with aiohttp.ClientSession() as session:
            async with session.post(elsewhere.base_url + PATH, json=body()) as answer:
                assert said(await answer.json()) == ANSWER
    nothing_leaked(model_at, 1)


async def test_middlewares_of_the_program_stand_above(installed, model_at):
    """What a middleware puts into a request is guarded; it sees the program's texts, not placeholders."""
    seen = []

    async def middleware(request, handler):
        await request.update_body(json.dumps(body(f"mail {MAIL} and {MAIL}")).encode())
        answer = await handler(request)
        seen.append(said(await answer.json()))
        return answer

    async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
        async with session.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(await answer.json()) == seen[0] == f'You wrote: "mail {MAIL} and {MAIL}"'
    nothing_leaked(model_at, 1)


async def test_other_origins_are_untouched(installed, provider, records):
    """A server that is no language model's gets every byte as it was sent, and its answer is the library's own."""
    async with aiohttp.ClientSession() as session:
        async with session.post(provider.base_url + PATH, data=JSON, headers=TYPE, compress="deflate") as answer:
            assert type(answer) is aiohttp.ClientResponse
            assert type(answer.content) is aiohttp.StreamReader
    assert provider.requests[0].headers["content-encoding"] == "deflate"
    assert "gzip" in provider.requests[0].headers["accept-encoding"]
    assert records() == []


async def test_a_known_host_is_guarded_through_tls(installed, front, provider, records):
    """`https://api.openai.com` is guarded without any SDK, over the session's own TLS settings."""
    async with aiohttp.ClientSession() as session:
        url = "https://api.openai.com/v1/chat/completions"
        async with session.post(url, json=body(), ssl=front.trust, headers={"authorization": "Bearer k"}) as answer:
            assert said(await answer.json()) == ANSWER
        with pytest.raises(aiohttp.ClientConnectorCertificateError):  # the session trusts nobody who could vouch for it
            await session.post(url, json=body())
    nothing_leaked(provider, 1)
    assert [one["event.name"] for one in records()] == EVENTS * 2
    assert records()[0]["server.address"] == "api.openai.com"


async def test_a_call_through_a_proxy_is_guarded(installed, front, proxy, provider):
    """The proxy is asked for the host alone, and what goes through is guarded."""
    async with aiohttp.ClientSession() as session:
        url = "https://api.openai.com/v1/chat/completions"
        async with session.post(url, json=body(), ssl=front.trust, proxy=proxy.url) as answer:
            assert said(await answer.json()) == ANSWER
    assert proxy.asked[0].startswith(b"CONNECT api.openai.com:443 ")
    nothing_leaked(provider, 1)


async def test_a_call_that_was_never_sent_costs_nothing(installed, model_at, learn, records):
    """Where nobody listens: the library's own error, and the trail says that nothing was sent."""
    with closing(create_server(("127.0.0.1", 0))) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    learn(origin)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(f"{origin}/v1{PATH}", json=body())
    assert [one["event.name"] for one in records()] == EVENTS
    assert "safellm.budget.charged" not in records()[1]


@pytest.mark.parametrize("option", [{"headers": {"host": "evil.test"}}, {"server_hostname": "evil.test"}], ids=repr)
async def test_e_5_what_moves_a_call_is_refused(installed, model_at, option):
    """A `Host` header or a TLS name of another host: refused, nothing is sent."""
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json=body(), **option) as answer:
            assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "egress.request")
    assert model_at.requests == []


@pytest.mark.parametrize("path", ["/v1/files/../chat/completions", "/v1/./chat/completions"])
async def test_e_3_a_url_that_can_be_read_in_two_ways_is_refused(installed, model_at, path, records):
    """What the guards would read differently from what the library sends: refused, recorded, nothing is sent."""
    async with aiohttp.ClientSession() as session:
        async with session.post(URL(model_at.origin + path, encoded=True), json=body()) as answer:
            assert (answer.status, answer.headers["x-safellm-reason"]) == (400, "egress.request")
    assert model_at.requests == []
    assert [one["event.name"] for one in records()] == ["policy.deny"]


def frames(error):
    """Return an error with the local variables of all frames below the test's own."""
    below = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(below, capture_locals=True).format())


async def test_k_4_a_stored_key_is_nowhere_in_the_program(stored_key, model_at, faults):
    """The key is on the wire; the response, what it knows of the request, traces and errors hold the placeholder."""
    safellm.install()
    held = {"authorization": "Bearer safellm-vault-openai"}
    seen = []
    config = aiohttp.TraceConfig()

    async def sent(_, __, parameters):
        seen.append(str(parameters.headers))

    config.on_request_headers_sent.append(sent)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        async with session.post(model_at.base_url + PATH, json=body(), headers=held) as answer:
            await answer.read()
            assert stored_key not in repr(answer.request_info) + repr(vars(answer)) + str(seen)
    assert model_at.requests[0].headers["authorization"] == f"Bearer {stored_key}"
    model_at.close()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            await session.post(model_at.base_url + PATH, json=body(), headers=held)
    assert stored_key not in frames(caught.value)


async def test_strict_mode_sends_over_a_connection_of_ours(model_at, monkeypatch):
    """In strict mode the session's connector opens nothing; an answer reads as ever. A key from code is refused."""
    safellm.install({"mode": "strict", "egress": {"origins": [model_at.origin]}})

    async def refuse(*_, **__):
        raise AssertionError("a connection that nothing checked")

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", refuse)
    async with aiohttp.ClientSession() as session:
        async with session.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(await answer.json()) == ANSWER
        async with session.post(model_at.base_url + PATH, json={**body(), "stream": True}) as answer:
            assert streamed(await answer.read()) == ANSWER
        async with session.post(model_at.base_url + PATH, json=body(), headers={"api-key": "k"}) as answer:
            assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "key.unbound")
    nothing_leaked(model_at, 2)


async def test_strict_mode_s_errors_are_aiohttp_s(faults_at):
    """A connection of ours that breaks is told as aiohttp tells it."""
    safellm.install({"mode": "strict", "egress": {"origins": [faults_at.origin]}})
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(faults_at.base_url(Fault.CLOSE_BEFORE_HEADERS) + PATH, json=body("hi"))
        url = faults_at.base_url(Fault.RESET_MID_BODY) + PATH
        async with session.post(url, json={**body("hi"), "stream": True}) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        limits = aiohttp.ClientTimeout(sock_read=0.2)
        with pytest.raises(aiohttp.ServerTimeoutError):
            await session.post(faults_at.base_url(Fault.STALL_BEFORE_HEADERS) + PATH, json=body("hi"), timeout=limits)
        url = faults_at.base_url(Fault.STALL_MID_BODY) + PATH
        total = aiohttp.ClientTimeout(total=0.3)
        async with session.post(url, json={**body("hi"), "stream": True}, timeout=total) as answer:
            with pytest.raises(TimeoutError):
                await answer.read()


async def test_an_answer_that_breaks_off_is_aiohttp_s_error(installed, faults_at, records):
    """A connection that ends in the middle: aiohttp's own error, and the call is settled."""
    async with aiohttp.ClientSession() as session:
        url = faults_at.base_url(Fault.RESET_MID_BODY) + PATH
        async with session.post(url, json={**body("hi"), "stream": True}) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
            with pytest.raises(aiohttp.ClientError):  # it stays so
                await answer.content.readline()
    assert [one["event.name"] for one in records()] == EVENTS


async def test_a_task_that_begins_within_a_call_is_guarded_itself(installed, model_at):
    """What a trace starts takes the context of a guarded call along: its own calls afterwards are guarded none the less."""
    go, begun = asyncio.Event(), []
    config = aiohttp.TraceConfig()

    async def later():
        await go.wait()
        async with aiohttp.ClientSession() as other, other.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(await answer.json()) == ANSWER

    async def connected(*_):
        begun.append(asyncio.create_task(later()))

    config.on_connection_create_end.append(connected)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        async with session.post(model_at.base_url + PATH, json=body()) as answer:
            assert said(await answer.json()) == ANSWER
    go.set()
    await asyncio.gather(*begun)
    nothing_leaked(model_at, 2)


class Older:
    """What the seam sees of an aiohttp before 3.13."""

    class ClientSession:
        headers: ClassVar[dict[str, str]] = {}

        def _build_url(self, url):
            return URL(url)

        async def _request(self, method, str_or_url):
            raise AssertionError("sent")


async def test_an_older_aiohttp_is_refused(installed, model_at):
    """Before 3.13 middlewares are missing or differ: the call is refused with the way out, and nothing is sent."""
    patches = Patches()
    seam_aiohttp.patch(Older, patches)
    with pytest.raises(safellm.Refused, match=r"3\.13"):
        await Older.ClientSession()._request("POST", model_at.base_url + PATH)
    patches.undo()


def test_uninstalling_leaves_the_library_as_it_was(provider):
    """The method is the library's own again."""
    before = aiohttp.ClientSession._request
    safellm.install()
    assert aiohttp.ClientSession._request is not before
    safellm.uninstall()
    assert aiohttp.ClientSession._request is before
