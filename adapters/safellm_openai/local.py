"""Answers that no provider gave, as OpenAI would write them: one text that cost nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from safellm._core.adapter import LocalAnswer
from safellm._core.effects import JSON

# What asks for more than a text, or for somebody who remembers; a value of `no` asks for nothing.
_NOT_CHAT = ("store", "logprobs", "audio", "function_call")
_NOT_RESPONSES = ("background", "conversation", "previous_response_id", "include", "prompt")


def local_answer(head: str, body: JSON, text: str, *, name: str, now_s: int) -> LocalAnswer | None:
    """Return one text as the answer of a chat completion or a response; None where that is no answer."""
    target = head.partition("?")[0]
    if not isinstance(body, dict) or not target.startswith("POST "):
        return None
    model, streams = str(body.get("model") or ""), body.get("stream") is True
    if target.endswith("/chat/completions"):
        modalities = body.get("modalities")
        if body.get("n") not in (None, 1) or modalities not in (None, ["text"]) or any(map(body.get, _NOT_CHAT)):
            return None
        frame = {"id": f"chatcmpl-safellm-{name}", "created": now_s, "model": model}
        return _events(_chunks(frame, body, text)) if streams else _whole(_completion(frame, text))
    if target.endswith("/responses") and not any(map(body.get, _NOT_RESPONSES)):
        return (
            _events(_response_events(name, now_s, model, text))
            if streams
            else _whole(_response(name, now_s, model, text))
        )
    return None


def _whole(value: Any) -> LocalAnswer:
    return LocalAnswer(content_type="application/json", body=json.dumps(value).encode())


def _events(events: Iterator[tuple[str, Any]]) -> LocalAnswer:
    lines = []
    for name, one in events:
        lines.append(f"event: {name}\n" if name else "")
        lines.append(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n")
    return LocalAnswer(content_type="text/event-stream", body="".join(lines).encode())


def _completion(frame: dict[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {**frame, "object": "chat.completion", "choices": [choice], "usage": usage}


def _chunks(frame: dict[str, Any], body: dict[str, Any], text: str) -> Iterator[tuple[str, Any]]:
    frame = {**frame, "object": "chat.completion.chunk"}
    for delta, reason in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop")):
        yield "", {**frame, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        yield "", {**frame, "choices": [], "usage": usage}
    yield "", "[DONE]"


def _response(name: str, now_s: int, model: str, text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {
        "id": f"msg_safellm_{name}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    return {
        **_begun(name, now_s, model),
        "status": "completed",
        "output": [item],
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    }


def _begun(name: str, now_s: int, model: str) -> dict[str, Any]:
    return {
        "id": f"resp_safellm_{name}",
        "object": "response",
        "created_at": now_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "usage": None,
    }


def _response_events(name: str, now_s: int, model: str, text: str) -> Iterator[tuple[str, Any]]:
    whole = _response(name, now_s, model, text)
    item = whole["output"][0]
    [part] = item["content"]
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {**part, "text": ""}
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("response.created", {"response": _begun(name, now_s, model)}),
        ("response.in_progress", {"response": _begun(name, now_s, model)}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**at, "part": empty}),
        ("response.output_text.delta", {**at, "delta": text, "logprobs": []}),
        ("response.output_text.done", {**at, "text": text, "logprobs": []}),
        ("response.content_part.done", {**at, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    )
    for number, (kind, value) in enumerate(steps):
        yield kind, {"type": kind, "sequence_number": number, **value}
