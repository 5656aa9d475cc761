"""What a machine keeps of a shared ledger: the holds of this process, and the mark in the state folder."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from safellm._core.effects import Amounts, Limit, Reserve, Unit, Window
from safellm.errors import GuardFailure, Reason
from safellm.stores.ledger import shared
from safellm.stores.ledger.memory import MemoryEngine
from safellm.stores.ledger.shared import SharedLedger

NOON_NS = 20_000 * 86_400 * 1_000_000_000
TOTAL = Limit(name="default", unit=Unit.TOKENS, limit=10_000, window=Window.TOTAL)


def reserve(number: int) -> Reserve:
    """Return a reservation of one token."""
    return Reserve(id=str(number), amounts=Amounts(input_tokens=1), limits=(TOTAL,), labels={})


def test_holds_that_never_end_take_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose calls are swept forgets its holds beyond a number, and settles one that it forgot all the same."""
    monkeypatch.setattr(shared, "OWN", 10)
    ledger = SharedLedger(MemoryEngine())
    for number in range(35):
        assert ledger.reserve(reserve(number), now_ns=NOON_NS) is None
    assert len(ledger._own) <= 10
    assert ledger.settle("0", Amounts(input_tokens=1), now_ns=NOON_NS).input_tokens == 1
    (balance,) = ledger.balances([TOTAL], now_ns=NOON_NS)
    assert (balance.used, balance.held) == (1, 34)


def test_mark_that_can_not_be_written_refuses_the_call(tmp_path: Path) -> None:
    """A file where the state folder should be: the call is refused as with any ledger that can't be used, and re-arming too."""
    (tmp_path / "state").write_text("")
    ledger = SharedLedger(MemoryEngine(), mark=tmp_path / "state" / "ledger.mark")
    for use in (lambda: ledger.reserve(reserve(1), now_ns=NOON_NS), ledger.usage, ledger.rearm):
        with pytest.raises(GuardFailure, match="mark of it can't be used") as caught:
            use()
        assert caught.value.reason is Reason.BUDGET_UNAVAILABLE


def test_mark_that_can_not_be_read_refuses_the_call(tmp_path: Path) -> None:
    """A folder in the mark's place."""
    mark = tmp_path / "ledger.mark"
    mark.mkdir()
    ledger = SharedLedger(MemoryEngine(), mark=mark)
    for use in (lambda: ledger.reserve(reserve(1), now_ns=NOON_NS), ledger.rearm):
        with pytest.raises(GuardFailure, match="mark of it can't be used"):
            use()


def test_rearming_trusts_the_ledger_when_the_mark_is_damaged(tmp_path: Path) -> None:
    """A mark that can't be understood doesn't stand in the way of a person who re-arms."""
    mark = tmp_path / "ledger.mark"
    ledger = SharedLedger(MemoryEngine(), mark=mark)
    ledger.reserve(reserve(1), now_ns=NOON_NS)
    mark.write_text("{")
    ledger.close()
    with pytest.raises(GuardFailure, match="damaged"):
        ledger.usage()
    assert not ledger.rearm()
    assert ledger.reserve(reserve(2), now_ns=NOON_NS) is None
