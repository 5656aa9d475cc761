"""When the disk has a record: what each way of syncing promises, and what a failed sync means (THREATS L.5, promise P8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safellm._core.policy import Policy
from safellm._core.verify import Verification
from safellm.errors import GuardFailure
from safellm.stores import durable
from safellm.stores.behind import THREAD_PREFIX
from safellm.stores.journal import jsonl
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.journal.interface import Journal
from safellm.stores.journal.jsonl import JsonlJournal, Sync
from safellm.stores.waiting import Busy
from safellm.testing.journal_contract import JournalContract

TIME_NS = 1_800_000_000_000_000_000


class TestGroupedJournal(JournalContract):
    """The contract, when the disk follows behind."""

    def open_journal(self, place: Path) -> Journal:
        """Open the folder."""
        return JsonlJournal(place, sync="group")

    def verify(self, place: Path) -> Verification:
        """Check the folder."""
        return verify_directory(place)


class Disk:
    """The real sync, counted; it can be stopped, and made to fail."""

    def __init__(self) -> None:
        self.syncs = 0
        self.fails = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.began = threading.Event()
        self._real = durable.sync

    def sync(self, descriptor: int) -> None:
        """Stand in for `durable.sync`."""
        self.began.set()
        assert self.may_go_on.wait(20)
        self.syncs += 1
        if self.fails:
            raise OSError(5, "Input/output error")
        self._real(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Watch the disk."""
    made = Disk()
    monkeypatch.setattr(durable, "sync", made.sync)
    return made


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait for what a thread does, for ten seconds at most."""
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    return holds()


def write(journal: JsonlJournal, count: int = 1, event: str = "call.intent", **options: bool) -> None:
    """Append some records."""
    for _ in range(count):
        journal.append(event, {}, time_ns=TIME_NS, **options)


def test_group_goes_on_before_the_disk_has_it(tmp_path: Path, disk: Disk) -> None:
    """A record is in the file when `append` returns, also while the disk is stuck; one sync then covers all that came."""
    disk.may_go_on.clear()
    journal = JsonlJournal(tmp_path, sync="group", delay_s=0)
    write(journal, 50)
    assert verify_directory(tmp_path).records == 50
    assert disk.syncs == 0
    disk.may_go_on.set()
    assert eventually(lambda: journal._synced == 50)
    assert disk.syncs <= 2
    journal.close()


@pytest.mark.parametrize(("sync", "syncs"), [("each", 5), ("none", 0)])
def test_each_waits_and_none_never_does(tmp_path: Path, disk: Disk, sync: Sync, syncs: int) -> None:
    """With "each" five intents are five syncs and an outcome follows behind; with "none" there is none, also not at the end."""
    journal = JsonlJournal(tmp_path, sync=sync, delay_s=10)
    write(journal, 5)
    assert disk.syncs == syncs
    write(journal, event="call.outcome")
    assert disk.syncs == syncs
    journal.close()
    assert disk.syncs == syncs + (sync == "each")


def test_p_5_strict_mode_always_waits_for_the_disk() -> None:
    """Whatever `audit.sync` says, strict mode has the intent on the disk before a byte leaves."""
    settings: tuple[Sync, ...] = ("each", "group", "none")
    for sync in settings:
        assert Policy.model_validate({"mode": "strict", "audit": {"sync": sync}}).audit_sync == "each"
        assert Policy.model_validate({"mode": "guard", "audit": {"sync": sync}}).audit_sync == sync


def test_l_5_failed_sync_behind_refuses_the_next_record(tmp_path: Path, disk: Disk) -> None:
    """The failure is told to the next call, and each call waits for the disk until it answers well again."""
    journal = JsonlJournal(tmp_path, sync="group", delay_s=0)
    write(journal)
    assert eventually(lambda: journal._synced == 1)
    disk.fails = True
    write(journal)
    assert eventually(lambda: journal._failure is not None)
    for _ in range(3):  # the first is told of the record before, the others of their own
        with pytest.raises(GuardFailure, match="Check the disk"):
            write(journal)
    disk.fails = False
    with pytest.raises(Busy):
        write(journal, wait=False)
    before = disk.syncs
    write(journal)
    assert disk.syncs == before + 1
    write(journal, wait=False)
    journal.close()
    assert verify_directory(tmp_path).ok


def test_l_5_failed_sync_at_the_end_is_told(tmp_path: Path, disk: Disk) -> None:
    """Closing says when the last records did not reach the disk."""
    journal = JsonlJournal(tmp_path, sync="group", delay_s=10)
    write(journal)
    disk.fails = True
    with pytest.raises(GuardFailure, match="Check the disk"):
        journal.close()
    journal.close()


def test_l_5_never_more_than_a_bound_is_behind(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is slower than the calls, calls begin to wait for it."""
    monkeypatch.setattr(jsonl, "MOST_BEHIND", 20)
    journal = JsonlJournal(tmp_path, sync="group", delay_s=10)
    write(journal, 20)
    assert disk.syncs == 0
    with pytest.raises(Busy):
        write(journal, wait=False)
    write(journal)
    assert disk.syncs == 1
    write(journal, 20, wait=False)
    journal.close()


def test_threads_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    """Eight records written while the disk is busy are taken there by the next sync, once for all."""
    journal = JsonlJournal(tmp_path, delay_s=10)
    disk.may_go_on.clear()
    threads = [threading.Thread(target=write, args=(journal,)) for _ in range(9)]
    threads[0].start()
    assert disk.began.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert eventually(lambda: journal._written == 9)
    disk.may_go_on.set()
    for thread in threads:
        thread.join()
    assert disk.syncs == 2
    assert journal._synced == 9
    journal.close()


def test_threads_that_share_a_failed_sync_are_all_refused(tmp_path: Path, disk: Disk) -> None:
    """The system reports a failed sync once: all whose records it should have taken are told, and nobody hangs."""
    journal = JsonlJournal(tmp_path, delay_s=10)
    disk.may_go_on.clear()
    disk.fails = True
    refused: list[GuardFailure] = []

    def try_it() -> None:
        try:
            write(journal)
        except GuardFailure as failure:
            refused.append(failure)

    threads = [threading.Thread(target=try_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: journal._written == 6)
    disk.may_go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 6


def test_busy_writes_nothing(tmp_path: Path) -> None:
    """Who doesn't want to wait for the first file, for the disk or for another process's lock gets Busy and no record."""
    journal = JsonlJournal(tmp_path, sync="group")
    with pytest.raises(Busy):
        write(journal, wait=False)
    write(journal)
    descriptor = durable.open_private(find(tmp_path)[0].path.parent / "trail.lock")
    with durable.locked(descriptor), pytest.raises(Busy):
        write(journal, wait=False)
    os.close(descriptor)
    strict = JsonlJournal(tmp_path)
    write(strict)
    with pytest.raises(Busy):
        write(strict, wait=False)
    write(journal, wait=False)
    assert verify_directory(tmp_path).records == 3


def test_thread_ends_with_the_journal(tmp_path: Path) -> None:
    """A closed journal leaves no thread."""
    journal = JsonlJournal(tmp_path, sync="group", delay_s=0)
    write(journal)
    journal.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name == f"{THREAD_PREFIX}-audit" and journal._behind._thread is not None]
    assert journal._behind._thread is None


_PROGRAM = """
import os, sys, time
from pathlib import Path
from safellm.stores import durable
from safellm.stores.journal.jsonl import JsonlJournal
real = durable.sync
def noted(descriptor):
    real(descriptor)
    os.write(1, b"synced\\n")
durable.sync = noted
journal = JsonlJournal(Path(sys.argv[1]), sync="group", delay_s=30)
for _ in range(3):
    journal.append("call.outcome", {}, time_ns=time.time_ns())
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
if sys.argv[2] == "fork" and os.fork() == 0:
    journal.append("call.outcome", {}, time_ns=time.time_ns())
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
"""


@pytest.mark.parametrize(
    ("how", "records", "syncs"),
    [
        ("end", 3, 1),
        pytest.param("kill", 3, 0, marks=pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")),
        pytest.param("fork", 4, 2, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")),
    ],
)
def test_l_5_records_outlive_the_program(tmp_path: Path, how: str, records: int, syncs: int) -> None:
    """A program that ends has synced all; killed, its records are in the file all the same; a fork has a thread of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", _PROGRAM, str(tmp_path), how],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    found = verify_directory(tmp_path)
    assert (found.ok, found.records) == (True, records)
    assert done.stdout.count("synced") == syncs


@pytest.mark.parametrize("change", ["rotated", "removed", "replaced"])
def test_l_8_change_of_the_folder_is_seen_however_old_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A writer that trusts the folder's old time stamp notices at its next record what another one did to the files."""
    from safellm.stores.journal import chain

    monkeypatch.setattr(chain, "_TRUSTED_AFTER_NS", 0)
    one, two = JsonlJournal(tmp_path, sync="none"), JsonlJournal(tmp_path, sync="none", rotate_bytes=1)
    for _ in range(2):
        write(one)
        time.sleep(0.02)  # beyond the clock's tick
    assert one._chain.place is not None
    assert (one._chain.place.folder_time > 0) == (os.name == "posix")
    [file] = find(tmp_path)
    if change == "rotated":
        write(two)
    elif change == "removed":
        file.path.unlink()
    else:
        (tmp_path / "copy").write_bytes(file.path.read_bytes())
        (tmp_path / "copy").replace(file.path)
    write(one)
    found = verify_directory(tmp_path)
    if change == "removed":
        assert "records 1 to 2 are missing" in found.problems[0].what
    else:
        assert found.ok, found.problems
        assert found.records == (5 if change == "rotated" else 3)
