"""The SQLite ledger between processes that compete, die and fork."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure
from safellm.stores.ledger.rules import HOUR_NS
from safellm.stores.ledger.sqlite import SQLiteLedger

DAY = Limit(name="default", unit=Unit.TOKENS, limit=3000, window=Window.TOTAL)
ROOMY = Limit(name="roomy", unit=Unit.TOKENS, limit=10**12, window=Window.TOTAL)
LABELS = {"provider": "p", "model": "m", "operation": "o"}

# Each wire attempt is noted as billed, in a file of the worker's own, before it is settled: as a provider would.
WORKER = """
import os, sys, time
from pathlib import Path
from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.stores.ledger.sqlite import SQLiteLedger

path, rounds, stop_before_settle = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "hang"
limit = Limit(name="default", unit=Unit.TOKENS, limit=int(sys.argv[4]), window=Window.TOTAL)
ledger = SQLiteLedger(path, wait_s=30.0)
billed = os.open(path.with_name(f"billed-{os.getpid()}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
print("ready", flush=True)
sys.stdin.readline()  # all workers begin together
for number in range(rounds):
    identifier = f"{os.getpid()}-{number}"
    reserve = Reserve(id=identifier, amounts=Amounts(input_tokens=10), limits=(limit,), labels={"provider": "p"})
    if ledger.reserve(reserve, now_ns=time.time_ns()) is not None:
        continue
    cost = 1 + number % 10
    os.write(billed, f"{cost}\\n".encode())
    if stop_before_settle:
        print("reserved", flush=True)
        time.sleep(60)
    ledger.settle(identifier, Amounts(input_tokens=cost), now_ns=time.time_ns())
"""


def start(
    path: Path, *, count: int, rounds: int, mode: str = "run", ceiling: int = DAY.limit
) -> list[subprocess.Popen[str]]:
    """Start worker processes that begin at the same moment."""
    command = [sys.executable, "-c", WORKER, str(path), str(rounds), mode, str(ceiling)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    assert [out(worker).readline() for worker in workers] == ["ready\n"] * count
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.close()
    return workers


def out(worker: subprocess.Popen[str]) -> IO[str]:
    """Return a worker's standard output."""
    assert worker.stdout is not None
    return worker.stdout


def end(workers: list[subprocess.Popen[str]]) -> list[int]:
    """Wait for the workers and return their exit codes."""
    codes = [worker.wait(timeout=60) for worker in workers]
    for worker in workers:
        out(worker).close()
    return codes


def billed_tokens(folder: Path) -> int:
    """Add up what the workers' provider billed."""
    return sum(int(line) for file in folder.glob("billed-*") for line in file.read_text().split())


def standing(path: Path, limit: Limit = DAY) -> tuple[int, int]:
    """Return what is used and held in the ledger."""
    ledger = SQLiteLedger(path)
    (balance,) = ledger.balances([limit], now_ns=time.time_ns())
    ledger.close()
    return balance.used, balance.held


def asking(identifier: str) -> Reserve:
    """Return a reservation of ten tokens."""
    return Reserve(id=identifier, amounts=Amounts(input_tokens=10), limits=(DAY,), labels=LABELS)


def roomy(identifier: str) -> Reserve:
    """Return the same under a limit that no test reaches."""
    return Reserve(id=identifier, amounts=Amounts(input_tokens=10), limits=(ROOMY,), labels=LABELS)


def test_b_1_eight_processes_never_pass_the_limit(tmp_path: Path) -> None:
    """Eight processes that want more than the limit bill at most the limit, and the ledger shows exactly what they billed."""
    path = tmp_path / "ledger.db"
    assert end(start(path, count=8, rounds=100)) == [0] * 8
    billed = billed_tokens(tmp_path)
    assert billed <= DAY.limit
    assert billed > DAY.limit - 20  # there was demand for 4,400, so the limit was reached
    assert standing(path) == (billed, 0)


def test_b_2_killed_between_reserve_and_settle(tmp_path: Path) -> None:
    """A process that dies with a hold leaves it; the sweep charges it whole."""
    path = tmp_path / "ledger.db"
    (worker,) = start(path, count=1, rounds=1, mode="hang")
    assert out(worker).readline() == "reserved\n"
    worker.kill()
    assert end([worker]) != [0]
    assert standing(path) == (0, 10)
    ledger = SQLiteLedger(path)
    assert ledger.sweep(now_ns=time.time_ns() + HOUR_NS) == 1
    ledger.close()
    assert standing(path) == (10, 0)
    assert billed_tokens(tmp_path) == 1


def test_b_2_killed_at_any_moment(tmp_path: Path) -> None:
    """Killed anywhere, inside a transaction too, the ledger is sound and after the sweep shows at least what was billed."""
    path = tmp_path / "ledger.db"
    SQLiteLedger(path).sweep(now_ns=time.time_ns())
    kills = 0
    for turn in range(6):
        workers = start(path, count=2, rounds=100_000, ceiling=10**9)
        time.sleep(0.02 + 0.0137 * turn)
        for worker in workers:
            worker.kill()
        kills += sum(code != 0 for code in end(workers))
    assert kills == 12
    ledger = SQLiteLedger(path)
    ledger.sweep(now_ns=time.time_ns() + HOUR_NS)
    ledger.close()
    used, held = standing(path)
    billed = billed_tokens(tmp_path)
    assert billed > 100
    assert held == 0
    assert billed <= used <= billed + 12 * 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_threads_use_the_ledger(tmp_path: Path) -> None:
    """Children forked in the middle of transactions go on with the same object, and no update is lost."""
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path, wait_s=20.0)
    halt = threading.Event()
    done = [0]

    def use() -> None:
        while not halt.is_set():
            identifier = f"parent-{done[0]}"
            if ledger.reserve(roomy(identifier), now_ns=time.time_ns()) is None:
                ledger.settle(identifier, Amounts(input_tokens=1), now_ns=time.time_ns())
            done[0] += 1

    thread = threading.Thread(target=use)
    thread.start()
    children = []
    for child in range(5):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                for number in range(20):
                    ledger.reserve(roomy(f"child-{child}-{number}"), now_ns=time.time_ns())
                    ledger.settle(f"child-{child}-{number}", Amounts(input_tokens=1), now_ns=time.time_ns())
                ledger.close()
                code = 0
            finally:
                os._exit(code)
        children.append(process)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]
    halt.set()
    thread.join()
    ledger.close()
    assert codes == [0] * 5
    assert standing(path, ROOMY) == (5 * 20 + done[0], 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_unseen_by_python_is_refused(tmp_path: Path) -> None:
    """A connection that came through a fork is never used: the answer is a failure, not a ledger out of step."""
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.reserve(asking("a"), now_ns=time.time_ns())
    ledger._pid -= 1  # what a child sees whose fork ran no hooks
    with pytest.raises(GuardFailure, match="forked"):
        ledger.settle("a", None, now_ns=time.time_ns())
    ledger._pid += 1
    ledger.close()


def test_lock_held_for_long_is_a_bounded_wait(tmp_path: Path) -> None:
    """A store that stays locked is a failure after `wait_s`, and works again afterwards."""
    path = tmp_path / "ledger.db"
    ledger, blocker = SQLiteLedger(path, wait_s=0.2), SQLiteLedger(path)
    ledger.reserve(asking("a"), now_ns=time.time_ns())
    database = blocker._connect()
    database.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(GuardFailure, match="stayed locked"):
        ledger.settle("a", None, now_ns=time.time_ns())
    assert 0.15 < time.monotonic() - began < 2
    database.execute("ROLLBACK")
    assert ledger.settle("a", None, now_ns=time.time_ns()) == Amounts(input_tokens=10)
    ledger.close()
    blocker.close()
