"""The trail in a folder: sharing, rotation, rights, and what a check of the folder says."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import io
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from safellm._core.record import MAX_LINE_BYTES
from safellm._core.verify import KnownHead, Verification
from safellm.errors import ConfigurationError, GuardFailure, Reason
from safellm.stores import durable
from safellm.stores.journal.files import LOCK_NAME, find, lines, tail, verify_directory
from safellm.stores.journal.interface import Journal
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.testing.journal_contract import JournalContract

TIME_NS = 1_800_000_000_000_000_000
posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX systems")


class TestJsonlJournal(JournalContract):
    """The contract, over files."""

    def open_journal(self, place: Path) -> Journal:
        """Open the folder."""
        return JsonlJournal(place)

    def verify(self, place: Path) -> Verification:
        """Check the folder."""
        return verify_directory(place)


class TestUnsyncedJournal(TestJsonlJournal):
    """The contract, when nobody waits for the disk."""

    def open_journal(self, place: Path) -> Journal:
        """Open the folder."""
        return JsonlJournal(place, sync="none")


def _write(journal: JsonlJournal, count: int = 1, **fields: str) -> None:
    for _ in range(count):
        journal.append("call.intent", dict(fields), time_ns=TIME_NS)


def test_no_file_is_touched_before_the_first_record(tmp_path: Path) -> None:
    """Making a journal does nothing to the disk."""
    JsonlJournal(tmp_path / "a").close()
    assert list(tmp_path.iterdir()) == []


@posix
def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, and a trail file with wider rights is closed to others again."""
    before = os.umask(0)
    try:
        journal = JsonlJournal(tmp_path / "a" / "b")
        _write(journal)
    finally:
        os.umask(before)
    found = [tmp_path / "a", tmp_path / "a" / "b", *(tmp_path / "a" / "b").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    journal.close()
    [file] = find(tmp_path / "a" / "b")
    file.path.chmod(0o666)
    _write(journal)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("what", ["folder", "file", "lock", "pipe", "open to all"])
def test_links_and_odd_files_are_refused(tmp_path: Path, what: str) -> None:
    """A link as folder, trail or lock, a pipe as trail and a folder that all may write to refuse the call."""
    real, place = tmp_path / "real", tmp_path / "place"
    real.mkdir()
    (real / "target").touch()
    if what == "folder":
        place.symlink_to(real)
    else:
        place.mkdir(mode=0o700)
    if what == "file":
        (place / "trail-00000000-000001.jsonl").symlink_to(real / "target")
    elif what == "lock":
        (place / LOCK_NAME).symlink_to(real / "target")
    elif what == "pipe":
        os.mkfifo(place / "trail-00000000-000001.jsonl")
    elif what == "open to all":
        place.chmod(0o777)
    with pytest.raises(GuardFailure, match="audit") as caught:
        _write(JsonlJournal(place))
    assert (caught.value.reason, caught.value.guard) == (Reason.AUDIT_UNAVAILABLE, "audit")
    assert caught.value.remedy
    assert ("link" in caught.value.remedy) == (what in {"folder", "file", "lock"})
    assert (real / "target").read_bytes() == b""


def test_rotation_carries_the_head_over(tmp_path: Path) -> None:
    """A new file begins with `audit.rotate`, which names the file before and its last hash."""
    journal = JsonlJournal(tmp_path, rotate_bytes=1000)
    _write(journal, 8)
    journal.close()
    files = find(tmp_path)
    assert [file.index for file in files] == list(range(1, len(files) + 1))
    assert len(files) > 2
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert found.records == 8 + len(files) - 1
    records = tail(tmp_path, 100)
    for before, record in pairwise(records):
        if record["event.name"] == "audit.rotate":
            assert record["safellm.rotate.head"] == before["hash"] == record["prev"]
    assert sum(record["event.name"] == "audit.rotate" for record in records) == len(files) - 1


_WRITER = """
import sys, time
from pathlib import Path
from safellm.stores.journal.jsonl import JsonlJournal
journal = JsonlJournal(Path(sys.argv[1]), sync="none", rotate_bytes=int(sys.argv[3]))
for number in range(int(sys.argv[2])):
    journal.append("call.intent", {"n": number}, time_ns=time.time_ns())
"""


def test_l_8_rotation_under_concurrent_writers(tmp_path: Path) -> None:
    """Six processes write while files are changed every few records: nothing is lost and the chain is whole."""
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), "60", "4000"]) for _ in range(6)]
    while any(writer.poll() is None for writer in writers):
        if find(tmp_path):
            during = verify_directory(tmp_path)
            assert during.ok or not during.records, during.problems
        time.sleep(0.02)
    assert [writer.returncode for writer in writers] == [0] * 6
    found, files = verify_directory(tmp_path), find(tmp_path)
    assert found.ok, found.problems
    assert len(files) > 10
    assert found.records == 6 * 60 + len(files) - 1


def test_l_8_missing_middle_file_is_named(tmp_path: Path) -> None:
    """Without a file of the middle, the file after it is named and the missing numbers are told."""
    journal = JsonlJournal(tmp_path, rotate_bytes=1000)
    _write(journal, 8)
    journal.close()
    files = find(tmp_path)
    files[1].path.unlink()
    found = verify_directory(tmp_path)
    assert found.problems[0].file == files[2].name
    assert "are missing" in found.problems[0].what
    assert any("file 000002 is missing" in problem.what for problem in found.problems)


def test_l_1_swapped_and_foreign_files_are_found(tmp_path: Path) -> None:
    """Two files that changed names, and a file of another trail, are found; two trails in one folder refuse calls."""
    for name in ("one", "two"):
        journal = JsonlJournal(tmp_path / name, rotate_bytes=1000)
        _write(journal, 8)
        journal.close()
    one, two = find(tmp_path / "one"), find(tmp_path / "two")
    aside = tmp_path / "aside"
    shutil.copytree(tmp_path / "one", aside)
    one[1].path.rename(tmp_path / "x")
    one[2].path.rename(one[1].path)
    (tmp_path / "x").rename(one[2].path)
    found = verify_directory(tmp_path / "one")
    assert found.problems[0].file == one[1].name
    shutil.copy(two[1].path, aside)
    found = verify_directory(aside)
    assert any("another chain" in problem.what for problem in found.problems)
    with pytest.raises(GuardFailure, match="two trails"):
        _write(JsonlJournal(aside))


def test_l_2_trail_cut_under_a_running_writer_shows_as_a_gap(tmp_path: Path) -> None:
    """A writer that knows more than the file holds goes on from what it knows, so the cut stays visible for ever."""
    journal = JsonlJournal(tmp_path)
    _write(journal, 5)
    [file] = find(tmp_path)
    written = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(b"".join(written[:3]))
    _write(journal)
    _write(JsonlJournal(tmp_path))
    found = verify_directory(tmp_path)
    assert [(problem.line, problem.what) for problem in found.problems] == [
        (4, "records 4 to 5 are missing before this one")
    ]


def test_l_2_deleted_trail_shows_as_a_gap(tmp_path: Path) -> None:
    """A writer whose files were all removed goes on with the same chain in the next file."""
    journal = JsonlJournal(tmp_path / "a")
    _write(journal, 2)
    shutil.rmtree(tmp_path / "a")
    _write(journal)
    found = verify_directory(tmp_path / "a")
    assert "records 1 to 2 are missing" in found.problems[0].what
    assert found.last_seq == 3


def test_l_2_kept_head_is_checked(tmp_path: Path) -> None:
    """A head that was noted down is found again; after a cut it isn't."""
    journal = JsonlJournal(tmp_path)
    _write(journal, 2)
    receipt = journal.append("call.intent", {}, time_ns=TIME_NS)
    known = KnownHead(seq=receipt.seq, hash=receipt.hash)
    assert verify_directory(tmp_path, known=known).ok
    [file] = find(tmp_path)
    file.path.write_bytes(b"".join(file.path.read_bytes().splitlines(keepends=True)[:2]))
    assert verify_directory(tmp_path).ok
    assert not verify_directory(tmp_path, known=known).ok


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # with threads running: just what is tested
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_has_its_own_lock(tmp_path: Path) -> None:
    """Parent and children of a fork write at once through what was one object, also when a thread held its lock."""
    journal = JsonlJournal(tmp_path, sync="none")
    _write(journal)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            _write(journal, who="thread")

    thread = threading.Thread(target=busy)
    thread.start()
    children = []
    try:
        for _ in range(4):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    _write(journal, 50, who="child")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
            _write(journal, 20, who="parent")
    finally:
        codes = [os.waitpid(child, 0)[1] for child in children]
        stop.set()
        thread.join()
    journal.close()
    found = verify_directory(tmp_path)
    assert codes == [0] * 4
    assert found.ok, found.problems
    assert sum(record.get("who") == "child" for record in tail(tmp_path, found.records)) == 200


def test_stopped_holder_of_the_lock_refuses_the_call(tmp_path: Path) -> None:
    """When another process keeps the lock for too long the call is refused, and later calls work again."""
    _write(JsonlJournal(tmp_path))
    descriptor = durable.open_private(tmp_path / LOCK_NAME)
    journal = JsonlJournal(tmp_path, lock_timeout_ns=20_000_000)
    with durable.locked(descriptor), pytest.raises(GuardFailure, match="keeps the lock"):
        _write(journal)
    _write(journal)
    os.close(descriptor)
    assert verify_directory(tmp_path).records == 2


def test_tail_returns_the_newest_across_files(tmp_path: Path) -> None:
    """The last records come oldest first, from as many files as needed; a line that is none is named."""
    journal = JsonlJournal(tmp_path, rotate_bytes=1000)
    _write(journal, 8)
    journal.close()
    last = verify_directory(tmp_path).last_seq
    assert last is not None
    assert [record["seq"] for record in tail(tmp_path, 6)] == list(range(last - 5, last + 1))
    assert tail(tmp_path, 0) == []
    assert len(tail(tmp_path, 1000)) == last
    with find(tmp_path)[-1].path.open("ab") as stream:
        stream.write(b"torn")
    assert tail(tmp_path, 1)[0]["event.name"] == "unreadable"
    assert tail(tmp_path / "nowhere", 3) == []


def test_folder_without_trail_is_told(tmp_path: Path) -> None:
    """A folder that isn't there is a mistake of the caller; an empty one is not a whole trail."""
    with pytest.raises(ConfigurationError):
        verify_directory(tmp_path / "nowhere")
    assert not verify_directory(tmp_path).ok


@posix
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe in place of a file is refused at once, also for reading."""
    os.mkfifo(tmp_path / "pipe")
    for flags in (os.O_RDONLY, os.O_RDWR):
        with pytest.raises(OSError, match="regular"):
            durable.open_private(tmp_path / "pipe", flags)


def test_long_line_counts_as_one() -> None:
    """What lies beyond the limit of a line is skipped up to its end."""
    text = b"x" * (3 * MAX_LINE_BYTES + 5) + b"\nok\n"
    found = list(lines(io.BytesIO(text), size=len(text)))
    assert found[1:] == [b"ok\n"]
    assert len(found[0]) == MAX_LINE_BYTES + 1


def test_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    """A file with one endless line is a problem of its first line, and the records after it are still read."""
    journal = JsonlJournal(tmp_path)
    _write(journal, 2)
    [file] = find(tmp_path)
    first, second = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(first + b"x" * 5_000_000 + b"\n" + second)
    found = verify_directory(tmp_path)
    assert (found.problems[0].line, found.problems[0].seq) == (2, 2)
    assert found.records == 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_a_dropped_journal_gives_its_descriptors_back(tmp_path: Path) -> None:
    """A program that makes many clients with folders of their own doesn't run out of descriptors."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        JsonlJournal(tmp_path / str(number)).append("x", {}, time_ns=1)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
