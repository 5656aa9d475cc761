"""Which limits a call falls under, and the names of their accounts."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safellm._core.effects import Limit, Unit, Window
from safellm._core.limits import Rule, account, base_account, resolve, value_text

LIMIT = Limit(name="default", unit=Unit.TOKENS, limit=5, window=Window.DAY)
TEXTS = st.text(max_size=200)


@given(one=TEXTS, other=TEXTS)
def test_each_value_has_an_account_of_its_own(one: str, other: str) -> None:
    """Two values never share an account, whatever they hold; a name stays short and holds no separator."""
    texts = value_text(one), value_text(other)
    assert (texts[0] == texts[1]) == (one == other)
    assert all(len(text) <= 96 and not set(text) & set("|=\x1f\x00 ") for text in texts)


@given(st.dictionaries(st.sampled_from(["a", "b"]), TEXTS), st.dictionaries(st.sampled_from(["a", "b"]), TEXTS))
def test_accounts_of_several_labels_do_not_run_into_each_other(one: dict[str, str], other: dict[str, str]) -> None:
    """`a=x|b=y` is one account and no other; a label that is missing is the empty text."""
    rule = Rule(limit=LIMIT, per=("a", "b"))
    same = [one.get(name, "") == other.get(name, "") for name in rule.per]
    assert (account(rule, one) == account(rule, other)) == all(same)


def test_where_matches_whole_values_and_all_of_them() -> None:
    """Patterns are those of file names, with case; every one has to match."""
    rule = Rule(limit=LIMIT, where=(("model", "gpt-4o*"), ("team", "red")))
    assert resolve([rule], {"model": "gpt-4o-mini", "team": "red"}) == (LIMIT,)
    for labels in (
        {"model": "gpt-4o"},
        {"team": "red"},
        {"model": "xgpt-4o", "team": "red"},
        {"model": "GPT-4o", "team": "red"},
    ):
        assert resolve([rule], labels) == ()
    assert base_account("a", {"x": "1*", "b": "2"}) == "a|b~2|x~1%2A"
