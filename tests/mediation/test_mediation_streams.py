"""Placeholders that a stream cuts in two come back whole, in every event of every stream that carries text in pieces."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mediation_fill import bare
from mediation_openai import OPENAI
from mediation_sdk import is_one_of
from mediation_sweep import MAIL, PLACEHOLDER, Wire, events

import openai
import safellm

NATIVE = OPENAI.native
ADDRESS = f"{MAIL}000000@example.com"
Make = Callable[[str], Any]

# Deltas that aren't one string under `delta`: how to make an event, and where its text stands.
SHAPES: dict[str, tuple[Make, tuple[Any, ...]]] = {
    "chat content": (lambda t: {"choices": [{"index": 0, "delta": {"content": t}}]}, ("choices", 0, "delta", "content")),
    "chat refusal": (lambda t: {"choices": [{"index": 0, "delta": {"refusal": t}}]}, ("choices", 0, "delta", "refusal")),
    "chat audio": (
        lambda t: {"choices": [{"index": 0, "delta": {"audio": {"transcript": t}}}]},
        ("choices", 0, "delta", "audio", "transcript"),
    ),
    "completion": (lambda t: {"object": "text_completion", "choices": [{"index": 0, "text": t}]}, ("choices", 0, "text")),
    "assistant text": (
        lambda t: {"id": "m", "object": "thread.message.delta",
                   "delta": {"content": [{"index": 0, "type": "text", "text": {"value": t}}]}},
        ("delta", "content", 0, "text", "value"),
    ),
    "assistant refusal": (
        lambda t: {"id": "m", "object": "thread.message.delta",
                   "delta": {"content": [{"index": 0, "type": "refusal", "refusal": t}]}},
        ("delta", "content", 0, "refusal"),
    ),
    "shell output": (
        lambda t: {"type": "response.shell_call_output_content.delta", "item_id": "i", "output_index": 0, "command_index": 0,
                   "delta": {"stdout": t}},
        ("delta", "stdout"),
    ),
}  # fmt: skip
ARGUMENTS: dict[str, tuple[Make, tuple[Any, ...]]] = {
    "chat tool call": (
        lambda t: {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": t}}]}}]},
        ("choices", 0, "delta", "tool_calls", 0, "function", "arguments"),
    ),
    "chat function call": (
        lambda t: {"choices": [{"index": 0, "delta": {"function_call": {"arguments": t}}}]},
        ("choices", 0, "delta", "function_call", "arguments"),
    ),
    "assistant function": (
        lambda t: {"id": "s", "object": "thread.run.step.delta", "delta": {"step_details": {"type": "tool_calls",
                   "tool_calls": [{"index": 0, "type": "function", "function": {"arguments": t}}]}}},
        ("delta", "step_details", "tool_calls", 0, "function", "arguments"),
    ),
    "assistant code": (
        lambda t: {"id": "s", "object": "thread.run.step.delta", "delta": {"step_details": {"type": "tool_calls",
                   "tool_calls": [{"index": 0, "type": "code_interpreter", "code_interpreter": {"input": t}}]}}},
        ("delta", "step_details", "tool_calls", 0, "code_interpreter", "input"),
    ),
}  # fmt: skip
# What compatible servers add for models that reason; the SDK hands it on.
for _key in ("reasoning_content", "reasoning", "thinking"):
    SHAPES[f"chat {_key}"] = (
        lambda t, key=_key: {"choices": [{"index": 0, "delta": {key: t}}]},
        ("choices", 0, "delta", _key),
    )
BYTES = {"response.audio.delta": "sound"}


def typed() -> Iterator[tuple[str, Any]]:
    """Yield (type, class) of every delta event of the SDK's unions."""
    from openai.types.audio.transcription_stream_event import TranscriptionStreamEvent
    from openai.types.responses import ResponseStreamEvent

    unions = [TranscriptionStreamEvent, ResponseStreamEvent]
    for module, name in (
        ("beta_response_stream_event", "BetaResponseStreamEvent"),
        ("agent_session_event", "AgentSessionEvent"),
    ):
        try:
            unions.append(getattr(__import__(f"openai.types.beta.{module}", fromlist=[name]), name))
        except ImportError:  # an older SDK
            continue
    seen = set()
    for union in unions:
        for one in typing.get_args(bare(union)):
            kind = str(typing.get_args(one.model_fields["type"].annotation)[0])
            if kind.endswith(".delta") and kind not in seen and kind not in BYTES:
                seen.add(kind)
                yield kind, one


def _event(kind: str, model: Any) -> tuple[Make, tuple[Any, ...]]:
    rest = {
        name: 0 if name.endswith("_index") else "i" for name in model.model_fields if name.endswith(("_index", "_id"))
    }
    return (lambda text: {**rest, "type": kind, "delta": text}), ("delta",)


TYPED = {kind: _event(kind, one) for kind, one in typed() if bare(one.model_fields["delta"].annotation) is str}
INPUTS = {
    name: made for name, made in TYPED.items() if is_one_of(f"{name.replace('.', '/')}.delta", OPENAI.tool_input)
} | ARGUMENTS
TEXTS = {name: made for name, made in (TYPED | SHAPES).items() if name not in INPUTS}


@pytest.fixture
def run(home: Path) -> Iterator[Callable[..., str]]:
    """Stream pieces in events of one form; return what the program reads, joined."""
    made: dict[str, Any] = {}

    def answer(request: Any) -> tuple[str, bytes]:
        found = PLACEHOLDER.search(wire.requests[-1][3].decode())
        assert found is not None
        pieces = [
            one.replace("{A}", found[0][: made["cut"]]).replace("{B}", found[0][made["cut"] :])
            for one in made["pieces"]
        ]
        return "text/event-stream", events([made["make"](one) for one in pieces])

    wire = Wire(answer=answer, native=NATIVE)
    http = NATIVE.Client(transport=wire.transport())
    client = safellm.OpenAI(api_key="given", max_retries=0, http_client=http)

    def call(shape: tuple[Make, tuple[Any, ...]], pieces: list[str], cut: int) -> str:
        make, place = shape
        made.update(make=make, pieces=pieces, cut=cut)
        body = {"model": "m", "input": f"write to {ADDRESS}"}
        got = []
        for event in client.post(
            "/responses", cast_to=object, body=body, stream=True, stream_cls=openai.Stream[object]
        ):
            value: Any = event
            for key in place:
                value = value[key] if isinstance(key, int) or key in value else ""
            got.append(value)
        return "".join(got)

    yield call
    http.close()


@pytest.mark.parametrize("cut", [1, 7, 23])
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_value_cut_in_two_comes_back(run: Callable[..., str], name: str, cut: int) -> None:
    """In text the value comes back whole; in a URL the placeholder stays, and no control gets through."""
    got = run(TEXTS[name], ["Dear {A}", "{B}, see\x1b", "[31m https://x.example/?q={A}", "{B} ok"], cut)
    assert got.startswith(f"Dear {ADDRESS}, see")
    assert got.count(ADDRESS) == 1
    assert "?q=X-EMAIL-" in got
    assert "\x1b" not in got


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_tool_input_keeps_its_placeholder(run: Callable[..., str], name: str) -> None:
    """What no policy declares isn't restored in a tool's input, cut or whole."""
    got = run(INPUTS[name], ['{"to": "{A}', '{B}", "cc": "{A}{B}"}'], 9)
    assert ADDRESS not in got
    assert len(PLACEHOLDER.findall(got)) == 2


def test_every_delta_event_is_placed() -> None:
    """A delta of another form than one string needs a place in this file."""
    other = {kind for kind, one in typed() if bare(one.model_fields["delta"].annotation) is not str}
    assert other <= {"response.shell_call_output_content.delta"}
    assert len(TYPED) >= (14 if OPENAI.is_pinned else 1)


# -- an answer that says of itself what it isn't -----------------------------------------------------------------------

WRONG_TYPES = ("application/octet-stream", "text/plain", "")


@pytest.mark.parametrize("kind", WRONG_TYPES)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_another_content_type_is_guarded_all_the_same(home: Path, kind: str, stream: bool) -> None:
    """A server that says `text/plain` or nothing gets its JSON and its events read by the SDK: they must be cleaned too."""
    chunk = {
        "choices": [
            {"index": 0, "delta": {"content": "a\x1b[31mb"}, "message": {"role": "assistant", "content": "a\x1b[31mb"}}
        ]
    }

    def answer(request: Any) -> tuple[str, bytes]:
        return kind, events([chunk]) if stream else json.dumps(chunk).encode()

    wire = Wire(answer=answer, native=NATIVE)
    with NATIVE.Client(transport=wire.transport()) as http:
        client = safellm.OpenAI(api_key="given", max_retries=0, http_client=http)
        got: Any = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        if stream:
            texts = [one.choices[0].delta.content for one in got]
        else:
            texts = [got.choices[0].message.content] if hasattr(got, "choices") else [str(got)]
    assert texts
    assert not [text for text in texts if "\x1b" in text or "\\u001b" in text]
