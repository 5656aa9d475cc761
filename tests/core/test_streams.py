"""Streaming equals not streaming, for any text, any deltas and any cut of the bytes (THREATS R.5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from awkward_texts import cuts, texts
from exchanges import KEY, World, answer, chat
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.placeholder import make_placeholder
from safellm.testing import wire
from safellm.testing.replies import Reply, ToolCall

VALUE = 'ali"ce\\@example.com'
PLACEHOLDER = make_placeholder(KEY, "test", "EMAIL", VALUE)
SETTINGS = {"redaction": {"restore_tool_arguments": ["send.to"]}}

TEXTS = texts(PLACEHOLDER, PLACEHOLDER[:15]).map(lambda text: text.replace("\ud800", "?"))


def pieces_of(text: str, data: st.DataObject) -> tuple[str, ...]:
    """Return a text as deltas."""
    return tuple(cuts(text, data))


@st.composite
def replies(draw: Any) -> Reply:
    """Draw one answer: text, perhaps a refusal, reasoning and tool calls."""
    data = draw(st.data())
    text = draw(TEXTS)
    arguments = {"to": draw(TEXTS), "body": draw(TEXTS)}
    calls = (
        (ToolCall(name=draw(st.sampled_from(["send", "other"])), arguments=arguments),) if draw(st.booleans()) else ()
    )
    return Reply(
        text=text,
        chunks=pieces_of(text, data) if text else None,
        refusal=draw(st.none() | TEXTS),
        reasoning=draw(st.none() | TEXTS),
        tool_calls=calls,
        finish_reason=draw(st.none() | st.sampled_from(["stop", "length"])),
    )


def call_of(body: dict[str, Any], reply: Reply) -> wire.Call:
    """Return the provider's side of a call."""
    return wire.Call(tag="t" * 24, created=1, body=body, reply=reply)


def treat(
    body: dict[str, Any],
    path: str,
    pieces: list[bytes],
    content_type: str,
    *,
    expected: bool = False,
    status: int = 200,
) -> bytes:
    """Run an answer through an exchange that knows the value, and may have made ready for it."""
    world = World(SETTINGS)
    world.values._values[PLACEHOLDER] = VALUE
    exchange, _ = world.begin(body, path)
    if expected:
        exchange.expect()
    return answer(exchange, pieces, content_type, status)


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """Return the JSON of every event."""
    lines = raw.decode("utf-8", "surrogatepass").split("\n\n")
    datas = [line.rpartition("data: ")[2] for line in lines if line.strip()]
    return [json.loads(data) for data in datas if data.strip() != "[DONE]"]


def join_chat(raw: bytes) -> dict[int, dict[str, Any]]:
    """Accumulate a chat stream as a program does."""
    choices: dict[int, dict[str, Any]] = {}
    for event in events_of(raw):
        for choice in event["choices"]:
            joined = choices.setdefault(choice["index"], {"calls": {}})
            assert "finish_reason" not in joined, "no text after the end of a choice"
            delta = choice.get("delta", {})
            for key in ("content", "refusal", "reasoning_content"):
                if delta.get(key):
                    joined[key] = joined.get(key, "") + delta[key]
            for one in delta.get("tool_calls") or ():
                known = joined["calls"].setdefault(one["index"], {"name": "", "arguments": ""})
                known["name"] += one["function"].get("name") or ""
                known["arguments"] += one["function"].get("arguments") or ""
            if choice.get("finish_reason"):
                joined["finish_reason"] = choice["finish_reason"]
    return choices


@settings(max_examples=250)
@given(st.lists(replies(), min_size=1, max_size=3), st.data())
def test_r_5_chat_streams_equal_whole_answers(choices: list[Reply], data: st.DataObject) -> None:
    """Content, refusal, reasoning and tool arguments of every choice are the same, streamed or not, cut anywhere."""
    body = chat("hi", n=len(choices))
    reply = Reply(choices=tuple(choices))
    whole = json.dumps(wire.chat_completion(call_of(body, reply))).encode()
    expected = json.loads(treat(body, "/v1/chat/completions", [whole], "application/json"))
    streamed = {**body, "stream": True}
    raw = b"".join(wire.chat_stream(call_of(streamed, reply)))
    got = join_chat(treat(streamed, "/v1/chat/completions", cuts(raw, data), "text/event-stream"))
    for choice in expected["choices"]:
        message, joined = choice["message"], got[choice["index"]]
        assert joined.get("content", "") == (message.get("content") or "")
        assert joined.get("refusal", "") == (message.get("refusal") or "")
        assert joined.get("reasoning_content", "") == (message.get("reasoning_content") or "")
        calls = [joined["calls"][index] for index in sorted(joined["calls"])]
        assert calls == [one["function"] for one in message.get("tool_calls") or ()]
        assert joined["finish_reason"] == choice["finish_reason"]


@settings(max_examples=250)
@given(replies(), st.data())
def test_r_5_response_streams_equal_whole_answers(reply: Reply, data: st.DataObject) -> None:
    """Deltas, `*.done` texts, parts, items and the completed response all agree with the whole answer."""
    body: dict[str, Any] = {"model": "gpt-4o", "input": "hi"}
    whole = json.dumps(wire.response_object(call_of(body, reply))).encode()
    expected = json.loads(treat(body, "/v1/responses", [whole], "application/json"))
    streamed = {**body, "stream": True}
    raw = b"".join(wire.response_stream(call_of(streamed, reply)))
    events = events_of(treat(streamed, "/v1/responses", cuts(raw, data), "text/event-stream"))
    assert events[-1]["response"]["output"] == expected["output"]
    running: dict[tuple[Any, ...], str] = {}
    for event in events:
        family, _, last = event["type"].rpartition(".")
        key = (family, event.get("item_id"), event.get("content_index"), event.get("summary_index"))
        if last == "delta":
            running[key] = running.get(key, "") + event["delta"]
        elif last == "done" and key in running:
            full = event.get("text", event.get("arguments", event.get("refusal")))
            assert running.pop(key) == full
        elif event["type"] == "response.output_item.done":
            assert event["item"] == expected["output"][event["output_index"]]
    assert not running


@given(replies(), st.data())
def test_streams_never_hold_a_placeholder_of_a_plain_text_back(reply: Reply, data: st.DataObject) -> None:
    """Whatever the cut, all bytes of the stream that end an event come out by the end: no event is lost or doubled."""
    body = chat("hi", stream=True, stream_options={"include_usage": True})
    raw = b"".join(wire.chat_stream(call_of(body, reply)))
    out = treat(body, "/v1/chat/completions", cuts(raw, data), "text/event-stream")
    sent, got = events_of(raw), events_of(out)
    added = len(got) - len(sent)
    assert 0 <= added <= 4
    assert out.endswith(wire.DONE)


@given(
    replies(), st.data(), st.sampled_from([("text/event-stream", 200), ("application/json", 200), ("text/plain", 500)])
)
def test_what_is_made_ready_for_an_answer_changes_nothing(
    reply: Reply, data: st.DataObject, kind: tuple[str, int]
) -> None:
    """Whatever comes after all, events or not, is treated alike whether filters were made before it or not."""
    body = chat("hi", stream=data.draw(st.booleans()), n=2)
    call = call_of(body, Reply(choices=(reply, reply)))
    whole = json.dumps(wire.chat_completion(call)).encode()
    pieces = cuts(b"".join(wire.chat_stream(call)) if kind[0] == "text/event-stream" else whole, data)
    ways = [
        treat(body, "/v1/chat/completions", pieces, kind[0], expected=expected, status=kind[1])
        for expected in (False, True)
    ]
    assert ways[0] == ways[1]


def test_an_unchanged_stream_passes_byte_for_byte() -> None:
    """Events that nothing touches are handed on as they came, comments and line ends included."""
    raw = b': ping\r\n\r\nid: 1\r\ndata: {"choices":[{"index":0,"delta":{"content":"plain"}}] }\r\n\r\ndata: [DONE]\r\n\r\n'
    body = chat("hi", stream=True, stream_options={"include_usage": False})
    assert treat(body, "/v1/chat/completions", [raw], "text/event-stream") == raw


@pytest.mark.parametrize("report", [None, {"input": {"type": "error", "code": "c", "message": "m"}}])
def test_a_chunk_of_usage_is_kept_where_it_says_more(report: object) -> None:
    """The program didn't ask for usage, so that chunk is the guard's own; a report of moderation in it is the program's."""
    said = {"choices": [{"index": 0, "delta": {"content": "plain"}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    last = {"choices": [], "moderation": report, "usage": usage}
    out = treat(
        chat("hi", stream=True),
        "/v1/chat/completions",
        [wire.sse(said), wire.sse(last), wire.DONE],
        "text/event-stream",
    )
    assert [event.get("moderation") for event in events_of(out)] == ([None] if report is None else [None, report])


def test_a_truncated_event_is_not_handed_on() -> None:
    """What no parser would dispatch, no program gets unguarded."""
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    body = chat("hi", stream=True, stream_options={"include_usage": False})
    assert treat(body, "/v1/chat/completions", [first + b'data: {"choices":[{"ind'], "text/event-stream") == first


def test_legacy_completions_and_assistants_stream_too() -> None:
    """The older forms go through the same filters."""
    half, rest = PLACEHOLDER[:9], PLACEHOLDER[9:]
    legacy = [
        {"choices": [{"index": 0, "text": half, "finish_reason": None}]},
        {"choices": [{"index": 0, "text": rest + "!", "finish_reason": "stop"}]},
    ]
    raw = b"".join(wire.sse(event) for event in legacy)
    out = treat({"model": "gpt-4o", "prompt": "x", "stream": True}, "/v1/completions", [raw], "text/event-stream")
    assert "".join(event["choices"][0]["text"] for event in events_of(out)) == VALUE + "!"
    parts = [
        {
            "object": "thread.message.delta",
            "id": "m",
            "delta": {"content": [{"index": 0, "type": "text", "text": {"value": one}}]},
        }
        for one in (half, rest)
    ]
    raw = b"".join(wire.sse(event, "thread.message.delta") for event in parts)
    out = treat({"assistant_id": "a", "stream": True}, "/v1/threads/t/runs", [raw], "text/event-stream")
    assert "".join(event["delta"]["content"][0]["text"]["value"] for event in events_of(out)) == VALUE
