"""What stands in the headers of a request that a program fills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from exchanges import WordScanner, World, chat

from safellm._core.call import RequestHead
from safellm._core.effects import Forward, Refuse
from safellm._core.headers import header_fields
from safellm._core.origin import Origin
from safellm.errors import Reason

SECRET = "key" + "-A1b2" * 6
MAIL = "alice@example.com"
USUAL = (
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 3.54.0"),
    ("x-stainless-os", "Linux"),
    ("authorization", "Bearer " + SECRET),
)


def send(name: str, value: str, settings: dict[str, Any] | None = None) -> tuple[World, Any]:
    """Send a call with one header more than usual."""
    world = World(settings or {}, WordScanner(SECRET, MAIL))
    _, decision = world.begin(chat("hi"), headers=(*USUAL, (name, value)))
    return world, decision


@pytest.mark.parametrize(
    "name", ["helicone-auth", "x-api-key", "cf-aig-authorization", "x-portkey-virtual-key", "cookie"]
)
def test_a_header_that_says_credential_may_carry_one(name: str) -> None:
    """A gateway's own key goes where its header says."""
    _, decision = send(name, SECRET)
    assert isinstance(decision, Forward)
    assert (name, SECRET) in decision.headers


@pytest.mark.parametrize("value", [SECRET, MAIL])
@pytest.mark.parametrize(
    "name", ["x-user", "idempotency-key", "x-idempotency-key", "user-agent", "helicone-property-team"]
)
def test_p_6_what_is_hidden_in_a_body_is_hidden_in_a_header(name: str, value: str) -> None:
    """The header goes out with the placeholder that the body would have, the others as they were."""
    world, decision = send(name, f"user {value}")
    assert isinstance(decision, Forward)
    assert not decision.own_headers
    sent = dict(decision.headers)
    placeholder = sent[name].removeprefix("user ")
    assert world.values.value_of(placeholder) == value
    assert sent["authorization"] == "Bearer " + SECRET
    assert list(world.record("call.intent")["safellm.redaction.counts"].values()) == [1]
    assert world.record("call.intent")["decision"] == "modify"


@pytest.mark.parametrize(
    "agent", ["Anthropic/Python 2.12.0", "google-genai-sdk/3.4.0 gl-python/3.11.7", "python-requests/2.32.3"]
)
def test_an_agent_is_plain_only_as_its_library_writes_it(agent: str) -> None:
    """The library's own name isn't searched on every call; with anything of the program's beside it, it is."""
    head = RequestHead(
        method="POST",
        origin=Origin("https", "api.openai.com", 443),
        path="/",
        query="",
        headers=(("user-agent", agent),),
    )
    assert header_fields(head, {}) == []
    for more in (f" {SECRET}", f" (user {MAIL})", "x", "/" + SECRET):
        assert [
            one.text for one in header_fields(replace(head, headers=(("user-agent", agent + more),), known={}), {})
        ] == [agent + more]


@pytest.mark.parametrize("name", ["openai-organization", "openai-project", "anthropic-beta"])
def test_the_provider_s_headers_hold_identifiers(name: str) -> None:
    """A secret is hidden there; anything else is for the provider to understand."""
    for value, stays in ((SECRET, False), (MAIL, True)):
        _, decision = send(name, value)
        assert isinstance(decision, Forward)
        assert (dict(decision.headers)[name] == value) is stays


def test_a_type_that_the_policy_blocks_is_refused() -> None:
    """The message names the header and not the value."""
    _, decision = send("x-user", MAIL, {"redaction": {"types": {"EMAIL": "block"}}})
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.REDACTION_BLOCKED
    assert "x-user" in str(decision.error)
    assert MAIL not in str(decision.error)


def test_a_policy_that_allows_a_type_allows_it_in_headers() -> None:
    """`redaction.types` counts there as well."""
    allowed = {"redaction": {"types": {"SECRET": "allow", "EMAIL": "allow"}}}
    for value in (SECRET, MAIL):
        _, decision = send("x-user", value, allowed)
        assert isinstance(decision, Forward)
        assert ("x-user", value) in decision.headers


def test_observe_mode_changes_no_header() -> None:
    """What was found is noted."""
    world, decision = send("x-user", SECRET, {"mode": "observe"})
    assert isinstance(decision, Forward)
    assert ("x-user", SECRET) in decision.headers
    assert world.record("call.intent")["safellm.redaction.counts"] == {"SECRET": 1}


def test_usual_headers_are_not_touched() -> None:
    """An SDK's own headers go out as they came, but for the encoding of the answer."""
    _, decision = send("x-stainless-lang", "python")
    assert isinstance(decision, Forward)
    assert decision.own_headers
    assert decision.headers == (*USUAL, ("x-stainless-lang", "python"), ("accept-encoding", "identity"))
