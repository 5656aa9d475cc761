"""Counting through the real SDK: calls near a limit, and streams of a server that doesn't keep to the ceiling of a request."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import openai
import safellm
from safellm.stores.encodings import shared
from safellm.testing.replies import Reply

CEILING = 200
WORDS = tuple(f" word{number}" for number in range(3000))
LIMITS = {"budget.limits": [{"tokens": 1_000_000}]}


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """What is tested is where a stream ends, not how long a vocabulary takes to load."""
    shared().count("o200k_base", ("hello",))


def tokens(text: str) -> int:
    counted = shared().count("o200k_base", (text,))
    assert counted is not None
    return counted


def is_just_over(text: str) -> bool:
    """Whether a text ends soon after the ceiling, and never before it."""
    return CEILING < tokens(text) <= CEILING * 1.25


def test_b_7_a_call_that_fits_only_by_its_exact_count_goes_through(face, provider, usage):
    """The bound of 1,000 bytes doesn't fit, the 208 tokens do; one token less and the call is refused."""
    text = "word " * 200
    exact = safellm.count_tokens([{"role": "user", "content": text}], model="gpt-4o")
    client = face.client(provider, safellm={"budget.limits": [{"tokens": exact + 50}]})
    face.ask(client, text, max_tokens=50)
    refusing = face.client(provider, safellm={"budget.limits": [{"name": "other", "tokens": exact + 49}]})
    with pytest.raises(safellm.Refused, match="asked at most 258 tokens"):
        face.ask(refusing, text, max_tokens=50)
    assert sum(one.requests for one in usage()) == 1


def test_b_3_a_stream_ends_at_what_is_held(face, provider, outcome, usage):
    """A chat stream over its ceiling ends with `length`, as the provider would end it, and is charged whole."""
    provider.reply_with(Reply(chunks=WORDS))
    client = face.client(provider, safellm=LIMITS)
    made = face.run(
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "go"}], max_tokens=CEILING, stream=True
        )
    )
    chunks = [chunk for chunk in face.all(made) if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert is_just_over(text)
    assert "".join(WORDS).startswith(text)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert usage()[0].output_tokens >= CEILING
    assert outcome()["gen_ai.response.finish_reasons"] == ["length"]


def test_b_3_every_choice_of_a_stream_ends(sync, provider):
    """Two choices share what is held, and both end."""
    provider.reply_with(Reply(chunks=WORDS))
    client = sync.client(provider, safellm=LIMITS)
    made = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "go"}], max_tokens=CEILING // 2, n=2, stream=True
    )
    reasons: dict[int, str] = {}
    texts = {0: "", 1: ""}
    for chunk in made:
        for choice in chunk.choices:
            assert choice.index not in reasons
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert set(reasons.values()) == {"length"}
    assert tokens(texts[0]) + tokens(texts[1]) <= CEILING * 1.25


def test_the_chat_helper_takes_the_end(sync, provider):
    """`chat.completions.stream` sees what it sees when a provider reaches its ceiling: its own error for that."""
    provider.reply_with(Reply(chunks=WORDS))
    client = sync.client(provider, safellm=LIMITS)
    with client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": "go"}], max_tokens=CEILING
    ) as stream:
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            stream.get_final_completion()
    assert is_just_over(caught.value.completion.choices[0].message.content)


def test_b_3_a_responses_stream_ends_incomplete(face, provider):
    """All that has begun is ended, whole texts agree with their pieces, and the response says why."""
    provider.reply_with(Reply(chunks=WORDS))
    client = face.client(provider, safellm=LIMITS)
    made = face.run(client.responses.create(model="gpt-4o", input="go", max_output_tokens=CEILING, stream=True))
    events = face.all(made)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert is_just_over(text)
    assert [event.type for event in events[-4:]] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    last = events[-1].response
    assert (last.status, last.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert last.output_text == events[-4].text == text
    assert last.output[0].status == "incomplete"
    # A held back end of the text comes in an event of its own, with the number of the one that it is a part of.
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) >= len(numbers) - 1
    assert len(set(numbers[-4:])) == 4


def test_the_responses_helper_takes_the_end(sync, provider):
    """`responses.stream` goes through to the last event."""
    provider.reply_with(Reply(chunks=WORDS))
    client = sync.client(provider, safellm=LIMITS)
    with client.responses.stream(model="gpt-4o", input="go", max_output_tokens=CEILING) as stream:
        assert [event.type for event in stream][-1] == "response.incomplete"


def test_hidden_values_are_restored_to_the_end(sync, provider):
    """What the events of the end repeat is treated like all text: placeholders are put back, also in whole texts."""
    provider.reply_with(Reply(chunks=WORDS))
    client = sync.client(provider, safellm=LIMITS)
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "alice@example.com"}])
    hidden = json.loads(provider.requests[-1].body)["messages"][0]["content"]
    assert "alice" not in hidden
    provider.reply_with(Reply(chunks=(f"to {hidden},", *WORDS)))
    made = client.responses.create(model="gpt-4o", input="alice@example.com", max_output_tokens=CEILING, stream=True)
    events = list(made)
    assert events[-1].response.output_text.startswith("to alice@example.com, word0")
    assert hidden not in events[-1].to_json()


def test_a_stream_within_its_ceiling_is_not_touched(face, provider):
    """An answer that just fits ends as its provider ends it."""
    chunks = WORDS[: CEILING // 3]
    provider.reply_with(Reply(chunks=chunks))
    client = face.client(provider, safellm=LIMITS)
    assert tokens("".join(chunks)) <= CEILING
    assert face.ask(client, stream=True, max_tokens=CEILING) == "".join(chunks)


def test_without_a_limit_no_stream_is_ended(face, provider):
    """A ceiling is the provider's matter where no budget depends on it; observe mode ends nothing either."""
    provider.reply_with(Reply(chunks=WORDS))
    assert face.ask(face.client(provider), stream=True, max_tokens=CEILING) == "".join(WORDS)
    observing = face.client(provider, safellm={"mode": "observe", **LIMITS})
    assert face.ask(observing, stream=True, max_tokens=CEILING) == "".join(WORDS)


class Endless(ThreadingHTTPServer):
    """Sends chat chunks until nobody reads them; `left` is set then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Endless)
        self.left = threading.Event()
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"


class _Endless(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
        choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
        data = f"data: {json.dumps({**event, 'choices': [choice]})}\n\n".encode()
        try:
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:
            self.server.left.set()  # type: ignore[attr-defined]
            self.close_connection = True


@pytest.fixture
def endless() -> Iterator[Endless]:
    with Endless() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_b_3_the_server_is_left_when_a_stream_ends(face: Any, endless: Endless, usage: Callable[[], list[Any]]) -> None:
    """A server that never stops is not listened to any longer than the ceiling."""
    client = face.client(endless, safellm=LIMITS)
    assert is_just_over(face.ask(client, stream=True, max_tokens=CEILING))
    assert endless.left.wait(20)
    assert usage()[0].requests == 1
