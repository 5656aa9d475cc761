"""What the audit trail and the ledger cost by themselves: `python tests/benchmarks/stores.py [--quick]`.

CPU is of the process and its threads, wall time is what one caller waits; times are microseconds, medians and 99th percentiles.
Processes compete for one trail, or for one account of one ledger. Compare lines of one run only.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.stores import durable
from safellm.stores.journal.files import verify_directory
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.ledger.sqlite import SQLiteLedger

INTENT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "server.address": "127.0.0.1",
    "server.port": 8080,
    "safellm.sdk": "openai 3.54.0",
    "decision": "allow",
    "gen_ai.request.stream": False,
    "gen_ai.request.model": "gpt-4o",
    "safellm.request.bytes": 4200,
    "safellm.content.hmac_in": "a" * 64,
    "safellm.budget.reserved": {"input_tokens": 4200, "output_tokens": 4096, "micro_usd": 51470},
    "safellm.key.ref": "code",
    "policy.digest": "b" * 64,
    "safellm.version": "0.1.0",
}
OUTCOME = {
    **INTENT,
    "http.response.status_code": 200,
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 200,
}
LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
HELD = Amounts(input_tokens=4200, output_tokens=4096, micro_usd=51470)
BILLED = Amounts(input_tokens=1000, output_tokens=200, micro_usd=4500)
DAY = Limit(name="default", unit=Unit.TOKENS, limit=10**15, window=Window.TOTAL)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rounds, and no ledger of a million entries"
    )
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    scale = 1 if options.quick else 10
    with tempfile.TemporaryDirectory(prefix="safellm-benchmark-") as name:
        folder = Path(name)
        print(f"{'':<52}{'CPU us':>9}{'p50 us':>9}{'p99 us':>9}{'per s':>9}")
        journals(folder, 200 * scale)
        callers(folder, 20 * scale)
        processes(folder, "journal", "a record of the trail, group", 400 * scale)
        ledgers(folder, 200 * scale)
        processes(folder, "ledger", "a call with a limit", 200 * scale)
        if not options.quick:
            grown(folder, 1_000_000)


def journals(folder: Path, rounds: int) -> None:
    """Two records, intent and outcome, in each way of syncing."""
    for sync in ("none", "group", "each"):
        journal = JsonlJournal(folder / f"trail {sync}", sync=sync)
        number = [0]

        def pair(journal: JsonlJournal = journal, number: list[int] = number) -> None:
            number[0] += 1
            journal.append("call.intent", {**INTENT, "event.id": str(number[0])}, time_ns=time.time_ns())
            journal.append("call.outcome", {**OUTCOME, "event.parent": str(number[0])}, time_ns=time.time_ns())

        pair()
        time.sleep(3.1)  # a folder that has just changed is looked at more often
        show(f"two records of the trail, {sync}", pair, rounds // 10 if sync == "each" else rounds)
        journal.close()
        assert verify_directory(folder / f"trail {sync}").ok


def callers(folder: Path, rounds: int) -> None:
    """Threads that each wait for the disk: how many records share a sync."""
    syncs = [0]
    real = durable.sync

    def counted(descriptor: int) -> None:
        syncs[0] += 1
        real(descriptor)

    durable.sync = counted
    for count in (1, 8, 64):
        journal = JsonlJournal(folder / f"trail of {count}", delay_s=10)
        syncs[0] = 0
        waits: list[int] = []

        def run(journal: JsonlJournal = journal, waits: list[int] = waits, own: int = max(3, rounds // count)) -> None:
            for _ in range(own):
                began = time.perf_counter_ns()
                journal.append("call.intent", dict(INTENT), time_ns=time.time_ns())
                waits.append(time.perf_counter_ns() - began)

        began, cpu = time.perf_counter_ns(), time.process_time_ns()
        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu
        shared = len(waits) / max(1, syncs[0])
        row(f"an intent, each, {count} callers ({shared:.1f} share a sync)", cpu / len(waits), waits, took)
        journal.close()
    durable.sync = real


def ledgers(folder: Path, rounds: int) -> None:
    """Reserve and settle in one process."""
    money = Limit(name="default", unit=Unit.MICRO_USD, limit=10**15, window=Window.DAY)
    ledger = SQLiteLedger(folder / "one" / "ledger.sqlite3")
    for name, limits in (("no limit", ()), ("a limit", (DAY,)), ("two limits", (DAY, money))):
        show(f"a call with {name}", paying(ledger, limits), rounds)
    ledger.close()


def grown(folder: Path, count: int) -> None:
    """The same in a ledger of so many reservations and accounts."""
    path = folder / "grown" / "ledger.sqlite3"
    ledger = SQLiteLedger(path)
    ledger.sweep(now_ns=time.time_ns())
    database = ledger._connect()
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO reservations (id, state, created_ns, pid, opened_ns, provider, model, operation, input_tokens, "
        "output_tokens, micro_usd, requests, lines) VALUES (?, 'held', ?, 1, 1, 'p', 'm', 'o', 1, 1, 1, 1, '[]')",
        ((f"old {number}", time.time_ns()) for number in range(count)),
    )
    database.executemany(
        "INSERT INTO accounts VALUES (?, 'tokens', 'total', 0, 1, 1)", ((f"user {number}",) for number in range(count))
    )
    database.execute("COMMIT")
    show(f"a call with a limit, {count:,} entries", paying(ledger, (DAY,)), 2000)
    ledger.close()


def paying(ledger: SQLiteLedger, limits: tuple[Limit, ...], name: str = "") -> Callable[[], None]:
    """Return one reserve and settle."""
    number = [0]

    def pair() -> None:
        number[0] += 1
        identifier = f"{name}{len(limits)} {number[0]}"
        over = ledger.reserve(Reserve(id=identifier, amounts=HELD, limits=limits, labels=LABELS), now_ns=time.time_ns())
        assert over is None
        ledger.settle(identifier, BILLED, now_ns=time.time_ns(), model="gpt-4o-2024-08-06")

    return pair


def processes(folder: Path, kind: str, what: str, rounds: int) -> None:
    """One and eight processes on one store; every one says how long each of its rounds took."""
    for count in (1, 8):
        place = folder / f"{kind} of {count}"
        command = [sys.executable, __file__, "--worker", kind, str(place), str(rounds)]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for worker in started:
            assert worker.stdout is not None
            worker.stdout.readline()
        began = time.perf_counter_ns()
        for worker in started:
            assert worker.stdin is not None
            worker.stdin.close()
        told = [json.loads(worker.stdout.read()) for worker in started if worker.stdout is not None]
        took = time.perf_counter_ns() - began
        for worker in started:
            worker.wait(timeout=60)
        waits = [wait for one in told for wait in one["waits"]]
        row(f"{what}, {count} processes", sum(one["cpu"] for one in told) / len(waits), waits, took)
        if kind == "journal":
            assert verify_directory(place).records == len(waits) + count
        else:
            ledger = SQLiteLedger(place)
            [balance] = ledger.balances([DAY], now_ns=time.time_ns())
            ledger.close()
            assert (balance.used, balance.held) == (1200 * (len(waits) + count), 0)


def work(kind: str, place: str, rounds: str) -> None:
    """Be one of the processes."""
    if kind == "journal":
        store: JsonlJournal | SQLiteLedger = JsonlJournal(Path(place), sync="group")

        def act() -> None:
            store.append("call.outcome", dict(OUTCOME), time_ns=time.time_ns())

    else:
        store = SQLiteLedger(Path(place), wait_s=30)
        import os

        act = paying(store, (DAY,), f"{os.getpid()} ")
    act()
    print("ready", flush=True)
    sys.stdin.read()
    waits, cpu = [], time.process_time_ns()
    for _ in range(int(rounds)):
        began = time.perf_counter_ns()
        act()
        waits.append(time.perf_counter_ns() - began)
    cpu = time.process_time_ns() - cpu
    store.close()
    print(json.dumps({"waits": waits, "cpu": cpu}), flush=True)


def show(what: str, act: Callable[[], None], rounds: int) -> None:
    """Time one thing."""
    for _ in range(min(rounds, 50)):
        act()
    waits = []
    cpu, start = time.process_time_ns(), time.perf_counter_ns()
    for _ in range(rounds):
        began = time.perf_counter_ns()
        act()
        waits.append(time.perf_counter_ns() - began)
    row(what, (time.process_time_ns() - cpu) / rounds, waits, time.perf_counter_ns() - start)


def row(what: str, cpu_ns: float, waits_ns: list[int], took_ns: int) -> None:
    """Print one line."""
    waits_ns.sort()
    middle, late = waits_ns[len(waits_ns) // 2], waits_ns[int(len(waits_ns) * 0.99)]
    rate = len(waits_ns) / took_ns * 1e9
    print(f"{what:<52}{cpu_ns / 1000:>9.1f}{middle / 1000:>9.1f}{late / 1000:>9.1f}{rate:>9,.0f}", flush=True)


if __name__ == "__main__":
    main()
