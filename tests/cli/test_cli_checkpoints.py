"""`safellm audit checkpoint`, `key`, `verify --checkpoint`: kept notes prove the trail."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from safellm._core.record import GENESIS, rfc3339, seal, unseal
from safellm.stores.journal.files import find
from safellm.stores.journal.jsonl import JsonlJournal

NOW = 1_760_000_000_000_000_000


@pytest.fixture
def trail(home: Path) -> Path:
    """A trail with some records, where commands look for it."""
    journal = JsonlJournal(home / "audit", sync="none")
    for number in range(6):
        journal.append("test.event", {"number": number}, time_ns=NOW + number)
    journal.close()
    return home / "audit"


def rewrite(trail: Path) -> None:
    """Write the whole chain anew with one number changed: what somebody can who has the disk."""
    path = find(trail)[0].path
    old, prev, out = [unseal(line) for line in path.read_bytes().splitlines(keepends=True)], GENESIS, []
    for one in old:
        fields = {"number": 99 if one.seq == 2 else one.fields.get("number", 0)}
        made = seal(
            chain_uid=one.chain_uid, seq=one.seq, prev=prev, event=one.event, fields=fields,
            time=rfc3339(NOW), time_ns=NOW, event_id="0" * 32,
        )  # fmt: skip
        out.append(made.line)
        prev = made.hash
    path.write_bytes(b"".join(out))


def test_l_2_a_kept_checkpoint_finds_what_the_chain_can_not(safellm: Any, trail: Path, tmp_path: Path) -> None:
    """The chain was made anew and is whole; the kept note says otherwise, with the public key alone."""
    kept = tmp_path / "kept.txt"
    made = safellm("audit", "checkpoint", "--out", str(kept))
    assert made.exit_code == 0, made.stderr
    assert kept.read_text().strip() == made.stdout.strip()
    key = safellm("audit", "key").stdout.strip()
    elsewhere = tmp_path / "copy"
    shutil.copytree(trail, elsewhere)
    for one in elsewhere.glob("checkpoints-*"):
        one.unlink()
    arguments = ("audit", "verify", str(elsewhere), "--checkpoint", str(kept), "--public-key", key)
    good = safellm(*arguments)
    assert good.exit_code == 0, good.stdout
    assert "Lines 1 to 6 are those that were signed, last on 20" in good.stdout.replace("\n", " ")
    assert "Not proved" not in good.stdout, "the note proves just that"
    assert "Not proved" in safellm("audit", "verify", str(elsewhere)).stdout
    rewrite(elsewhere)
    assert safellm("audit", "verify", str(elsewhere)).exit_code == 0
    bad = safellm(*arguments, "--json")
    assert bad.exit_code == 1
    said = json.loads(bad.stdout)
    assert said["ok"] is True
    assert said["checkpoints"]["fits"][0]["fit"] == "differs"


def test_checkpoints_beside_the_trail_are_used_by_default(safellm: Any, trail: Path) -> None:
    """They find what was changed by somebody without the key; nothing new is signed when nothing was added."""
    first = safellm("audit", "checkpoint").stdout
    assert safellm("audit", "checkpoint").stdout == first
    assert "copies elsewhere prove more" in safellm("audit", "verify").stdout.replace("\n", " ")
    rewrite(trail)
    broken = safellm("audit", "verify")
    assert broken.exit_code == 1
    assert "is not what was signed" in broken.stdout.replace("\n", " ")


def test_a_wrong_key_or_file_is_wrong_use(safellm: Any, trail: Path, tmp_path: Path) -> None:
    """Each error says what to give instead."""
    kept = tmp_path / "kept.txt"
    safellm("audit", "checkpoint", "--out", str(kept))
    assert safellm("audit", "verify", "--checkpoint", str(kept), "--public-key", "nonsense").exit_code == 2
    assert safellm("audit", "verify", "--checkpoint", str(tmp_path / "none")).exit_code == 2
    kept.write_text("words\n")
    assert safellm("audit", "verify", "--checkpoint", str(kept)).exit_code == 2


def test_an_empty_trail_has_nothing_to_sign(safellm: Any, home: Path) -> None:
    """It says so."""
    assert safellm("audit", "checkpoint").exit_code == 2
    assert safellm("audit", "key").exit_code == 2


def test_l_2_words_on_paper_are_enough(safellm: Any, trail: Path) -> None:
    """Printed, typed again, and held against the trail without key and file; a wrong word is named."""
    words = safellm("audit", "checkpoint", "--words").stdout.strip()
    assert words.startswith("6 ")
    assert safellm("audit", "verify", "--words", words).exit_code == 0
    wrong = safellm("audit", "verify", "--words", words + " extra")
    assert (wrong.exit_code, "word 18" in wrong.stderr) == (2, True)
    rewrite(trail)
    assert safellm("audit", "verify", "--words", words).exit_code == 1


def test_l_2_a_table_is_a_kept_copy(safellm: Any, trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that can't be reached is told, for keeping and for checking, with the way out."""
    place = f"postgresql://nobody@/none?host={tmp_path}"
    monkeypatch.setenv("SAFELLM_AUDIT_CHECKPOINT_TO", place)
    for arguments in (
        ("checkpoint",),
        ("verify", "--checkpoint", place, "--public-key", safellm("audit", "key").stdout),
    ):
        done = safellm("audit", *arguments)
        assert done.exit_code == 2
        assert "The table of checkpoints can't be used" in done.stderr
