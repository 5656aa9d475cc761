"""The provider's wire shapes: chat completions, completions and responses, whole and as server-sent events.

Pure: request and reply in, JSON objects and bytes out. What a stream says, joined, is what the whole answer says; the
events of `/v1/responses` that repeat a text (`*.done`, `response.completed`) are made from the same object as the whole
answer.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from safellm.testing.replies import Reply, ToolCall, at_limit, count_request_tokens, tokens_of

JsonObject = dict[str, Any]
DONE = b"data: [DONE]\n\n"
_FINGERPRINT = "fp_safellm_loopback"
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request and the reply it gets, with everything that must be the same in all parts of the answer.

    Attributes:
        tag: Unique part of the ids of this answer.
        created: Seconds since 1970-01-01 UTC.
        body: The request's JSON object.
        reply: As scripted or echoed.
    """

    tag: str
    created: int
    body: Mapping[str, Any]
    reply: Reply

    @property
    def model(self) -> str:
        """The requested model's name; a provider's answer repeats it."""
        return str(self.body.get("model", "loopback"))

    @property
    def choices(self) -> tuple[Reply, ...]:
        """One reply for each wanted choice."""
        wanted = max(1, int(self.body.get("n") or 1))
        given = self.reply.choices or (self.reply,)
        return tuple(at_limit(given[min(index, len(given) - 1)], self.body) for index in range(wanted))

    def call_id(self, choice: int, index: int, call: ToolCall) -> str:
        """Return the id of a tool call."""
        return call.id or f"call_{self.tag[:20]}{choice:02d}{index:02d}"


def sse(event: Mapping[str, Any], name: str | None = None) -> bytes:
    """Return one server-sent event; an event of `/v1/responses` has a name too."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode("utf-8", "surrogatepass")


def error_body(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return an error in the provider's form."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def chat_usage(call: Call) -> JsonObject | None:
    """Return the usage of a chat completion, or None if the reply leaves it out."""
    if call.reply.usage is not None:
        return dict(call.reply.usage) or None
    prompt = count_request_tokens(call.body)
    output = sum(reply.output_tokens for reply in call.choices)
    reasoning = sum(len(tokens_of(reply.reasoning or "")) for reply in call.choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_completion(call: Call) -> JsonObject:
    """Return the whole answer of `/v1/chat/completions`."""
    choices = [
        {
            "index": index,
            "message": _chat_message(call, index, reply),
            "logprobs": None,
            "finish_reason": _finish_reason(reply),
        }
        for index, reply in enumerate(call.choices)
    ]
    return _with_usage(_chat_frame(call, "chat.completion") | {"choices": choices}, chat_usage(call))


def chat_stream(call: Call) -> Iterator[bytes]:
    """Yield the events of a streamed chat completion; several choices come interleaved."""
    frame = _chat_frame(call, "chat.completion.chunk")
    wants_usage = bool((call.body.get("stream_options") or {}).get("include_usage"))
    usage_null: JsonObject = {"usage": None} if wants_usage else {}
    lanes = (_choice_deltas(call, index, reply) for index, reply in enumerate(call.choices))
    for row in zip_longest(*lanes):
        yield from (sse(frame | {"choices": [choice]} | usage_null) for choice in row if choice is not None)
    usage = chat_usage(call)
    if wants_usage and usage is not None:
        yield sse(frame | {"choices": [], "usage": usage})
    yield DONE


def text_completion(call: Call) -> JsonObject:
    """Return the whole answer of the older `/v1/completions`."""
    choices = [_text_choice(index, reply.text or "", _finish_reason(reply)) for index, reply in enumerate(call.choices)]
    return _with_usage(_chat_frame(call, "text_completion") | {"choices": choices}, chat_usage(call))


def text_stream(call: Call) -> Iterator[bytes]:
    """Yield the events of a streamed completion of the older kind."""
    frame = _chat_frame(call, "text_completion")
    for index, reply in enumerate(call.choices):
        for piece in reply.deltas:
            yield sse(frame | {"choices": [_text_choice(index, piece, None)]})
        yield sse(frame | {"choices": [_text_choice(index, "", _finish_reason(reply))]})
    usage = chat_usage(call)
    if (call.body.get("stream_options") or {}).get("include_usage") and usage is not None:
        yield sse(frame | {"choices": [], "usage": usage})
    yield DONE


def response_object(call: Call) -> JsonObject:
    """Return the whole answer of `/v1/responses`."""
    reply = call.choices[0]
    reason = _INCOMPLETE.get(reply.finish_reason or "")
    done = "incomplete" if reason else "completed"
    ended = {
        "status": done,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [item for item, _ in _output_items(call, reply, done)],
    }
    return _with_usage(_response_frame(call) | ended, _response_usage(call))


def response_stream(call: Call) -> Iterator[bytes]:
    """Yield the events of a streamed response, numbered from 0."""
    for number, (name, event) in enumerate(_response_events(call)):
        yield sse({"type": name, "sequence_number": number} | event, name)


def _chat_frame(call: Call, kind: str) -> JsonObject:
    return {
        "id": f"{'cmpl' if kind == 'text_completion' else 'chatcmpl'}-{call.tag}",
        "object": kind,
        "created": call.created,
        "model": call.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _with_usage(answer: JsonObject, usage: JsonObject | None) -> JsonObject:
    return answer if usage is None else answer | {"usage": usage}


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _chat_message(call: Call, choice: int, reply: Reply) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": reply.text, "refusal": reply.refusal, "annotations": []}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.call_id(choice, index, made),
                "type": "function",
                "function": {"name": made.name, "arguments": made.arguments_text},
            }
            for index, made in enumerate(reply.tool_calls)
        ]
    return message


def _choice_deltas(call: Call, choice: int, reply: Reply) -> Iterator[JsonObject]:
    """Yield the choices of the chunks of one choice: role, reasoning, text, refusal, tool calls, reason to stop."""
    for delta in _deltas(call, choice, reply):
        yield {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}
    yield {"index": choice, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(reply)}


def _deltas(call: Call, choice: int, reply: Reply) -> Iterator[JsonObject]:
    yield {"role": "assistant", "content": None if reply.text is None else "", "refusal": None}
    yield from ({"reasoning_content": piece} for piece in tokens_of(reply.reasoning or ""))
    yield from ({"content": piece} for piece in reply.deltas)
    yield from ({"refusal": piece} for piece in tokens_of(reply.refusal or ""))
    for index, made in enumerate(reply.tool_calls):
        function: JsonObject = {"name": made.name, "arguments": ""}
        head = {"index": index, "id": call.call_id(choice, index, made), "type": "function", "function": function}
        yield {"tool_calls": [head]}
        for piece in tokens_of(made.arguments_text):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _text_choice(index: int, text: str, finish_reason: str | None) -> JsonObject:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _response_usage(call: Call) -> JsonObject | None:
    if call.reply.usage is not None:
        return dict(call.reply.usage) or None
    reply, prompt = call.choices[0], count_request_tokens(call.body)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": len(tokens_of(reply.reasoning or ""))},
        "total_tokens": prompt + reply.output_tokens,
    }


def _response_frame(call: Call) -> JsonObject:
    """Return a response that has only begun; the settings of the request come back in it."""
    settings: JsonObject = {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    given = {name: call.body[name] for name in settings if call.body.get(name) is not None}
    return {
        "id": f"resp_{call.tag}",
        "object": "response",
        "created_at": call.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": [],
        **settings,
        **given,
        "usage": None,
    }


def _output_items(call: Call, reply: Reply, done: str) -> Iterator[tuple[JsonObject, tuple[str, ...]]]:
    """Yield the finished output items, each with the deltas that make up its text."""
    if reply.reasoning is not None:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        yield {"id": f"rs_{call.tag}", "type": "reasoning", "summary": summary}, tokens_of(reply.reasoning)
    if reply.text is not None or reply.refusal is not None or not (reply.tool_calls or reply.reasoning):
        content: list[JsonObject] = []
        if reply.text is not None or reply.refusal is None:
            content.append({"type": "output_text", "text": reply.text or "", "annotations": [], "logprobs": []})
        if reply.refusal is not None:
            content.append({"type": "refusal", "refusal": reply.refusal})
        item = {"id": f"msg_{call.tag}", "type": "message", "status": done, "role": "assistant", "content": content}
        yield item, reply.deltas
    for index, made in enumerate(reply.tool_calls):
        item = {
            "id": f"fc_{call.tag[:-2]}{index:02d}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.call_id(0, index, made),
            "name": made.name,
            "arguments": made.arguments_text,
        }
        yield item, tokens_of(made.arguments_text)


def _response_events(call: Call) -> Iterator[tuple[str, JsonObject]]:
    whole = response_object(call)
    begun = _response_frame(call)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    items = _output_items(call, call.choices[0], whole["status"])
    for index, (item, deltas) in enumerate(items):
        empty: JsonObject = {
            "message": {"content": []},
            "reasoning": {"summary": []},
            "function_call": {"arguments": ""},
        }
        started = item | empty[item["type"]] | ({"status": "in_progress"} if "status" in item else {})
        yield "response.output_item.added", {"output_index": index, "item": started}
        yield from _item_events({"item_id": item["id"], "output_index": index}, item, deltas)
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{whole['status']}", {"response": whole}


def _item_events(place: JsonObject, item: JsonObject, deltas: tuple[str, ...]) -> Iterator[tuple[str, JsonObject]]:
    if item["type"] == "function_call":
        for piece in deltas:
            yield "response.function_call_arguments.delta", place | {"delta": piece}
        arguments = {"arguments": item["arguments"], "name": item["name"]}
        yield "response.function_call_arguments.done", place | arguments
    elif item["type"] == "reasoning":
        yield from _reasoning_events(place | {"summary_index": 0}, item["summary"][0], deltas)
    else:
        for index, part in enumerate(item["content"]):
            yield from _part_events(place | {"content_index": index}, part, deltas)


def _reasoning_events(place: JsonObject, part: JsonObject, deltas: Iterable[str]) -> Iterator[tuple[str, JsonObject]]:
    yield "response.reasoning_summary_part.added", place | {"part": part | {"text": ""}}
    for piece in deltas:
        yield "response.reasoning_summary_text.delta", place | {"delta": piece}
    yield "response.reasoning_summary_text.done", place | {"text": part["text"]}
    yield "response.reasoning_summary_part.done", place | {"part": part}


def _part_events(place: JsonObject, part: JsonObject, deltas: Iterable[str]) -> Iterator[tuple[str, JsonObject]]:
    refusal = part["type"] == "refusal"
    field, name = ("refusal", "response.refusal") if refusal else ("text", "response.output_text")
    logprobs: JsonObject = {} if refusal else {"logprobs": []}
    yield "response.content_part.added", place | {"part": part | {field: ""}}
    for piece in tokens_of(part[field]) if refusal else deltas:
        yield f"{name}.delta", place | {"delta": piece} | logprobs
    yield f"{name}.done", place | {field: part[field]} | logprobs
    yield "response.content_part.done", place | {"part": part}
