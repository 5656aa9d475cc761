"""Checkpoints are made by themselves, behind calls, and a failure costs no call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safellm.stores.journal.checkpoints import read_signed, signing_key, standing, verifier_key
from safellm.stores.journal.files import verify_directory
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.keepers import kept_last
from safellm.stores.journal.periodic import Checkpointer
from safellm.stores.journal.proof import prove, read_kept

NOW = 1_790_000_000_000_000_000
LONG = 3600.0


def eventually(check: Callable[[], object]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.005)
    return False


class Made:
    """A trail with a checkpointer."""

    def __init__(
        self, folder: Path, *, records: int = 10**6, seconds: float = LONG, places: tuple[str, ...] = ()
    ) -> None:
        self.trail, self.state = folder / "audit", folder
        self.points = Checkpointer(self.trail, folder, records=records, seconds=seconds, places=places)
        self.journal = JsonlJournal(self.trail, sync="none", recorded=self.points.recorded)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.journal.append("test.event", {}, time_ns=NOW)

    def sizes(self) -> list[int]:
        uid = verify_directory(self.trail).chain_uid or ""
        key = verifier_key(signing_key(self.state), uid)
        return [one.checkpoint.size for one in read_signed(self.trail, uid, key)]


def test_checkpoint_follows_after_so_many_records(tmp_path: Path) -> None:
    """Not before, and again after as many more."""
    made = Made(tmp_path, records=10)
    made.write(9)
    assert made.sizes() == []
    made.write(1)
    assert eventually(lambda: made.sizes() == [10])
    made.write(10)
    assert eventually(lambda: made.sizes() == [10, 20])
    made.points.close()


def test_checkpoint_follows_after_so_many_seconds(tmp_path: Path) -> None:
    """Also when no further record comes."""
    made = Made(tmp_path, seconds=0.2)
    made.write(1)
    assert made.sizes() == []
    assert eventually(lambda: made.sizes() == [1])
    made.points.close()


def test_call_does_not_wait_for_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in another thread; records go on while it hangs."""
    import threading

    go, at_work = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        at_work.set()
        go.wait()

    monkeypatch.setattr("safellm.stores.journal.checkpoints.make_checkpoint", hang)
    made = Made(tmp_path, records=1)
    made.write(1)
    assert at_work.wait(10)
    made.write(500)
    go.set()
    made.points.close()


def test_l_2_copies_prove_the_trail_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file and the program's own logs get each checkpoint; the file is what `verify --checkpoint` reads."""
    kept = tmp_path / "other" / "kept.txt"
    kept.parent.mkdir()
    made = Made(tmp_path, records=5, places=(str(kept), "logging"))
    with caplog.at_level(logging.INFO, "safellm.audit.checkpoint"):
        made.write(5)
        assert eventually(lambda: made.sizes() == [5] and caplog.records)
        made.write(5)
        assert eventually(lambda: made.sizes() == [5, 10] and len(caplog.records) == 2)
    made.points.close()
    uid = verify_directory(made.trail).chain_uid or ""
    points = read_kept(kept, verifier_key(signing_key(tmp_path), uid))
    assert [one.size for one in points] == [5, 10]
    assert prove(made.trail, points).ok
    assert (kept_last(str(kept)) or "").startswith("safellm-audit/")
    assert kept_last("syslog") is None
    log = tmp_path / "syslog"
    log.write_text("other\n" + "".join(f"Jan 1 host safellm: {one.getMessage()}\n" for one in caplog.records), "utf-8")
    assert read_kept(log, verifier_key(signing_key(tmp_path), uid)) == points


def test_failure_is_told_once_and_fails_no_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A place that isn't there, then a key that is damaged: one line each, calls go on."""
    missing = str(tmp_path / "not" / "there")
    made = Made(tmp_path, records=1, places=(missing,))
    made.write(1)
    assert eventually(lambda: made.sizes() == [1])
    made.write(1)
    assert eventually(lambda: made.sizes() == [1, 2])
    (tmp_path / "audit-signing.key").write_bytes(b"short")
    for _ in range(3):
        made.write(1)
        made.points.make()
    made.points.close()
    err = capfd.readouterr().err
    assert err.count(missing) == 1
    assert err.count("signing key of the audit trail is damaged") == 1
    assert verify_directory(made.trail).records == 5


CHILD = """
import sys
from pathlib import Path
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.periodic import Checkpointer
home = Path(sys.argv[1])
points = Checkpointer(home / "audit", home, records=1000, seconds=3600)
journal = JsonlJournal(home / "audit", recorded=points.recorded)
for _ in range(int(sys.argv[2])):
    journal.append("test.event", {}, time_ns=1)
assert "cryptography" not in sys.modules
import atexit
atexit._run_exitfuncs()
print("cryptography" in sys.modules)
"""


@pytest.mark.parametrize(("count", "signs"), [(0, False), (3, True)])
def test_checkpoint_is_made_when_the_program_ends(tmp_path: Path, count: int, signs: bool) -> None:
    """Of what it wrote; a program that wrote nothing doesn't even load cryptography."""
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(count)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == str(signs), done.stderr
    if signs:
        uid = verify_directory(tmp_path / "audit").chain_uid or ""
        found = standing(tmp_path / "audit", uid, verifier_key(signing_key(tmp_path), uid))
        assert (found.lines_after, found.last is not None) == (0, True)


def test_trail_that_was_moved_away_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing to sign is no failure."""
    made = Made(tmp_path)
    made.write(1)
    made.journal.close()
    made.trail.rename(tmp_path / "elsewhere")
    made.points.make()
    made.points.close()
    assert not made.trail.exists()
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_of_a_fork_makes_its_own(tmp_path: Path) -> None:
    """Its records count in it; the parent's threads and locks are not touched."""
    made = Made(tmp_path, records=2)
    made.write(1)
    pid = os.fork()
    if pid == 0:
        try:
            made.write(2)
            os._exit(0 if eventually(lambda: made.sizes()) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    made.points.close()
    assert made.sizes() in ([2], [3])
