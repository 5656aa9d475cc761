"""What Anthropic keeps of a call, and how it is told not to: endpoints that aren't named here keep something, or may.

Source: "API and data retention" in Anthropic's documentation, and the SDK's types. Messages have no `store`: what is kept is
decided with the account; here goes what a request itself says of people, and what would be kept in a container.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Retention, Route

_MESSAGES = Retention(
    drop=("diagnostics",),  # for a comparison with the next request, something of this one is kept
    pseudonyms=("metadata.user_id",),
    # A thread is a conversation that the server holds; servers of MCP are somebody else's.
    keeping={"container": None, "user_profile_id": None, "thread": None, "mcp_servers": None},
    # Code runs in a container, which keeps files; the others ask third parties, in words of the conversation.
    tools=frozenset({"code_execution", "mcp_toolset", "web_search", "web_fetch"}),
)
_BY_ENDPOINT = {
    "/messages": _MESSAGES,
    "/vertex/messages": _MESSAGES,
    "/messages/count_tokens": _MESSAGES,
    "/complete": Retention(pseudonyms=("metadata.user_id",)),
}


def retention_of(route: Route) -> Retention | None:
    """Return how an endpoint that takes something is told to keep nothing; None where it would."""
    # What an organisation decides about itself says nothing that anybody said.
    return Retention() if route.template.startswith("/organizations/") else _BY_ENDPOINT.get(route.template)
