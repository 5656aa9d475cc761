"""Streaming equals not streaming (THREATS R.5): for any text, any deltas, any cut of the bytes, as events and as an array."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from awkward_texts import cuts, texts
from exchanges import KEY, Prices, WordScanner, World, answer
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.call import Bounds, Tools
from safellm._core.exchange import Exchange
from safellm._core.jsonarray import ArrayFraming
from safellm._core.jsontext import Malformed
from safellm._core.placeholder import make_placeholder
from safellm._core.policy import Policy
from safellm._core.sse import TooLong
from safellm.errors import Refused
from safellm.google.genai import errors
from safellm.testing import google_wire as wire
from safellm.testing.replies import Reply, ToolCall
from safellm_google_genai.adapter import ADAPTER, GEMINI

VALUE = 'ali"ce\\@example.com'
PLACEHOLDER = make_placeholder(KEY, "test", "EMAIL", VALUE)
SETTINGS = {"redaction": {"restore_tool_arguments": ["send.to"]}}
TEXTS = texts(PLACEHOLDER, PLACEHOLDER[:15]).map(lambda text: text.replace("\ud800", "?"))
BODY = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
FORMS = {"events": ("alt=sse", wire.as_events, "text/event-stream"), "array": ("", wire.as_array, "application/json")}


class GoogleWorld(World):
    """An exchange in Gemini's dialect."""

    def exchange(self, bounds: Bounds | None = None) -> Exchange:
        tools = Tools(
            policy=Policy.model_validate(self.settings), adapter=ADAPTER, scanner=WordScanner(), registered=None, key=KEY,
            prices=Prices(), policy_digest="0" * 64, sdk="test",
        )  # fmt: skip
        return Exchange(
            tools=tools,
            bounds=bounds or Bounds(origins=frozenset({GEMINI})),
            conversation=lambda *_: self.values,
            remember=lambda name, _: self.remembered.append(name),
            call_id="call-1",
        )


def opened(verb: str, query: str = "", body: Any = BODY) -> tuple[GoogleWorld, Exchange]:
    world = GoogleWorld(SETTINGS)
    world.values._values[PLACEHOLDER] = VALUE
    exchange, _ = world.begin(body, f"/v1beta/models/gemini-2.5-flash:{verb}", origin=GEMINI, query=query)
    return world, exchange


@st.composite
def replies(draw: Any) -> Reply:
    data = draw(st.data())
    text = draw(TEXTS)
    calls = ()
    if draw(st.booleans()):
        arguments = {"to": draw(TEXTS), "body": {"deep": draw(TEXTS)}}
        calls = (ToolCall(name=draw(st.sampled_from(["send", "other"])), arguments=arguments),)
    return Reply(
        text=text,
        chunks=tuple(cuts(text, data)) if text else None,
        reasoning=draw(st.none() | TEXTS),
        tool_calls=calls,
        finish_reason=draw(st.none() | st.sampled_from(["stop", "length"])),
    )


def joined(chunks: list[dict[str, Any]]) -> dict[int, Any]:
    """Return what a program gets of each candidate: thought, text, calls."""
    found: dict[int, Any] = {}
    for chunk in chunks:
        for candidate in chunk["candidates"]:
            one = found.setdefault(candidate["index"], {"thought": "", "text": "", "calls": []})
            for part in candidate["content"]["parts"]:
                if "functionCall" in part:
                    one["calls"].append((part["functionCall"], part.get("thoughtSignature")))
                else:
                    one["thought" if part.get("thought") else "text"] += part["text"]
    return found


def parsed(out: bytes, form: str) -> list[dict[str, Any]]:
    if form == "array":
        return json.loads(out)
    return [
        json.loads(block[6:]) for block in out.replace(b"\r\n", b"\n").split(b"\n\n") if block.startswith(b"data: ")
    ]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(reply=replies(), other=replies(), data=st.data())
def test_r_5_stream_says_what_the_whole_answer_says(form, reply, other, data):
    """Restored, cleaned, kept: the same, candidate by candidate."""
    query, encode, kind = FORMS[form]
    body = {**BODY, "generationConfig": {"candidateCount": 2}}
    call = wire.Call(tag="t" * 24, model="gemini-2.5-flash", body=body, reply=Reply(choices=(reply, other)))
    _, exchange = opened("generateContent", body=body)
    whole = json.loads(answer(exchange, [json.dumps(wire.whole(call)).encode()]))
    _, exchange = opened("streamGenerateContent", query, body)
    raw = b"".join(encode(wire.chunks(call)))
    chunks = parsed(answer(exchange, cuts(raw, data), kind), form)
    assert joined(chunks) == joined([whole])
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(data=st.data())
def test_unchanged_stream_has_the_same_values(form, data):
    """Nothing to do: each chunk is as it was."""
    query, encode, kind = FORMS[form]
    call = wire.Call(tag="t" * 24, model="g", body=BODY, reply=Reply(text="all quiet", reasoning="hm"))
    _, exchange = opened("streamGenerateContent", query)
    raw = b"".join(encode(wire.chunks(call)))
    out = answer(exchange, cuts(raw, data), kind)
    assert parsed(out, form) == list(wire.chunks(call))
    assert form == "array" or out.rstrip() == raw.rstrip()  # a last LF that comes alone after CR means nothing


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\\\{}[],é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"\\\\]}', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    items=st.lists(st.dictionaries(st.text(alphabet="ab", max_size=2), JSON_VALUES, max_size=3), max_size=4),
    indent=st.sampled_from([None, 1]),
    data=st.data(),
)
def test_array_is_cut_into_its_elements_however_it_comes(items, indent, data):
    """Any elements, any cut; written again, it is the same array."""
    framing = ArrayFraming(limit_bytes=1 << 20)
    raw = json.dumps(items, indent=indent).encode()
    out, found = b"", []
    for piece in cuts(raw, data):
        elements = framing.feed(piece)
        found += elements
        out += framing.write(elements)
    out += framing.write([], last=True)
    assert [json.loads(one) for one in found] == items == json.loads(out)


@pytest.mark.parametrize("raw", [b"1", b"[1]", b'["a"]', b"[{}] {}", b"[{}][", b"nonsense"])
def test_what_is_no_array_of_objects_is_refused(raw):
    """Another parser could read it in another way."""
    with pytest.raises(Malformed):
        ArrayFraming(limit_bytes=100).feed(raw)


def test_one_object_instead_of_an_array_is_handed_on():
    """Errors come like that."""
    framing = ArrayFraming(limit_bytes=100)
    (element,) = framing.feed(b' {"error": {}}\n')
    assert framing.write([element]) + framing.write([], last=True) == b'{"error": {}}'


def test_b_3_element_without_end_is_bounded():
    """A stream that never ends an element costs no more than the limit."""
    framing = ArrayFraming(limit_bytes=100)
    with pytest.raises(TooLong):
        for _ in range(100):
            framing.feed(b'[{"a": "' + b"x" * 10)


def test_array_that_is_cut_off_ends_open():
    """The program can see that the rest is missing; half an element is not handed on."""
    _, exchange = opened("streamGenerateContent")
    chunk = {"candidates": [{"index": 0, "content": {"parts": [{"text": "a"}]}}]}
    out = answer(exchange, [b"[" + json.dumps(chunk).encode() + b',{"candidates": [{"ind'])
    assert out == b"[" + json.dumps(chunk).encode()


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/json", ""])
@pytest.mark.parametrize("form", FORMS)
def test_e_9_answer_is_read_by_what_was_asked_for(form, kind):
    """A wrong Content-Type hides nothing from the guard."""
    query, encode, _ = FORMS[form]
    call = wire.Call(tag="t" * 24, model="g", body=BODY, reply=Reply(text=f"to {PLACEHOLDER} \u200b\x1b[0m"))
    _, exchange = opened("streamGenerateContent", query)
    out = answer(exchange, [b"".join(encode(wire.chunks(call)))], kind)
    text = joined(parsed(out, form))[0]["text"]
    assert VALUE in text
    assert "\u200b" not in text


def test_e_9_lines_between_events_are_guarded_or_dropped():
    """The SDK reads a bare line of JSON as a chunk: it becomes an event like others, and what is no object doesn't get through."""
    _, exchange = opened("streamGenerateContent", "alt=sse")
    chunk = {"candidates": [{"index": 0, "content": {"parts": [{"text": "a\u200b\x1b[0m"}]}}]}
    bare = json.dumps(chunk, ensure_ascii=False).encode()
    parts = [bare + b"\n\n: note\n[" + bare + b"]\n\ndata: {}\n" + bare + b"\n\n", b"{cut\n\n" + bare + b"\n" + bare]
    out = answer(exchange, parts, "text/event-stream")
    assert out.count(b"candidates") == out.count(b'data: {"candidates') == 4
    assert "\u200b".encode() not in out
    assert b"\\u001b" not in out
    assert b"\n[{" not in out
    assert b"cut" not in out
    assert b": note" in out


ERROR = json.dumps({"error": {"code": 500, "message": "no more", "status": "INTERNAL"}}, indent=2)


@pytest.mark.parametrize(
    "error", [ERROR, f"{ERROR}\n\n", f"data: {json.dumps(json.loads(ERROR))}", ERROR.replace("\n", "\r\n")]
)
def test_error_in_the_middle_of_a_stream_is_raised(face, provider, error):
    """Google writes it between the events, as it is: the program hears of it, and doesn't take half an answer for a whole one."""
    begun = {"candidates": [{"index": 0, "content": {"parts": [{"text": "half"}], "role": "model"}}]}
    body = f"data: {json.dumps(begun)}\n\n{error}".encode()
    provider.reply_with(Reply(headers={"content-type": "text/event-stream"}, raw_body=body))
    with pytest.raises(errors.ServerError, match="no more"):
        face.ask(face.client(provider), stream=True)


def test_broken_event_is_refused():
    """What can't be read can't be guarded."""
    _, exchange = opened("streamGenerateContent", "alt=sse")
    exchange.response(200, (("content-type", "text/event-stream"),))
    with pytest.raises(Refused):
        exchange.feed(b"data: {nonsense\n\n")
