"""The Gemini dialect, as tables and pure functions: the Gemini API and Vertex AI."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from safellm._core.adapter import Billing, Ceiling, LocalAnswer, Retention, Route, Seen, StreamReader, UsageSeen
from safellm._core.effects import JSON
from safellm._core.fields import Table
from safellm._core.origin import Origin
from safellm.errors import Refused
from safellm_google_genai.endpoints import find_route
from safellm_google_genai.local import local_answer
from safellm_google_genai.retention import retention_of
from safellm_google_genai.stream import GeminiStreamReader
from safellm_google_genai.table import TABLE

GEMINI = Origin("https", "generativelanguage.googleapis.com", 443)
VERTEX = Origin("https", "aiplatform.googleapis.com", 443)
# Vertex AI: the global host, those of regions, those of several regions at once.
_VERTEX_HOST = re.compile(r"(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com|aiplatform\.(?:us|eu)\.rep\.googleapis\.com")
_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
_CEILING_KEYS = ("maxOutputTokens", "max_output_tokens")
_CHOICES = ("candidateCount", "candidate_count")
_CONFIGS = ("generationConfig", "generation_config")
_GENERATE = (":generateContent", ":streamGenerateContent")
_JSON = "application/json"
_REFERENCES = ("previous_interaction_id", "previousInteractionId", "cachedContent", "cached_content")
_MOST_DIGITS = 19  # of a number of 64 bits; thousands of them would be refused (CVE-2020-10735)
# Input, input of tools, output, thoughts, all of it, input from the cache; in answers of models and in interactions.
_USAGE_METADATA = (
    "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount",
    "cachedContentTokenCount",
)  # fmt: skip
_USAGE = (
    "total_input_tokens", "total_tool_use_tokens", "total_output_tokens", "total_thought_tokens", "total_tokens",
    "total_cached_tokens",
)  # fmt: skip


@dataclass(slots=True)
class GoogleAdapter:
    """Reads and writes what Google's SDKs exchange with the Gemini API and with Vertex AI.

    Attributes:
        origins: The provider's own; a client for a region of Vertex AI has that region's too.
    """

    origins: tuple[Origin, ...] = (GEMINI, VERTEX)
    name: str = "google"
    provider: str = "gcp.gemini"
    key_variable: str = "GOOGLE_API_KEY"
    table: Table = TABLE

    def route(self, method: str, path: str) -> Route:
        """Return the endpoint of a request."""
        return find_route(method, path)

    def provider_of(self, origin: Origin) -> str:
        """Return the OpenTelemetry provider name at an origin."""
        return "gcp.vertex_ai" if is_vertex(origin) else "gcp.gemini"

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - other providers need it
        """Return how an endpoint bounds its output."""
        if route.billing is not Billing.TOKENS:
            return None
        if route.template.endswith(_GENERATE):
            return Ceiling(keys=_CEILING_KEYS, inject=_CEILING_KEYS[0], multipliers=_CHOICES, within=_CONFIGS)
        if route.template == "/interactions":
            return Ceiling(keys=_CEILING_KEYS, inject=_CEILING_KEYS[1], within=_CONFIGS[::-1])
        return None

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:  # noqa: ARG002 - other providers need it
        """Ask for nothing: every stream tells its usage."""
        return False

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        if not isinstance(body, dict):
            return False
        for place in (body, body.get(_CONFIGS[0]), body.get(_CONFIGS[1])):
            if not isinstance(place, dict):
                continue
            if place.get("responseMimeType") == _JSON or place.get("response_mime_type") == _JSON:
                return True
            for wanted in (place.get("responseFormat"), place.get("response_format")):
                if wanted and any(_is_json_format(one) for one in (wanted if isinstance(wanted, list) else [wanted])):
                    return True
        return False

    def conversation(self, body: JSON, path: str) -> tuple[str | None, str | None]:  # noqa: ARG002 - paths name none
        """Return how the provider names this conversation, and the text that it began with."""
        if not isinstance(body, dict):
            return None, None
        known_as = None
        for key in _REFERENCES:
            if key in body and isinstance(one := body[key], str) and one:
                known_as = one
                break
        return known_as, _first_user_text(body)

    def keeps_conversation(self, route: Route) -> bool:
        """Return whether the provider keeps what was said, so that a later request may refer to it."""
        return route.template.startswith(("/interactions", "/cachedContents"))

    def retention(self, route: Route) -> Retention | None:
        """Return how an endpoint is told to keep nothing."""
        return retention_of(route)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an answer or a stream event says of itself."""
        if not isinstance(answer, dict):
            return
        inner = answer.get("interaction")
        whole = inner if isinstance(inner, dict) else answer
        model = whole.get("modelVersion") or whole.get("model")
        if isinstance(model, str) and model:
            seen.model = model.removeprefix("models/")
        name = whole.get("responseId") or whole.get("id") or _cache_name(whole)
        if isinstance(name, str) and seen.id is None:
            seen.id = name
        _finish_reasons(whole, seen)
        # The usage of a stream grows with it: before the end it says too little, and what is held stays charged (B.3).
        unfinished = "candidates" in whole or whole.get("status") == "in_progress"
        if (seen.finish_reasons or not unfinished) and (usage := _usage(whole)) is not None:
            seen.usage = usage.at_least(seen.usage)

    def stream_reader(self, route: Route, *, hide_usage: bool) -> StreamReader:  # noqa: ARG002 - other providers need it
        """Return a reader for one stream."""
        return GeminiStreamReader()

    def local_answer(self, head: str, body: JSON, text: str, *, name: str, now_s: int) -> LocalAnswer | None:  # noqa: ARG002 - others tell the time
        """Return one text as an answer that cost nothing; None where that is no answer."""
        return local_answer(head, body, text, name=name)

    def refusal_body(self, error: Refused) -> bytes:
        """Return an error body as Google writes one."""
        return json.dumps({"error": error_parts(error)}).encode()


def is_vertex(origin: Origin) -> bool:
    """Return whether an origin is one of Vertex AI's own."""
    return origin.scheme == "https" and origin.port == VERTEX.port and _VERTEX_HOST.fullmatch(origin.host) is not None


def error_parts(error: Refused) -> dict[str, Any]:
    """Return what Google's errors say, for a refusal."""
    details = [{"@type": "safellm", "reason": str(error.reason), "guard": error.guard}]
    return {
        "code": error.status,
        "message": str(error),
        "status": _STATUS.get(error.status, "UNKNOWN"),
        "details": details,
    }


def _is_json_format(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return "schema" in value or any(value.get(name) == _JSON for name in ("mime_type", "mimeType"))


def _first_user_text(body: dict[str, Any]) -> str | None:
    contents = body.get("contents", body.get("input"))
    if isinstance(contents, str):
        return contents
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, dict) and content.get("role", "user") == "user":
            parts = content.get("parts")
            if isinstance(parts, list) and len(parts) == 1 and _is_text(parts[0]):
                return str(parts[0]["text"])
            return json.dumps(
                content.get("parts", content.get("content", content.get("text"))), sort_keys=True, default=str
            )
    return None


def _is_text(part: object) -> bool:
    """Return whether a part is a text and nothing else, as most are."""
    return isinstance(part, dict) and len(part) == 1 and isinstance(part.get("text"), str)


def _cache_name(whole: dict[str, Any]) -> str | None:
    name = whole.get("name")
    return name if isinstance(name, str) and "cachedContents/" in name else None


def _finish_reasons(whole: dict[str, Any], seen: Seen) -> None:
    candidates = whole.get("candidates")
    for one in candidates if isinstance(candidates, list) else ():
        if isinstance(one, dict) and isinstance(one.get("finishReason"), str):
            seen.finish_reasons.append(one["finishReason"])
    feedback = whole.get("promptFeedback")
    if isinstance(feedback, dict) and isinstance(feedback.get("blockReason"), str):
        seen.finish_reasons.append(feedback["blockReason"])
    if "steps" in whole and whole.get("status") in (
        "completed",
        "failed",
        "cancelled",
        "incomplete",
        "requires_action",
    ):
        seen.finish_reasons.append(str(whole["status"]))


def _usage(whole: dict[str, Any]) -> UsageSeen | None:
    usage, names = whole.get("usageMetadata"), _USAGE_METADATA
    if not isinstance(usage, dict):
        usage, names = whole.get("usage"), _USAGE
    if not isinstance(usage, dict):
        return None
    prompt, tools, answer, thoughts, total, cached = [
        None if (value := usage.get(name)) is None else _count(value) for name in names
    ]
    # Protobuf's JSON leaves out what is zero; the total says whether anything is missing.
    given = None if prompt is None and tools is None else (prompt or 0) + (tools or 0)
    output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
    if total is not None and given is not None:
        output = max(output or 0, total - given)
    return UsageSeen(input_tokens=given, output_tokens=output, cached_input_tokens=cached, reasoning_tokens=thoughts)


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        value = int(value)  # protobuf's JSON writes 64-bit integers as text
    # More than 2^53 of anything is no count (RFC 7493 2.2); it is treated like a missing one.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


ADAPTER = GoogleAdapter()
