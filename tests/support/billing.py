"""A server whose answers are right but for what they say of usage, or that break off: in the dialects of three providers."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest, chunk, head_of

INPUT, OUTPUT = 11, 7
TEXT = ("one ", "two ", "three ", "four")
WHOLE = "whole"  # the usages that can be true
NUMBERS: dict[str, Any] = {
    "zero": 0, "negative": -7, "huge": 10**18, "text": "7", "fraction": 7.5, "null": None, "list": [7], "true": True,
}  # fmt: skip
BROKEN = ("cut", "reset", "half-json", "stall")
ATTEMPTS = ("error-then-whole", "limit-then-whole", "overload-then-whole", "nothing")


@dataclass(frozen=True)
class Usage:
    """What an answer says; None leaves a number out, `said` False leaves all of it out."""

    input: Any = INPUT
    output: Any = OUTPUT
    said: bool = True


def usage_of(fault: str) -> Usage:
    """Return what is said under a fault."""
    if fault in NUMBERS:
        return Usage(NUMBERS[fault], NUMBERS[fault])
    if fault == "missing":
        return Usage(said=False)
    return Usage(output=-1) if fault == "half-negative" else Usage()


class BillingServer(LoopbackServer):
    """What goes wrong is asked for by the header `x-fault`: the paths stay those of the providers."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: dict[str, int] = {}

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Answer as the header says."""
        fault = request.headers["x-fault"]
        number = self.attempts[fault] = self.attempts.get(fault, 0) + 1
        if fault == "nothing":
            return False
        if fault in ATTEMPTS and number == 1:
            status = {"error-then-whole": 500, "limit-then-whole": 429, "overload-then-whole": 503}[fault]
            headers = (("content-type", "application/json"), ("retry-after-ms", "1"), ("retry-after", "0"))
            connection.send_answer(Answer(status=status, headers=headers, body=b'{"error": {"message": "no"}}'))
            return True
        kind, body = body_of(request, usage_of(fault), twice=fault == "twice")
        if fault not in BROKEN:
            connection.send_answer(Answer(headers=(("content-type", kind),), body=body))
            return True
        head = head_of(Answer(headers=(("content-type", kind),), body=iter(())))
        half = body[: body.find(TEXT[2].strip().encode()) + 2]
        connection.send(head + chunk(half) + (b"0\r\n\r\n" if fault == "half-json" else b""))
        if fault == "reset":
            connection.reset()
        elif fault == "stall":
            connection.closing.wait(20)
        return False


def body_of(request: SeenRequest, usage: Usage, *, twice: bool = False) -> tuple[str, bytes]:
    """Return media type and body of an answer in the dialect of the request's path."""
    asked = request.json if isinstance(request.json, dict) else {}
    dialect: Callable[[Usage], tuple[Any, Iterator[tuple[str, Any]]]]
    if request.path.endswith("/chat/completions"):
        dialect, streams = _chat, bool(asked.get("stream"))
    elif request.path.endswith("/messages"):
        dialect, streams = _message, bool(asked.get("stream"))
    else:
        dialect, streams = _gemini, "streamGenerateContent" in request.path
    whole, events = dialect(usage)
    if not streams:
        body = json.dumps(whole)
        if twice:  # a smaller one after the first
            small, name = dialect(Usage(0, 0))[0], "usageMetadata" if dialect is _gemini else "usage"
            body = f'{body[:-1]}, "{name}": {json.dumps(small[name])}}}'
        return "application/json", body.encode()
    listed = list(events)
    if twice:
        said = list(dialect(Usage(0, 0))[1])
        listed.insert(len(listed) - (1 if dialect is _message else 0), said[-2 if dialect is _message else -1])
    lines = [
        f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else f"data: {json.dumps(data)}\n\n"
        for name, data in listed
    ]
    return "text/event-stream", ("".join(lines) + ("data: [DONE]\n\n" if dialect is _chat else "")).encode()


def _chat(usage: Usage) -> tuple[Any, Iterator[tuple[str, Any]]]:
    frame = {"id": "c1", "created": 1, "model": "gpt-4o-2024-08-06"}
    numbers = {"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": INPUT + OUTPUT}
    said = {"usage": numbers} if usage.said else {}
    message = {"role": "assistant", "content": "".join(TEXT)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {**frame, "object": "chat.completion", "choices": [choice], **said}

    def events() -> Iterator[tuple[str, Any]]:
        for text in TEXT:
            yield (
                "",
                {**frame, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]},
            )
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield "", {**frame, "object": "chat.completion.chunk", "choices": [last]}
        if said:
            yield "", {**frame, "object": "chat.completion.chunk", "choices": [], **said}

    return whole, events()


def _message(usage: Usage) -> tuple[Any, Iterator[tuple[str, Any]]]:
    frame = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "stop_sequence": None}
    said = {"usage": {"input_tokens": usage.input, "output_tokens": usage.output}} if usage.said else {}
    whole = {**frame, "content": [{"type": "text", "text": "".join(TEXT)}], "stop_reason": "end_turn", **said}

    def events() -> Iterator[tuple[str, Any]]:
        first = {"usage": {"input_tokens": usage.input, "output_tokens": 1 if usage.output == OUTPUT else usage.output}}
        started = {**frame, "content": [], "stop_reason": None, **(first if usage.said else {})}
        yield "message_start", {"type": "message_start", "message": started}
        block = {"type": "text", "text": ""}
        yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
        for text in TEXT:
            delta = {"type": "text_delta", "text": text}
            yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        ended = {"usage": {"output_tokens": usage.output}} if usage.said else {}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        yield "message_delta", {"type": "message_delta", "delta": delta, **ended}
        yield "message_stop", {"type": "message_stop"}

    return whole, events()


def _gemini(usage: Usage) -> tuple[Any, Iterator[tuple[str, Any]]]:
    numbers = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output,
        "totalTokenCount": 0 if usage.input == usage.output == 0 else INPUT + OUTPUT,
    }
    said = {"usageMetadata": numbers} if usage.said else {}
    frame = {"modelVersion": "gemini-2.5-flash", "responseId": "g1"}

    def candidate(text: str, **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}], **frame}

    def events() -> Iterator[tuple[str, Any]]:
        for text in TEXT[:-1]:
            yield "", candidate(text)
        yield "", {**candidate(TEXT[-1], finishReason="STOP"), **said}

    return {**candidate("".join(TEXT), finishReason="STOP"), **said}, events()
