"""Ids are random and no secrets: where a text is known to be one, its randomness alone hides nothing and stops nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache

import pytest
from exchanges import World, chat, sent

from safellm._core.detection.scanner import RuleScanner, compile_scanner
from safellm._core.effects import Forward, Refuse

RANDOM = "q7Zk3fQ9vLr0" + "Tm2XcWb8NyUa"
ID = f"rbac_group_{RANDOM}"
SECRET = "sk-" + "proj-" + "A1b2" * 10


@cache
def rules() -> RuleScanner:
    """Compile the real rules, once for all tests."""
    return compile_scanner()


def world() -> World:
    """Return a world with the real rules."""
    return World(scanner=rules())


def test_a_random_id_is_sent_as_it_is_where_ids_stand() -> None:
    """In an identifier's place; in prose the same token is hidden."""
    body = chat(f"look up {ID} please", file_ids=[ID, RANDOM])
    out = sent(world().begin(body)[1], None)
    assert out["file_ids"] == [ID, RANDOM]
    assert ID not in out["messages"][0]["content"]


@pytest.mark.parametrize("text", [SECRET, f"api_key={RANDOM}", f"token: {RANDOM}"])
def test_a_secret_is_hidden_where_ids_stand(text: str) -> None:
    """What has a secret's form, or is called one, is none the less a secret for standing there."""
    assert text not in sent(world().begin(chat("hi", file_ids=[text]))[1], None)["file_ids"]


@pytest.mark.parametrize("name", ["id", "after_id", "rbac_group_ids", "rbac_group_ids[]", "rbac_group_ids%5B%5D"])
def test_a_random_id_may_stand_in_a_parameter_that_names_one(name: str) -> None:
    """The provider's own ids filter its lists."""
    _, decision = world().begin(chat("hi"), query=f"limit=1&{name}={ID}")
    assert isinstance(decision, Forward)


@pytest.mark.parametrize("query", [f"q={ID}", f"kid={ID}", f"{ID}=1", f"after_id={SECRET}", f"ids={SECRET}"])
def test_e_5_a_secret_or_a_random_token_stops_the_call_in_any_other(query: str) -> None:
    """Nor may a secret stand in one that names an id."""
    _, decision = world().begin(chat("hi"), query=query)
    assert isinstance(decision, Refuse)
