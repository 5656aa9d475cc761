"""`safellm policy`, `budget`, `usage`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm import OpenAI


def test_policy_show_says_where_each_value_comes_from(
    safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File with line, variable and default are told apart."""
    (home / "policy.toml").write_text("[redaction]\nrestore = false\n", encoding="utf-8")
    (home / "policy.toml").chmod(0o600)
    monkeypatch.setenv("SAFELLM_MODE", "strict")
    said = json.loads(safellm("policy", "show", "--json").stdout)
    settings = said["settings"]
    assert settings["mode"] == {"value": "strict", "source": "variable SAFELLM_MODE"}
    assert settings["redaction.restore"]["value"] is False
    assert settings["redaction.restore"]["source"].endswith("policy.toml line 2")
    assert settings["audit.mode"]["source"] == "default"
    text = safellm("policy", "show").stdout
    assert "variable SAFELLM_MODE" in text
    assert said["digest"] in text


def test_policy_show_names_a_wrong_variable(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is an error with a suggestion; the exit code is 2."""
    monkeypatch.setenv("SAFELLM_MOED", "strict")
    result = safellm("policy", "show")
    assert result.exit_code == 2
    assert "SAFELLM_MOED" in result.stderr
    assert "SAFELLM_MODE" in result.stderr
    assert "Traceback" not in result.stderr


def test_policy_check_names_lines(safellm: Any, tmp_path: Path) -> None:
    """Each problem has its line; the exit code is 1, in text and in JSON."""
    file = tmp_path / "policy.toml"
    file.write_text('mode = "guard"\n\n[redaction]\nrestor = true\n\n[audit]\nmode = "maybe"\n', encoding="utf-8")
    file.chmod(0o600)
    result = safellm("policy", "check", str(file))
    assert result.exit_code == 1
    assert f"{file}:4:" in result.stdout
    assert f"{file}:7:" in result.stdout
    assert "restore" in result.stdout
    said = json.loads(safellm("policy", "check", str(file), "--json").stdout)
    assert said["ok"] is False
    assert len(said["problems"]) == 2


def test_policy_check_of_a_sound_file(safellm: Any, tmp_path: Path) -> None:
    """Exit 0 and a plain sentence."""
    file = tmp_path / "policy.toml"
    file.write_text('mode = "strict"\n', encoding="utf-8")
    file.chmod(0o600)
    result = safellm("policy", "check", str(file))
    assert result.exit_code == 0
    assert "no problems" in result.stdout


def test_policy_check_without_a_file_looks_at_what_is_in_force(
    safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Your own file and the variables together; a fault of either is a problem, with its place."""
    nothing = safellm("policy", "check")
    assert nothing.exit_code == 0
    assert str(home / "policy.toml") in nothing.stdout.replace("\n", "")
    (home / "policy.toml").write_text("[redaction]\nrestor = true\n", encoding="utf-8")
    (home / "policy.toml").chmod(0o600)
    assert "policy.toml:2" in safellm("policy", "check").stdout
    (home / "policy.toml").write_text("[redaction]\nrestore = true\n", encoding="utf-8")
    assert safellm("policy", "check").exit_code == 0
    monkeypatch.setenv("SAFELLM_MODE", "maybe")
    result = safellm("policy", "check", "--json")
    assert result.exit_code == 1
    assert "SAFELLM_MODE" in json.loads(result.stdout)["problems"][0]


def test_policy_check_of_a_missing_file_is_wrong_use(safellm: Any, tmp_path: Path) -> None:
    """Exit 2."""
    assert safellm("policy", "check", str(tmp_path / "none.toml")).exit_code == 2


def ask(provider: Any) -> None:
    """Make one call."""
    client = OpenAI(base_url=provider.base_url, api_key="sk-" + "x" * 20)
    client.chat.completions.create(
        model="gpt-4o-mini", max_tokens=50, messages=[{"role": "user", "content": "Hello there."}]
    )


def test_budget_without_limits_says_how_to_set_one(safellm: Any) -> None:
    """No limit: exit 0, a hint, and an empty list in JSON."""
    assert "SAFELLM_BUDGET_USD" in safellm("budget").stdout
    assert json.loads(safellm("budget", "--json").stdout)["limits"] == []


def test_budget_shows_used_held_left(safellm: Any, provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a call the numbers add up, and agree with the usage."""
    monkeypatch.setenv("SAFELLM_BUDGET_USD", "0.5/day")
    monkeypatch.setenv("SAFELLM_BUDGET_TOKENS", "100000/hour")
    ask(provider)
    limits = {one["unit"]: one for one in json.loads(safellm("budget", "--json").stdout)["limits"]}
    used = json.loads(safellm("usage", "--json").stdout)
    assert limits["tokens"]["used"] == used["input_tokens"] + used["output_tokens"] > 0
    assert limits["micro_usd"]["used"] == used["micro_usd"] > 0
    for one in limits.values():
        assert one["used"] + one["held"] + one["left"] == one["limit"]
        assert one["resets_at"].endswith("Z")
    text = safellm("budget").stdout
    assert "$0.50/day" in text
    assert "100,000 tokens/hour" in text


def test_budget_says_where_a_limit_is_raised(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a refused call sends its reader here for that."""
    monkeypatch.setenv("SAFELLM_BUDGET_USD", "5/day")
    assert "Set in: variable SAFELLM_BUDGET_USD. Raise a limit there" in safellm("budget").stdout.replace("\n", " ")


def test_usage_shows_days_and_filters(safellm: Any, provider: Any) -> None:
    """One row per day and model; a later day finds nothing; a wrong day is wrong use."""
    assert "Nothing was used yet" in safellm("usage").stdout
    ask(provider)
    assert "gpt-4o-mini" in safellm("usage").stdout
    assert json.loads(safellm("usage", "--json", "--since", "2999-01-01").stdout)["usage"] == []
    assert safellm("usage", "--since", "yesterday").exit_code == 2


def test_b_6_budget_refuses_a_deleted_ledger_until_it_is_rearmed(
    safellm: Any, home: Path, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that vanished is told, not begun anew; `rearm` needs a yes, and is recorded."""
    monkeypatch.setenv("SAFELLM_BUDGET_TOKENS", "100000/hour")
    ask(provider)
    for file in home.glob("ledger.sqlite3*"):
        if not file.name.endswith(".mark"):
            file.unlink()
    broken = safellm("budget")
    assert broken.exit_code == 1
    assert "budget rearm" in broken.stderr
    assert safellm("budget", "rearm").exit_code == 2
    assert safellm("budget", "rearm", "--yes").exit_code == 0
    assert safellm("budget").exit_code == 0
    assert "budget.rearm" in safellm("audit", "tail").stdout
