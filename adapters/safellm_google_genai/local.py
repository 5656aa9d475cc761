"""Answers that no provider gave, as Google would write them: one text that cost nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from safellm._core.adapter import LocalAnswer
from safellm._core.effects import JSON


def local_answer(head: str, body: JSON, text: str, *, name: str) -> LocalAnswer | None:
    """Return one text as generated content; None where that is no answer."""
    target, _, query = head.partition("?")
    streams = target.endswith(":streamGenerateContent")
    if not isinstance(body, dict) or not (streams or target.endswith(":generateContent")):
        return None
    config = body.get("generationConfig") or body.get("generation_config") or {}
    if not isinstance(config, dict) or body.get("cachedContent"):
        return None
    modalities = config.get("responseModalities") or config.get("response_modalities")
    count = config.get("candidateCount") or config.get("candidate_count")
    if count not in (None, 1) or modalities not in (None, ["TEXT"]) or config.get("responseLogprobs"):
        return None
    model = target.rpartition("/")[2].partition(":")[0]
    whole = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "modelVersion": model,
        "responseId": f"safellm-{name}",
        "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
    }
    if not streams:
        return LocalAnswer(content_type="application/json", body=json.dumps(whole).encode())
    if "alt=sse" in query:
        return LocalAnswer(content_type="text/event-stream", body=f"data: {json.dumps(whole)}\r\n\r\n".encode())
    return LocalAnswer(content_type="application/json", body=json.dumps([whole]).encode())
