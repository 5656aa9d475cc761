"""The OpenAI dialect, as tables and pure functions."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from safellm._core.adapter import Billing, Ceiling, LocalAnswer, Retention, Route, Seen, StreamReader, UsageSeen
from safellm._core.effects import JSON
from safellm._core.fields import Table
from safellm._core.origin import Origin
from safellm.errors import Refused
from safellm_openai.endpoints import find_route
from safellm_openai.local import local_answer
from safellm_openai.platforms import PLATFORMS, platform_at
from safellm_openai.retention import retention_of
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.table import TABLE

_OPENAI_HOSTS = frozenset({f"{one}api.openai.com" for one in ("", "us.", "eu.", "mtls.", "mtls-us.", "mtls-eu.")})
_ERROR_TYPES = {400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}

_CHAT_OWN = Ceiling(
    keys=("max_completion_tokens", "max_tokens"), inject="max_completion_tokens", multipliers=("n",)
)  # fmt: skip
_CHAT = replace(_CHAT_OWN, inject="max_tokens")
_CEILINGS = {
    "/responses": Ceiling(keys=("max_output_tokens",), inject="max_output_tokens"),
    "/completions": Ceiling(keys=("max_tokens",), inject="max_tokens", multipliers=("n", "best_of")),
}


class OpenAIAdapter:
    """Reads and writes what `openai` clients exchange with OpenAI, Azure OpenAI and compatible servers."""

    name = "openai"
    provider = "openai"
    key_variable = "OPENAI_API_KEY"
    origins: tuple[Origin, ...] = (Origin("https", "api.openai.com", 443),)
    table: Table = TABLE

    def route(self, method: str, path: str) -> Route:
        """Return the endpoint of a request."""
        return find_route(method, path)

    def provider_of(self, origin: Origin) -> str:
        """Return the OpenTelemetry provider name at an origin."""
        return platform_at(origin.host) or "openai"

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:
        """Return how an endpoint bounds its output."""
        if route.billing is not Billing.TOKENS:
            return None
        if route.template == "/chat/completions":
            # `max_completion_tokens` is OpenAI's newer name; compatible servers know the older one.
            own = origin.host in _OPENAI_HOSTS or self.provider_of(origin) in PLATFORMS
            return _CHAT_OWN if own else _CHAT
        return _CEILINGS.get(route.template)

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:
        """Have a chat stream end with its usage; Responses streams always do."""
        if route.template not in ("/chat/completions", "/completions") or body.get("stream") is not True:
            return False
        options = body.get("stream_options")
        if isinstance(options, dict) and "include_usage" in options:
            return False
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return True

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        if not isinstance(body, dict):
            return False
        text = body.get("text")
        wanted = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
        return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")

    def conversation(self, body: JSON, path: str) -> tuple[str | None, str | None]:
        """Return how the provider names this conversation, and the text that it began with."""
        segments = path.split("/")
        if "threads" in segments[:-1]:
            return segments[segments.index("threads") + 1], None  # assistants: the path names the conversation
        if not isinstance(body, dict):
            return None, None
        conversation = body.get("conversation")
        named = conversation.get("id") if isinstance(conversation, dict) else conversation
        known_as = named or body.get("previous_response_id")
        return (known_as if isinstance(known_as, str) else None), _first_user_text(body)

    def keeps_conversation(self, route: Route) -> bool:
        """Return whether the provider keeps what was said, so that a later request may refer to it."""
        return route.template.startswith(("/responses", "/conversations", "/threads"))

    def retention(self, route: Route) -> Retention | None:
        """Return how an endpoint is told to keep nothing."""
        return retention_of(route)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an answer or a stream event says of itself."""
        if not isinstance(answer, dict):
            return
        inner = answer.get("response")
        whole = inner if isinstance(inner, dict) else answer
        model, name = whole.get("model"), whole.get("id")
        if isinstance(model, str) and model:
            seen.model = model
        if isinstance(name, str) and seen.id is None:
            seen.id = name
        usage = whole.get("usage")
        if isinstance(usage, dict):
            # A second usage can't lower what was said before (THREATS B.3).
            seen.usage = _usage(usage).at_least(seen.usage)
        for choice in _list(whole.get("choices")):
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                seen.finish_reasons.append(choice["finish_reason"])
        if whole.get("object") == "response" and whole.get("status") in (
            "completed",
            "incomplete",
            "failed",
            "cancelled",
        ):
            seen.finish_reasons.append(str(whole["status"]))

    def stream_reader(self, route: Route, *, hide_usage: bool) -> StreamReader:  # noqa: ARG002 - other providers need it
        """Return a reader for one stream."""
        return OpenAIStreamReader(hide_usage=hide_usage)

    def local_answer(self, head: str, body: JSON, text: str, *, name: str, now_s: int) -> LocalAnswer | None:
        """Return one text as an answer that cost nothing; None where that is no answer."""
        return local_answer(head, body, text, name=name, now_s=now_s)

    def refusal_body(self, error: Refused) -> bytes:
        """Return an error body as OpenAI writes one."""
        kind = _ERROR_TYPES.get(error.status, "api_error")
        inner = {"message": str(error), "type": kind, "param": error.guard, "code": str(error.reason)}
        return json.dumps({"error": inner}).encode()


def _first_user_text(body: dict[str, Any]) -> str | None:
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, str):
        return messages
    for message in _list(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else json.dumps(content, sort_keys=True, default=str)
    prompt = body.get("prompt")
    return prompt if isinstance(prompt, str) else None


def _usage(usage: dict[str, Any]) -> UsageSeen:
    inputs = _dict(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    outputs = _dict(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    output = usage.get("completion_tokens", usage.get("output_tokens"))
    if output is None and "total_tokens" in usage and prompt is not None:
        output = 0  # embeddings: input only
    return UsageSeen(
        input_tokens=_count(prompt),
        output_tokens=_count(output),
        cached_input_tokens=_count(inputs.get("cached_tokens")),
        cache_write_tokens=_count(inputs.get("cache_write_tokens")),
        reasoning_tokens=_count(outputs.get("reasoning_tokens")),
    )


def _count(value: Any) -> int | None:
    # More than 2^53 of anything is no count (RFC 7493 2.2); it is treated like a missing one.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


ADAPTER = OpenAIAdapter()
