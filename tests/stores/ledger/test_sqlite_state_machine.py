"""Every ledger agrees with a small model of a ledger under any order of calls and any clock."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.stores.ledger.address import open_shared
from safellm.stores.ledger.interface import Ledger
from safellm.stores.ledger.memory import MemoryEngine
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.ledger.sqlite import SQLiteLedger

SECOND_NS = 1_000_000_000
TTL_NS = 120 * SECOND_NS
START_NS = 20_000 * 86400 * SECOND_NS
LIMITS = (
    Limit(name="one", unit=Unit.TOKENS, limit=200, window=Window.MINUTE),
    Limit(name="one", unit=Unit.TOKENS, limit=500, window=Window.TOTAL),
    Limit(name="one", unit=Unit.REQUESTS, limit=6, window=Window.HOUR),
    Limit(name="two", unit=Unit.MICRO_USD, limit=300, window=Window.DAY),
)
NOTHING = Amounts(requests=0)
AMOUNTS = st.builds(
    Amounts,
    input_tokens=st.integers(0, 60),
    output_tokens=st.integers(0, 60),
    micro_usd=st.none() | st.integers(0, 90),
)
REPORTED = st.none() | AMOUNTS | st.builds(Amounts, input_tokens=st.sampled_from([-1, -(2**70), 2**40, 2**70]))


@dataclass
class Call:
    """What the model knows of one wire attempt."""

    hold: Amounts
    limits: tuple[Limit, ...]
    windows: tuple[int, ...]
    made_ns: int
    state: str = "held"
    charged: Amounts = NOTHING
    billed: Amounts = NOTHING  # what a provider can have billed, as far as it was said
    was_released: bool = False

    @property
    def is_beyond_its_hold(self) -> bool:
        """Whether more was charged than was held: billed above the bound, or billed after a release."""
        if self.was_released and self.state == "settled":
            return True
        return any(self.charged.of(unit) > self.hold.of(unit) for unit in Unit)


@dataclass
class Model:
    """The ledger in memory: calls, and per account the last window seen."""

    calls: dict[str, Call] = field(default_factory=dict)
    seen: dict[Limit, int] = field(default_factory=dict)

    def window(self, limit: Limit, now_ns: int) -> int:
        """Return the window in force."""
        return max(self.seen.get(limit, 0), budget.window_id(limit.window, now_ns))

    def used_and_held(self, limit: Limit, window: int) -> tuple[int, int]:
        """Add up the calls of one window."""
        mine = [call for call in self.calls.values() if (limit, window) in zip(call.limits, call.windows, strict=True)]
        used = sum(call.charged.of(limit.unit) for call in mine)
        return used, sum(call.hold.of(limit.unit) for call in mine if call.state == "held")


class LedgerMachine(RuleBasedStateMachine):
    """Drives two handles on one file and the model side by side."""

    ids = Bundle("ids")

    @initialize()
    def open(self) -> None:
        """Begin with an empty store."""
        self.folder = Path(tempfile.mkdtemp())
        self.ledgers = self.make()
        self.model = Model()
        self.now_ns = START_NS
        self.number = 0
        self.swept_ns: list[int | None] = [None, None]

    def make(self) -> list[Ledger]:
        """Return two handles on one empty store."""
        return [SQLiteLedger(self.folder / "ledger.db", hold_ttl_ns=TTL_NS) for _ in range(2)]

    @rule(seconds=st.integers(-200, 200) | st.sampled_from([-90_000, 4_000, 90_000]))
    def move_clock(self, seconds: int) -> None:
        """Go on, back, or jump."""
        self.now_ns += seconds * SECOND_NS

    @rule(target=ids, amounts=AMOUNTS, chosen=st.sets(st.sampled_from(LIMITS)), handle=st.integers(0, 1))
    def reserve(self, amounts: Amounts, chosen: set[Limit], handle: int) -> str:
        """Ask for a hold."""
        limits = tuple(limit for limit in LIMITS if limit in chosen)
        self.number += 1
        identifier = str(self.number)
        last = self.swept_ns[handle]
        if last is None or abs(self.now_ns - last) >= 60 * SECOND_NS:
            self._model_sweep(handle)
        windows = tuple(self.model.window(limit, self.now_ns) for limit in limits)
        full = None
        for limit, window in zip(limits, windows, strict=True):
            if sum(self.model.used_and_held(limit, window)) + amounts.of(limit.unit) > limit.limit:
                full = limit
                break
        request = Reserve(id=identifier, amounts=amounts, limits=limits, labels={})
        over = self.ledgers[handle].reserve(request, now_ns=self.now_ns)
        assert (None if over is None else over.limit) == full
        if over is None:
            self.model.seen.update(zip(limits, windows, strict=True))
            self.model.calls[identifier] = Call(amounts, limits, windows, self.now_ns)
        return identifier

    @rule(identifier=ids, reported=REPORTED, handle=st.integers(0, 1))
    def settle(self, identifier: str, reported: Amounts | None, handle: int) -> None:
        """Report usage, credible or not, any number of times."""
        call = self.model.calls.get(identifier)
        if call is None:
            return
        charged = self.ledgers[handle].settle(identifier, reported, now_ns=self.now_ns)
        if call.state == "settled":
            assert charged == call.charged
            return
        credible = reported is not None and reported.input_tokens >= 0 and reported.input_tokens <= budget.MOST_TOKENS
        said = reported if credible and reported is not None else call.hold
        if said.micro_usd is None:
            said = Amounts(
                input_tokens=said.input_tokens, output_tokens=said.output_tokens, micro_usd=call.hold.micro_usd
            )
        if call.state != "swept":
            assert charged == said
        for unit in Unit:
            assert charged.of(unit) >= said.of(unit)
            assert charged.of(unit) >= call.charged.of(unit)
        call.state, call.charged, call.billed = "settled", charged, said

    @rule(identifier=ids, handle=st.integers(0, 1))
    def release(self, identifier: str, handle: int) -> None:
        """Give a hold back; too late is without effect."""
        self.ledgers[handle].release(identifier)
        call = self.model.calls.get(identifier)
        if call is not None and call.state == "held":
            call.state, call.was_released = "released", True

    @rule(handle=st.integers(0, 1))
    def sweep(self, handle: int) -> None:
        """Charge what is overdue."""
        assert self.ledgers[handle].sweep(now_ns=self.now_ns) == self._model_sweep(handle)

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle: int) -> None:
        """Close a handle; it opens again by itself."""
        self.ledgers[handle].close()

    @invariant()
    def balances_agree(self) -> None:
        """The store's numbers are the model's, and the charge is never below what was billed."""
        if not hasattr(self, "model"):
            return
        for limit, balance in zip(LIMITS, self.ledgers[0].balances(LIMITS, now_ns=self.now_ns), strict=True):
            window = self.model.window(limit, self.now_ns)
            assert (balance.used, balance.held) == self.model.used_and_held(limit, window)
        for call in self.model.calls.values():
            assert all(call.charged.of(unit) >= call.billed.of(unit) for unit in Unit)
        if any(call.is_beyond_its_hold for call in self.model.calls.values()):
            return  # a limit can be passed only by what nobody had held
        for limit, window in self.model.seen.items():
            assert sum(self.model.used_and_held(limit, window)) <= limit.limit

    @invariant()
    def usage_agrees(self) -> None:
        """The usage table adds up to what was charged."""
        if not hasattr(self, "model"):
            return
        rows = self.ledgers[1].usage()
        charged = [call.charged for call in self.model.calls.values()]
        assert sum(row.input_tokens + row.output_tokens for row in rows) == sum(
            each.of(Unit.TOKENS) for each in charged
        )
        assert sum(row.micro_usd for row in rows) == sum(each.of(Unit.MICRO_USD) for each in charged)
        assert sum(row.requests for row in rows) == sum(each.requests for each in charged)

    def teardown(self) -> None:
        """Close and remove the store."""
        if hasattr(self, "ledgers"):
            for ledger in self.ledgers:
                ledger.close()
            shutil.rmtree(self.folder)

    def _model_sweep(self, handle: int) -> int:
        due = [
            call for call in self.model.calls.values() if call.state == "held" and call.made_ns <= self.now_ns - TTL_NS
        ]
        for call in due:
            call.state, call.charged = "swept", call.hold
        self.swept_ns[handle] = self.now_ns
        return len(due)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class MemoryMachine(LedgerMachine):
    """The same on an engine in memory."""

    def make(self) -> list[Ledger]:
        """Return two handles on one engine."""
        engine = MemoryEngine()
        return [SharedLedger(engine, hold_ttl_ns=TTL_NS) for _ in range(2)]


class RedisMachine(LedgerMachine):
    """The same on Redis."""

    url = ""

    def make(self) -> list[Ledger]:
        """Return two handles on one prefix."""
        url = f"{self.url}?prefix=t{secrets.token_hex(6)}"
        ledgers: list[Ledger] = []
        for _ in range(2):
            ledger = open_shared(url, state=self.folder)
            ledger._hold_ttl_ns = TTL_NS
            ledgers.append(ledger)
        return ledgers


class PostgresMachine(RedisMachine):
    """The same on PostgreSQL."""

    def make(self) -> list[Ledger]:
        """Return two handles on one schema."""
        ledgers: list[Ledger] = []
        schema = f"t{secrets.token_hex(6)}"
        for _ in range(2):
            ledger = open_shared(f"{self.url}&schema={schema}", state=self.folder)
            ledger._hold_ttl_ns = TTL_NS
            ledgers.append(ledger)
        return ledgers


@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 60), (RedisMachine, 30), (PostgresMachine, 6)])
def test_shared_ledgers_agree_with_the_model(
    machine: type[LedgerMachine], examples: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed outside the engine and what the engine decides add up to the same ledger."""
    if machine is not MemoryMachine:
        name = "redis_server" if machine is RedisMachine else "postgres_server"
        monkeypatch.setattr(machine, "url", request.getfixturevalue(name).url)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
