"""Answers that no provider gave, as Anthropic would write them: one text that cost nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from safellm._core.adapter import LocalAnswer
from safellm._core.effects import JSON


def local_answer(head: str, body: JSON, text: str, *, name: str) -> LocalAnswer | None:
    """Return one text as a message; None where that is no answer."""
    if (
        not isinstance(body, dict)
        or not head.startswith("POST ")
        or not head.partition("?")[0].endswith("/v1/messages")
    ):
        return None
    if body.get("container"):  # something that the provider keeps
        return None
    whole = {
        "id": f"msg_safellm_{name}",
        "type": "message",
        "role": "assistant",
        "model": str(body.get("model") or ""),
        "content": [{"type": "text", "text": text, "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }
    if body.get("stream") is not True:
        return LocalAnswer(content_type="application/json", body=json.dumps(whole).encode())
    lines = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in _events(whole, text))
    return LocalAnswer(content_type="text/event-stream", body="".join(lines).encode())


def _events(whole: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": None}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": whole["usage"]}
    yield {"type": "message_stop"}
