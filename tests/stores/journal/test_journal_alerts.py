"""Alerts of a trail: raised behind calls, over the records of all programs, once."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from safellm._core import alerts
from safellm._core.policy import Alert
from safellm.stores.journal.events import FanOutJournal
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.watching import Watcher, state_file

RULES = (
    Alert(name="refusals", count="refusals", at_least=3, within="1m").rule(),
    Alert(name="models", new="model").rule(),
)
NOW = 1_790_000_000_000_000_000
EXTRA = {"policy.digest": "a" * 64, "safellm.version": "1"}
DENY = {**EXTRA, "decision": "deny", "safellm.guard": "budget", "reason": "budget.exceeded"}


class Program:
    """A journal with alerts, as a program has it; looks only when told to."""

    def __init__(self, folder: Path, *, began_ns: int = NOW, rules: tuple[alerts.Rule, ...] = RULES) -> None:
        self.folder = folder
        self.heard: list[str] = []
        self.watcher = Watcher(folder, rules, extra=EXTRA, now_ns=lambda: began_ns)
        self.journal = FanOutJournal(JsonlJournal(folder, sync="none", rotate_bytes=600), [self])
        self.watcher.raise_with(self.journal.note)

    def emit(self, event: str, fields: object, *, time_ns: int) -> None:
        self.heard.append(event)

    def deny(self, at_s: int) -> None:
        self.journal.append("policy.deny", dict(DENY), time_ns=NOW + at_s * 10**9)


def told(folder: Path) -> list[str]:
    assert verify_directory(folder).ok
    lines = [json.loads(line) for file in find(folder) for line in file.path.read_bytes().splitlines()]
    return [one["safellm.alert.name"] for one in lines if one["event.name"] == alerts.EVENT]


def test_refusals_of_two_programs_are_counted_together(home):
    """Two from one and one from the other trip it, across rotations; it is told once, in the trail and to sinks."""
    one, other = Program(home / "audit"), Program(home / "audit")
    one.deny(0)
    one.watcher.turn()
    other.deny(1)
    other.watcher.turn()
    assert told(home / "audit") == []
    one.deny(2)
    one.watcher.turn()
    other.watcher.turn()
    assert told(home / "audit") == ["refusals"]
    assert one.heard.count(alerts.EVENT) + other.heard.count(alerts.EVENT) == 1
    assert len(find(home / "audit")) > 1


def test_what_was_there_before_is_learnt_from(home):
    """Old refusals raise nothing, and a model that was used before the alerts were set isn't new."""
    old = Program(home / "audit", rules=())
    for second in range(5):
        old.deny(second)
    for model in ("a", "b"):
        old.journal.append("call.intent", {"gen_ai.request.model": model}, time_ns=NOW + 6 * 10**9)
    later = Program(home / "audit", began_ns=NOW + 10 * 10**9)
    for model in ("b", "c"):
        later.journal.append("call.intent", {"gen_ai.request.model": model}, time_ns=NOW + 20 * 10**9)
    later.watcher.turn()
    assert told(home / "audit") == ["models"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"file":1,"offset":0,"watch":{}}', b"[" * 100_000])
def test_damaged_state_is_learnt_anew(home, damage):
    """Nothing is told twice because of it, and what comes next is told."""
    one = Program(home / "audit")
    for second in range(3):
        one.deny(second)
    one.watcher.turn()
    path = state_file(home / "audit", find(home / "audit")[0].uid8, RULES)
    assert path.exists()
    path.write_bytes(damage)
    later = Program(home / "audit", began_ns=NOW + 200 * 10**9)
    for second in range(300, 303):
        later.deny(second)
    later.watcher.turn()
    assert told(home / "audit") == ["refusals", "refusals"]


def test_alerts_that_can_not_be_raised_cost_no_call(home, capsys):
    """A lock that is a folder: it is told once, and the records are written."""
    one = Program(home / "audit")
    one.deny(0)
    (home / "audit" / "alerts.lock").mkdir()
    for _ in range(2):
        one.watcher.turn()
        one.deny(1)
    assert capsys.readouterr().err.count("Alerts can't be raised") == 1
    assert one.heard.count("policy.deny") == 3
    assert verify_directory(home / "audit").ok


PROGRAM = """
import sys, openai, safellm
heard = open(sys.argv[2], "w")
safellm.on_event(lambda event: print(event["event.name"], event.get("safellm.alert.name"), file=heard, flush=True))
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x", max_retries=0, safellm={
    "alerts": [{"name": "refusals", "count": "refusals", "at_least": 3, "within": "1m"}],
    "redaction.types": {"EMAIL": "block"},
})
for _ in range(4):
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "ann@example.com"}])
    except openai.APIStatusError:
        pass
"""


def test_an_alert_is_raised_when_the_program_ends_at_once(home, provider, tmp_path):
    """The end of the program waits for the look, and a function that listens still hears of it."""
    heard = tmp_path / "heard"
    subprocess.run([sys.executable, "-c", PROGRAM, provider.base_url, str(heard)], check=True, timeout=60)
    assert told(home / "audit") == ["refusals"]
    assert "alert.raise refusals" in heard.read_text().splitlines()
    assert provider.requests == []
