"""`safellm grant`: made once, shown once, narrowed by anybody, revoked for all."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm.testing.canary import sweep

CHAT = ("--operation", "chat", "--model", "gpt-5*")


def new(safellm: Any, *more: str) -> str:
    """Return a fresh grant."""
    result = safellm("grant", "new", *CHAT, *more)
    assert result.exit_code == 0, result.stderr
    (text,) = result.stdout.split()
    return str(text)


def test_a_new_grant_holds_and_is_kept_nowhere(safellm: Any, home: Path) -> None:
    """Only its number and caveats are; the trail knows that it was made."""
    text = new(safellm, "--budget", "0.50usd", "--calls", "10", "--note", "for the test")
    shown = json.loads(safellm("grant", "show", text, "--json").stdout)
    assert shown["holds"] is True
    assert {"budget": {"micro_usd": 500_000}} in shown["caveats"]
    assert "for the test" in safellm("grant", "list").stdout
    assert "grant.issue" in safellm("audit", "tail").stdout
    assert sweep(text, paths=[home], texts=[safellm("grant", "list", "--json").stdout]) == []


@pytest.mark.parametrize("missing", [("--operation", "chat"), ("--model", "x"), ()])
def test_a_grant_for_everything_is_not_made_by_leaving_things_out(safellm: Any, missing: tuple[str, ...]) -> None:
    """What it is for has to be said."""
    assert safellm("grant", "new", *missing).exit_code == 2


def test_m_2_a_grant_ends(safellm: Any) -> None:
    """No immortal ones: at most 90 days, and nonsense is wrong use."""
    for time in ("91d", "0h", "8", "forever"):
        assert safellm("grant", "new", *CHAT, "--expires", time).exit_code == 2
    assert new(safellm, "--expires", "90d")


def test_narrowing_needs_nothing_but_the_grant(safellm: Any) -> None:
    """The narrower one holds and has all caveats; the wider one stays."""
    text = new(safellm)
    result = safellm("grant", "narrow", "-", "--max-tokens", "100", "--no-tools", stdin=text + "\n")
    assert result.exit_code == 0, result.stderr
    narrower = json.loads(safellm("grant", "show", result.stdout.strip(), "--json").stdout)
    assert narrower["holds"] is True
    assert {"max_output_tokens": 100} in narrower["caveats"]
    assert {"tool": []} in narrower["caveats"]
    assert safellm("grant", "narrow", text).exit_code == 2


def test_k_10_revoking_ends_it_and_what_was_made_from_it(safellm: Any) -> None:
    """By number or by the grant itself, once."""
    text = new(safellm)
    narrower = safellm("grant", "narrow", text, "--calls", "1").stdout.strip()
    assert safellm("grant", "revoke", narrower).exit_code == 0
    for one in (text, narrower):
        shown = safellm("grant", "show", one)
        assert shown.exit_code == 1
        assert "revoked" in shown.stdout
    assert safellm("grant", "revoke", "0" * 24).exit_code == 1
    assert "grant.revoke" in safellm("audit", "tail").stdout


def test_a_grant_of_another_place_does_not_hold(safellm: Any, home: Path) -> None:
    """Another root key, and a list that was cut: refused."""
    text = new(safellm)
    (home / "grants.jsonl").write_text("")
    assert "not in the list" in safellm("grant", "show", text).stdout.replace("\n", " ")
    (home / "grants.key").unlink()
    assert "made none" in safellm("grant", "show", text).stdout.replace("\n", " ")
    (home / "grants.jsonl").write_text("{broken\n")
    assert safellm("grant", "list").exit_code == 2


def test_what_is_no_grant_is_wrong_use(safellm: Any) -> None:
    """The error holds nothing of it."""
    result = safellm("grant", "show", "sk-something-secret-here")
    assert result.exit_code == 2
    assert "something" not in result.stderr
