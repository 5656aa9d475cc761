"""The endpoints of the OpenAI API, as the SDK calls them (openai 2.0 to 3.54; listed in `endpoints.txt`)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from safellm._core.adapter import Billing, Route
from safellm._core.routes import Templates, match_template, read_templates

_MOST_PREFIX_SEGMENTS = 5  # "/v1", "/openai/deployments/NAME" and gateways' own prefixes stand before the endpoint
_VERTEX = re.compile(r"^/v1/projects/[^/]+/locations/[^/]+/publishers/openai(?=/v1/)")

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
        "POST /live/sessions", "POST /live/sessions/{session_id}/accept", "POST /live/sessions/{session_id}/fork",
        "POST /agents/sessions/{session_id}/events", "POST /agents/automations/{automation_id}/invocations",
    }
)  # fmt: skip


@cache
def _templates() -> Templates:
    return read_templates((files(__package__) / "endpoints.txt").read_text("ascii"), _route)


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
        accounts=_accounts(method, template),
    )


def _accounts(method: str, template: str) -> tuple[str, ...]:
    if method != "POST" or not template.startswith("/organization/"):
        return ()
    if template in ("/organization/invites", "/organization/projects/{project_id}/users"):
        return ("email",)
    return ("notification_channel.recipients",) if "/spend_alerts" in template else ()


@lru_cache(maxsize=512)
def find_route(method: str, path: str) -> Route:
    """Return the endpoint that a request's path ends with, or an unknown one."""
    return match_template(_templates(), method, _VERTEX.sub("", path), most_prefix_segments=_MOST_PREFIX_SEGMENTS)
