"""Anthropic's dialect without an SDK: streaming equals not streaming, opaque fields pass, usage is read as it is billed."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import exchanges
import pytest
from awkward_texts import cuts, texts
from exchanges import KEY, World, answer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safellm._core.adapter import Billing, Seen
from safellm._core.call import Bounds
from safellm._core.effects import Forward
from safellm._core.origin import Origin
from safellm._core.placeholder import make_placeholder
from safellm.testing import anthropic_wire
from safellm.testing.replies import Reply, ToolCall
from safellm.testing.wire import Call
from safellm_anthropic.adapter import ADAPTER

ORIGIN = Origin("https", "api.anthropic.com", 443)
VALUE = 'ali"ce\\@example.com'
PLACEHOLDER = make_placeholder(KEY, "test", "EMAIL", VALUE)
SETTINGS = {"redaction": {"restore_tool_arguments": ["send.to", "send.deep"]}}
TEXTS = texts(PLACEHOLDER, PLACEHOLDER[:15]).map(lambda text: text.replace("\ud800", "?"))
VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS | st.just(PLACEHOLDER), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(autouse=True)
def _dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "ADAPTER", ADAPTER)


def body(**more: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}


def run(request: dict[str, Any], pieces: list[bytes], kind: str, path: str = "/v1/messages") -> bytes:
    """Run an answer through an exchange that knows the value."""
    world = World(SETTINGS)
    world.values._values[PLACEHOLDER] = VALUE
    exchange = world.exchange(Bounds(origins=frozenset({ORIGIN})))
    _, decision = world.begin(request, path, exchange, origin=ORIGIN)
    assert isinstance(decision, Forward)
    return answer(exchange, pieces, kind)


def sent(request: dict[str, Any]) -> dict[str, Any]:
    """Return what leaves for a request."""
    world = World(SETTINGS)
    _, decision = world.begin(
        request, "/v1/messages", world.exchange(Bounds(origins=frozenset({ORIGIN}))), origin=ORIGIN
    )
    assert isinstance(decision, Forward)
    return request if decision.body is None else json.loads(decision.body)


def blocks_of(raw: bytes) -> list[dict[str, Any]]:
    """Put the blocks of a stream together, as a program does."""
    blocks: list[dict[str, Any]] = []
    open_block: int | None = None
    for part in raw.decode("utf-8", "surrogatepass").split("\n\n"):
        event = json.loads(part.rpartition("data: ")[2]) if part.strip() else {}
        kind = event.get("type")
        if kind == "content_block_start":
            assert event["index"] == len(blocks)
            open_block = event["index"]
            blocks.append({**event["content_block"], "json": ""})
        elif kind == "content_block_delta":
            assert event["index"] == open_block, "no text after the end of a block"
            block, delta = blocks[event["index"]], event["delta"]
            for key in ("text", "thinking", "signature"):
                if key in delta:
                    block[key] = block[key] + delta[key]
            block["json"] += delta.get("partial_json", "")
        elif kind == "content_block_stop":
            open_block = None
    for block in blocks:
        written = block.pop("json")
        if written:
            block["input"] = json.loads(written)
    return blocks


@st.composite
def replies(draw: Any) -> Reply:
    """Draw one answer: text, perhaps thinking and tool calls."""
    data, text = draw(st.data()), draw(TEXTS)
    arguments = {"to": draw(VALUES), "body": draw(VALUES), "deep": draw(VALUES)}
    named = draw(st.sampled_from(["send", "other"]))
    calls = (ToolCall(name=named, arguments=arguments), ToolCall(name="none")) if draw(st.booleans()) else ()
    chunks = tuple(cuts(text, data)) if text else None
    return Reply(text=text, chunks=chunks, reasoning=draw(st.none() | TEXTS), tool_calls=calls)


@settings(max_examples=120)
@given(replies(), st.booleans(), st.data())
@example(
    Reply(text=PLACEHOLDER, tool_calls=(ToolCall(name="send", arguments={"to": f"](a {PLACEHOLDER}"}),)), False, None
)
@example(
    Reply(text="x", tool_calls=(ToolCall(name="send", arguments={"body": "[x](", "to": [{"a": PLACEHOLDER}]}),)),
    False,
    None,
)
@example(
    Reply(text="x", tool_calls=(ToolCall(name="send", arguments={"to": {PLACEHOLDER: f"\n{PLACEHOLDER}\n"}}),)),
    False,
    None,
)
def test_r_5_streaming_equals_not_streaming(reply: Reply, structured: bool, data: st.DataObject | None) -> None:
    """Whatever the text, the deltas and the cut of the bytes: the blocks are those of the whole answer."""
    request = body(output_config={"format": {"type": "json_schema", "schema": {}}}) if structured else body()
    call = Call(tag="t" * 24, created=1, body=request, reply=reply)
    whole = run(request, [json.dumps(anthropic_wire.message(call)).encode()], "application/json")
    raw = b"".join(anthropic_wire.message_stream(call))
    pieces = cuts(raw, data) if data is not None else [bytes([byte]) for byte in raw]
    assert blocks_of(run({**request, "stream": True}, pieces, "text/event-stream")) == json.loads(whole)["content"]


def test_thinking_and_signatures_pass_to_the_byte() -> None:
    """What a signature covers is neither cleaned nor restored, nor hidden when it goes back: one byte breaks the next turn."""
    odd = f"I see {PLACEHOLDER} \u200b\x1b[31m alice@example.com"
    opaque = [
        {"type": "thinking", "thinking": odd, "signature": odd},
        {"type": "redacted_thinking", "data": odd},
        {"type": "compaction", "content": odd, "encrypted_content": odd, "signature": odd},
        {
            "type": "web_search_result",
            "encrypted_content": odd,
            "url": "https://x.example",
            "title": "t",
            "page_age": None,
        },
    ]
    whole = {"id": "msg_1", "type": "message", "content": [*opaque, {"type": "text", "text": odd}]}
    got = json.loads(run(body(), [json.dumps(whole).encode()], "application/json"))["content"]
    assert got[:4] == opaque
    assert VALUE in got[4]["text"]
    history = [
        {"role": "user", "content": "alice@example.com"},
        {"role": "assistant", "content": [*opaque, {"type": "text", "text": odd}]},
    ]
    back = sent(body(messages=history))["messages"]
    assert back[1]["content"][:4] == opaque
    assert "alice@example.com" not in json.dumps([back[0], back[1]["content"][4]])


@pytest.mark.parametrize(
    ("block", "leaves"),
    [
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "SECRETS"}}, False),
        ({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "SECRETS"}}, False),
        ({"type": "search_result", "source": "SECRETS", "title": "SECRETS", "content": [{"type": "text", "text": "SECRETS"}]}, False),  # noqa: E501
        ({"type": "tool_result", "tool_use_id": "toolu_1", "content": "SECRETS"}, False),
        ({"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "SECRETS"}]}, False),
        ({"type": "tool_use", "id": "toolu_1", "name": "x", "input": {"a": ["SECRETS"], "SECRETS": {"signature": "SECRETS"}}}, False),  # noqa: E501
        ({"type": "thinking", "note": "SECRETS"}, False),
        ({"type": "mine", "thinking": "SECRETS", "signature": "SECRETS", "data": "SECRETS"}, False),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}}, True),
    ],
)  # fmt: skip
def test_r_1_every_text_of_a_block_is_searched(block: dict[str, Any], leaves: bool) -> None:
    """Documents, tool results and inputs; a name such as `thinking` or `data` hides nothing in another place."""
    text = json.dumps(block).replace("SECRETS", "mail alice@example.com")
    out = json.dumps(sent(body(messages=[{"role": "user", "content": [json.loads(text)]}])))
    assert "alice@example.com" not in out
    assert ("QUJD" in out) is leaves


def test_usage_counts_what_was_cached_besides_the_fresh_input() -> None:
    """Anthropic's input tokens are those that were neither read from nor written to a cache."""
    seen = Seen()
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 7}
    ADAPTER.observe(
        {"type": "message", "id": "msg_1", "model": "claude", "stop_reason": "end_turn", "usage": usage}, seen
    )
    assert seen.usage is not None
    assert (seen.usage.input_tokens, seen.usage.output_tokens) == (125, 7)
    assert (seen.usage.cached_input_tokens, seen.usage.cache_write_tokens) == (100, 20)
    assert (seen.id, seen.model, seen.finish_reasons) == ("msg_1", "claude", ["end_turn"])


def test_b_3_a_stream_s_usage_only_grows() -> None:
    """Cumulative: the last one counts, and one that says less or nonsense lowers nothing."""
    seen = Seen()
    start = {"input_tokens": 50, "cache_read_input_tokens": 9, "output_tokens": 1}
    ADAPTER.observe({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": start}}, seen)
    for output in (12, 7, -3, 1 << 60, "many", None):
        ADAPTER.observe({"type": "message_delta", "delta": {}, "usage": {"output_tokens": output}}, seen)
    ADAPTER.observe(
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"input_tokens": 0}}, seen
    )
    assert seen.usage is not None
    assert (seen.usage.input_tokens, seen.usage.output_tokens, seen.finish_reasons) == (59, 12, ["max_tokens"])


def test_tokens_of_a_compaction_are_counted_besides() -> None:
    """What the provider spends on its own summary stands beside the total, and is billed."""
    seen = Seen()
    iterations = [
        {"type": "message", "input_tokens": 5, "output_tokens": 7},
        {"type": "compaction", "input_tokens": 100, "output_tokens": 10},
    ]
    ADAPTER.observe({"usage": {"input_tokens": 5, "output_tokens": 7, "iterations": iterations}}, seen)
    assert seen.usage is not None
    assert (seen.usage.input_tokens, seen.usage.output_tokens) == (105, 17)


@pytest.mark.parametrize(
    ("method", "path", "template", "billing"),
    [
        ("POST", "/v1/messages", "/messages", Billing.TOKENS),
        ("POST", "/anthropic/v1/messages", "/messages", Billing.TOKENS),
        ("POST", "/v1/messages/count_tokens", "/messages/count_tokens", Billing.FREE),
        ("POST", "/v1/messages/batches", "/messages/batches", Billing.OTHER),
        ("GET", "/v1/messages/batches/x/results", "/messages/batches/{message_batch_id}/results", Billing.FREE),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict", "/vertex/messages", Billing.TOKENS),  # noqa: E501
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", "/messages/count_tokens", Billing.FREE),  # noqa: E501
        ("POST", "/v1/brand/new", "/v1/brand/new", Billing.OTHER),
    ],
)  # fmt: skip
def test_endpoints_are_found(method: str, path: str, template: str, billing: Billing) -> None:
    """Under every prefix, and on Vertex, where the path names the model."""
    route = ADAPTER.route(method, path)
    assert (route.template, route.billing, route.known) == (template, billing, "new" not in path)
    assert route.model == ("claude@1" if "claude@1" in path else "")


def test_json_lines_are_restored_line_by_line() -> None:
    """The results of a batch: each line is JSON and stays JSON, whatever the value holds."""
    lines = [json.dumps({"custom_id": str(n), "text": f"{n} {PLACEHOLDER}"}) for n in range(2)]
    raw = run(body(), ["\n".join([*lines, ""]).encode()], "application/x-jsonl")
    assert [json.loads(line)["text"] for line in raw.splitlines()] == [f"0 {VALUE}", f"1 {VALUE}"]
    broken = run(body(), [f'{{"a": "{PLACEHOLDER}"\nno json'.encode()], "application/x-jsonl")
    assert PLACEHOLDER.encode() not in broken
