"""OpenAI's dialect as other servers speak it: the same tables, with what their profile says is different."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
from typing import Any

from safellm._core.adapter import Billing, Route, Seen
from safellm._core.effects import JSON
from safellm._core.origin import Origin
from safellm.profiles import Profile
from safellm_openai.adapter import OpenAIAdapter


class ProfiledAdapter(OpenAIAdapter):
    """The dialect of one profile."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.provider = profile.provider
        self.key_variable = profile.variable
        self.origins = profile.origins

    def route(self, method: str, path: str) -> Route:
        """Return the endpoint of a request; a server's own question about a key is known too."""
        found = super().route(method, path)
        if found.known or (method, path) != ("GET", self.profile.check):
            return found
        return Route(method=method, template=path, operation=f"get {path}", billing=Billing.FREE)

    def provider_of(self, origin: Origin) -> str:  # noqa: ARG002 - the program named it, wherever it stands
        """Return the provider's name in records."""
        return self.profile.provider

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:
        """Ask only servers that take the question."""
        return self.profile.asks_usage and super().ask_for_usage(route, body)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Read usage where this server puts it."""
        super().observe(_in_openai_words(answer, self.profile), seen)


@cache
def adapter_for(profile: Profile) -> ProfiledAdapter:
    """Return the adapter of a profile."""
    return ProfiledAdapter(profile)


def _in_openai_words(answer: JSON, profile: Profile) -> JSON:
    """Return an answer with its usage where OpenAI has it. Only for reading: the program gets the server's own."""
    if not isinstance(answer, dict):
        return answer
    if profile.usage_at and not isinstance(answer.get("usage"), dict):
        found: JSON = answer
        for key in profile.usage_at:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            answer = {**answer, "usage": found}
    usage = answer.get("usage")
    if profile.cached and isinstance(usage, dict) and profile.cached in usage and "prompt_tokens_details" not in usage:
        told: JSON = {**usage, "prompt_tokens_details": {"cached_tokens": usage[profile.cached]}}
        answer = {**answer, "usage": told}
    return answer
