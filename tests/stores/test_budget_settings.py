"""What is wrong with a budget is said with its place and in words."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from safellm._core.effects import OnLimit, Unit, Window
from safellm.errors import ConfigurationError
from safellm.stores.settings import load_policy


def load(text: str, tmp_path: Path):
    """Load a policy file."""
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return load_policy(environ={}, path=file).policy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limits = [{usd = 5, tokens = 5}]", "exactly one of"),
        ("limits = [{requests = 5, action = 'clamp'}]", "'clamp' lowers output"),
        ("limits = [{tokens = 5, action = 'wait'}]", "needs a rate"),
        ("limits = [{tokens = 5, burst = 5}]", "belongs to a rate"),
        ("limits = [{tokens = 5, rate = true, window = 'month'}]", "a rate is per minute, hour, day or week"),
        ("limits = [{concurrency = 5, window = 'day'}]", "neither window nor rate"),
        ("limits = [{tokens = 5, window = 'call', warn_at = 0.5}]", "nothing to warn of"),
        ("limits = [{tokens = 5}, {tokens = 6}]", "the same name, window and unit"),
        ("limits = [{tokens = 5, per = ['Team']}]", "budget.limits[0].per[0]"),
        ("tier = 'a'", "budget.tier names none"),
        ("labels = {model = 'x'}", "can't be set"),
        ("tiers = {a = {limits = [{usd = 5, tokens = 5}]}}", "budget.tiers.a.limits[0]"),
        ("ledger = 'mysql://x'", "can't be understood"),
        ("ledger = 'redis://h?prefix=a b'", "can't be understood"),
    ],
)
def test_odd_budgets_are_errors(text: str, words: str, tmp_path: Path) -> None:
    """Parts that don't fit together, amounts that can't be counted, names that don't lead anywhere."""
    with pytest.raises(ConfigurationError) as caught:
        load(f"[budget]\n{text}\n", tmp_path)
    assert words in str(caught.value)


def test_limits_that_differ_in_labels_or_kind_stand_side_by_side(tmp_path: Path) -> None:
    """Same name, window and unit, but other labels, conditions, or a rate: other accounts."""
    kinds = "{tokens = 5}, {tokens = 5, per = ['team']}, {tokens = 5, where = {team = 'a'}}, {tokens = 5, rate = true}"
    policy = load(f"[budget]\nlimits = [{kinds}, {{concurrency = 2, warn_at = 0.5}}]\n", tmp_path)
    assert len(policy.budget.rules) == 5
    limit = policy.budget.rules[-1].limit
    assert (limit.unit, limit.window, limit.warn_at, limit.action) == (Unit.CONCURRENCY, Window.TOTAL, 1, OnLimit.BLOCK)


def test_a_tier_counts_besides_the_limits(tmp_path: Path) -> None:
    """The named one, after the limits; others don't count."""
    policy = load(
        "[budget]\nlimits = [{usd = 1}]\ntier = 'a'\ntiers = {a = {limits = [{usd = 2, window = 'hour'}]}, b = {}}\n",
        tmp_path,
    )
    assert [rule.limit.limit for rule in policy.budget.rules] == [1_000_000, 2_000_000]


def test_the_address_of_a_ledger_is_not_shown(tmp_path: Path) -> None:
    """It may hold a password: not in `repr`, not in what a policy's digest and `policy show` are made of."""
    password = "hunter" + "2" * 8
    policy = load(f"[budget]\nledger = 'redis://u:{password}@h:1/0'\n", tmp_path)
    assert password not in repr(policy) + str(policy.model_dump(mode="json"))
