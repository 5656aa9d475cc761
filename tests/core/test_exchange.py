"""The state machine of one call: order of effects, refusals, what goes out and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchanges import KEY, ORIGIN, WordScanner, World, answer, chat, sent

from safellm._core.call import Bounds, ManagedKey
from safellm._core.effects import Amounts, Forward, Limit, OverLimit, Record, Refuse, Reserve, Settle, Unit, Window
from safellm._core.exchange import State
from safellm._core.origin import Origin
from safellm._core.placeholder import make_placeholder
from safellm.errors import GuardFailure, ProtocolMisuse, Reason, Refused

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
OVER = OverLimit(
    limit=Limit(name="default", unit=Unit.TOKENS, limit=10, window=Window.DAY), used=9, held=0, asked=5, resets_at_ns=0
)


def test_the_order_of_a_call() -> None:
    """Reserve, record durably, send, settle, record: in that order and no other."""
    world = World()
    exchange, decision = world.begin(chat("hello"))
    assert isinstance(decision, Forward)
    assert world.names == ["Reserve", "call.intent"]
    assert answer(exchange, [json.dumps(COMPLETION).encode()]) == json.dumps(COMPLETION).encode()
    world.run(exchange.finish())
    assert world.names == ["Reserve", "call.intent", "Settle", "call.outcome"]
    settle = next(one for one in world.effects if isinstance(one, Settle))
    assert settle.amounts == Amounts(input_tokens=5, output_tokens=2, micro_usd=14)
    assert exchange.state is State.CLOSED
    assert world.record("call.outcome")["event.parent"] == world.record("call.intent")["event.id"] == "call-1"


def test_an_untouched_body_goes_out_byte_for_byte() -> None:
    """Nothing found means that the request's own bytes are sent, odd spacing and number forms included."""
    body = b'{ "model":"gpt-4o", "temperature": 1.0e0, "messages" : [ {"role":"user","content":"h\\u0069"} ] }'
    _, decision = World().begin(body)
    assert isinstance(decision, Forward)
    assert decision.body is None


def test_values_are_hidden_in_every_place_of_the_body() -> None:
    """Roles, earlier turns, tools, metadata, keys, tool arguments with escapes: nothing is left in clear."""
    mail = "alice@example.com"
    body = {
        **chat(mail),
        "user": mail,
        "metadata": {mail: mail},
        "stop": [mail],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": mail, "parameters": {"default": mail}}}
        ],
        "unknown_field": [{"deep": [mail]}],
    }
    for role in ("system", "developer", "assistant", "tool"):
        body["messages"].append({"role": role, "content": [{"type": "text", "text": mail}]})
    body["messages"].append(
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "f", "arguments": '{"to":"alice\\u0040example.com"}'}}],
        }
    )
    _, decision = World().begin(body)
    assert isinstance(decision, Forward)
    assert decision.body is not None
    assert b"alice" not in decision.body
    assert decision.body.count(b"X-EMAIL-") == 13
    arguments = json.loads(decision.body)["messages"][-1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments)["to"].startswith("X-EMAIL-")


def test_opaque_values_and_base64_are_left_alone() -> None:
    """One changed byte of a signed value would break the next turn."""
    body = chat("hi")
    body["input"] = [
        {
            "type": "reasoning",
            "encrypted_content": "alice@example.com",
            "image_url": "data:image/png;base64,alice@example.com",
        }
    ]
    _, decision = World().begin(body)
    assert isinstance(decision, Forward)
    assert decision.body is None


def test_actions_by_type() -> None:
    """Mask, remove, block and allow do what they say."""
    text = "alice@example.com 4111111111111111"
    masked = sent(World().begin(chat(text))[1], None)["messages"][0]["content"]
    assert masked.startswith("X-EMAIL-")
    removed = World({"redaction": {"types": {"EMAIL": "remove", "CREDIT_CARD": "allow"}}})
    assert sent(removed.begin(chat(text))[1], None)["messages"][0]["content"] == "[EMAIL removed] 4111111111111111"
    blocking = World({"redaction": {"types": {"EMAIL": "block"}}})
    _, decision = blocking.begin(chat(text))
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.REDACTION_BLOCKED
    assert "alice" not in str(decision.error)
    assert blocking.names == ["policy.deny"]


def test_a_secret_in_the_url_stops_the_call() -> None:
    """R.1, E.5: a path or query can't be masked."""
    _, decision = World(scanner=WordScanner("key-123")).begin(chat("hi"), query="token=key-123")
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.REDACTION_BLOCKED


@pytest.mark.parametrize("kind", [Reserve, Record])
@pytest.mark.parametrize(
    "error", [OSError("disk"), GuardFailure("x", guard="audit", reason=Reason.AUDIT_UNAVAILABLE, remedy="y")]
)
def test_p_8_a_failing_store_refuses_the_call(kind: type, error: Exception) -> None:
    """P8: whatever the ledger or the trail throws, nothing is forwarded and a hold is given back."""
    world = World(answers={kind: error})
    exchange, decision = world.begin(chat("hi"))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, GuardFailure)
    assert exchange.state is State.CLOSED
    assert ("Release" in world.names) == (kind is Record)


def test_p_8_a_broken_guard_refuses_the_call() -> None:
    """P8: a defect in a guard is a refusal that names it, with no text of the request in it."""

    class Broken:
        def scan(self, text: str) -> Any:
            raise ZeroDivisionError(text)

    world = World(scanner=Broken())
    _, decision = world.begin(chat("private words"))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, GuardFailure)
    assert "redaction" in str(decision.error)
    assert "private" not in repr(decision.error)
    assert decision.error.__cause__ is None


def test_observe_goes_on_when_a_guard_breaks() -> None:
    """Observe mode notes the defect and blocks nothing."""

    class Broken:
        def scan(self, text: str) -> Any:
            raise ZeroDivisionError

    world = World({"mode": "observe"}, scanner=Broken())
    assert isinstance(world.begin(chat("x"))[1], Forward)
    assert world.record("call.intent")["safellm.would_refuse"] == ["guard.error"]


def test_over_the_limit_is_refused_before_it_is_sent() -> None:
    """A full account is a 429 that says what is full."""
    world = World({"budget": {"limits": [{"tokens": 10}]}}, answers={Reserve: OVER})
    _, decision = world.begin(chat("hi"))
    assert isinstance(decision, Refuse)
    assert (decision.error.status, decision.error.reason) == (429, Reason.BUDGET_EXCEEDED)
    assert world.names == ["Reserve", "policy.deny"]


@pytest.mark.parametrize(
    ("body", "path", "key", "value"),
    [
        (chat("x"), "/v1/chat/completions", "max_completion_tokens", 4096),
        (chat("x", max_tokens=7), "/v1/chat/completions", "max_tokens", 7),
        (chat("x", max_tokens=9000), "/v1/chat/completions", "max_tokens", 9000),
        ({"model": "gpt-4o", "input": "x"}, "/v1/responses", "max_output_tokens", 4096),
        ({"model": "gpt-4o", "prompt": "x"}, "/v1/completions", "max_tokens", 4096),
    ],
)
def test_an_output_ceiling_is_injected_when_a_limit_needs_one(body: Any, path: str, key: str, value: int) -> None:
    """B.7: without a ceiling there is no upper bound; an own ceiling stays."""
    world = World({"budget": {"limits": [{"tokens": 100000}]}})
    assert sent(world.begin(body, path)[1], body)[key] == value
    free = World()
    assert sent(free.begin(body, path)[1], body) == body


def test_the_ceiling_is_clamped_only_when_asked() -> None:
    """B.7: `clamp_output` lowers a request's own ceiling."""
    world = World({"budget": {"limits": [{"tokens": 100000}], "clamp_output": True, "max_output_tokens": 50}})
    assert sent(world.begin(chat("x", max_tokens=9000))[1], None)["max_tokens"] == 50


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"model": "m", "input": [[1, 2, 3] * 50]}, 150),
        ({**chat("x"), "tools": [{"function": {"parameters": {"properties": {"a_rather_long_name" * 5: {}}}}}]}, 90),
        (chat("é" * 100), 200),
        (chat("alice@example.com " * 30), 30 * 22),
    ],
)
def test_b_7_the_input_bound_covers_everything_that_can_be_billed(body: Any, tokens: int) -> None:
    """B.7: token arrays, property names, non-ASCII text and longer placeholders are inside the bound."""
    world = World()
    world.begin(body, "/v1/embeddings" if "input" in body else "/v1/chat/completions")
    assert next(one for one in world.effects if isinstance(one, Reserve)).amounts.input_tokens >= tokens


def test_the_reservation_bounds_every_choice() -> None:
    """B.7: each of n choices may use the whole ceiling."""
    world = World()
    world.begin(chat("x", max_tokens=10, n=3))
    reserve = next(one for one in world.effects if isinstance(one, Reserve))
    assert reserve.amounts.output_tokens == 30
    assert reserve.amounts.input_tokens >= 1


@pytest.mark.parametrize(
    ("settings", "body", "path", "reason"),
    [
        ({"limits": [{"usd": "1"}]}, chat("x", model="unknown"), "/v1/chat/completions", Reason.BUDGET_UNPRICED),
        (
            {"limits": [{"usd": "1"}]},
            {"model": "dall-e", "prompt": "x"},
            "/v1/images/generations",
            Reason.BUDGET_UNBOUNDED,
        ),
    ],
)
def test_b_6_what_can_not_be_bounded_is_refused_under_a_money_limit(
    settings: Any, body: Any, path: str, reason: Reason
) -> None:
    """B.6: an unknown price or an unknown measure is a refusal, not a guess."""
    _, decision = World({"budget": settings}).begin(body, path)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is reason
    assert isinstance(World().begin(body, path)[1], Forward)


def test_usage_of_streams_is_asked_for_and_hidden_again() -> None:
    """The request asks for usage; the program that didn't sees no extra event, but the ledger gets the truth."""
    world = World()
    exchange, decision = world.begin(chat("x", stream=True))
    assert sent(decision, None)["stream_options"] == {"include_usage": True}
    piece = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "hi"}}],
        "usage": None,
    }
    last = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    raw = b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in (piece, last)) + b"data: [DONE]\n\n"
    out = answer(exchange, [raw], "text/event-stream")
    assert out.count(b"data:") == 2
    world.run(exchange.finish())
    assert world.record("call.outcome")["gen_ai.usage.output_tokens"] == 1


def test_a_program_that_asks_for_usage_gets_it() -> None:
    """An own `stream_options` is left alone."""
    body = chat("x", stream=True, stream_options={"include_usage": True})
    world = World()
    exchange, decision = world.begin(body)
    assert sent(decision, body) == body
    last = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    assert answer(exchange, [last], "text/event-stream") == last


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Amounts(micro_usd=0)),
        ({"prompt_tokens": -5, "completion_tokens": 1}, None),
        ({"prompt_tokens": "5", "completion_tokens": 1}, None),
        ({"prompt_tokens": 5}, None),
    ],
)
def test_b_3_missing_or_senseless_usage_charges_the_reservation(usage: Any, expected: Amounts | None) -> None:
    """B.3: an explicit zero is zero; what is missing or no count charges what was held."""
    world = World()
    exchange, _ = world.begin(chat("x"))
    answer(exchange, [json.dumps({**COMPLETION, "usage": usage}).encode()])
    world.run(exchange.finish())
    settle = next(one for one in world.effects if isinstance(one, Settle))
    assert settle.amounts == expected


def test_nothing_sent_gives_the_hold_back() -> None:
    """B.4: only an attempt of which no byte left is released."""
    world = World()
    exchange, _ = world.begin(chat("x"))
    world.run(exchange.finish(failure="connection", sent=False))
    assert world.names[2:] == ["Release", "call.outcome"]
    assert world.record("call.outcome")["error.type"] == "connection"


def test_an_abandoned_answer_charges_the_reservation() -> None:
    """B.3: a program that leaves a stream doesn't get tokens for nothing."""
    world = World()
    exchange, _ = world.begin(chat("x", stream=True))
    exchange.response(200, (("content-type", "text/event-stream"),))
    exchange.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    world.run(exchange.finish(failure="closed"))
    assert next(one for one in world.effects if isinstance(one, Settle)).amounts is None


@pytest.mark.parametrize(
    ("origin", "headers", "extensions", "reason"),
    [
        (Origin("https", "evil.example", 443), (), (), Reason.EGRESS_ORIGIN),
        (Origin("http", "api.openai.com", 80), (), (), Reason.EGRESS_ORIGIN),
        (Origin("https", "api.openai.com", 444), (), (), Reason.EGRESS_ORIGIN),
        (ORIGIN, (("host", "evil.example"),), (), Reason.EGRESS_REQUEST),
        (ORIGIN, (), ("sni_hostname",), Reason.EGRESS_REQUEST),
        (ORIGIN, (), ("target",), Reason.EGRESS_REQUEST),
    ],
)
def test_egress_is_decided_first(origin: Origin, headers: Any, extensions: Any, reason: Reason) -> None:
    """E.1-E.5: another origin, another Host or an extension that redirects ends the call before a byte is read."""
    world = World()
    _, decision = world.begin(
        b"not json",
        origin=origin,
        headers=(("content-type", "application/json"), *headers),
        extensions=frozenset(extensions),
    )
    assert isinstance(decision, Refuse)
    assert decision.error.reason is reason


def test_a_managed_key_goes_to_its_own_origins_only() -> None:
    """P1: even an origin that the client may use gets no key that is bound elsewhere."""
    other = Origin("https", "proxy.example", 443)
    bounds = Bounds(
        origins=frozenset({ORIGIN, other}),
        managed=(ManagedKey(placeholder="ph-1", ref="vault:openai", origins=frozenset({ORIGIN})),),
    )
    world = World()
    headers = (("content-type", "application/json"), ("authorization", "Bearer ph-1"))
    _, decision = world.begin(chat("x"), exchange=world.exchange(bounds), origin=other, headers=headers)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.KEY_UNBOUND
    _, decision = world.begin(chat("x"), exchange=world.exchange(bounds), headers=headers)
    assert isinstance(decision, Forward)
    assert world.record("call.intent")["safellm.key.ref"] == "vault:openai"


def test_plain_http_is_for_this_machine_only() -> None:
    """E.1: an origin without encryption is refused unless it is loopback or the policy allows it."""
    far, near = Origin("http", "gpu.example", 80), Origin("http", "127.0.0.1", 8000)
    bounds = Bounds(origins=frozenset({far, near}))
    for world, origin, allowed in (
        (World(), far, False),
        (World(), near, True),
        (World({"egress": {"allow_http": True}}), far, True),
    ):
        _, decision = world.begin(chat("x"), exchange=world.exchange(bounds), origin=origin)
        assert isinstance(decision, Forward) is allowed


def test_observe_changes_and_refuses_nothing() -> None:
    """Observe mode notes what it would have done."""
    world = World({"mode": "observe", "redaction": {"types": {"EMAIL": "block"}}}, answers={Reserve: OVER})
    body = chat("alice@example.com a\u200bb 4111111111111111", stream=True)
    exchange, decision = world.begin(body)
    assert isinstance(decision, Forward)
    assert decision.body is None
    intent = world.record("call.intent")
    assert intent["safellm.would_refuse"] == ["redaction.blocked", "budget.exceeded"]
    raw = b'data: {"choices":[{"index":0,"delta":{"content":"\\u001b[31m"}}]}\n\n'
    assert answer(exchange, [raw], "text/event-stream") == raw


def test_observe_lets_a_body_pass_that_it_can_not_read() -> None:
    """Observe mode blocks nothing, malformed bodies included; the provider will say what is wrong with them."""
    world = World({"mode": "observe"})
    _, decision = world.begin(b"{broken")
    assert isinstance(decision, Forward)
    assert world.record("call.intent")["safellm.would_refuse"] == ["shape.malformed"]


def test_unknown_endpoints_are_walked_or_denied() -> None:
    """An endpoint that isn't in the table is walked as JSON in guard mode and refused in strict mode."""
    _, decision = World().begin({"q": "alice@example.com"}, "/v1/brand/new")
    assert sent(decision, None)["q"].startswith("X-EMAIL-")
    for settings in ({"mode": "strict"}, {"unknown_endpoints": "deny"}):
        _, decision = World(settings).begin({"q": "x"}, "/v1/brand/new")
        assert isinstance(decision, Refuse)
        assert decision.error.reason is Reason.MEDIATION_UNKNOWN


def test_binary_content_follows_the_policy() -> None:
    """R.9: images pass and are counted, or are refused."""
    body = chat("x")
    body["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}]
    world = World()
    world.begin(body)
    assert world.record("call.intent")["safellm.content.binary_bytes"] > 300
    _, decision = World({"content": {"binary": "deny"}}).begin(body)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.CONTENT_DENIED


@pytest.mark.parametrize(("key", "path"), [("input", "/v1/embeddings"), ("prompt", "/v1/completions")])
@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_r_9_text_that_comes_as_tokens_can_not_be_searched(key: str, path: str, tokens: Any) -> None:
    """R.9: arrays of tokens are counted, or refused, like any content that can't be searched."""
    world = World()
    world.begin({"model": "m", key: tokens}, path)
    assert world.record("call.intent")["safellm.content.binary_bytes"] == 3
    _, decision = World({"content": {"binary": "deny"}}).begin({"model": "m", key: tokens}, path)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.CONTENT_DENIED


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b'{"a":1,"a":2}', (), Reason.SHAPE_MALFORMED),
        (b"\xff", (), Reason.SHAPE_MALFORMED),
        (b"{}", (("content-encoding", "gzip"),), Reason.SHAPE_ENCODING),
        (b"{" + b" " * 2000 + b"}", (), Reason.SHAPE_LIMIT),
    ],
)
def test_bodies_that_can_not_be_read_are_refused(body: bytes, headers: Any, reason: Reason) -> None:
    """What the guard can't read, it doesn't send."""
    world = World({"limits": {"request_bytes": 1000}})
    _, decision = world.begin(body, headers=(("content-type", "application/json"), *headers))
    assert isinstance(decision, Refuse)
    assert (decision.error.status, decision.error.reason) == (400, reason)


@pytest.mark.parametrize(
    ("content_type", "raw", "reason"),
    [
        ("application/json", b"{", Reason.SHAPE_MALFORMED),
        ("application/json", b"\xff", Reason.SHAPE_MALFORMED),
        ("text/event-stream", b"data: {broken\n\n", Reason.SHAPE_MALFORMED),
        ("application/octet-stream", b"x" * 3000, Reason.SHAPE_LIMIT),
        ("", b"x" * 3000, Reason.SHAPE_LIMIT),
        ("text/event-stream", b"x" * 3000, Reason.SHAPE_LIMIT),
    ],
)
def test_e_9_answers_that_can_not_be_read_are_errors(content_type: str, raw: bytes, reason: Reason) -> None:
    """E.9: an unreadable or endless answer ends in an error that says so, and is recorded."""
    world = World({"limits": {"response_bytes": 2000, "event_bytes": 1000}})
    exchange, _ = world.begin(chat("x"))
    with pytest.raises(Refused) as caught:
        answer(exchange, [raw], content_type)
    assert caught.value.reason is reason
    assert caught.value.sent
    world.run(exchange.finish(failure="refused"))
    assert world.record("call.outcome")["reason"] == reason


def test_out_of_order_calls_are_misuse() -> None:
    """A state machine says so when it is driven wrongly."""
    world = World()
    exchange = world.exchange()
    with pytest.raises(ProtocolMisuse):
        exchange.response(200, ())
    world.begin(chat("x"), exchange=exchange)
    with pytest.raises(ProtocolMisuse):
        exchange.feed(b"")
    with pytest.raises(ProtocolMisuse):
        world.begin(chat("x"), exchange=exchange)
    world.run(exchange.finish())
    world.run(exchange.finish())
    assert world.names.count("call.outcome") == 1


def test_answers_are_remembered_under_the_provider_s_name() -> None:
    """R.8: the next turn may name the previous answer instead of sending the history."""
    world = World()
    for path, expected in (("/v1/chat/completions", []), ("/v1/responses", ["chatcmpl-1"])):
        exchange, _ = world.begin(chat("alice@example.com"), path)
        answer(exchange, [json.dumps(COMPLETION).encode()])
        world.run(exchange.finish())
        assert world.remembered == expected


def test_r_3_look_alikes_are_hidden_and_own_placeholders_stay() -> None:
    """A tool's result may hold this conversation's placeholder; anything else of that form is hidden like a value."""
    mail = "alice@example.com"
    own = make_placeholder(KEY, "test", "EMAIL", mail)
    foreign = make_placeholder(KEY, "other", "EMAIL", mail)
    world = World()
    _, decision = world.begin(
        {"messages": [{"role": "tool", "content": f"sent to {own} and {foreign}"}, {"role": "user", "content": mail}]}
    )
    first, second = (message["content"] for message in sent(decision, None)["messages"])
    assert second == own
    assert first.startswith(f"sent to {own} and X-TEXT-")
    hidden = first.rpartition(" ")[2]
    assert world.values.value_of(hidden) == foreign


def test_records_hold_no_content() -> None:
    """L.6: neither prompt nor answer stands in any record."""
    world = World()
    exchange, _ = world.begin(chat("alice@example.com says private-words"))
    answer(exchange, [json.dumps(COMPLETION).replace("hi", "private-answer").encode()])
    world.run(exchange.finish())
    assert not any(word in repr(world.effects) for word in ("alice", "private"))


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", "image/png"])
def test_an_answer_is_read_by_what_was_asked_for(content_type: str) -> None:
    """The SDKs read JSON and events whatever an answer calls itself, so the guard does too."""
    whole = World()
    exchange, _ = whole.begin(chat("x"))
    raw = json.dumps(COMPLETION).replace("hi", "\\u001b[31m").encode()
    assert b"u001b" not in answer(exchange, [raw], content_type)
    streamed = World()
    exchange, _ = streamed.begin(chat("x", stream=True))
    event = b'data: {"choices":[{"index":0,"delta":{"content":"\\u001b[31m"}}]}\n\n'
    assert b"u001b" not in answer(exchange, [event], content_type)


def test_downloads_are_handed_on_as_they_come() -> None:
    """A file's content and speech are bytes, whatever they look like."""
    for path, method in (("/v1/files/f/content", "GET"), ("/v1/audio/speech", "POST")):
        world = World()
        exchange, _ = world.begin(b"", path, method=method)
        exchange.response(200, (("content-type", "application/octet-stream"),))
        assert exchange.feed(b'{"a":"\x1b') == b'{"a":"\x1b'


@pytest.mark.parametrize("query", ["token=key%2D123", "token=key%252D123", "token=key-123"])
def test_a_secret_in_the_url_is_found_however_it_is_written(query: str) -> None:
    """R.1: the query is searched as it stands and as a server reads it."""
    _, decision = World(scanner=WordScanner("key-123")).begin(chat("hi"), query=query)
    assert isinstance(decision, Refuse)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), Refused("x", guard="memory", reason=Reason.GUARD_ERROR, remedy="y")]
)
def test_a_conversation_that_cannot_be_kept_is_settled_and_recorded_all_the_same(error: Exception) -> None:
    """The call cost what it cost, the trail says why the program got an error, and the program gets one that says so."""
    world = World()
    exchange = world.exchange()

    def lost(_: str, __: object) -> None:
        raise error

    exchange._remember = lost
    world.begin({"model": "gpt-4o", "input": "alice@example.com"}, "/v1/responses", exchange)
    answer(exchange, [json.dumps({"id": "resp_1", "object": "response", "output": []}).encode()])
    with pytest.raises(Refused) as told:
        world.run(exchange.finish())
    assert told.value.sent
    assert str(told.value.reason) == world.record("call.outcome")["reason"] == Reason.GUARD_ERROR
    assert world.names[-2:] == ["Settle", "call.outcome"]
    world.run(exchange.finish())
    assert world.names.count("call.outcome") == 1


def test_an_error_of_a_guard_at_the_end_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in what settles and records is no bare exception."""
    world = World()
    exchange, _ = world.begin(chat("hi"))
    answer(exchange, [b"{}"])
    monkeypatch.setattr("safellm._core.exchange.billed", lambda *_: 1 / 0)
    with pytest.raises(GuardFailure, match="ZeroDivisionError") as told:
        world.run(exchange.finish())
    assert told.value.sent
