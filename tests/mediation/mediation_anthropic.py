"""Anthropic's SDK, described for the walk."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from importlib.resources import files
from typing import Any

from mediation_sdk import MARKED_NAMES, ROOT, SDK

import anthropic
import safellm.anthropic
from safellm_anthropic.endpoints import find_route

_NATIVE = importlib.import_module("httpx2" if int(anthropic.__version__.split(".")[0]) >= 1 else "httpx")
_OPTIONS: dict[str, Any] = {"api_key": "given", "max_retries": 0, "base_url": "https://api.anthropic.com"}

_LOCAL: dict[str, str] = {
    "beta.messages.thread": "makes an object; its methods call `beta.messages.create` and `beta.messages.stream`",
    "beta.webhooks.parse_unverified": "reads a message that was received",
    "beta.webhooks.unwrap": "checks a signature that was received",
}
# Messages of every form are tried with `create`, plain and streamed; the others take the same types.
_LEAN: dict[str, Any] = {
    "messages": lambda marks: [
        {"role": "user", "content": marks.request("messages[].content", "text")},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": marks.request("messages[].content[].text", "text")}],
        },
    ]
}
_GIVEN: dict[str, dict[str, Any]] = {
    "beta.memory_stores.memory_versions.list": {"api_key_id": None},  # with any value it looks like a key in the URL
    "beta.messages.parse": {"output_format": None, **_LEAN},
    "beta.messages.stream": {"output_format": None, **_LEAN},
    "beta.messages.tool_runner": {
        "run_tools_eagerly": None,
        "output_format": None,
        "compaction_control": None,
        **_LEAN,
    },
    "beta.messages.count_tokens": _LEAN,
    "beta.messages.batches.create": {"requests": lambda marks: _requests(marks)},
    "messages.parse": {"output_format": None, **_LEAN},
    "messages.stream": {"output_format": None, **_LEAN},
    "messages.count_tokens": _LEAN,
    "messages.batches.create": {"requests": lambda marks: _requests(marks)},
}


def _requests(marks: Any) -> list[dict[str, Any]]:
    params = {
        "model": "m",
        "max_tokens": 1,
        "messages": _LEAN["messages"](marks),
        "system": marks.request("system", "text"),
    }
    return [{"custom_id": "1", "params": params}]


ANTHROPIC = SDK(
    name="anthropic",
    version=anthropic.__version__,
    pinned="2.12.0",
    size=(390, 129),
    page=ROOT / "docs" / "mediation-anthropic.md",
    native=_NATIVE,
    error=anthropic.APIError,
    sync=lambda http: safellm.anthropic.Anthropic(http_client=http, safellm=MARKED_NAMES, **_OPTIONS),
    make_async=lambda http: safellm.anthropic.AsyncAnthropic(http_client=http, safellm=MARKED_NAMES, **_OPTIONS),
    plain=lambda: anthropic.Anthropic(api_key="none", http_client=_NATIVE.Client()),
    find_route=find_route,
    endpoints=frozenset(
        (line.split(" ")[0], line.split(" ")[1])
        for line in (files("safellm_anthropic") / "endpoints.txt").read_text("ascii").splitlines()
    ),
    older=frozenset({("POST", "/complete")}),
    local=_LOCAL,
    given=_GIVEN,
    lean={"messages.create": _LEAN, "beta.messages.create": _LEAN},
    helpers=("stream", "tool_runner"),
    no_files=r"source\.data",  # base64 of what can't be searched follows the policy; text in its place is searched
    fixed={"results_url": "https://api.anthropic.com/v1/messages/batches/item-1/results", "next_page": None},
    credentials=(
        (
            r"(mcp_servers|resources)\[\]\.authorization_token|^authorization_token",
            "of a remote tool: the provider calls it with this",
        ),
        (
            r"\bauth\.(access_token|token|secret_value|refresh\.refresh_token|refresh\.token_endpoint_auth\.client_secret)",
            "what a credential vault stores",
        ),
        (r"\bheaders\.\*[Aa]uthorization", "what the provider sends telemetry with"),
    ),
    opaque=(
        (r"encrypted_(content|index|stdout)|fallback_credit_token(\.token)?", "encrypted by the provider"),
        (r"\b(thinking|signature)", "the signature of a thinking block covers its text"),
        (r"(content|delta|context|content_block)(\[\])?\.(data|content)", "redacted thinking, a signed summary"),
    ),
    headers=((r"betas(\[\])?|user_profile_id|workspace_id|anthropic_worker_id|idempotency_key", "sent as a header"),),
    named=(
        (r"(^|[._*])(id|ids|\w+_ids?)(\[\])?", "an identifier"),
        (
            r"(url|_url|uri|domain|endpoint|discovery_base|allowed_domains\[\]|blocked_domains\[\]|allowed_hosts\[\])",
            "an address",
        ),
        (
            r"\b(model|stop_reason|role|type|status|container|media_type|mime_type)(\[\])?",
            "a word of the provider's own",
        ),
        (r"\b(version|currency|amount|timezone|inference_geo|display_color|page|error_code|betas)(\[\])?", "the same"),
        (r"packages\.\w+\[\]", "what is installed where an agent works"),
        (r"\w+_(arn|hash|sha|sha256|pem|at|page|age)|\bsha", "a fingerprint, a time, or a name at another provider"),
    ),
    accounts=((r"^email", "who is invited"),),
    tool_input=((r"\binput(\..*)?|partial_json", "what a tool takes"),),
    samples=("messages.create", "beta.messages.create", "beta.files.list", "files.list"),
    async_only=frozenset(
        {"beta.environments.work.poller", "beta.environments.work.worker", "beta.sessions.events.tool_runner"}
    ),
    doors=frozenset({"get", "post", "put", "patch", "delete", "get_api_list", "request"}),
)
