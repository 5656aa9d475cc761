"""Gemini's wire shapes: whole answers, chunks as server-sent events or as one JSON array, and the events of interactions.

Pure: request and reply in, JSON objects and bytes out. What a stream says, joined, is what the whole answer says.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safellm.testing.replies import Reply, ToolCall, count_tokens, example_of, tokens_of

JsonObject = dict[str, Any]
_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request and the reply it gets, with everything that must be the same in all parts of the answer."""

    tag: str
    model: str
    body: Mapping[str, Any]
    reply: Reply

    @property
    def candidates(self) -> tuple[Reply, ...]:
        """One reply for each wanted candidate."""
        wanted = max(1, int(_config(self.body).get("candidateCount") or 1))
        given = self.reply.choices or (self.reply,)
        return tuple(given[min(index, len(given) - 1)] for index in range(wanted))


def echo(body: Any) -> Reply:
    """Return the echo assistant's reply: it quotes the last user text, in the form that the request wants."""
    said = last_user_text(body)
    config = _config(body) if isinstance(body, dict) else {}
    schema = config.get("responseSchema") or config.get("responseJsonSchema") or (body or {}).get("response_format")
    if schema:
        found = schema.get("schema", schema) if isinstance(schema, dict) else {}
        return Reply(text=json.dumps(example_of(_lower_types(found), said), ensure_ascii=False))
    return Reply(text=f'You wrote: "{said}"', within_limit=True)


def last_user_text(body: Any) -> str:
    """Return the text of the last turn of the user."""
    turns = body.get("contents", body.get("input")) if isinstance(body, dict) else None
    if isinstance(turns, str):
        return turns
    for turn in reversed(turns if isinstance(turns, list) else [turns]):
        if isinstance(turn, dict) and turn.get("role", "user") == "user":
            parts = turn.get("parts", turn.get("content", [turn]))
            parts = parts if isinstance(parts, list) else [parts]
            return " ".join(
                part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
    return ""


def whole(call: Call) -> JsonObject:
    """Return the answer of `generateContent`."""
    candidates = [
        {
            "content": {"role": "model", "parts": _parts(reply)},
            "finishReason": _reason(reply),
            "index": index,
        }
        for index, reply in enumerate(call.candidates)
    ]
    return {"candidates": candidates, **_frame(call), **_usage(call)}


def chunks(call: Call) -> Iterator[JsonObject]:
    """Yield the answer in chunks; candidates come one after the other, the usage grows."""
    frame = _frame(call)
    for index, reply in enumerate(call.candidates):
        for piece in tokens_of(reply.reasoning or ""):
            yield {"candidates": [_piece(index, [{"text": piece, "thought": True}])], **frame}
        for piece in reply.deltas:
            partial = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
            yield {"candidates": [_piece(index, [{"text": piece}])], "usageMetadata": partial, **frame}
        last = _piece(index, _calls(reply) or [{"text": "", "thoughtSignature": signature(call.tag)}])
        last["finishReason"] = _reason(reply)
        yield {"candidates": [last], **frame, **_usage(call)}


def as_events(items: Iterator[JsonObject]) -> Iterator[bytes]:
    """Yield chunks as server-sent events, with the line ends that Google sends."""
    for item in items:
        yield f"data: {json.dumps(item, ensure_ascii=False)}\r\n\r\n".encode("utf-8", "surrogatepass")


def as_array(items: Iterator[JsonObject]) -> Iterator[bytes]:
    """Yield chunks as the elements of one JSON array, with the line ends that Google sends."""
    before = b"["
    for item in items:
        yield before + json.dumps(item, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass")
        before = b"\r\n,\r\n"
    # Nothing after the bracket: the older SDK reads one character at a time and takes a line end for another array.
    yield b"\r\n]" if before != b"[" else b"[]"


def interaction(call: Call) -> JsonObject:
    """Return an interaction that is done."""
    return {
        "id": f"interaction-{call.tag}",
        "object": "interaction",
        "model": call.model,
        "status": "completed",
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "role": "model",
        "steps": _steps(call.reply),
        "usage": _interaction_usage(call),
    }


def interaction_events(call: Call) -> Iterator[bytes]:
    """Yield the events of a streamed interaction."""
    made = interaction(call)
    started = {**made, "status": "in_progress", "steps": []}
    yield _event("interaction.created", {"interaction": started})
    for index, step in enumerate(made["steps"]):
        if step["type"] == "model_output":
            yield _event("step.start", {"index": index, "step": {"type": "model_output"}})
            for piece in call.reply.deltas:
                yield _event("step.delta", {"index": index, "delta": {"type": "text", "text": piece}})
        else:
            yield _event("step.start", {"index": index, "step": {**step, "arguments": {}}})
            for piece in tokens_of(json.dumps(step["arguments"], ensure_ascii=False)):
                yield _event("step.delta", {"index": index, "delta": {"type": "arguments_delta", "arguments": piece}})
        yield _event("step.stop", {"index": index})
    yield _event("interaction.completed", {"interaction": {**made, "steps": []}})


def signature(tag: str) -> str:
    """Return a thought signature: opaque bytes in base64, the same for the same answer."""
    return base64.b64encode(hashlib.sha256(tag.encode()).digest()).decode()


def count_request_tokens(body: Any) -> int:
    """Return the tokens of all texts of a request."""
    if isinstance(body, str):
        return count_tokens(body)
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return sum(count_request_tokens(one) for one in inner)


def _config(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("generationConfig") or body.get("generation_config") or {}


def _frame(call: Call) -> JsonObject:
    return {"modelVersion": call.model, "responseId": call.tag}


def _piece(index: int, parts: list[JsonObject]) -> JsonObject:
    return {"content": {"role": "model", "parts": parts}, "index": index}


def _parts(reply: Reply) -> list[JsonObject]:
    thought = [{"text": reply.reasoning, "thought": True}] if reply.reasoning else []
    text = [{"text": reply.text}] if reply.text is not None else []
    return [*thought, *text, *_calls(reply)]


def _calls(reply: Reply) -> list[JsonObject]:
    return [
        {"functionCall": {"name": one.name, "args": _arguments(one)}, "thoughtSignature": signature(one.name)}
        for one in reply.tool_calls
    ]


def _arguments(call: ToolCall) -> Any:
    return json.loads(call.arguments_text)


def _steps(reply: Reply) -> list[JsonObject]:
    steps: list[JsonObject] = []
    if reply.text is not None:
        steps.append({"type": "model_output", "content": [{"type": "text", "text": reply.text}]})
    for index, one in enumerate(reply.tool_calls):
        steps.append({"type": "function_call", "id": f"call-{index}", "name": one.name, "arguments": _arguments(one)})
    return steps


def _event(kind: str, body: JsonObject) -> bytes:
    data = json.dumps({"event_type": kind, **body}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode("utf-8", "surrogatepass")


def _reason(reply: Reply) -> str:
    return _REASONS.get(reply.finish_reason or "stop", "STOP")


def _usage(call: Call) -> JsonObject:
    if call.reply.usage is not None:
        return {"usageMetadata": dict(call.reply.usage)} if call.reply.usage else {}
    prompt, thoughts = count_request_tokens(call.body), count_tokens(call.reply.reasoning or "")
    output = sum(reply.output_tokens for reply in call.candidates) - thoughts
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": output, "thoughtsTokenCount": thoughts}
    return {"usageMetadata": {**{k: n for k, n in counts.items() if n}, "totalTokenCount": prompt + output + thoughts}}


def _interaction_usage(call: Call) -> JsonObject:
    prompt, output = count_request_tokens(call.body), call.reply.output_tokens
    return {"total_input_tokens": prompt, "total_output_tokens": output, "total_tokens": prompt + output}


def _lower_types(schema: Any) -> Any:
    """Return a schema with the type names of JSON Schema; Google's own are in capitals."""
    if isinstance(schema, dict):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else _lower_types(value)
            for key, value in schema.items()
        }
    return [_lower_types(one) for one in schema] if isinstance(schema, list) else schema
