"""Crashes and failing disks: what a call is told, and that every byte left is explained (THREATS L.5)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safellm.errors import GuardFailure
from safellm.stores import durable
from safellm.stores.journal.files import find, tail, verify_directory
from safellm.stores.journal.jsonl import JsonlJournal

TIME_NS = 1_800_000_000_000_000_000
posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and users of POSIX systems")


def _run(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    program = [*prefix, sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(program, check=False, capture_output=True, text=True, timeout=120)


_MORTAL_WRITER = """
import os, random, signal, sys, time
from pathlib import Path
from safellm.stores import durable

rng = random.Random(int(sys.argv[2]))
real = durable.write_all
def torn(descriptor, data):  # byte by byte in effect: dies anywhere, mostly in the middle of a line
    step = len(data) // 8 + 1
    for start in range(0, len(data), step):
        if rng.random() < 0.02:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor, data[start:start + step])
durable.write_all = torn

from safellm.stores.journal.jsonl import JsonlJournal
journal = JsonlJournal(Path(sys.argv[1]), rotate_bytes=20_000)
while True:
    receipt = journal.append("call.intent", {}, time_ns=time.time_ns())
    os.write(1, f"{receipt.seq} {receipt.hash}\\n".encode())
"""


@posix
def test_l_5_sixteen_writers_killed_at_random(tmp_path: Path) -> None:
    """Every record that a killed writer was told of is there, and the check explains every byte of the rest."""
    writers = [
        subprocess.Popen([sys.executable, "-c", _MORTAL_WRITER, str(tmp_path), str(number)], stdout=subprocess.PIPE)
        for number in range(16)
    ]
    told: dict[int, str] = {}
    for writer in writers:
        for line in writer.communicate(timeout=120)[0].decode().splitlines():
            seq, digest = line.split()
            told[int(seq)] = digest
    assert [writer.returncode for writer in writers] == [-signal.SIGKILL] * 16
    JsonlJournal(tmp_path).append("call.intent", {}, time_ns=TIME_NS)
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert len(found.recovered) > 3, "hardly a kill tore a line: the test proves nothing"
    records = {record["seq"]: record["hash"] for record in tail(tmp_path, 100_000) if "seq" in record}
    assert len(records) == found.records
    assert told.items() <= records.items()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_l_5_line_torn_anywhere_is_recovered(tmp_path: Path, data: st.DataObject) -> None:
    """A last line cut at any byte, twice over: the next record makes the trail whole; only a torn line is named."""
    place = tmp_path / "trail"
    shutil.rmtree(place, ignore_errors=True)
    journal = JsonlJournal(place, sync="none")
    for _ in range(2):
        journal.append("call.intent", {"x": "y" * 10_000}, time_ns=TIME_NS)
        journal.append("call.intent", {}, time_ns=TIME_NS)
    journal.close()
    [file] = find(place)
    for _ in range(2):
        size = file.path.stat().st_size
        # Within the last write only: earlier bytes are cut by somebody, not by a crash.
        last = file.path.read_bytes().rstrip(b"\n").rfind(b"\n") + 1
        os.truncate(file.path, data.draw(st.integers(last, size)))
        JsonlJournal(place, sync="none").append("call.outcome", {}, time_ns=TIME_NS)
        found = verify_directory(place)
        assert found.ok, found.problems
    assert found.head == tail(place, 1)[0]["hash"]


@pytest.mark.parametrize(
    "left", [b"", b"torn", b'{"chain.uid":"', b"\0" * 9000], ids=["empty", "text", "json", "zeros"]
)
@pytest.mark.parametrize("first", [True, False], ids=["first file", "second file"])
def test_l_5_file_begun_and_not_finished_is_recovered(tmp_path: Path, left: bytes, *, first: bool) -> None:
    """A crash while a file gets its first record leaves a chain that goes on."""
    if first:
        name = "trail-0123abcd-000001.jsonl"
    else:
        JsonlJournal(tmp_path).append("call.intent", {}, time_ns=TIME_NS)
        name = find(tmp_path)[0].name.replace("000001", "000002")
    (tmp_path / name).write_bytes(left)
    receipt = JsonlJournal(tmp_path).append("call.intent", {}, time_ns=TIME_NS)
    assert receipt.seq == 1 + (not first) + bool(left)
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert [part.bytes for part in found.recovered] == ([len(left)] if left else [])
    assert found.chain_uid is not None
    assert name[6:14] == found.chain_uid[:8]


def test_l_5_rotation_after_a_line_without_its_end(tmp_path: Path) -> None:
    """A record that lacks only its line end is finished before the next file begins."""
    journal = JsonlJournal(tmp_path, rotate_bytes=300)
    journal.append("call.intent", {}, time_ns=TIME_NS)
    journal.close()
    [file] = find(tmp_path)
    os.truncate(file.path, file.path.stat().st_size - 1)
    journal.append("call.intent", {}, time_ns=TIME_NS)
    assert len(find(tmp_path)) == 2
    assert verify_directory(tmp_path).ok


_FULL_DISK = """
import resource, sys
from pathlib import Path
from safellm.errors import GuardFailure, Reason
from safellm.stores.journal.jsonl import JsonlJournal

journal = JsonlJournal(Path(sys.argv[1]))
told, refused = [], []
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for number in range(20):
    try:
        told.append(journal.append("call.intent", {"n": number}, time_ns=1).seq)
    except GuardFailure as error:
        assert error.reason is Reason.AUDIT_UNAVAILABLE and error.guard == "audit" and "limit" in error.remedy, error
        refused.append(number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(told) > 3 and len(refused) > 3, (told, refused)
assert told == list(range(1, len(told) + 1))
after = journal.append("call.intent", {"n": "after"}, time_ns=1).seq
assert after == len(told) + 2, after  # the audit.recover record is between
print(len(told))
"""


@posix
def test_l_5_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """Without room every call is refused, none is half counted; with room again the torn bytes are named."""
    done = _run(_FULL_DISK, str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert found.records == int(done.stdout) + 2
    assert len(found.recovered) == 1


_FAULTY = """
import sys
from pathlib import Path
from safellm.errors import GuardFailure
from safellm.stores.journal.jsonl import JsonlJournal

journal = JsonlJournal(Path(sys.argv[1]))
for number in range(6):
    try:
        print(journal.append("call.intent", {"n": number}, time_ns=1).seq)
    except GuardFailure as error:
        print("refused:", error)
"""


def _strace(*inject: str) -> tuple[str, ...]:
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed: the failing disk is not tested")
    prefix = (program, "-f", "-qq", "-o", os.devnull, *inject)
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace may not trace here: the failing disk is not tested")
    return prefix


@posix
def test_l_5_failed_sync_refuses_the_call(tmp_path: Path) -> None:
    """A disk that reports EIO on sync refuses that call alone; its record stays, as an intent without an outcome."""
    prefix = _strace("-e", "inject=fdatasync:error=EIO:when=3")
    done = _run(_FAULTY, str(tmp_path), prefix=prefix)
    assert done.stdout.splitlines()[:2] == ["1", "2"], done.stderr
    assert "refused:" in done.stdout.splitlines()[2]
    assert "Check the disk" in done.stdout.splitlines()[2]
    assert done.stdout.splitlines()[3:] == ["4", "5", "6"]
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert len(found.open_intents) == 6


@posix
@pytest.mark.parametrize(("fault", "told"), [("EIO", "Check the disk"), ("ENOSPC", "Free space"), ("EDQUOT", "quota")])
def test_l_5_failed_write_refuses_the_call(tmp_path: Path, fault: str, told: str) -> None:
    """A write that fails refuses that call, writes nothing and leaves the chain as it was."""
    journal = JsonlJournal(tmp_path)
    journal.append("call.intent", {}, time_ns=TIME_NS)
    prefix = _strace("-P", str(find(tmp_path)[0].path), "-e", f"inject=write:error={fault}:when=2")
    done = _run(_FAULTY, str(tmp_path), prefix=prefix)
    lines = done.stdout.splitlines()
    assert lines[0] == "2", done.stderr
    assert "refused:" in lines[1]
    assert told in lines[1]
    assert lines[2:] == ["3", "4", "5", "6"]
    found = verify_directory(tmp_path)
    assert found.ok, found.problems
    assert found.records == 6


_OTHER_USER = """
import os, sys
from pathlib import Path
from safellm.errors import GuardFailure, Reason
from safellm.stores.journal.jsonl import JsonlJournal

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    JsonlJournal(Path(sys.argv[1])).append("call.intent", {}, time_ns=1)
except GuardFailure as error:
    assert error.reason is Reason.AUDIT_UNAVAILABLE, error
    print(error)
"""


@posix
@pytest.mark.parametrize("kind", ["read-only folder", "read-only parent", "read-only file", "other user's folder"])
def test_l_5_without_rights_the_call_is_refused(tmp_path: Path, kind: str) -> None:
    """An unprivileged user without the right to write gets a refusal that says what to do."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user: the missing right is not tested")
    for path in [tmp_path, *tmp_path.parents]:  # the test's folder itself must be reachable
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    place = tmp_path / "trail"
    place.mkdir()
    if kind == "read-only folder":
        os.chown(place, 65534, 65534)
        place.chmod(0o500)
    elif kind == "read-only parent":
        place.chmod(0o755)
        place = place / "below"
    elif kind == "read-only file":
        JsonlJournal(place).append("call.intent", {}, time_ns=TIME_NS)
        os.chown(place, 65534, 65534)
        place.chmod(0o700)
    else:
        os.chown(place, 0, 65534)  # its group may write, and yet the folder is another user's
        place.chmod(0o775)
    done = _run(_OTHER_USER, str(place))
    assert done.returncode == 0, done.stderr
    assert "can't be written" in done.stdout
    assert "audit.directory" in done.stdout


def test_l_5_threads_that_wait_together_are_all_told_of_a_failed_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports a failed sync only once; whoever's record it covered is refused, also those who ask later."""
    journal = JsonlJournal(tmp_path)
    journal.append("call.intent", {}, time_ns=TIME_NS)
    tickets = []
    for _ in range(3):  # written, and not yet waited for
        journal.append("call.outcome", {}, time_ns=TIME_NS)
        tickets.append(journal._written)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", broken)
        with pytest.raises(GuardFailure):
            journal.append("call.intent", {}, time_ns=TIME_NS)
    assert journal.append("call.intent", {}, time_ns=TIME_NS).seq == 6
    for ticket in tickets:
        with pytest.raises(OSError, match="error"):
            journal._wait(ticket)
    journal._wait(1)
    journal._wait(6)
