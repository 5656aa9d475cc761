"""A stream of messages that has more output than is held ends as Anthropic ends one at `max_tokens`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from safellm.stores.encodings import shared
from safellm.testing.replies import Reply, ToolCall

MODEL = "claude-sonnet-5-5"
CEILING = 100
WORDS = tuple(f" word{number}" for number in range(3000))
LIMITS = {"budget.limits": [{"tokens": 1_000_000}]}
ASKED = {"model": MODEL, "max_tokens": CEILING, "messages": [{"role": "user", "content": "go"}]}


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """What is tested is where a stream ends, not how long a vocabulary takes to load."""
    shared().count("o200k_base", ("hello",))


def test_b_3_a_stream_ends_at_twice_what_is_held(face, provider):
    """The model's tokenizer is not public: twice the ceiling by another is surely too much."""
    provider.reply_with(Reply(chunks=WORDS))
    client = face.client(provider, safellm=LIMITS)
    events = face.all(face.run(client.messages.create(**ASKED, stream=True)))
    text = "".join(
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )
    counted = shared().count("o200k_base", (text,))
    assert 2 * CEILING < counted < 2.5 * CEILING
    assert [event.type for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-2].delta.stop_reason == "max_tokens"


def test_the_helper_takes_the_end(sync, provider, outcome):
    """`messages.stream` returns a message that was cut, and what came is charged."""
    provider.reply_with(Reply(chunks=WORDS))
    with sync.client(provider, safellm=LIMITS).messages.stream(**ASKED) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "max_tokens"
    assert message.content[0].text.startswith(" word0 word1")
    assert outcome()["safellm.budget.charged"]["output_tokens"] >= 2 * CEILING


def test_a_tool_call_that_runs_on_is_ended_too(sync, provider):
    """Arguments are output: a call that never ends is cut, and the helper takes what came."""
    provider.reply_with(Reply(tool_calls=(ToolCall(name="write", arguments='{"text": "' + "word " * 3000 + '"}'),)))
    tools = [{"name": "write", "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}}}]
    with sync.client(provider, safellm=LIMITS).messages.stream(**ASKED, tools=tools) as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] == "message_stop"
    assert stream.get_final_message().stop_reason in ("max_tokens", "tool_use")
