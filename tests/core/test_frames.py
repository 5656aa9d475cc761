"""Events that are recognised by their bytes mean what a parser would have read."""

from __future__ import annotations

import json
from typing import Any

from awkward_texts import texts
from exchanges import World, answer, chat
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core import jsontext, sse
from safellm._core.frames import Frame, learn
from safellm_openai.stream import OpenAIStreamReader

READER = OpenAIStreamReader()


def parse(raw: bytes) -> Any:
    """Read an event's data."""
    return jsontext.loads(sse.data_of(raw) or b"", max_depth=64)


def chunk(text: str, **more: Any) -> bytes:
    """Return one event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "c-1", "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


def piece(text: str, number: int, padding: str) -> bytes:
    """Return one event of a Responses stream."""
    kind = "response.output_text.delta"
    body = {"type": kind, "sequence_number": number, "item_id": "i", "delta": text, "obfuscation": padding}
    return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode("utf-8", "surrogatepass")


def frame_of(raw: bytes) -> Frame | None:
    """Learn an event."""
    event = parse(raw)
    (delta,) = READER.view(event).deltas
    return learn(raw, event, delta, model="m", varying=READER.varying, parse=parse)


def text_in(raw: bytes) -> str:
    """Return what a parser reads as the event's text."""
    (delta,) = READER.view(parse(raw)).deltas
    text = delta.container[delta.key]
    assert isinstance(text, str)
    return text


@given(texts())
def test_a_text_that_is_recognised_is_the_parser_s_own(text: str) -> None:
    """Any text in a known event is either left to the parser or read as it reads it."""
    frame = frame_of(chunk("Hello"))
    assert frame is not None
    found = frame.text_of(chunk(text))
    if found is not None:
        assert found == text == text_in(chunk(text))


def test_plain_texts_are_recognised() -> None:
    """What nearly all events hold doesn't reach the parser."""
    frame = frame_of(chunk("Hello"))
    assert frame is not None
    assert [frame.text_of(chunk(text)) for text in (" world", "", "é漢", "a b")] == [" world", "", "é漢", "a b"]


@given(st.text(max_size=8), st.integers(0, 10**20), st.text(alphabet='aZ9"\\ é{', max_size=6))
def test_counters_and_padding_may_differ(text: str, number: int, padding: str) -> None:
    """Events that count and pad are recognised; whatever stands there can't make them mean something else."""
    frame = frame_of(piece("Hello", 3, "abc"))
    assert frame is not None
    raw = piece(text, number, padding)
    found = frame.text_of(raw)
    if found is not None:
        assert found == text_in(raw)
        assert parse(raw) == {**parse(piece("x", number, padding)), "delta": found}
    elif text.isalnum() and number < 10**15 and padding.isascii() and padding.isalnum():
        raise AssertionError("a usual event was not recognised")


def test_what_a_string_may_not_hold_is_left_to_the_parser() -> None:
    """A raw control character, a line end, broken UTF-8: the parser refuses the event."""
    frame = frame_of(chunk("Hello"))
    assert frame is not None
    for odd in (b"\x07", b"\x1b[31m", b"\x00", b"\r", b"\n", b"\t", b"\x7f", b"\xff", b"\xed\xa0\x80"):
        assert frame.text_of(chunk("word").replace(b"word", b"wo" + odd)) is None


def test_leading_zeros_are_left_to_the_parser() -> None:
    """`07` is no JSON number; neither is it a known event."""
    frame = frame_of(piece("Hello", 3, "abc"))
    assert frame is not None
    assert frame.text_of(piece("x", 7, "abc").replace(b'_number": 7', b'_number": 07')) is None


@given(st.data())
def test_a_changed_byte_outside_the_text_is_never_overlooked(data: st.DataObject) -> None:
    """Another byte anywhere else makes it another event, or the same text for the parser too."""
    frame = frame_of(chunk("Hello"))
    assert frame is not None
    raw = bytearray(chunk("word"))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    found = frame.text_of(bytes(raw))
    if found is not None:
        assert found == text_in(bytes(raw))
        assert sse.Splitter(1000).feed(bytes(raw)) == [bytes(raw)]


def test_a_cut_event_is_not_recognised() -> None:
    """Beginning and end of an event may overlap in a short one."""
    frame = frame_of(chunk("Hello"))
    assert frame is not None
    raw = chunk("")
    for end in range(len(raw)):
        assert frame.text_of(raw[:end]) is None
        assert frame.text_of(raw[:end] + raw[end + 1 :]) is None


def test_text_that_stands_twice_is_not_learnt() -> None:
    """Where the place is in doubt, the parser decides."""
    assert frame_of(chunk("Hello", other={"content": "Hello"})) is None
    doubtful = chunk("Hello", **{'a"content': "Hello"})
    frame = frame_of(doubtful)
    assert frame is None or frame.text_of(doubtful.replace(b'"content": "Hello"', b'"content": "other"', 1)) in (
        None,
        "other",
    )


@settings(max_examples=150)
@given(st.lists(texts().map(lambda text: text.replace("\ud800", "?")), max_size=12))
def test_r_5_known_events_are_treated_like_others(pieces: list[str]) -> None:
    """A stream of like events and one whose events all differ give the same text, cleaned the same way."""
    texts_of = []
    for pad in (False, True):
        world = World()
        exchange, _ = world.begin(chat("hi", stream=True))
        raws = [chunk(text, **({f"pad{number}": number} if pad else {})) for number, text in enumerate(pieces)]
        got = answer(exchange, [*raws, b"data: [DONE]\n\n"], "text/event-stream")
        events = [parse(event + b"\n\n") for event in got.split(b"\n\n") if event and event != b"data: [DONE]"]
        texts_of.append("".join(event["choices"][0]["delta"]["content"] for event in events))
    assert texts_of[0] == texts_of[1]
