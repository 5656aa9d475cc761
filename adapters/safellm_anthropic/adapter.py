"""The Anthropic dialect, as tables and pure functions."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from safellm._core.adapter import Billing, Ceiling, LocalAnswer, Retention, Route, Seen, StreamReader, UsageSeen
from safellm._core.effects import JSON
from safellm._core.fields import Table
from safellm._core.origin import Origin
from safellm.errors import Refused
from safellm_anthropic.endpoints import MESSAGES, find_route
from safellm_anthropic.local import local_answer
from safellm_anthropic.retention import retention_of
from safellm_anthropic.stream import AnthropicStreamReader
from safellm_anthropic.table import TABLE

_ERROR_TYPES = {400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}
_PLATFORMS = (
    (".services.ai.azure.com", "azure.ai.inference"),
    (".googleapis.com", "gcp.vertex_ai"),
    (".api.aws", "aws.bedrock"),
    (".amazonaws.com", "aws.bedrock"),
)
_COUNTS = tuple(one.name for one in fields(UsageSeen))
# The provider keeps what was said under these: a session of an agent, the results of a batch, a thread of messages.
_KEEPS = ("/sessions", "/messages/batches", *MESSAGES)


@dataclass(slots=True, kw_only=True)
class AnthropicAdapter:
    """Reads and writes what `anthropic` clients exchange with Anthropic, and with Claude on other platforms."""

    name: str = "anthropic"
    provider: str = "anthropic"
    key_variable: str = "ANTHROPIC_API_KEY"
    origins: tuple[Origin, ...] = (Origin("https", "api.anthropic.com", 443),)
    table: Table = TABLE

    def route(self, method: str, path: str) -> Route:
        """Return the endpoint of a request."""
        return find_route(method, path)

    def provider_of(self, origin: Origin) -> str:
        """Return the OpenTelemetry provider name at an origin."""
        return next((name for suffix, name in _PLATFORMS if origin.host.endswith(suffix)), self.provider)

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - other providers need it
        """Return how an endpoint bounds its output; the API itself demands the bound."""
        if route.billing is not Billing.TOKENS:
            return None
        key = "max_tokens_to_sample" if route.template == "/complete" else "max_tokens"
        return Ceiling(keys=(key,), inject=key)

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:  # noqa: ARG002 - other providers need it
        """Change nothing: streams always tell their usage."""
        return False

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        if not isinstance(body, dict):
            return False
        config = body.get("output_config")
        wanted = body.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
        return isinstance(wanted, dict) and wanted.get("type") == "json_schema"

    def conversation(self, body: JSON, path: str) -> tuple[str | None, str | None]:
        """Return how the provider names this conversation, and the text that it began with."""
        segments = path.split("/")
        for name in ("sessions", "batches"):
            if name in segments[:-1]:
                return segments[segments.index(name) + 1], None
        if not isinstance(body, dict):
            return None, None
        thread = body.get("thread")
        known_as = thread.get("previous_message_id") if isinstance(thread, dict) else None
        return (known_as if isinstance(known_as, str) else None), _first_user_text(body)

    def keeps_conversation(self, route: Route) -> bool:
        """Return whether the provider keeps what was said, so that a later request may refer to it."""
        return route.method == "POST" and route.template in _KEEPS

    def retention(self, route: Route) -> Retention | None:
        """Return how an endpoint is told to keep nothing."""
        return retention_of(route)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an answer or a stream event says of itself."""
        if not isinstance(answer, dict):
            return
        message = answer.get("message")
        whole = message if isinstance(message, dict) else answer
        model, name = whole.get("model"), whole.get("id")
        if isinstance(model, str) and model:
            seen.model = model
        if isinstance(name, str) and seen.id is None:
            seen.id = name
        usage = whole.get("usage")
        if isinstance(usage, dict):
            if whole is message:
                # The start of a stream says one output token: a stream that ends before its own count is charged its hold.
                usage = {**usage, "output_tokens": None}
            # Cumulative in streams; a later one can't lower what was said before (THREATS B.3).
            seen.usage = _usage(usage).at_least(seen.usage)
        delta = answer.get("delta")
        reason = whole.get("stop_reason") or (delta.get("stop_reason") if isinstance(delta, dict) else None)
        if isinstance(reason, str):
            seen.finish_reasons.append(reason)

    def stream_reader(self, route: Route, *, hide_usage: bool) -> StreamReader:  # noqa: ARG002 - other providers need it
        """Return a reader for one stream."""
        return AnthropicStreamReader()

    def local_answer(self, head: str, body: JSON, text: str, *, name: str, now_s: int) -> LocalAnswer | None:  # noqa: ARG002 - others tell the time
        """Return one text as an answer that cost nothing; None where that is no answer."""
        return local_answer(head, body, text, name=name)

    def refusal_body(self, error: Refused) -> bytes:
        """Return an error body as Anthropic writes one."""
        inner = {"type": _ERROR_TYPES.get(error.status, "api_error"), "message": str(error)}
        return json.dumps({"type": "error", "error": inner, "request_id": None}).encode()


def _first_user_text(body: dict[str, Any]) -> str | None:
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else json.dumps(content, sort_keys=True, default=str)
    prompt = body.get("prompt")
    return prompt if isinstance(prompt, str) else None


def _usage(usage: dict[str, Any]) -> UsageSeen:
    total, parts = _counts(usage), usage.get("iterations")
    # The totals leave out what the provider spent on summaries of its own.
    extra = (
        [one for one in parts if isinstance(one, dict) and one.get("type") == "compaction"]
        if isinstance(parts, list)
        else []
    )
    if not extra:
        return total
    counted = [total, *[_counts(one) for one in extra]]
    return UsageSeen(**{name: _sum([getattr(one, name) for one in counted]) for name in _COUNTS})


def _counts(usage: dict[str, Any]) -> UsageSeen:
    fresh = _count(usage.get("input_tokens"))
    cached, written = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    details, kinds = usage.get("output_tokens_details"), usage.get("cache_creation")
    return UsageSeen(
        # Anthropic counts what was read from and written to its cache besides `input_tokens`, not within.
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=_count(usage.get("output_tokens")),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=_count(kinds.get("ephemeral_1h_input_tokens")) if isinstance(kinds, dict) else None,
        reasoning_tokens=_count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
    )


def _sum(counts: list[int | None]) -> int | None:
    # What the main part doesn't say isn't known, whatever the others say.
    return None if counts[0] is None else sum(one or 0 for one in counts)


def _count(value: Any) -> int | None:
    # More than 2^53 of anything is no count (RFC 7493 2.2); it is treated like a missing one.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


ADAPTER = AnthropicAdapter()
