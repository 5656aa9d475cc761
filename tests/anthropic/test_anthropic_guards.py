"""The guards on Anthropic's wire: restoring, egress, keys, logs and spans, budgets, refusals."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anthropic
import safellm
from safellm._core.placeholder import PATTERN
from safellm.stores.registered import REGISTER
from safellm.testing.canary import make_canary, sweep
from safellm.testing.faults import FaultServer
from safellm.testing.replies import Reply, ToolCall

MAIL, CARD = "alice@example.com", "4111 1111 1111 1111"
SAID = f"Write to {MAIL} about card {CARD}"
NAME = "sink.example"


def hidden_in(request):
    """Return what stands for hidden values in a request, in order of first appearance."""
    return list(dict.fromkeys(PATTERN.findall(json.dumps(request.json))))


@pytest.fixture
def foreign_name(monkeypatch):
    """`sink.example` is this machine, but doesn't look like it."""
    real = socket.getaddrinfo

    def resolve(host, *arguments, **named):
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name == NAME else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


# -- hiding and restoring -------------------------------------------------------------------------------------------------


def test_values_are_hidden_and_come_back(face, client, provider, way):
    """Whole, streamed, and through the SDK's stream helper."""
    assert face.ask(client, SAID, way=way) == f'You wrote: "{SAID}"'
    assert sweep(MAIL, texts=provider.received) == sweep(CARD, texts=provider.received) == []
    assert face.ask(client, [{"type": "text", "text": SAID}], way=way, system=f"of {MAIL}") == f'You wrote: "{SAID}"'
    assert sweep(MAIL, texts=provider.received) == []


def test_r_7_values_stay_hidden_where_they_would_be_sent_away(face, client, provider, way):
    """In URLs and in tool inputs that no policy declares."""

    def answer(request):
        hidden = hidden_in(request)[0]
        return Reply(text=f"https://x.example/?q={hidden}", tool_calls=(ToolCall(name="go", arguments={"to": hidden}),))

    provider.reply_with(answer)
    made = face.message(client, MAIL, way=way)
    hidden = hidden_in(provider.requests[-1])[0]
    assert made.content[0].text == f"https://x.example/?q={hidden}"
    assert made.content[1].input == {"to": hidden}
    assert made.stop_reason == "tool_use"


@pytest.mark.parametrize(
    "value", ['qu"ote \\ {c}', "line\nbreak\t{c}", '"}},{{"admin": true, "x": "{c}', "\u00e9 \U0001f600 {c}"]
)
def test_r_6_declared_tool_parameters_get_values(face, provider, way, value, monkeypatch):
    """The policy names them; the input stays the same JSON, in pieces or whole."""
    secret = value.format(c=make_canary())
    monkeypatch.setattr(REGISTER, "secrets", None)
    safellm.register_secret(secret)
    client = face.client(provider, safellm={"redaction.restore_tool_arguments": ["send.body"]})

    def answer(request):
        hidden = hidden_in(request)[0]
        arguments = {"body": f"it is {hidden}.", "to": hidden, "deep": {"body": [hidden]}}
        return Reply(
            tool_calls=(ToolCall(name="send", arguments=arguments), ToolCall(name="other", arguments=arguments))
        )

    provider.reply_with(answer)
    send, other = (block.input for block in face.message(client, f"say {secret}", way=way).content)
    hidden = hidden_in(provider.requests[-1])[0]
    assert send == {"body": f"it is {secret}.", "to": hidden, "deep": {"body": [hidden]}}
    assert other == {"body": f"it is {hidden}.", "to": hidden, "deep": {"body": [hidden]}}
    assert sweep(secret, texts=provider.received) == []


def test_thinking_comes_and_goes_unchanged(face, client, provider, way):
    """Its signature covers it: what the program gets is what the provider sent, and what it sends back is that again."""
    provider.reply_with(
        lambda request: Reply(reasoning=f"about {hidden_in(request)[0]}", text=f"to {hidden_in(request)[0]}")
    )
    made = face.message(client, SAID, way=way)
    thinking, text = made.content
    hidden = hidden_in(provider.requests[0])[0]
    assert (thinking.thinking, text.text) == (f"about {hidden}", f"to {MAIL}")
    history = [
        {"role": "user", "content": SAID},
        {"role": "assistant", "content": [thinking.model_dump(), {"type": "text", "text": text.text}]},
        {"role": "user", "content": "go on"},
    ]
    face.message(client, way=way, messages=history)
    back = provider.requests[-1].json["messages"]
    assert back[1]["content"][0] == {"type": "thinking", "thinking": f"about {hidden}", "signature": thinking.signature}
    assert back[1]["content"][1]["text"] == f"to {hidden}", "the same placeholder in the same conversation"


def test_citations_are_restored(face, client, provider, way):
    """What a citation repeats of a document is text."""
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": f"{MAIL} wrote"},
        "citations": {"enabled": True},
    }
    made = face.message(client, [document, {"type": "text", "text": "who?"}], way=way)
    assert made.content[0].citations[0].cited_text.startswith(MAIL)
    assert sweep(MAIL, texts=provider.received) == []


def test_o_3_controls_are_made_visible(face, client, provider, way):
    """Terminal controls and hidden characters of an answer don't reach the program."""
    provider.reply_with("a\x1b[31mb\U000e0041c")
    assert face.ask(client, way=way) == r"a\x1b[31mbc"


TEXTS = st.lists(st.sampled_from(["P", "Q", "X-", "X-EMAIL-", "\x1b[31m", "\u200b", "](", "https://x.example/?q=", "<a b=", '"', "\\",  # noqa: E501
                                  "\n", " ", "word", "\U0001f600", ".", "@"]), max_size=10).map("".join)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    text=TEXTS,
    arguments=st.dictionaries(st.sampled_from(["body", "to"]), TEXTS, max_size=2),
    seed=st.integers(0, 2**32),
)
def test_r_5_streamed_answers_equal_whole_ones(sync, provider, text, arguments, seed):
    """Any reply, any cut of deltas and of the body's bytes, through the real SDK and its stream helper."""
    client = getattr(provider, "guarded", None)
    if client is None:
        policy = {"redaction.restore_tool_arguments": ["send.body"], "audit.mode": "off"}
        client = provider.guarded = sync.client(provider, safellm=policy)

    def cut(data, source):
        while data:
            length = source.choice((1, 2, 3, 7, 40))
            yield data[:length]
            data = data[length:]

    def answer(request):
        hidden = hidden_in(request)

        def fill(raw):
            return re.sub("[PQ]", lambda match: hidden["PQ".index(match[0])], raw)

        said = fill(text)
        calls = (ToolCall(name="send", arguments={key: fill(value) for key, value in arguments.items()}),)
        chunks = tuple(cut(said, random.Random(seed))) or None
        return Reply(text=said, chunks=chunks, reasoning=said, tool_calls=calls)

    provider.reply_with(answer)
    provider.write_chunks = lambda body: cut(body, random.Random(seed + 1))
    made = [sync.message(client, SAID, way=way).content for way in ("plain", "streamed", "helper")]
    shown = [
        [block.model_dump(exclude_none=True, exclude={"id", "parsed_output"}) for block in content] for content in made
    ]
    assert shown[0] == shown[1] == shown[2]
    provider.requests.clear()


# -- addresses and keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given_key", [False, True], ids=["managed key", "key in code"])
def test_e_1_address_from_a_variable_is_refused(face, sink, env_key, monkeypatch, scheme, given_key):
    """An address of the environment that isn't bound: an error when the client is made; zero bytes arrive."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{scheme}://{NAME}:{sink.port}")
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.client(**({"api_key": "in code"} if given_key else {}))
    assert NAME in str(caught.value)
    assert caught.value.remedy


def test_e_1_address_of_a_profile_is_refused(face, sink, tmp_path, monkeypatch):
    """A profile file names an address and a credential: the address must be bound."""
    folder = tmp_path / "profiles"
    (folder / "configs").mkdir(parents=True)
    config = {"version": "1.0", "base_url": f"https://{NAME}:{sink.port}", "authentication": {"type": "user_oauth"}}
    (folder / "configs" / "work.json").write_text(json.dumps(config))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(folder))
    monkeypatch.setenv("ANTHROPIC_PROFILE", "work")
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.client()
    assert NAME in str(caught.value)


@pytest.mark.parametrize("header", ["Authorization: Bearer other", "X-Api-Key:other", "x: y\nauthorization: z"])
def test_e_1_credential_header_from_a_variable_is_refused(face, provider, monkeypatch, header):
    """`ANTHROPIC_CUSTOM_HEADERS` can't replace the key."""
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", header)
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.client(provider)
    assert "ANTHROPIC_CUSTOM_HEADERS" in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", ["plain", "streamed"])
def test_e_2_redirect_to_another_origin_is_refused(face, sink, env_key, foreign_name, status, stream):
    """No hop leaves the origin, and a refusal isn't tried again."""
    with FaultServer(redirect_to=f"http://{NAME}:{sink.port}/x") as server:
        client = face.client(base_url=f"{server.origin}/redirect-{status}", max_retries=2)
        with pytest.raises(anthropic.APIStatusError) as caught:
            face.ask(client, way=stream)
        assert isinstance(caught.value, safellm.Refused)
        assert caught.value.guard == "egress"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("variable", "argument"), [("ANTHROPIC_API_KEY", "api_key"), ("ANTHROPIC_AUTH_TOKEN", "auth_token")]
)
def test_k_4_managed_key_shows_nowhere(face, provider, home, monkeypatch, debug_logs, variable, argument, way):
    """The provider gets the real key; the client, its errors, the logs and the files don't have it."""
    key = "sk-" + "ant-" + "api03-" + "Zx9Qw7Lm2Kp4" * 7 + "AA"
    monkeypatch.setenv(variable, key)
    client = face.client(base_url=provider.origin)
    face.ask(client, MAIL, way=way)
    provider.reply_with(Reply(status=401))
    with pytest.raises(anthropic.AuthenticationError) as caught:
        face.ask(client.with_options(timeout=9), way=way)
    assert getattr(client, argument).startswith("safellm-managed-")
    shown = [
        repr(client),
        repr(vars(client)),
        repr(caught.value),
        str(caught.value),
        repr(caught.value.request.headers),
    ]
    assert sweep(key, paths=[home], texts=[*shown, *debug_logs]) == []
    sent = {
        one.headers.get("x-api-key") or one.headers["authorization"].removeprefix("Bearer ")
        for one in provider.requests
    }
    assert sent == {key}


def test_k_4_key_given_in_code_stays_what_the_sdk_expects(face, provider, env_key):
    """A program's own key is its own choice."""
    client = face.client(provider, api_key="own-choice")
    face.ask(client)
    assert client.api_key == "own-choice"
    assert provider.requests[-1].headers.get("x-api-key", "Bearer own-choice").endswith("own-choice")


def test_p_1_managed_key_is_not_sent_to_an_address_given_later(face, provider, sink, env_key):
    """`with_options(base_url=…)`, `client.base_url = …` and absolute URLs: refused, nothing leaves."""
    client = face.client(base_url=provider.origin)
    twin, moved = client.with_options(base_url=sink.url), client.with_options()
    moved.base_url = sink.url
    for one in (twin, moved):
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            face.ask(one)
        assert caught.value.reason == "key.unbound"
    with pytest.raises(anthropic.APIStatusError):
        face.run(client.post(f"http://localhost:{sink.port}/x", cast_to=object, body={}))
    assert provider.requests == []


def test_strict_mode_takes_no_key_and_no_address_from_code_or_variables(face, provider, env_key, monkeypatch):
    """Vault keys and bound origins only; no credentials that the SDK finds by itself."""
    options = [{"api_key": "x"}, {"base_url": provider.origin, "auth_token": "x"}, {"profile": "x"}, {}]
    for one in options:
        with pytest.raises(safellm.ConfigurationError) as caught:
            face.client(safellm={"mode": "strict"}, **one)
        assert caught.value.remedy
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(safellm.ConfigurationError):
        face.client(safellm={"mode": "strict"})
    assert provider.requests == []


# -- side doors -----------------------------------------------------------------------------------------------------------


def test_r_10_the_debug_log_holds_no_body(face, provider, debug_logs, way):
    """`ANTHROPIC_LOG=debug` prints request bodies and headers before any transport sees them."""
    face.ask(face.client(provider), SAID, way=way, extra_headers={"x-mine": "header-of-mine"})
    text = "\n".join(debug_logs)
    assert "Request options: withheld by safellm" in text
    assert MAIL not in text
    assert "header-of-mine" not in text


def test_r_10_the_plain_sdk_logs_bodies(sync, provider, debug_logs):
    """The log of the test above can hold a body: without the filter it does."""
    import logging

    logger = logging.getLogger("anthropic._base_client")
    kept, logger.filters = logger.filters, []
    try:
        sync.ask(sync.keep(anthropic.Anthropic(base_url=provider.origin, api_key="x")), SAID)
    finally:
        logger.filters = kept
    assert MAIL in "\n".join(debug_logs)


@pytest.mark.skipif(not hasattr(anthropic.Anthropic, "open_telemetry"), reason="this SDK has no spans")
def test_r_10_spans_hold_no_content(face, provider, monkeypatch):
    """A variable that asks for content in spans is overruled, in copies too; an argument is refused."""
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
    client = face.client(provider)
    wanted = {"traces": {"content_mode": "content"}}
    for one in (client, client.with_options(timeout=9), client.with_middleware()):
        assert one.open_telemetry["traces"]["content_mode"] == "metadata_only"
    with pytest.raises(safellm.ConfigurationError):
        face.client(provider, open_telemetry=wanted)
    with pytest.raises(safellm.ConfigurationError):
        client.with_options(open_telemetry=wanted)
    assert face.pick("Anthropic", anthropic)(api_key="x").open_telemetry["traces"]["content_mode"] == "content"


# -- budgets and refusals -------------------------------------------------------------------------------------------------


def test_b_1_usage_is_counted_with_the_cache_and_recorded(face, provider, outcome, way):
    """Input tokens are the fresh ones and those read from and written to the cache."""
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 7}
    provider.reply_with(Reply(text="ok", usage=usage))
    face.ask(face.client(provider), way=way)
    told = outcome()
    assert told["gen_ai.usage.input_tokens"] == 125
    assert told["gen_ai.usage.output_tokens"] == 7
    assert told["gen_ai.usage.cache_read.input_tokens"] == 100
    assert told["gen_ai.provider.name"] == "anthropic"
    assert told["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert told["safellm.budget.charged"]["input_tokens"] == 125


def test_over_budget_is_the_sdk_s_rate_limit_error(face, provider, way):
    """429, once, in the provider's own shape; nothing is sent."""
    client = face.client(provider, max_retries=3, safellm={"budget": {"limits": [{"name": "small", "tokens": 5}]}})
    with pytest.raises(anthropic.RateLimitError) as caught:
        face.ask(client, way=way)
    error = caught.value
    assert isinstance(error, safellm.Refused)
    assert (error.status_code, error.reason, error.guard) == (429, "budget.exceeded", "budget")
    assert error.body["error"]["type"] == "rate_limit_error"
    assert error.response.headers["x-should-retry"] == "false"
    assert provider.requests == []


def test_the_output_ceiling_is_clamped_where_the_policy_says(face, provider):
    """`max_tokens` is demanded by the API; it is lowered, never raised."""
    policy = {"budget": {"limits": [{"tokens": 100_000}], "max_output_tokens": 50, "clamp_output": True}}
    client = face.client(provider, safellm=policy)
    face.ask(client, max_tokens=700)
    face.ask(client, max_tokens=7)
    assert [request.json["max_tokens"] for request in provider.requests] == [50, 7]


def test_batches_are_refused_under_a_token_limit(face, provider):
    """Their cost isn't known before."""
    client = face.client(provider, safellm={"budget": {"limits": [{"tokens": 100_000}]}})
    with pytest.raises(anthropic.RateLimitError) as caught:
        face.run(client.messages.batches.create(requests=[]))
    assert caught.value.reason == "budget.unbounded"
    assert provider.requests == []


def test_retries_are_counted_each(face, provider, records):
    """Each attempt on the wire is reserved, guarded and recorded."""
    provider.reply_with(Reply(status=529, headers={"retry-after": "0"}), Reply(text="ok"))
    assert face.ask(face.client(provider, max_retries=1), MAIL) == "ok"
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome"] * 2
    assert sweep(MAIL, texts=provider.received) == []


@pytest.mark.parametrize(
    ("policy", "kind", "status"),
    [({"redaction.types": {"EMAIL": "block"}}, anthropic.BadRequestError, 400), ({"unknown_endpoints": "deny"}, anthropic.PermissionDeniedError, 403)],  # noqa: E501
)  # fmt: skip
def test_refusals_are_the_sdk_s_own_errors(face, provider, policy, kind, status):
    """Caught by the SDK's class and by ours, with a reason and a remedy, after one attempt."""
    client = face.client(provider, max_retries=2, safellm=policy)
    with pytest.raises(kind) as caught:
        face.run(client.post("/v1/brand/new", cast_to=object, body={"x": MAIL}))
    assert isinstance(caught.value, safellm.Refused)
    assert (caught.value.status_code, caught.value.body["type"]) == (status, "error")
    assert caught.value.remedy in str(caught.value)
    assert provider.requests == []


def test_an_error_event_in_a_stream_is_the_sdk_s_error(face, provider):
    """What the provider says in the middle of a stream passes, and is no refusal."""
    error = 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    provider.reply_with(Reply(raw_body=error.encode()))
    with pytest.raises(anthropic.APIStatusError) as caught:
        face.ask(face.client(provider), way="streamed")
    assert not isinstance(caught.value, safellm.Refused)
    assert "Overloaded" in str(caught.value)


# -- several providers ----------------------------------------------------------------------------------------------------


def test_p_8_two_sdks_share_policy_ledger_trail_and_conversation(sync, provider, records):
    """One limit for both, one trail, the same placeholders inside a named conversation, errors of each SDK."""
    import openai

    policy = {"budget": {"limits": [{"name": "both", "requests": 3}]}}
    claude = sync.client(provider, safellm=policy)
    with safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0, safellm=policy) as gpt:
        said = [{"role": "user", "content": f"other words, {MAIL}"}]
        with safellm.conversation("one"):
            assert sync.ask(claude, MAIL) == f'You wrote: "{MAIL}"'
            gpt.chat.completions.create(model="gpt-4o", messages=said)
        gpt.chat.completions.create(model="gpt-4o", messages=said)
        first, second, third = (hidden_in(request)[0] for request in provider.requests)
        assert first == second != third
        with pytest.raises(openai.RateLimitError) as of_openai:
            gpt.chat.completions.create(model="gpt-4o", messages=said)
    with pytest.raises(anthropic.RateLimitError) as of_anthropic:
        sync.ask(claude)
    assert isinstance(of_openai.value, safellm.Refused)
    assert isinstance(of_anthropic.value, safellm.Refused)
    assert not isinstance(of_anthropic.value, openai.OpenAIError)
    names = [one["gen_ai.provider.name"] for one in records()]
    assert names == ["anthropic", "anthropic", "openai", "openai", "openai", "openai", "openai", "anthropic"]
