"""`safellm audit`: records for people and scripts, and an honest verdict."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm import OpenAI
from safellm.stores.journal.jsonl import JsonlJournal


@pytest.fixture
def trail(home: Path, provider: Any) -> Path:
    """The trail after two calls: one that was answered and one that was refused."""
    client = OpenAI(base_url=provider.base_url, api_key="sk-" + "x" * 20, max_retries=0)
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi jane@example.com"}])
    with pytest.raises(Exception, match="bound to"):
        client.post("https://elsewhere.example/v1/x", cast_to=object, body={})
    return home / "audit"


def test_tail_shows_records(safellm: Any, trail: Path) -> None:
    """Each record is a line with its event, decision and what was hidden or refused."""
    result = safellm("audit", "tail")
    assert result.exit_code == 0
    for part in ("call.intent", "call.outcome", "policy.deny", "hid EMAIL x1", "egress.origin"):
        assert part in result.stdout
    assert "jane@example.com" not in result.stdout


def test_tail_names_the_endpoint_of_a_call_without_a_model(safellm: Any, trail: Path, provider: Any) -> None:
    """A line says what was asked for, even where no model was."""
    OpenAI(base_url=provider.base_url, api_key="any").models.list()
    assert "get /models" in safellm("audit", "tail").stdout


def test_tail_json_gives_the_last_records(safellm: Any, trail: Path) -> None:
    """`-n` counts from the end; the records are whole, oldest first."""
    records = json.loads(safellm("audit", "tail", "-n", "2", "--json").stdout)
    assert [record["seq"] for record in records] == [2, 3]
    assert records[1]["event.name"] == "policy.deny"
    assert len(records[1]["hash"]) == 64


def test_tail_without_a_trail_says_so(safellm: Any) -> None:
    """No records is not an error."""
    assert safellm("audit", "tail").exit_code == 0
    assert json.loads(safellm("audit", "tail", "--json").stdout) == []


def test_verify_says_what_is_proved_and_what_is_not(safellm: Any, trail: Path) -> None:
    """A whole trail: exit 0, the proof in words, its limit in words, and the head to keep."""
    result = safellm("audit", "verify")
    assert result.exit_code == 0
    assert "verified: 3 records, chain intact" in result.stdout
    assert "Not proved" in result.stdout
    said = json.loads(safellm("audit", "verify", "--json").stdout)
    assert said["ok"] is True
    assert said["head"] in result.stdout


def test_l_1_verify_finds_an_edited_trail(safellm: Any, trail: Path) -> None:
    """One changed word: exit 1, with file and line, in text and in JSON."""
    file = next(trail.glob("trail-*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"decision":"deny"', b'"decision":"pass"'))
    result = safellm("audit", "verify", str(trail))
    assert result.exit_code == 1
    assert f"{file.name}:3" in result.stdout
    assert "BROKEN" in result.stdout
    machine = safellm("audit", "verify", str(trail), "--json")
    assert machine.exit_code == 1
    assert json.loads(machine.stdout)["problems"][0]["line"] == 3


def test_l_2_verify_finds_a_cut_below_a_kept_head(safellm: Any, trail: Path) -> None:
    """With the head of an earlier check the cut is found; without it the trail looks whole, as the text admits."""
    head = json.loads(safellm("audit", "verify", "--json").stdout)["head"]
    assert safellm("audit", "verify", "--head", head).exit_code == 0
    file = next(trail.glob("trail-*.jsonl"))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    assert safellm("audit", "verify").exit_code == 0
    cut = safellm("audit", "verify", "--head", head)
    assert cut.exit_code == 1
    assert "cut off" in cut.stdout


@pytest.mark.parametrize("head", ["", "3", "3:abc", "0:" + "0" * 64, "x" * 100])
def test_verify_refuses_a_malformed_head(safellm: Any, trail: Path, head: str) -> None:
    """A wrong head is wrong use, not a broken trail."""
    assert safellm("audit", "verify", "--head", head).exit_code == 2


def test_verify_without_a_trail_is_wrong_use(safellm: Any, tmp_path: Path) -> None:
    """A folder that isn't there gives two sentences and exit code 2."""
    result = safellm("audit", "verify", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 2


def test_a_trail_that_has_not_begun_is_said_to_be_so(safellm: Any) -> None:
    """No command that reads or signs it sends people to look for permissions."""
    for command in ("verify", "checkpoint", "report"):
        result = safellm("audit", command)
        assert result.exit_code == 2
        assert "first guarded call" in result.stderr


def test_o_3_tail_escapes_what_drives_a_terminal(safellm: Any, home: Path) -> None:
    """A model's name with an escape sequence and markup is shown as text."""
    journal = JsonlJournal(home / "audit", sync="none")
    journal.append("call.intent", {"gen_ai.request.model": "\x1b]0;owned\x07[red]m\u202e"}, time_ns=1)
    journal.close()
    out = safellm("audit", "tail").stdout
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b]0;owned\\x07[red]m" in out
