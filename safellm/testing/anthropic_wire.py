"""Anthropic's wire shapes: messages, whole and as server-sent events. What a stream says, joined, is what the whole says.

Pure: request and reply in, JSON objects and bytes out.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from safellm.testing.replies import Reply, at_limit, count_tokens, tokens_of
from safellm.testing.wire import Call, JsonObject, sse

_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip
_CITED = 40  # characters of a document that a citation repeats


def error_body(status: int, message: str) -> bytes:
    """Return an error in the provider's form."""
    kind = _ERRORS.get(status, "api_error")
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": None}).encode()


def message(call: Call) -> JsonObject:
    """Return the whole answer."""
    reply = at_limit(call.reply, call.body)
    return {
        "id": f"msg_{call.tag[:24]}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": list(_blocks(call, reply)),
        "stop_reason": _reason(reply),
        "stop_sequence": None,
        "usage": _usage(call, reply),
    }


def message_stream(call: Call) -> Iterator[bytes]:
    """Yield the answer as events."""
    reply = at_limit(call.reply, call.body)
    whole = message(call)
    # Output tokens are counted at the end; what a stream begins with is the input.
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield _event({"type": "message_start", "message": begun if whole["usage"] else {**begun, "usage": {}}})
    for index, block in enumerate(whole["content"]):
        yield from _block_events(index, block, reply)
        if index == 0:
            yield _event({"type": "ping"})
    delta: JsonObject = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": whole["usage"]})
    yield _event({"type": "message_stop"})


def count_input(body: Mapping[str, Any]) -> int:
    """Return the tokens of all texts that a request gives to the model."""
    return sum(count_tokens(text) for name in ("system", "messages", "tools") for text in _texts(body.get(name)))


def signature(thinking: str) -> str:
    """Return a signature that depends on every character of a thinking block."""
    return base64.b64encode(f"signed:{len(thinking)}:{sum(map(ord, thinking))}".encode()).decode()


def _blocks(call: Call, reply: Reply) -> Iterator[JsonObject]:
    if reply.reasoning is not None:
        yield {"type": "thinking", "thinking": reply.reasoning, "signature": signature(reply.reasoning)}
    text = reply.refusal if reply.text is None else reply.text
    if text is not None:
        cited = _citation(call.body)
        yield {"type": "text", "text": text, "citations": None if cited is None else [cited]}
    for index, one in enumerate(reply.tool_calls):
        name = one.id or f"toolu_{call.tag[:20]}{index:02d}"
        yield {"type": "tool_use", "id": name, "name": one.name, "input": json.loads(one.arguments_text)}


def _block_events(index: int, block: JsonObject, reply: Reply) -> Iterator[bytes]:
    kind = block["type"]
    empties: dict[str, JsonObject] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    empty = empties[kind]
    yield _event({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
    if kind == "text":
        pieces = reply.deltas if block["text"] == reply.text else tokens_of(block["text"])
        deltas: list[JsonObject] = [{"type": "text_delta", "text": piece} for piece in pieces]
        deltas += [{"type": "citations_delta", "citation": cited} for cited in block["citations"] or ()]
    elif kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in tokens_of(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        written = json.dumps(block["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *tokens_of(written))]
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


def _event(event: JsonObject) -> bytes:
    return sse(event, event["type"])


def _reason(reply: Reply) -> str:
    given = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
    return "refusal" if reply.refusal is not None else _REASONS.get(given, given)


def _usage(call: Call, reply: Reply) -> JsonObject:
    if reply.usage is not None:
        return dict(reply.usage)
    return {
        "input_tokens": count_input(call.body),
        "output_tokens": reply.output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _citation(body: Mapping[str, Any]) -> JsonObject | None:
    """Return a citation of the first document that may be cited."""
    for said in body.get("messages") or ():
        content = said.get("content") if isinstance(said, dict) else None
        for index, block in enumerate(content if isinstance(content, list) else ()):
            source = block.get("source")
            if block.get("type") == "document" and (block.get("citations") or {}).get("enabled") and source:
                text = str(source.get("data", ""))[:_CITED]
                return {
                    "type": "char_location", "cited_text": text, "document_index": index, "document_title": block.get("title"),
                    "start_char_index": 0, "end_char_index": len(text), "file_id": None,
                }  # fmt: skip
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
