"""`safellm budget` says who used a limit: from the trail, in the limit's own window, by its own conditions."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from typing import Any

import pytest

import safellm as library
from safellm._core.effects import Amounts, Limit, Unit, Window
from safellm._core.limits import Rule
from safellm.cli.budget_users import Used, began_ns, shares
from safellm.stores.ledger.interface import Balance

LIMITS = """[
  { usd = 1, window = "day" },
  { tokens = 100000, window = "month", name = "teams", per = ["team"] },
  { requests = 2, window = "hour", name = "minis", where = { model = "*-mini" }, action = "warn" },
  { requests = 50, window = "minute", name = "each", per = ["user"] },
  { concurrency = 4, name = "at-once" },
]"""
DAY_NS = 86_400 * 1_000_000_000


@pytest.fixture
def calls(home: Any, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four users of two teams."""
    monkeypatch.setenv("SAFELLM_BUDGET_LIMITS", " ".join(LIMITS.split()).replace(", ]", "]"))
    client = library.OpenAI(base_url=provider.base_url, api_key="x")
    for user, team, model, count in (
        ("jane", "red", "gpt-4o", 4), ("joan", "red", "gpt-4o", 2), ("jim", "blue", "gpt-4o", 1), ("jack", "blue", "gpt-4o-mini", 1)
    ):  # fmt: skip
        with library.labels(user=user, team=team):
            for _ in range(count):
                client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello there"}])
    client.close()


@pytest.mark.usefixtures("calls")
def test_budget_shows_who_used_each_account(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names where an account says them, the largest first; nothing for what has no user or one for each account."""
    found = {one["name"]: one for one in json.loads(safellm("budget", "--json").stdout)["limits"] if one["used"]}
    users = {name: [(one["user"], one["percent"]) for one in found[name]["used_by"]] for name in found}
    assert [user for user, _ in users["default"]] == ["jane", "joan", "jim", "jack"]
    assert users["teams|team=red"] == [("jane", 67), ("joan", 33)]
    assert {user for user, _ in users["teams|team=blue"]} == {"jim", "jack"}
    assert users["minis|model~%2A-mini"] == [("jack", 100)]
    assert users["each|user=jane"] == []
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = safellm("budget").stdout
    assert "used by" in shown
    assert "jane 67 %, joan 33 %" in " ".join(shown.split())
    assert "minis" in shown
    assert "model *-mini" in shown
    assert "%2A" not in shown


def test_budget_without_a_trail_or_users_shows_no_such_column(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to say is nothing shown."""
    monkeypatch.setenv("SAFELLM_BUDGET_USD", "5/day")
    assert "used by" not in safellm("budget").stdout


def test_only_calls_of_the_window_and_of_the_conditions_count() -> None:
    """Yesterday's call, another model's and another account's are not this limit's."""
    now = 20_000 * DAY_NS + DAY_NS // 2
    rule = Rule(
        limit=Limit(name="a|model~g*", unit=Unit.TOKENS, limit=100, window=Window.DAY), per=("team",), where=(("model", "g*"),)
    )  # fmt: skip
    limit = Limit(name="a|model~g*|team=red", unit=Unit.TOKENS, limit=100, window=Window.DAY)
    balance = Balance(limit=limit, used=30, held=0, resets_at_ns=20_001 * DAY_NS)
    assert began_ns(balance) == 20_000 * DAY_NS

    def call(at_ns: int, user: str, tokens: int, **labels: str) -> Used:
        return Used(at_ns, {"user": user, "model": "g1", "team": "red", **labels}, Amounts(input_tokens=tokens))

    calls = [
        call(now, "x", 20), call(now, "y", 10), call(now - DAY_NS, "z", 500), call(now, "z", 500, model="h"),
        call(now, "z", 500, team="blue"),
    ]  # fmt: skip
    assert shares(calls, rule, balance) == [("x", 67), ("y", 33)]


@pytest.mark.parametrize("window", [Window.MINUTE, Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH])
def test_a_window_began_one_window_before_it_ends(window: Window) -> None:
    """For every kind of window: its beginning is in it, the moment before is not."""
    from safellm._core import budget

    now = time.time_ns()
    number = budget.window_id(window, now)
    limit = Limit(name="a", unit=Unit.TOKENS, limit=1, window=window)
    began = began_ns(Balance(limit=limit, used=0, held=0, resets_at_ns=budget.resets_at_ns(window, number)))
    assert budget.window_id(window, began) == number
    assert budget.window_id(window, began - 1) == number - 1
