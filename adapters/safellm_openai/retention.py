"""What OpenAI keeps of a call, and how it is told not to: endpoints that aren't named here keep something, or may.

Source: "Data controls in the OpenAI platform" (what each endpoint keeps as application state) and the SDK's types.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Retention, Route

_PEOPLE = ("user", "safety_identifier", "prompt_cache_key")
# An extended cache keeps parts of the model's state for a day; a cache in memory is gone within the hour.
_CACHE = "prompt_cache_retention"

# They ask third parties, in words of the conversation: what those keep is nobody's to say here.
_OTHERS = frozenset({"mcp", "web_search", "web_search_preview"})

_CHAT = Retention(
    force={"store": False},
    drop=("metadata", _CACHE),
    pseudonyms=_PEOPLE,
    keeping={"web_search_options": None},
    tools=_OTHERS,
)
_RESPONSES = Retention(
    force={"store": False},
    drop=("metadata", _CACHE),
    pseudonyms=_PEOPLE,
    keeping={"background": None, "conversation": None},
    tools=frozenset({"code_interpreter", "shell", *_OTHERS}),  # the first two run in containers, which keep files
)
_PLAIN = Retention(drop=("metadata",), pseudonyms=_PEOPLE)
# A trace of a session is there to be looked at afterwards.
_REALTIME = Retention(
    drop=("tracing", "session.tracing", "session.audio.input.tracing", "response.metadata"),
    pseudonyms=_PEOPLE,
    tools=_OTHERS,
)

# A stored session can be forked and heard again; so can its forks, which keep what it kept.
_LIVE = Retention(
    pseudonyms=("session.safety_identifier",),
    keeping={"session.store": None},
    tools=frozenset({"code_interpreter", "shell", *_OTHERS}),
)

_BY_ENDPOINT = {
    "/chat/completions": _CHAT,
    "/responses": _RESPONSES,
    "/responses/compact": _PLAIN,
    "/responses/input_tokens": _PLAIN,
    "/completions": _PLAIN,
    "/embeddings": _PLAIN,
    "/moderations": _PLAIN,
    "/images/generations": _PLAIN,
    "/images/edits": _PLAIN,
    "/images/variations": _PLAIN,
    "/audio/speech": _PLAIN,
    "/audio/transcriptions": _PLAIN,
    "/audio/translations": _PLAIN,
}
_ACCOUNT = ("/organization/", "/projects/")  # who may do what; nothing that anybody said


def retention_of(route: Route) -> Retention | None:
    """Return how an endpoint that takes something is told to keep nothing; None where it would."""
    if route.template.startswith("/realtime"):
        return _REALTIME
    if route.template.startswith("/live/sessions") and "/fork" not in route.template:
        return _LIVE
    if route.template == "/responses response.inject":
        return _PLAIN  # of an answer whose call said what is kept
    if route.template.startswith(_ACCOUNT):
        return Retention()
    return _BY_ENDPOINT.get(route.template)
