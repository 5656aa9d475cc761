"""Calls without limits, whose usage is written behind; and what a ledger does when it is asked not to wait."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure, ProtocolMisuse
from safellm.stores.ledger import sqlite_file, sqlite_rows
from safellm.stores.ledger.queue import Queue
from safellm.stores.ledger.sqlite import SQLiteLedger
from safellm.stores.waiting import Busy

DAY_NS = 86400 * 1_000_000_000
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2
TOTAL = Limit(name="default", unit=Unit.TOKENS, limit=1000, window=Window.TOTAL)
LABELS = {"provider": "p", "model": "m", "operation": "o"}


def asking(name: str, *limits: Limit) -> Reserve:
    """Return a reservation of ten tokens."""
    return Reserve(id=name, amounts=Amounts(input_tokens=10), limits=limits, labels=LABELS)


def call(ledger: SQLiteLedger, name: str, *limits: Limit, wait: bool = True) -> None:
    """Reserve ten tokens and be billed three."""
    assert ledger.reserve(asking(name, *limits), now_ns=NOON_NS, wait=wait) is None
    ledger.settle(name, Amounts(input_tokens=3), now_ns=NOON_NS, wait=wait)


def in_file(path: Path) -> tuple[int, int]:
    """Return requests and input tokens as the file has them, whatever this process still holds."""
    database = sqlite3.connect(path)
    try:
        found: tuple[int, int] = database.execute(
            "SELECT coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0) FROM usage"
        ).fetchone()
        return found
    finally:
        database.close()


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait for what a thread does, for ten seconds at most."""
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_usage_is_written_behind_and_before_it_is_read(tmp_path: Path) -> None:
    """A thread writes it soon; whoever asks, through any ledger of this process, gets all of it at once."""
    path = tmp_path / "ledger.db"
    one, two = SQLiteLedger(path), SQLiteLedger(path)
    call(one, "a")
    assert sum(row.input_tokens for row in two.usage()) == 3
    assert in_file(path) == (1, 3)
    call(one, "b")
    assert eventually(lambda: in_file(path) == (2, 6))
    call(one, "c")
    one.close()
    assert in_file(path) == (3, 9)
    two.close()


def test_call_begun_in_one_ledger_ends_in_another(tmp_path: Path) -> None:
    """Two ledgers of a process over one file know each other's calls; once is once."""
    one, two = SQLiteLedger(tmp_path / "ledger.db"), SQLiteLedger(tmp_path / "ledger.db")
    one.reserve(asking("a"), now_ns=NOON_NS)
    with pytest.raises(ProtocolMisuse):
        two.reserve(asking("a"), now_ns=NOON_NS)
    assert two.settle("a", None, now_ns=NOON_NS) == Amounts(input_tokens=10)
    assert one.settle("a", Amounts(input_tokens=1), now_ns=NOON_NS) == Amounts(input_tokens=10)
    one.reserve(asking("b"), now_ns=NOON_NS)
    two.release("b")
    assert [row.requests for row in one.usage()] == [1]
    one.close()
    two.close()


def test_dropped_ledger_writes_what_it_knows(tmp_path: Path) -> None:
    """A ledger that nobody closed and nobody has any more loses nothing."""
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    call(ledger, "a")
    del ledger
    assert in_file(tmp_path / "ledger.db") == (1, 3)


def test_p_8_usage_that_cannot_be_written_refuses_the_next_call(tmp_path: Path) -> None:
    """No call goes out while usage can't be written; with the ledger well again nothing is missing."""
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path)
    call(ledger, "a")
    ledger.usage()
    path.rename(tmp_path / "away")
    call(ledger, "b")
    assert eventually(lambda: ledger._failure is not None)
    with pytest.raises(Busy):
        ledger.reserve(asking("c"), now_ns=NOON_NS, wait=False)
    for _ in range(2):
        with pytest.raises(GuardFailure, match="gone"):
            ledger.reserve(asking("c"), now_ns=NOON_NS)
    (tmp_path / "away").rename(path)
    call(ledger, "c")
    ledger.close()
    assert in_file(path) == (3, 9)


_PROGRAM = """
import os, sys
from pathlib import Path
from safellm._core.effects import Amounts, Reserve
from safellm.stores.ledger import sqlite
sqlite.USAGE_DELAY_S = 30
ledger = sqlite.SQLiteLedger(Path(sys.argv[1]))
def reserve(name):
    ledger.reserve(Reserve(id=name, amounts=Amounts(input_tokens=10), limits=(), labels={}), now_ns=10**18)
def settle(name):
    ledger.settle(name, Amounts(input_tokens=3), now_ns=10**18)
reserve("before"), settle("before")
ledger.usage()
reserve("done"), settle("done")
reserve("under way")
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
if sys.argv[2] == "fork":
    reserve("the parent's")  # the child doesn't know how it ends
    child = os.fork()
    if child == 0:
        reserve("child"), settle("child")
        settle("under way")
        sys.exit()
    os.waitpid(child, 0)
    ledger.release("under way")
    ledger.release("the parent's")
"""


@pytest.mark.parametrize(
    ("how", "requests", "tokens"),
    [
        pytest.param("end", 3, 16, id="end: the call under way is charged its hold"),
        pytest.param("kill", 1, 3, id="kill: the last moments are lost"),
        pytest.param("fork", 4, 12, id="fork: each counts what it did"),
    ],
)
def test_b_2_program_that_ends_has_written_its_usage(tmp_path: Path, how: str, requests: int, tokens: int) -> None:
    """At a normal end everything is in the file; only a killed program loses what it had not written."""
    if how != "end" and not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    path = tmp_path / "ledger.db"
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", _PROGRAM, str(path), how]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert in_file(path) == (requests, tokens)


def test_busy_does_nothing(tmp_path: Path) -> None:
    """Who doesn't want to wait for the first opening or for a writer gets Busy, and nothing is held or charged."""
    path = tmp_path / "ledger.db"
    ledger, other = SQLiteLedger(path), SQLiteLedger(path)
    for limits in ((), (TOTAL,)):
        with pytest.raises(Busy):
            ledger.reserve(asking("a", *limits), now_ns=NOON_NS, wait=False)
    call(ledger, "a", TOTAL)
    ledger.reserve(asking("b", TOTAL), now_ns=NOON_NS)
    database = other._connect()
    database.execute("BEGIN IMMEDIATE")
    acts: list[Callable[[], Any]] = [
        lambda: ledger.reserve(asking("c", TOTAL), now_ns=NOON_NS, wait=False),
        lambda: ledger.settle("b", None, now_ns=NOON_NS, wait=False),
        lambda: ledger.release("b", wait=False),
    ]
    for act in acts:
        with pytest.raises(Busy):
            act()
    call(ledger, "without a limit", wait=False)
    database.execute("ROLLBACK")
    queue = Queue(path)
    assert queue.enter(timeout_s=1)
    for act in acts:
        with pytest.raises(Busy):
            act()
    queue.leave()
    queue.close()
    (balance,) = ledger.balances([TOTAL], now_ns=NOON_NS)
    assert (balance.used, balance.held) == (3, 10)
    call(ledger, "d", TOTAL, wait=False)
    ledger.close()
    other.close()


def test_queue_lets_in_one_at_a_time_and_everyone(tmp_path: Path) -> None:
    """Three that come again and again: never two inside, and each gets in until all are done."""
    inside, most, done = [0], [0], [0, 0, 0]

    def come(number: int) -> None:
        queue = Queue(tmp_path / "store")
        while done[number] < 30:
            assert queue.enter(timeout_s=20)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            done[number] += 1
            inside[0] -= 1
            queue.leave()
        queue.close()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == ([1], [30, 30, 30])
    holder, late = Queue(tmp_path / "store"), Queue(tmp_path / "store")
    assert holder.enter(timeout_s=0)
    assert not late.enter(timeout_s=0.01)
    holder.leave()
    assert late.enter(timeout_s=0)
    holder.close()
    late.close()


def test_b_6_day_noted_while_another_opens_is_no_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opens the ledger while another one notes a new day doesn't take it for an old copy."""
    path = tmp_path / "ledger.db"
    first = SQLiteLedger(path)
    call(first, "a", TOTAL)
    noted: list[str] = []

    def racing(name: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(sqlite_file, name)

        def read(*arguments: Any) -> Any:
            answer = real(*arguments)
            if not noted:  # right after the first of the two was read
                noted.append(name)
                first.reserve(asking("b", TOTAL), now_ns=NOON_NS + DAY_NS)
            return answer

        return read

    second = SQLiteLedger(path)
    with monkeypatch.context() as patch:
        for name in ("read_mark", "_mark_of"):
            patch.setattr(sqlite_file, name, racing(name))
        assert second.balances([TOTAL], now_ns=NOON_NS)[0].used == 3
    assert noted
    first.close()
    second.close()


def test_labels_of_usage_are_what_the_file_can_hold() -> None:
    """Short ASCII is kept as it is; half a surrogate and a megabyte are made harmless."""
    assert sqlite_rows.label("gpt-4o") == "gpt-4o"
    assert sqlite_rows.label("\ud800x") == "?x"
    assert len(sqlite_rows.label("x" * 1_000_000)) == 128
