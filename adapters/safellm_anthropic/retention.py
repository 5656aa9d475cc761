"""What Anthropic keeps of a call, and how it is told not to: endpoints that aren't named here keep something, or may.

Source: "API and data retention" in Anthropic's documentation, and the SDK's types. Messages have no `store`: what is kept is
decided with the account; here goes what a request itself says of people, and what would be kept in a container.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Retention, Route

_MESSAGES = Retention(
    pseudonyms=("metadata.user_id",),
    keeping={"container": None, "user_profile_id": None},
    tools=frozenset({"code_execution"}),  # it runs in a container, which keeps files
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
