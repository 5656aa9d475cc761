"""Raw `urllib3` under `safellm.install()`: every attempt to call a language model is guarded once, and nothing else is touched."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import io
import json
import traceback
from contextlib import closing
from socket import create_server

import pytest
from doors_support import MAIL, body, nothing_leaked
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import safellm
from safellm._core.origin import parse_origin
from safellm.auto import gate, seam_urllib3
from safellm.auto.hooks import Patches
from safellm.auto.targets import dialect_named
from safellm.testing.faults import Fault
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply

urllib3 = pytest.importorskip("urllib3", minversion="2")

ANSWER = f'You wrote: "mail {MAIL}"'
GOOD = "A good answer, as far as it goes."
PATH = "/chat/completions"
EVENTS = ["call.intent", "call.outcome"]
JSON = json.dumps(body()).encode()
TYPE = {"content-type": "application/json"}


@pytest.fixture
def pool():
    """A pool manager that tries once."""
    with urllib3.PoolManager(retries=False) as made:
        yield made
    gc.collect()


def said(answer):
    return answer["choices"][0]["message"]["content"]


def streamed(data):
    """Return the text that the events of a stream say."""
    events = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: {")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in events if one["choices"])


def ask(pool, url, text=f"mail {MAIL}", *, stream=False, **options):
    return pool.request("POST", url, json={**body(text), "stream": stream}, **options)


def by_read(answer):
    return answer.read()


def by_sevens(answer):
    pieces = list(iter(lambda: answer.read(7), b""))
    assert all(len(one) == 7 for one in pieces[:-1])
    return b"".join(pieces)


def by_read1(answer):
    return b"".join(iter(lambda: answer.read1(9), b""))


def by_stream(answer):
    return b"".join(answer.stream(11))


def by_lines(answer):
    return b"".join(answer)


def by_file(answer):
    answer.auto_close = False
    return io.BufferedReader(answer).read()


def by_data(answer):
    return answer.data


WAYS = [by_read, by_sevens, by_stream, by_lines, by_file, by_data]
if hasattr(urllib3.HTTPResponse, "read1"):  # since 2.1
    WAYS.append(by_read1)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
def test_an_answer_says_the_same_however_it_is_read(installed, model_at, pool, way, records):
    """Whole and streamed, all at once and by pieces: the values are back, and placeholders left."""
    url = model_at.base_url + PATH
    assert said(json.loads(way(ask(pool, url, preload_content=False)))) == ANSWER
    assert streamed(way(ask(pool, url, stream=True, preload_content=False))) == ANSWER
    assert streamed(way(ask(pool, url, stream=True))) == ANSWER if way is by_data else True
    nothing_leaked(model_at, 3 if way is by_data else 2)
    assert [one["event.name"] for one in records()] == EVENTS * len(model_at.requests)
    assert records()[0]["safellm.sdk"] == "urllib3"


def test_pieces_come_when_the_provider_sends_them(installed, faults_at, pool):
    """`stream` doesn't wait for more than is there: the first words are read while the server says nothing more."""
    answer = ask(pool, faults_at.base_url(Fault.STALL_MID_BODY) + PATH, "hi", stream=True, preload_content=False)
    assert next(answer.stream(65536)).startswith(b"data: ")
    answer.close()


def test_the_response_itself_reads_as_ever(installed, model_at, pool):
    """Head and body agree, the class is the library's, and the connection is back in the pool after each of them."""
    for _ in range(3):
        answer = ask(pool, model_at.base_url + PATH)
        assert isinstance(answer, urllib3.HTTPResponse)
        assert (answer.status, answer.reason, answer.version, answer.closed) == (200, "OK", 11, True)
        assert int(answer.headers["content-length"]) == len(answer.data)
        assert said(answer.json()) == ANSWER
        assert answer.url.endswith(PATH)
    assert pool.request("GET", model_at.base_url + "/models").json()["object"] == "list"
    connections = pool.connection_from_url(model_at.base_url)
    assert (connections.num_connections, connections.pool.qsize()) == (1, connections.pool.maxsize)


def test_headers_arrive_as_they_do_without_the_guard(model_at, pool):
    """Values beyond ASCII, and those that are there twice: the same bytes on the wire."""
    headers = urllib3.HTTPHeaderDict([("x-note", "café"), ("x-tag", "a"), ("x-tag", "b")])
    for _ in range(2):
        pool.request("GET", model_at.base_url + "/models", headers=headers)
        safellm.install()
        gate.STATE.learnt[parse_origin(model_at.origin)] = dialect_named("openai")
    plain, guarded = (sorted(one.head.lower().split(b"\r\n")) for one in model_at.requests)
    assert [one for one in guarded if one.startswith(b"x-")] == [one for one in plain if one.startswith(b"x-")]
    assert b"x-note: caf\xe9" in plain


BODIES = {
    "json": lambda: {"json": body()},
    "bytes": lambda: {"body": JSON, "headers": TYPE},
    "text": lambda: {"body": JSON.decode(), "headers": TYPE},
    "file": lambda: {"body": io.BytesIO(JSON), "headers": TYPE},
    "text file": lambda: {"body": io.StringIO(JSON.decode()), "headers": TYPE},
    "iterator": lambda: {"body": (JSON[i : i + 9] for i in range(0, len(JSON), 9)), "headers": TYPE},
    "chunked": lambda: {"body": JSON, "headers": TYPE, "chunked": True},
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_kind_of_body_is_guarded(installed, model_at, pool, kind):
    """Whatever the body comes from: all of it is read, placeholders are sent, and the length is right."""
    answer = pool.request("POST", model_at.base_url + PATH, **BODIES[kind]())
    assert said(answer.json()) == ANSWER
    nothing_leaked(model_at, 1)
    request = model_at.requests[0]
    assert json.loads(request.body)["messages"][0]["content"].startswith("mail X-EMAIL-")
    assert request.headers["content-length"] == str(len(request.body))


def test_a_file_in_a_form_is_guarded(installed, model_at, pool):
    """The text of an uploaded file is guarded; the form stays a form."""
    fields = {"purpose": "assistants", "file": ("a.txt", f"mail {MAIL}", "text/plain")}
    answer = pool.request("POST", model_at.base_url + "/files", fields=fields)
    assert answer.json()["filename"] == "a.txt"
    nothing_leaked(model_at, 1)


@hypothesis_settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 60), st.booleans())
def test_streaming_equals_not_streaming_for_every_cut(one_provider, written, read, exact):
    """However the provider cuts what it writes, and however the program cuts what it reads: the text is the same."""
    one_provider.write_chunks = lambda data: [data[i : i + written] for i in range(0, len(data), written)]
    gate.STATE.learnt[parse_origin(one_provider.origin)] = dialect_named("openai")
    safellm.install()
    with urllib3.PoolManager() as pool:
        answer = ask(pool, one_provider.base_url + PATH, stream=True, preload_content=False)
        pieces = iter(lambda: answer.read(read), b"") if exact else answer.stream(read)
        assert streamed(b"".join(pieces)) == ANSWER


@pytest.fixture(scope="module")
def one_provider():
    """One for all examples."""
    with LoopbackProvider() as made:
        yield made


def test_a_refusal_is_an_http_answer(model_at, pool):
    """Once the budget is spent: 429 with the provider's JSON and the reason; the pool keeps all of its connections."""
    safellm.install({"budget": {"limits": [{"requests": 1}]}})
    url = model_at.base_url + PATH
    first, second, third = (ask(pool, url, preload_content=one) for one in (True, True, False))
    assert (first.status, second.status, second.reason, third.status) == (200, 429, "Refused", 429)
    assert second.headers["x-safellm-reason"] == "budget.exceeded"
    assert "budget" in second.json()["error"]["message"]
    assert third.read() == second.data
    assert pool.connection_from_url(url).pool.qsize() == 1
    nothing_leaked(model_at, 1)


def test_a_refusal_in_a_pool_that_blocks(model_at):
    """A pool of one connection that waits for it isn't left without: a refusal gives it back."""
    safellm.install({"budget": {"limits": [{"requests": 1}]}})
    with urllib3.HTTPConnectionPool("127.0.0.1", model_at.port, maxsize=1, block=True, retries=False) as pool:
        answers = [ask(pool, "/v1" + PATH, preload_content=False, pool_timeout=5) for _ in range(1)]
        answers[0].read()
        answers += [ask(pool, "/v1" + PATH, preload_content=False, pool_timeout=5) for _ in range(3)]
    assert [one.status for one in answers] == [200, 429, 429, 429]


def test_a_refusal_within_an_answer_is_urllib3_s_error_too(model_at, pool, records):
    """An answer that grows past its limit ends in an error that is `Refused` and `HTTPError`; it is not tried again."""
    safellm.install({"limits": {"response_bytes": 1024}})
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        ask(pool, model_at.base_url + PATH, stream=True, retries=3)
    assert isinstance(caught.value, safellm.Refused)
    assert caught.value.sent
    assert len(model_at.requests) == 1
    assert records()[-1]["event.name"] == "call.outcome"


@pytest.mark.parametrize("how", ["close", "release_conn", "drop"])
def test_an_answer_that_is_left_early_is_settled(installed, faults_at, pool, how, records):
    """Closed, released or dropped: the outcome is in the trail, and the connection is not used again."""
    url = faults_at.base_url(Fault.STALL_MID_BODY) + PATH
    answer = ask(pool, url, "hi", stream=True, preload_content=False)
    assert next(answer.stream(9))
    connection = answer.connection
    if how == "drop":
        del answer
        gc.collect()
    else:
        getattr(answer, how)()
    assert [one["event.name"] for one in records()] == EVENTS
    assert records()[1]["error.type"] == "closed"
    assert how == "drop" or connection.sock is None
    assert said(ask(pool, faults_at.base_url(Fault.NONE) + PATH, "hi").json()) == GOOD


def test_each_attempt_is_guarded(installed, faults_at, records):
    """Retries of the library are calls of their own: guarded, reserved and recorded (THREATS B.4)."""
    url = faults_at.base_url(Fault.CLOSE_BEFORE_HEADERS) + PATH
    retries = urllib3.Retry(2, allowed_methods=None, backoff_factor=0)
    with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.MaxRetryError):
        ask(pool, url, retries=retries)
    assert len(faults_at.requests) == 3
    assert all(MAIL.encode() not in one.body for one in faults_at.requests)
    assert [one["event.name"] for one in records()] == EVENTS * 3


def test_a_file_is_sent_again_with_a_retry(installed, model_at):
    """A body from a file is read anew for each attempt."""
    model_at.reply_with(Reply(status=503, headers={"retry-after": "0"}), "fine")
    retries = urllib3.Retry(1, allowed_methods=None, backoff_factor=0)
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", model_at.base_url + PATH, **BODIES["file"](), retries=retries)
    assert said(answer.json()) == "fine"
    nothing_leaked(model_at, 2)


def test_time_limits_count(installed, faults_at, pool, records):
    """A server that falls silent ends in the library's own error, before the answer and within it."""
    for fault in (Fault.STALL_BEFORE_HEADERS, Fault.STALL_MID_BODY):
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            ask(pool, faults_at.base_url(fault) + PATH, "hi", stream=True, timeout=0.2)
    assert [one["event.name"] for one in records()] == EVENTS * 2
    assert {one["error.type"] for one in records()[1::2]} == {"timeout"}


@pytest.mark.parametrize("fault", [Fault.SLOW_DRIP, Fault.STALL_MID_BODY])
@pytest.mark.parametrize("preload", [False, True])
def test_e_9_the_time_of_a_call_is_limited(faults_at, pool, fault, preload):
    """The policy's limit ends an answer that drips on for ever, and one that falls silent, without a time limit of the program."""
    safellm.install({"limits": {"response_seconds": 1}})
    with pytest.raises(safellm.Refused) as caught:
        ask(pool, faults_at.base_url(fault) + PATH, "hi", stream=True, preload_content=preload, timeout=None).read()
    assert caught.value.reason == safellm.Reason.SHAPE_LIMIT


def test_e_9_waiting_for_an_answer_is_limited(faults_at, pool):
    """A server that doesn't begin to answer: the policy's limit is a refusal, and it isn't tried again."""
    safellm.install({"limits": {"response_seconds": 1}})
    url = faults_at.base_url(Fault.STALL_BEFORE_HEADERS) + PATH
    answer = ask(pool, url, "hi", timeout=None, retries=3)
    assert (answer.status, answer.headers["x-safellm-reason"]) == (400, "shape.limit")
    assert len(faults_at.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_is_guarded(installed, faults_at, pool, stream):
    """Compression that was not asked for is undone by the guards, once; nothing of it is left in the head."""
    answer = ask(pool, faults_at.base_url(Fault.GZIP_UNASKED) + PATH, "hi", stream=stream)
    assert "content-encoding" not in answer.headers
    assert (streamed(answer.data) if stream else said(answer.json())) == GOOD
    assert faults_at.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("preload", [False, True])
def test_e_2_a_redirect_to_another_origin_is_refused(installed, model_at, sink, pool, status, preload):
    """The answer that leads away becomes a 403; the other address gets nothing."""
    away = {"location": f"{sink.origin}/v1/chat/completions"}
    model_at.reply_with(Reply(status=status, headers=away, raw_body=b"gone" * 999))
    for _ in range(2):
        answer = ask(pool, model_at.base_url + PATH, retries=3, preload_content=preload, headers={"x-api-key": "k"})
        assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "egress.origin")
        assert "address" in answer.json()["error"]["message"]
    connections = pool.connection_from_url(model_at.base_url).pool
    assert connections.qsize() == 1
    assert connections.get().sock is None  # what was not read of the answer is never read as another


def test_a_redirect_within_an_origin_is_guarded_again(installed, model_at, records):
    """Each hop is a call of its own: guarded, recorded, with the same body."""
    model_at.reply_with(
        Reply(status=307, headers={"location": "/v1/chat/completions"}, raw_body=b""),
        lambda request: f"You wrote: {json.loads(request.body)['messages'][0]['content']}",
    )
    with urllib3.PoolManager() as pool:
        assert said(ask(pool, model_at.base_url + PATH).json()) == f"You wrote: mail {MAIL}"
    nothing_leaked(model_at, 2)
    assert model_at.requests[0].body == model_at.requests[1].body
    assert [one["event.name"] for one in records()] == EVENTS * 2


def test_other_origins_are_untouched(installed, provider, pool, records):
    """A server that is no language model's gets every byte as it was sent, and its answer is the library's own."""
    answer = ask(pool, provider.base_url + PATH, headers=urllib3.make_headers(accept_encoding=True))
    assert type(answer) is urllib3.HTTPResponse
    assert MAIL.encode() in provider.requests[0].body
    assert "gzip" in provider.requests[0].headers["accept-encoding"]
    assert records() == []


def test_a_known_host_is_guarded_through_tls(installed, front, provider, records):
    """`https://api.openai.com` is guarded without any SDK, over the pool's own TLS settings."""
    url = "https://api.openai.com/v1/chat/completions"
    with urllib3.PoolManager(ssl_context=front.trust) as pool:
        answer = ask(pool, url, headers={"authorization": "Bearer k"})
    assert said(answer.json()) == ANSWER
    with urllib3.PoolManager(retries=False) as pool, pytest.raises(urllib3.exceptions.SSLError):
        ask(pool, url)  # it trusts nobody who could vouch for the server
    nothing_leaked(provider, 1)
    assert [one["event.name"] for one in records()] == EVENTS * 2
    assert "safellm.budget.charged" not in records()[-1]  # nothing was sent


def test_a_call_through_a_proxy_is_guarded(installed, front, proxy, provider):
    """The proxy is asked for the host alone, and what goes through is guarded."""
    with urllib3.ProxyManager(proxy.url, ssl_context=front.trust) as pool:
        assert said(ask(pool, "https://api.openai.com/v1/chat/completions").json()) == ANSWER
    assert proxy.asked[0].startswith(b"CONNECT api.openai.com:443 ")
    nothing_leaked(provider, 1)


def test_a_call_that_was_never_sent_costs_nothing(installed, learn, pool, records):
    """Where nobody listens: the library's own error, and the trail says that nothing was charged."""
    with closing(create_server(("127.0.0.1", 0))) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    learn(origin)
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        ask(pool, f"{origin}/v1{PATH}")
    assert [one["event.name"] for one in records()] == EVENTS
    assert "safellm.budget.charged" not in records()[1]


def test_e_5_a_host_header_of_another_host_is_refused(installed, model_at, pool):
    """What would move a call is refused, and nothing is sent."""
    answer = ask(pool, model_at.base_url + PATH, headers={"host": "evil.test"})
    assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "egress.request")
    assert model_at.requests == []


@pytest.mark.parametrize("preload", [True, False])
def test_e_5_an_absolute_url_of_another_host_is_refused(stored_key, model_at, preload, records):
    """A pool sends an absolute URL to its own host: whichever of the two is a model's, nothing is sent, nor the key."""
    safellm.install()
    held = {**TYPE, "authorization": "Bearer safellm-vault-openai"}
    with LoopbackProvider() as other:
        for server, url in ((model_at, "http://other.test/v1" + PATH), (other, model_at.base_url + PATH)):
            with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True) as pool:
                options = {"assert_same_host": False, "retries": False, "preload_content": preload, "pool_timeout": 1}
                for _ in range(2):
                    answer = pool.urlopen("POST", url, body=JSON, headers=held, **options)
                    assert answer.status == 403
                    assert answer.headers["x-safellm-reason"] in ("egress.origin", "egress.request")
        assert model_at.requests == other.requests == []
    assert len(records()) == 4


def test_an_absolute_url_of_the_same_host_is_guarded(installed, model_at):
    """Named as it is sent, the call is one like any other."""
    with urllib3.HTTPConnectionPool("127.0.0.1", model_at.port, retries=False) as pool:
        pool.urlopen("POST", model_at.base_url + PATH, body=JSON, headers=TYPE)
    nothing_leaked(model_at, 1)


def test_e_5_the_query_counts_through_a_proxy(installed, model_at):
    """An absolute URL is for a proxy: its query is looked at, too, and a key in it is refused."""
    with urllib3.ProxyManager(model_at.origin, retries=False) as pool:
        answer = pool.request("POST", f"{model_at.base_url}{PATH}?api_key=k", body=JSON, headers=TYPE)
        assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "egress.request")
    assert model_at.requests == []


@pytest.mark.parametrize("fault", [Fault.RESET_MID_BODY, Fault.STALL_MID_BODY])
def test_an_answer_that_breaks_off_takes_one_place_in_the_pool(installed, faults_at, fault):
    """A whole answer is read before the program has it: where that fails, the pool gets its connection back once."""
    url = urllib3.util.parse_url(faults_at.base_url(fault) + PATH)
    with urllib3.HTTPConnectionPool(url.host, url.port, maxsize=1, block=True, timeout=0.2, retries=False) as pool:
        for _ in range(2):
            with pytest.raises((urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError)) as caught:
                pool.request("POST", url.path, json=body("hi"), preload_content=False, pool_timeout=1)
            assert "Place" not in repr(caught.value)
            assert pool.pool.qsize() == 1


def test_e_3_a_url_that_can_be_read_in_two_ways_is_refused(installed, model_at, records):
    """What the guards would read differently from what the library sends: refused, recorded, nothing is sent."""
    with urllib3.HTTPConnectionPool("127.0.0.1", model_at.port) as pool:
        answer = pool.urlopen("POST", "/v1/files/../chat/completions", body=JSON, headers=TYPE)
    assert (answer.status, answer.headers["x-safellm-reason"]) == (400, "egress.request")
    assert model_at.requests == []
    assert [one["event.name"] for one in records()] == ["policy.deny"]


def frames(error):
    """Return an error with the local variables of all frames below the test's own."""
    below = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(below, capture_locals=True).format())


def test_k_4_a_stored_key_is_nowhere_in_the_program(stored_key, model_at):
    """The key is on the wire; answers and errors don't hold it."""
    safellm.install()
    held = {"authorization": "Bearer safellm-vault-openai"}
    with urllib3.PoolManager(headers=held) as pool:
        answer = pool.request("POST", model_at.base_url + PATH, json=body())
        assert stored_key not in repr(vars(answer))
        assert model_at.requests[0].headers["authorization"] == f"Bearer {stored_key}"
        model_at.close()
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            pool.request("POST", model_at.base_url + PATH, json=body())
    assert stored_key not in frames(caught.value)


def test_strict_mode_sends_over_a_connection_of_ours(model_at, pool, monkeypatch):
    """In strict mode the pool's connections open nothing; an answer reads as ever. A key from code is refused."""
    safellm.install({"mode": "strict", "egress": {"origins": [model_at.origin]}})

    def refuse(_):
        raise AssertionError("a connection that nothing checked")

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", refuse)
    url = model_at.base_url + PATH
    assert said(ask(pool, url).json()) == ANSWER
    assert streamed(b"".join(ask(pool, url, stream=True, preload_content=False).stream())) == ANSWER
    answer = ask(pool, url, headers={"api-key": "k"})
    assert (answer.status, answer.headers["x-safellm-reason"]) == (403, "key.unbound")
    nothing_leaked(model_at, 2)


def test_strict_mode_asks_no_proxy_of_the_program(front, proxy):
    """In strict mode a proxy that the policy doesn't name isn't even asked for a way."""
    safellm.install({"mode": "strict", "egress": {"ca_bundle": str(front.certificate)}})
    with urllib3.ProxyManager(proxy.url, ssl_context=front.trust) as pool:
        ask(pool, "https://api.openai.com/v1/chat/completions")
    assert proxy.asked == []


def test_strict_mode_s_errors_are_urllib3_s(faults_at, pool):
    """A connection of ours that breaks is told as the library tells it."""
    safellm.install({"mode": "strict", "egress": {"origins": [faults_at.origin]}})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        ask(pool, faults_at.base_url(Fault.CLOSE_BEFORE_HEADERS) + PATH, "hi")
    with pytest.raises(urllib3.exceptions.ProtocolError):
        ask(pool, faults_at.base_url(Fault.RESET_MID_BODY) + PATH, "hi", stream=True)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        ask(pool, faults_at.base_url(Fault.STALL_MID_BODY) + PATH, "hi", stream=True, timeout=0.2)


def test_an_answer_that_breaks_off_is_urllib3_s_error(installed, faults_at, pool, records):
    """A connection that ends in the middle: the library's own error, and the call is settled."""
    with pytest.raises(urllib3.exceptions.ProtocolError):
        ask(pool, faults_at.base_url(Fault.RESET_MID_BODY) + PATH, "hi", stream=True)
    assert [one["event.name"] for one in records()] == EVENTS


def test_requests_is_guarded_once(installed, model_at, records):
    """`requests` sends through urllib3: its own shell guards it, and here it passes."""
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        assert said(session.post(model_at.base_url + PATH, json=body()).json()) == ANSWER
    nothing_leaked(model_at, 1)
    assert [one["event.name"] for one in records()] == EVENTS


def test_an_adapter_of_the_program_is_guarded_once(installed, model_at, records):
    """An adapter that asks urllib3 itself, past `HTTPAdapter.send`, is guarded here; one that calls it, there."""
    requests = pytest.importorskip("requests")
    from requests.adapters import HTTPAdapter

    class Direct(HTTPAdapter):
        def send(self, request, stream=False, **_):
            raw = self.poolmanager.urlopen(
                request.method, request.url, body=request.body, headers=request.headers, retries=False,
                preload_content=False, decode_content=False, redirect=False,
            )  # fmt: skip
            return self.build_response(request, raw)

    class Above(HTTPAdapter):
        def send(self, *arguments, **named):
            return super().send(*arguments, **named)

    for number, adapter in enumerate((Direct(), Above()), start=1):
        with requests.Session() as session:
            session.mount("http://", adapter)
            assert said(session.post(model_at.base_url + PATH, json=body()).json()) == ANSWER
            answer = session.post(model_at.base_url + PATH, json={**body(), "stream": True}, stream=True)
            assert streamed(b"".join(answer.iter_content(30))) == ANSWER
        assert [one["event.name"] for one in records()] == EVENTS * number * 2
    nothing_leaked(model_at, 4)


def test_bedrock_is_refused_with_the_reason(installed):
    """What is signed before the guard sees it can't be guarded: the refusal says so, and nothing is resolved or sent."""
    with urllib3.PoolManager() as pool, pytest.raises(safellm.Refused) as caught:
        ask(pool, "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse", retries=3)
    assert caught.value.reason == safellm.Reason.MEDIATION_UNSUPPORTED
    assert "Bedrock" in str(caught.value)


class Older:
    """What the seam sees of a urllib3 before 2.0."""

    class HTTPConnectionPool:
        scheme, host, port = "https", "api.openai.com", 443

        def _make_request(self, conn, method, url, timeout=None, chunked=False, **httplib_request_kw):
            raise AssertionError("sent")


def test_an_older_urllib3_is_refused(installed):
    """Before 2.0 the call is refused with the way out, and nothing is connected to."""
    patches = Patches()
    seam_urllib3.patch(Older, patches)
    with pytest.raises(safellm.Refused, match=r"2\.0 or later"):
        Older.HTTPConnectionPool()._make_request(object(), "POST", "/v1/chat/completions", body=JSON)
    patches.undo()


def test_observing_changes_nothing(model_at, pool):
    """In observe mode every text passes, and the answer is what the provider said."""
    safellm.install({"mode": "observe"})
    assert said(ask(pool, model_at.base_url + PATH).json()) == ANSWER
    assert MAIL.encode() in model_at.requests[0].body


def test_uninstalling_leaves_the_library_as_it_was():
    """Both methods are the library's own again."""
    pools = urllib3.connectionpool

    def methods():
        return pools.HTTPConnectionPool._make_request, vars(pools.HTTPSConnectionPool)["_prepare_proxy"]

    before = methods()
    safellm.install()
    assert not set(before) & set(methods())
    safellm.uninstall()
    assert methods() == before
