"""Shared ledgers between processes that compete and die, on engines that die too (THREATS B.1, B.2, B.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_engines import PostgresServer, RedisServer

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure, ProtocolMisuse, Reason
from safellm.stores.ledger.address import open_shared, parse_address
from safellm.stores.ledger.fallback import FallbackLedger
from safellm.stores.ledger.interface import Ledger, Outage
from safellm.stores.ledger.rules import HOUR_NS
from safellm.stores.ledger.shared import SharedLedger

LIMIT = Limit(name="default", unit=Unit.TOKENS, limit=1200, window=Window.TOTAL)
LABELS = {"provider": "p", "model": "m", "operation": "o"}

# Each wire attempt is noted as billed, in a file of the worker's own, before it is settled: as a provider would.
WORKER = """
import os, sys, time
from pathlib import Path
from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.stores.ledger.address import open_shared
from safellm.stores.ledger.sqlite import SQLiteLedger

folder, url, ceiling = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
limit = Limit(name="default", unit=Unit.TOKENS, limit=ceiling, window=Window.TOTAL)
ledger = SQLiteLedger(folder / "ledger.db", wait_s=30) if url == "sqlite" else open_shared(url, state=folder, wait_s=30)
billed = os.open(folder / f"billed-{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
full = 0
print("ready", flush=True)
sys.stdin.readline()
for number in range(100_000):
    identifier = f"{os.getpid()}-{number}"
    reserve = Reserve(id=identifier, amounts=Amounts(input_tokens=10), limits=(limit,), labels={"provider": "p"})
    if ledger.reserve(reserve, now_ns=time.time_ns()) is not None:
        full += 1
        if full > 3:
            break
        time.sleep(0.01)
        continue
    cost = 1 + number % 10
    os.write(billed, f"{cost}\\n".encode())
    ledger.settle(identifier, Amounts(input_tokens=cost), now_ns=time.time_ns())
"""


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty ledger on each engine."""
    name = f"t{secrets.token_hex(6)}"
    if request.param == "sqlite":
        return "sqlite"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return f"{server.url}?prefix={name}"
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    return f"{postgres.url}&schema={name}"


@pytest.fixture(params=[RedisServer, PostgresServer])
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer | PostgresServer]:
    """A server that the test may kill."""
    server = request.param()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may kill; it syncs each write, as it puts writes off while a busy disk is slow to sync."""
    server = RedisServer(options=("--appendfsync", "always"))
    server.start()
    yield server
    server.stop()


def start(folder: Path, url: str, count: int) -> list[subprocess.Popen[str]]:
    """Start workers that begin at the same moment."""
    command = [sys.executable, "-c", WORKER, str(folder), url, str(LIMIT.limit)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.close()
    return workers


def end(workers: list[subprocess.Popen[str]]) -> list[int]:
    """Wait for the workers and return their exit codes."""
    codes = [worker.wait(timeout=90) for worker in workers]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.close()
    return codes


def billed_tokens(folder: Path) -> int:
    """Add up what the workers' provider billed."""
    return sum(int(line) for file in folder.glob("billed-*") for line in file.read_text().split())


def asking(identifier: str, tokens: int = 10, limit: Limit = LIMIT) -> Reserve:
    """Return a reservation."""
    return Reserve(id=identifier, amounts=Amounts(input_tokens=tokens, micro_usd=0), limits=(limit,), labels=LABELS)


def standing(ledger: Ledger, limit: Limit = LIMIT) -> tuple[int, int]:
    """Return what is used and held."""
    [balance] = ledger.balances([limit], now_ns=time.time_ns())
    return balance.used, balance.held


def test_b_1_b_2_eight_processes_killed_at_random_points(url: str, tmp_path: Path) -> None:
    """Whoever is killed where: never more is billed than the limit, and after the sweep the ledger shows at least that."""
    from safellm.stores.ledger.sqlite import SQLiteLedger

    workers = start(tmp_path, url, 8)
    for victim in workers[:4]:
        time.sleep(random.uniform(0.002, 0.03))
        victim.kill()
    assert end(workers)[4:] == [0] * 4
    ledger: Ledger = SQLiteLedger(tmp_path / "ledger.db") if url == "sqlite" else open_shared(url, state=tmp_path)
    used, held = standing(ledger)
    billed = billed_tokens(tmp_path)
    assert 100 < billed <= LIMIT.limit
    assert used <= billed <= used + held
    assert used + held <= LIMIT.limit
    ledger.sweep(now_ns=time.time_ns() + 2 * HOUR_NS)
    assert standing(ledger) == (used + held, 0)
    assert sum(row.input_tokens for row in ledger.usage()) == used + held
    ledger.close()


def test_b_2_server_killed_while_it_is_used(own_server: RedisServer | PostgresServer, tmp_path: Path) -> None:
    """A server that is killed and comes back from its files has lost nothing that it had answered."""
    ledger = open_shared(own_server.url, state=tmp_path)
    billed, refused = 0, 0
    halt = threading.Event()

    def crash() -> None:
        for _ in range(2):
            time.sleep(0.1)
            own_server.kill()
            time.sleep(0.05)
            own_server.start()
        halt.set()

    thread = threading.Thread(target=crash)
    thread.start()
    number = 0
    roomy = Limit(name="roomy", unit=Unit.TOKENS, limit=10**9, window=Window.TOTAL)
    while not halt.is_set():
        number += 1
        try:
            ledger.reserve(asking(f"c{number}", 10, roomy), now_ns=time.time_ns())
        except GuardFailure as failure:
            assert failure.reason is Reason.BUDGET_UNAVAILABLE
            refused += 1
            time.sleep(0.01)
            continue
        billed += 7
        try:
            ledger.settle(f"c{number}", Amounts(input_tokens=7, micro_usd=0), now_ns=time.time_ns())
        except GuardFailure:
            refused += 1  # the hold stays
    thread.join()
    ledger.sweep(now_ns=time.time_ns() + 2 * HOUR_NS)
    used, held = standing(ledger, roomy)
    assert refused > 0
    assert held == 0
    assert 0 < billed <= used
    ledger.close()


def test_b_6_redis_that_may_forget_is_refused(tmp_path: Path) -> None:
    """Without an append-only file, or with eviction, a Redis is taken only when the policy says so."""
    for volatile, options, word in (
        (True, (), "append-only"),
        (False, ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), "allkeys-lru"),
    ):
        server = RedisServer(volatile=volatile, options=options)
        server.start()
        try:
            ledger = open_shared(server.url, state=tmp_path / word)
            with pytest.raises(GuardFailure, match=word) as caught:
                ledger.reserve(asking("a"), now_ns=time.time_ns())
            assert not isinstance(caught.value, Outage)
            allowed = open_shared(server.url, state=tmp_path / word, allow_volatile=True)
            assert allowed.reserve(asking("a"), now_ns=time.time_ns()) is None
            # Restarted empty: this machine and this process remember that there was a ledger.
            if volatile:
                server.kill()
                server.start()
                for again in (allowed, open_shared(server.url, state=tmp_path / word, allow_volatile=True)):
                    with pytest.raises(GuardFailure, match="emptied"):
                        again.reserve(asking("b"), now_ns=time.time_ns())
                assert allowed.rearm() is False  # used as it is now
                assert allowed.reserve(asking("b"), now_ns=time.time_ns()) is None
            allowed.close()
        finally:
            server.stop()


def test_b_6_postgres_that_may_forget_is_refused(tmp_path: Path) -> None:
    """A server that answers before its disk has the change."""
    server = PostgresServer(options=("-c", "synchronous_commit=off"))
    server.start()
    try:
        with pytest.raises(GuardFailure, match="before its disk"):
            open_shared(server.url, state=tmp_path).reserve(asking("a"), now_ns=time.time_ns())
        allowed = open_shared(server.url, state=tmp_path, allow_volatile=True)
        assert allowed.reserve(asking("a"), now_ns=time.time_ns()) is None
        allowed.close()
    finally:
        server.stop()


@pytest.mark.parametrize("engine", ["redis", "postgres"])
def test_b_6_an_emptied_or_older_ledger_is_refused_until_a_person_rearms(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """While a program runs, and when one starts; `rearm` takes the ledger as it is, or begins anew when nothing is wrong."""
    name = f"t{secrets.token_hex(6)}"
    if engine == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = f"{server.url}?prefix={name}"
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        url = f"{postgres.url}&schema={name}"
    running = open_shared(url, state=tmp_path)
    now_ns = time.time_ns()
    assert running.reserve(asking("a"), now_ns=now_ns) is None
    older = open_shared(url, state=tmp_path)
    assert older.rearm() is True  # nothing was wrong: a new, empty one
    assert standing(older) == (0, 0)
    with pytest.raises(GuardFailure, match="emptied"):
        running.reserve(asking("b"), now_ns=now_ns)
    [mark] = tmp_path.glob("ledger-*.mark")
    text = mark.read_text()
    mark.write_text(text.replace('"day": ', '"day": 9'))
    started = open_shared(url, state=tmp_path)
    with pytest.raises(GuardFailure, match="older than it was"):
        started.reserve(asking("b"), now_ns=now_ns)
    assert started.rearm() is False
    assert started.reserve(asking("b"), now_ns=now_ns) is None
    mark.write_text("?")
    damaged = open_shared(url, state=tmp_path)
    with pytest.raises(GuardFailure, match="damaged"):
        damaged.reserve(asking("c"), now_ns=now_ns)
    pinned = f"{url}{'&' if '?' in url else '?'}generation={'0' * 32}"
    foreign = open_shared(pinned, state=tmp_path / "new")
    with pytest.raises(GuardFailure, match="generation"):
        foreign.reserve(asking("d"), now_ns=now_ns)
    for ledger in (running, older, started, damaged, foreign):
        ledger.close()


@pytest.mark.parametrize(
    "address",
    [
        "redis://u:{0}@127.0.0.1:1/0",
        "rediss://:{0}@127.0.0.1:1",
        "postgresql://u:{0}@127.0.0.1:1/d",
        "unix:///nowhere/{0}x",
    ],
)
def test_outage_is_refused_with_a_remedy_and_without_the_password(address: str, tmp_path: Path) -> None:
    """A server that can't be reached: the same reason everywhere, no password in error, `repr` or mark file."""
    password = "hunter" + "2" * 8
    url = address.format(password)
    ledger = open_shared(url, state=tmp_path, wait_s=2)
    with pytest.raises(Outage) as caught:
        ledger.reserve(asking("a"), now_ns=time.time_ns())
    error = caught.value
    assert error.reason is Reason.BUDGET_UNAVAILABLE
    assert error.remedy
    if "nowhere" not in address:
        texts = [str(error), repr(error), repr(error.__cause__), repr(parse_address(url)), ledger.address, repr(ledger)]
        assert not any(password in text for text in texts)
        assert error.__context__ is None or password not in str(error.__context__)


def test_wrong_password_is_no_outage(tmp_path: Path) -> None:
    """A refused password is a wrong setting: no share of an outage is spent for it."""
    server = RedisServer(options=("--requirepass", "right" + "1" * 6))
    server._answers = lambda: server.socket.exists()  # type: ignore[method-assign]
    server.start()
    try:
        ledger = open_shared(server.url.replace("unix://", "unix://:wrong@"), state=tmp_path)
        with pytest.raises(GuardFailure, match="password") as caught:
            ledger.reserve(asking("a"), now_ns=time.time_ns())
        assert not isinstance(caught.value, Outage)
    finally:
        server.stop()


def test_fallback_spends_a_share_and_books_it_afterwards(own_redis: RedisServer, tmp_path: Path) -> None:
    """In an outage a process has its share of each limit; when the ledger is back, it shows what was billed meanwhile."""
    ledger = FallbackLedger(open_shared(own_redis.url, state=tmp_path, wait_s=1), Decimal("0.1"))
    now_ns = time.time_ns()
    assert ledger.reserve(asking("before", 100), now_ns=now_ns) is None
    own_redis.kill()
    ledger.settle("before", Amounts(input_tokens=30, micro_usd=0), now_ns=now_ns)  # told later
    granted = 0
    for number in range(20):
        if ledger.reserve(asking(f"o{number}", 20), now_ns=now_ns) is None:
            granted += 1
            ledger.settle(f"o{number}", Amounts(input_tokens=15, micro_usd=0), now_ns=now_ns)
    assert granted == 7  # 120 of 1,200; each holds 20 and is charged 15
    assert ledger.reserve(asking("under way", 10), now_ns=now_ns) is None
    own_redis.start()
    ledger._again = 0.0
    assert ledger.reserve(asking("after", 10), now_ns=now_ns) is None
    assert standing(ledger) == (30 + 7 * 15, 10)
    ledger.settle("under way", Amounts(input_tokens=5, micro_usd=0), now_ns=now_ns)
    ledger.settle("after", Amounts(input_tokens=1, micro_usd=0), now_ns=now_ns)
    assert sum(row.input_tokens for row in ledger.usage()) == 30 + 7 * 15 + 5 + 1
    with pytest.raises(ProtocolMisuse):
        ledger.settle("nobody", None, now_ns=now_ns)
    ledger.close()


def test_fallback_is_not_for_a_ledger_that_was_emptied(redis_server: RedisServer, tmp_path: Path) -> None:
    """What isn't what it was is refused, share or not: whoever empties it must not get a budget for that."""
    url = f"{redis_server.url}?prefix=t{secrets.token_hex(6)}"
    ledger = FallbackLedger(open_shared(url, state=tmp_path), Decimal("0.5"))
    assert ledger.reserve(asking("a"), now_ns=time.time_ns()) is None
    open_shared(url, state=tmp_path / "elsewhere").rearm()
    with pytest.raises(GuardFailure, match="emptied"):
        ledger.reserve(asking("b"), now_ns=time.time_ns())
    ledger.close()


class _Losing:
    """An engine that does what it is asked and loses the answer, every second time."""

    def __init__(self, engine: object) -> None:
        self._engine = engine
        self._calls = 0

    def __getattr__(self, name: str) -> object:
        from safellm.stores.ledger.engine import EngineFailure

        real = getattr(self._engine, name)
        if name not in ("reserve", "book"):
            return real

        def call(*args: object, **named: object) -> object:
            answer = real(*args, **named)
            self._calls += 1
            if self._calls % 2:
                raise EngineFailure("it can't be reached", remedy="Wait.", is_outage=True)
            return answer

        return call


def test_a_lost_answer_is_asked_for_again_and_counts_once(url: str, tmp_path: Path) -> None:
    """The engine did it and the answer was lost: the second time changes nothing, and says the same."""
    if url == "sqlite":
        pytest.importorskip("sqlite3")
        from safellm.stores.ledger.memory import MemoryEngine

        ledger = SharedLedger(MemoryEngine())
    else:
        ledger = open_shared(url, state=tmp_path)
    ledger._engine = _Losing(ledger._engine)  # type: ignore[assignment]
    for name in ("a", "b", "c"):
        assert ledger.reserve(asking(name), now_ns=time.time_ns()) is None
        assert ledger.settle(name, Amounts(input_tokens=4, micro_usd=0), now_ns=time.time_ns()).input_tokens == 4
    assert standing(ledger) == (12, 0)
    ledger.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_has_connections_of_its_own(url: str, tmp_path: Path) -> None:
    """After a fork both go on with the same object, and no update is lost."""
    if url == "sqlite":
        return
    ledger = open_shared(url, state=tmp_path)
    ledger.reserve(asking("parent"), now_ns=time.time_ns())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in range(5):
                ledger.reserve(asking(f"child{number}"), now_ns=time.time_ns())
                ledger.settle(f"child{number}", Amounts(input_tokens=2, micro_usd=0), now_ns=time.time_ns())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.settle("parent", Amounts(input_tokens=3, micro_usd=0), now_ns=time.time_ns())
    assert standing(ledger) == (13, 0)
    ledger.close()
