"""The endpoints of the Anthropic API, as the SDK calls them (listed in `endpoints.txt`), and those of Claude on Vertex AI."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from safellm._core.adapter import Billing, Route
from safellm._core.routes import Templates, match_template, read_templates

_MOST_PREFIX_SEGMENTS = 9  # "/v1", "/anthropic/v1", a gateway's own; eight of them at Google Cloud
MESSAGES = ("/messages", "/vertex/messages")

# OpenTelemetry GenAI operation names; other endpoints are called by method and path.
_OPERATIONS = {"POST /messages": "chat", "POST /complete": "text_completion"}
_BY_TOKENS = frozenset(_OPERATIONS)
# Batches and agents work without a bound that a request could name.
_BY_OTHER_MEASURE = frozenset(
    {
        "POST /messages/batches", "POST /sessions", "POST /sessions/{session_id}/events", "POST /dreams",
        "POST /deployments", "POST /deployments/{deployment_id}/run",
    }
)  # fmt: skip
_VERTEX = re.compile(r"/publishers/anthropic/models/(?P<model>[^/:]+):(?:streamR|r)awPredict$")
_VERTEX_COUNT = "count-tokens"


@cache
def _templates() -> Templates:
    return read_templates((files(__package__) / "endpoints.txt").read_text("ascii"), _route)


def _route(method: str, template: str) -> Route:
    name = f"{method} {template}"
    billing = Billing.TOKENS if name in _BY_TOKENS else Billing.OTHER if name in _BY_OTHER_MEASURE else Billing.FREE
    return Route(
        binary=template.endswith("/content"),
        method=method,
        template=template,
        operation=_OPERATIONS.get(name, f"{method.lower()} {template}"),
        billing=billing,
        accounts=("email",) if name == "POST /organizations/invites" else (),
    )


@lru_cache(maxsize=512)
def find_route(method: str, path: str) -> Route:
    """Return the endpoint that a request's path ends with, or an unknown one."""
    vertex = _VERTEX.search(path)
    if vertex is not None and method == "POST":
        if vertex["model"] == _VERTEX_COUNT:
            return _route("POST", "/messages/count_tokens")
        # Whether it streams stands in the body, as at Anthropic itself.
        return Route(
            method=method, template=MESSAGES[1], operation="chat", billing=Billing.TOKENS, model=vertex["model"]
        )
    return match_template(_templates(), method, path, most_prefix_segments=_MOST_PREFIX_SEGMENTS)
