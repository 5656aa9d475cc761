"""Whose account an administrative call is about goes out as it is, and the trail says so: nobody can invite a placeholder."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from exchanges import HIDDEN, WordScanner, World, chat, sent

from safellm._core.effects import Forward, Refuse
from safellm.errors import Reason
from safellm_anthropic.endpoints import find_route as at_anthropic
from safellm_google_genai.endpoints import find_route as at_google
from safellm_openai.endpoints import find_route as at_openai

MAIL = HIDDEN[0]
INVITES = "/v1/organization/invites"


def test_an_invited_address_is_sent_as_it_is() -> None:
    """It is found, counted and kept; the same address in another field is hidden."""
    world = World()
    _, decision = world.begin({"email": MAIL, "role": "reader", "note": f"for {MAIL}"}, path=INVITES)
    assert isinstance(decision, Forward)
    out = sent(decision, None)
    assert out["email"] == MAIL
    assert MAIL not in out["note"]
    intent = world.record("call.intent")
    assert intent["safellm.redaction.counts"] == {"EMAIL": 2}
    assert intent["safellm.redaction.kept"] == {"EMAIL": 1}


def test_each_address_of_a_list_is_sent_as_it_is() -> None:
    """Whom an alert goes to; its subject is text like any other."""
    channel = {"type": "email", "recipients": [MAIL, "bob"], "subject_prefix": f"of {MAIL}"}
    _, decision = World().begin({"notification_channel": channel}, path="/v1/organization/spend_alerts/alert-1")
    out = sent(decision, None)["notification_channel"]
    assert out["recipients"] == [MAIL, "bob"]
    assert MAIL not in out["subject_prefix"]


def test_an_address_of_that_name_is_hidden_in_every_other_call() -> None:
    """The endpoint decides, and the place in the body, not the name of the field."""
    world = World()
    out = sent(world.begin(chat("hi", email=MAIL))[1], None)
    assert MAIL not in out["email"]
    assert "safellm.redaction.kept" not in world.record("call.intent")
    out = sent(World().begin({"deep": {"email": MAIL}}, path=INVITES)[1], None)
    assert MAIL not in out["deep"]["email"]


def test_a_secret_in_an_account_is_hidden() -> None:
    """No account is called by one."""
    world = World(scanner=WordScanner("key-123", MAIL))
    out = sent(world.begin({"email": f"key-123 {MAIL}"}, path=INVITES)[1], None)
    assert "key-123" not in out["email"]
    assert MAIL in out["email"]
    assert world.record("call.intent")["safellm.redaction.kept"] == {"EMAIL": 1}


@pytest.mark.parametrize("text", [HIDDEN[1], f"{HIDDEN[1]} {MAIL}"])
def test_what_is_no_address_is_hidden_in_an_account(text: str) -> None:
    """A number of a card invites nobody, alone or beside an address."""
    world = World()
    out = sent(world.begin({"email": text}, path=INVITES)[1], None)["email"]
    assert HIDDEN[1] not in out
    assert (MAIL in out) is (MAIL in text)
    assert world.record("call.intent").get("safellm.redaction.kept", {}) == ({"EMAIL": 1} if MAIL in text else {})


@pytest.mark.parametrize("action", ["remove", "surrogate", "mask"])
def test_an_account_is_kept_whatever_hides_its_type(action: str) -> None:
    """Nothing else than the address itself is of any use there."""
    body = {"email": MAIL}
    _, decision = World(settings={"redaction": {"types": {"EMAIL": action}}}).begin(body, path=INVITES)
    assert sent(decision, body) == body


def test_a_blocked_type_is_refused_in_an_account_too() -> None:
    """Who blocks addresses means all of them."""
    _, decision = World(settings={"redaction": {"types": {"EMAIL": "block"}}}).begin({"email": MAIL}, path=INVITES)
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.REDACTION_BLOCKED


@pytest.mark.parametrize(
    ("route", "accounts"),
    [
        (at_openai("POST", "/v1/organization/invites"), ("email",)),
        (at_openai("POST", "/v1/organization/projects/p-1/users"), ("email",)),
        (at_openai("POST", "/v1/organization/projects/p-1/spend_alerts"), ("notification_channel.recipients",)),
        (at_openai("POST", "/v1/organization/users/u-1"), ()),
        (at_openai("POST", "/v1/responses"), ()),
        (at_anthropic("POST", "/v1/organizations/invites"), ("email",)),
        (at_anthropic("POST", "/v1/messages"), ()),
        (at_google("POST", "/v1beta/corpora/c-1/permissions"), ("emailAddress", "email_address")),
        (at_google("PATCH", "/v1beta/tunedModels/t-1/permissions/p-1"), ("emailAddress", "email_address")),
        (at_google("POST", "/v1beta/tunedModels/t-1:transferOwnership"), ("emailAddress", "email_address")),
        (at_google("POST", "/v1beta/models/permissions:generateContent"), ()),
        (at_google("POST", "/v1beta/models/m-1:generateContent"), ()),
    ],
)
def test_endpoints_say_where_an_account_stands(route: object, accounts: tuple[str, ...]) -> None:
    """Those that act on somebody's account, and no others."""
    assert route.accounts == accounts  # type: ignore[attr-defined]
