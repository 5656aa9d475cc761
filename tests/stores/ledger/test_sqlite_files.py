"""The file of the SQLite ledger: who may read it, and what happens when it is gone, old, foreign or can't be written."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure, Reason
from safellm.stores.ledger import sqlite_file
from safellm.stores.ledger.sqlite import SQLiteLedger

DAY_NS = 86400 * 1_000_000_000
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2
TOTAL = Limit(name="default", unit=Unit.TOKENS, limit=1000, window=Window.TOTAL)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")

CALL = """
import sys, time
from pathlib import Path
from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure
from safellm.stores.ledger.sqlite import SQLiteLedger
limit = Limit(name="default", unit=Unit.TOKENS, limit=10**12, window=Window.TOTAL)

def call(path, count=1):
    ledger = SQLiteLedger(Path(path))
    try:
        for number in range(count):
            reserve = Reserve(id=str(time.time_ns()), amounts=Amounts(input_tokens=10), limits=(limit,), labels={})
            ledger.reserve(reserve, now_ns=time.time_ns())
            ledger.settle(reserve.id, None, now_ns=time.time_ns())
    except GuardFailure as error:
        print(error.reason, "|", error)
    else:
        print("served")
"""


def reserve(identifier: str, tokens: int = 10) -> Reserve:
    """Return a reservation on one limit."""
    return Reserve(id=identifier, amounts=Amounts(input_tokens=tokens), limits=(TOTAL,), labels={})


def spend(path: Path, identifier: str = "a", *, now_ns: int = NOON_NS) -> None:
    """Reserve, settle and close."""
    ledger = SQLiteLedger(path)
    try:
        assert ledger.reserve(reserve(identifier), now_ns=now_ns) is None
        ledger.settle(identifier, None, now_ns=now_ns)
    finally:
        ledger.close()


def assert_refused(path: Path, words: str) -> None:
    """Every method refuses with the same words, and nothing new appears in the place."""
    ledger = SQLiteLedger(path)
    calls: tuple[Callable[[], object], ...] = (
        lambda: ledger.reserve(reserve("x"), now_ns=NOON_NS),
        lambda: ledger.settle("x", None, now_ns=NOON_NS),
        lambda: ledger.release("x"),
        lambda: ledger.sweep(now_ns=NOON_NS),
        lambda: ledger.balances([TOTAL], now_ns=NOON_NS),
        lambda: ledger.usage(),
    )
    for call in calls:
        with pytest.raises(GuardFailure, match=words) as caught:
            call()
        assert caught.value.reason is Reason.BUDGET_UNAVAILABLE
        assert caught.value.guard == "budget"
        assert caught.value.remedy
    assert pickle.loads(pickle.dumps(caught.value)).what == caught.value.what
    ledger.close()


@posix
def test_file_and_folder_are_private(tmp_path: Path) -> None:
    """The folder has mode 0700, and every file in it 0600, whatever the umask."""
    previous = os.umask(0)
    try:
        ledger = SQLiteLedger(tmp_path / "state" / "ledger.db")
        ledger.reserve(reserve("a"), now_ns=NOON_NS)
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "state").iterdir()}
    finally:
        os.umask(previous)
    ledger.close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert set(modes) == {
        "ledger.db",
        "ledger.db.lock",
        "ledger.db.turn",
        "ledger.db-wal",
        "ledger.db-shm",
        "ledger.db.mark",
    }
    assert set(modes.values()) == {0o600}


@posix
def test_open_file_is_tightened_and_open_folder_refused(tmp_path: Path) -> None:
    """A readable file is made private; a folder that every user can write makes the ledger unusable, not one of a group."""
    path = tmp_path / "ledger.db"
    spend(path)
    path.chmod(0o644)
    spend(path, "b")
    assert path.stat().st_mode & 0o777 == 0o600
    tmp_path.chmod(0o770)  # as umask 002 makes folders, where each user has a group of their own
    spend(path, "c")
    tmp_path.chmod(0o777)
    assert_refused(path, "every user may write to it")
    tmp_path.chmod(0o700)


@posix
def test_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link in the ledger's place is not followed."""
    spend(tmp_path / "real.db")
    (tmp_path / "ledger.db").symlink_to(tmp_path / "real.db")
    assert_refused(tmp_path / "ledger.db", "not a plain file")


def test_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    """A folder, or a file where the folder should be, can't be opened."""
    (tmp_path / "ledger.db").mkdir()
    assert_refused(tmp_path / "ledger.db", "not a plain file")
    (tmp_path / "file").write_text("x")
    assert_refused(tmp_path / "file" / "ledger.db", "can't be opened")


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_damaged_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """A damaged ledger is refused with the remedy and left as it is for inspection."""
    path = tmp_path / "ledger.db"
    spend(path)
    path.write_bytes(content)
    assert_refused(path, "damaged or not a database|another program")
    assert path.read_bytes() == content


def test_damaged_pages_are_refused(tmp_path: Path) -> None:
    """Damage behind an intact header is noticed where it is touched."""
    path = tmp_path / "ledger.db"
    spend(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    assert_refused(path, "can't be used")


def test_damaged_values_are_refused(tmp_path: Path) -> None:
    """A value that was changed by hand to nonsense is a failure, not a number."""
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path)
    ledger.reserve(reserve("a"), now_ns=NOON_NS)
    ledger.close()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE reservations SET lines = '[[1]]'")
    database.close()
    other = SQLiteLedger(path)  # one that has not made the hold itself
    with pytest.raises(GuardFailure, match="contents are not as expected"):
        other.settle("a", None, now_ns=NOON_NS)
    other.close()


def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """The database of another program is neither used nor changed."""
    path = tmp_path / "ledger.db"
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    before = path.read_bytes()
    assert_refused(path, "another program")
    assert path.read_bytes() == before


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """A ledger of a newer version is not touched."""
    path = tmp_path / "ledger.db"
    spend(path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert_refused(path, "newer safellm")


def test_b_6_deleted_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger that is gone is not begun anew: not by the next process and not by one that has it open."""
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path)
    ledger.reserve(reserve("a", 900), now_ns=NOON_NS)
    for file in tmp_path.glob("ledger.db*"):
        if file.suffix != ".mark":
            file.unlink()
    with pytest.raises(GuardFailure, match="gone"):
        ledger.reserve(reserve("b", 900), now_ns=NOON_NS)
    ledger.close()
    assert_refused(path, "gone")
    assert not path.exists()


def test_b_6_emptied_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger cut to nothing is not taken for a new one."""
    path = tmp_path / "ledger.db"
    spend(path)
    os.truncate(path, 0)
    assert_refused(path, "emptied")


def test_b_6_exchanged_ledger_is_refused(tmp_path: Path) -> None:
    """A fresh ledger put in the place of a used one is recognised."""
    path = tmp_path / "ledger.db"
    spend(path)
    spend(tmp_path / "fresh.db")
    (tmp_path / "fresh.db").replace(path)
    assert_refused(path, "another ledger")


def test_b_6_restored_copy_is_refused(tmp_path: Path) -> None:
    """A copy of an earlier day put back over the ledger is recognised by its age."""
    path = tmp_path / "ledger.db"
    spend(path)
    shutil.copy(path, tmp_path / "copy.db")
    spend(path, "b", now_ns=NOON_NS + DAY_NS)
    (tmp_path / "copy.db").replace(path)
    assert_refused(path, "older than it was")


def test_b_6_damaged_mark_is_refused(tmp_path: Path) -> None:
    """A mark that can't be read is not ignored."""
    path = tmp_path / "ledger.db"
    spend(path)
    (tmp_path / "ledger.db.mark").write_text("{}")
    assert_refused(path, "mark file is damaged")


def test_b_6_rearm_sets_the_old_ledger_aside(tmp_path: Path) -> None:
    """A person can begin a new ledger; the old one is kept beside it."""
    path = tmp_path / "ledger.db"
    spend(path)
    os.truncate(path, 0)
    aside = sqlite_file.rearm(path, now_ns=NOON_NS)
    assert aside is not None
    assert aside.exists()
    spend(path)
    assert sqlite_file.rearm(tmp_path / "never.db", now_ns=NOON_NS) is None


def test_mark_lost_is_written_again(tmp_path: Path) -> None:
    """A ledger without its mark, as after a crash in its first moment, goes on and gets one."""
    path = tmp_path / "ledger.db"
    spend(path)
    mark = sqlite_file.read_mark(path)
    (tmp_path / "ledger.db.mark").unlink()
    spend(path, "b")
    assert sqlite_file.read_mark(path) == mark


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_full_disk_is_a_failure_and_heals(tmp_path: Path) -> None:
    """When nothing more can be written the call is refused, the file stays sound, and room makes it work again."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (262144, resource.RLIM_INFINITY))\n"
    room = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
    path = tmp_path / "ledger.db"
    script = f"{CALL}{limit}call({str(path)!r}, 5000)\n{room}call({str(path)!r}, 5)\n"
    lines = _python(script)
    assert lines[0].startswith("budget.unavailable | ")
    assert "Make room" in lines[0]
    assert lines[1] == "served"
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs user ids")
def test_read_only_file_is_a_failure(tmp_path: Path) -> None:
    """A ledger that the user can't write, or a folder that it can't enter, is refused."""
    drop = "import os\nif os.getuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
    if os.getuid() == 0:
        # Below pytest's folder, which only root can enter.
        folder = Path(f"/tmp/safellm-ledger-{os.getpid()}")
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
    else:
        folder = tmp_path
    try:
        path = folder / "ledger.db"
        assert _python(f"{CALL}{drop}call({str(path)!r})") == ["served"]
        path.chmod(0o400)
        read_only = _python(f"{CALL}{drop}call({str(path)!r})")
        path.chmod(0o600)
        folder.chmod(0o000)
        closed = _python(f"{CALL}{drop}call({str(path)!r})")
    finally:
        folder.chmod(0o700)
        if folder != tmp_path:
            shutil.rmtree(folder)
    assert read_only[0].startswith("budget.unavailable | ")
    assert "can't be written" in read_only[0]
    assert closed[0].startswith("budget.unavailable | ")


def _python(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
