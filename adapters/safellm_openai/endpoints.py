"""The endpoints of the OpenAI API, as the SDK calls them (openai 2.0 to 3.54; listed in `endpoints.txt`)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

from safellm._core.adapter import Billing, Route

_MOST_PREFIX_SEGMENTS = 5  # "/v1", "/openai/deployments/NAME" and gateways' own prefixes stand before the endpoint

# OpenTelemetry GenAI operation names; other endpoints are called by method and path.
_OPERATIONS = {
    "POST /chat/completions": "chat",
    "POST /responses": "chat",
    "POST /completions": "text_completion",
    "POST /embeddings": "embeddings",
}
_BY_TOKENS = frozenset({*_OPERATIONS, "POST /moderations", "POST /responses/input_tokens", "POST /responses/compact"})
_BINARY_ANSWERS = frozenset({"POST /audio/speech", "POST /realtime/calls"})
_BY_OTHER_MEASURE = frozenset(
    {
        "POST /images/generations", "POST /images/edits", "POST /images/variations", "POST /audio/speech",
        "POST /audio/transcriptions", "POST /audio/translations", "POST /videos", "POST /videos/edits",
        "POST /videos/extensions", "POST /videos/{video_id}/remix", "POST /batches", "POST /fine_tuning/jobs",
        "POST /threads/runs", "POST /threads/{thread_id}/runs", "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs",
        "POST /agents/sessions", "POST /agents/sessions/{session_id}", "POST /evals/{eval_id}/runs",
        "POST /realtime/calls", "POST /realtime/sessions", "POST /realtime/client_secrets", "POST /decisions",
        "POST /live/sessions", "POST /agents/sessions/{session_id}/events", "POST /agents/automations/{automation_id}/invocations",
    }
)  # fmt: skip


@cache
def _table() -> dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]]:
    table: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}
    text = (files(__package__) / "endpoints.txt").read_text("ascii")
    for line in text.splitlines():
        method, template = line.split(" ")
        segments = tuple(template.strip("/").split("/"))
        table.setdefault((method, len(segments)), []).append((segments, _route(method, template)))
    for candidates in table.values():
        # A literal segment wins over a variable one: "/evals/runs" before "/evals/{eval_id}".
        candidates.sort(key=lambda item: [part.startswith("{") for part in item[0]])
    return table


def _route(method: str, template: str) -> Route:
    name = f"{method} {template}"
    billing = Billing.TOKENS if name in _BY_TOKENS else Billing.OTHER if name in _BY_OTHER_MEASURE else Billing.FREE
    binary = template.endswith("/content") or name in _BINARY_ANSWERS
    return Route(
        binary=binary,
        method=method,
        template=template,
        operation=_OPERATIONS.get(name, f"{method.lower()} {template}"),
        billing=billing,
    )


@lru_cache(maxsize=512)
def find_route(method: str, path: str) -> Route:
    """Return the endpoint that a request's path ends with, or an unknown one."""
    segments = [part for part in path.split("/") if part]
    table = _table()
    for skip in range(min(_MOST_PREFIX_SEGMENTS, len(segments)) + 1):
        tail = segments[skip:]
        for template, route in table.get((method, len(tail)), ()):
            if all(want.startswith("{") or want == have for want, have in zip(template, tail, strict=True)):
                # "/v1/models" must not be read as "/{x}/models" of a longer path: only the first segment has to be literal,
                # and it is in every template.
                return route
    billing = Billing.FREE if method in ("GET", "HEAD", "DELETE", "OPTIONS") else Billing.OTHER
    return Route(method=method, template=path, operation=f"{method.lower()} unknown", billing=billing, known=False)
