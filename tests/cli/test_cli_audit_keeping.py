"""`safellm audit pack`, `prune`, and what `safellm doctor` says of checkpoints."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm.stores.journal.files import find
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.pruned import start_file

OLD = 1_600_000_000_000_000_000


@pytest.fixture
def trail(home: Path) -> Path:
    """Several files of old records."""
    journal = JsonlJournal(home / "audit", sync="none", rotate_bytes=900)
    for number in range(12):
        journal.append("test.event", {"number": number}, time_ns=OLD + number)
    journal.close()
    return home / "audit"


def trail_findings(safellm: Any) -> list[dict[str, str]]:
    found = json.loads(safellm("doctor", "--json").stdout)["findings"]
    return [one for one in found if one["area"] == "Audit trail"]


def test_pack_and_prune_keep_the_proof(safellm: Any, trail: Path, tmp_path: Path) -> None:
    """With a checkpoint that was kept before; the removal is recorded."""
    kept = tmp_path / "kept.txt"
    assert safellm("audit", "prune", "--before", "30d").exit_code == 2  # nothing is signed yet
    safellm("audit", "checkpoint", "--out", str(kept))
    count = len(find(trail))
    assert f"Packed {count - 1} files" in safellm("audit", "pack").stdout
    assert f"Removed {count - 1} files" in safellm("audit", "prune", "--before", "30d").stdout
    assert "nothing was removed" in safellm("audit", "prune", "--before", "30d").stdout
    result = safellm("audit", "verify", "--checkpoint", str(kept), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["checkpoints"]["ok"]
    assert "were pruned, and the note of that is signed" in found["pruned"]
    assert safellm("audit", "tail", "-n", "1").stdout.count("audit.prune") == 1


def test_l_2_forged_note_of_pruning_is_found(safellm: Any, trail: Path) -> None:
    """The words were changed: the signature doesn't fit."""
    safellm("audit", "checkpoint")
    safellm("audit", "prune", "--before", "30d")
    uid = find(trail)[0].uid8
    path = start_file(trail, uid)
    entry = json.loads(path.read_text())
    entry["note"] = entry["note"].replace("time 20", "time 19", 1)
    path.write_text(json.dumps(entry))
    result = safellm("audit", "verify")
    assert result.exit_code == 2
    assert "not signed" in result.stderr


def test_doctor_tells_age_tail_and_copies(
    safellm: Any, vault: Any, trail: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Never signed; signed without copies; a tail; a place without a copy, then with an old one."""
    assert "never signed" in trail_findings(safellm)[1]["what"]
    safellm("audit", "checkpoint")
    assert "no record after it" in trail_findings(safellm)[1]["what"]
    assert "kept elsewhere" in trail_findings(safellm)[2]["what"]
    kept = tmp_path / "kept.txt"
    monkeypatch.setenv("SAFELLM_AUDIT_CHECKPOINT_TO", str(kept))
    assert "no copy" in trail_findings(safellm)[2]["what"]
    safellm("audit", "checkpoint")
    assert len(trail_findings(safellm)) == 2
    journal = JsonlJournal(trail, sync="none")
    journal.append("test.event", {}, time_ns=OLD)
    journal.close()
    assert "1 record after it not proved" in trail_findings(safellm)[1]["what"]
    old = kept.read_text()
    safellm("audit", "checkpoint")
    kept.write_text(old)
    (last,) = trail_findings(safellm)[2:]
    assert (last["level"], "newest checkpoint is not in" in last["what"]) == ("danger", True)
