"""What every ledger must do: inherit `LedgerContract` in a pytest module and give it a `make_ledger` fixture.

    class TestMyLedger(LedgerContract):
        @pytest.fixture
        def make_ledger(self, tmp_path):
            return lambda **options: MyLedger(tmp_path / "ledger", **options)

`make_ledger(hold_ttl_ns=...)` opens the same empty store each time it is called in one test, so that two results of it are
two programs that share a ledger. The fixture closes what it has made.
"""

# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, OnLimit, OverLimit, Reserve, Unit, Window
from safellm.errors import ProtocolMisuse
from safellm.stores.ledger.interface import Ledger
from safellm.stores.waiting import Busy

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86400 * SECOND_NS
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2  # 2024-10-04 12:00 UTC
LABELS = {"provider": "openai", "model": "model-a", "operation": "chat"}


class MakeLedger(Protocol):
    """Opens the store of one test."""

    def __call__(self, *, hold_ttl_ns: int = ...) -> Ledger:
        """Return a ledger on the same store each time."""
        ...


def limit(ceiling: int, *, unit: Unit = Unit.TOKENS, window: Window = Window.DAY, name: str = "default") -> Limit:
    """Return a limit, by default of tokens per day."""
    return Limit(name=name, unit=unit, limit=ceiling, window=window)


def flow(count: int, *, burst: int, unit: Unit = Unit.REQUESTS) -> Limit:
    """Return a rate per minute."""
    return Limit(name="flow", unit=unit, limit=count, window=Window.MINUTE, burst=burst)


def asking(identifier: str, tokens: int, *limits: Limit, micro_usd: int | None = 0) -> Reserve:
    """Return a reservation of so many input tokens."""
    amounts = Amounts(input_tokens=tokens, micro_usd=micro_usd)
    return Reserve(id=identifier, amounts=amounts, limits=limits, labels=LABELS)


def tokens(count: int, *, micro_usd: int | None = 0) -> Amounts:
    """Return what a provider may report as billed."""
    return Amounts(input_tokens=count, micro_usd=micro_usd)


def standing(ledger: Ledger, ceiling: Limit, now_ns: int = NOON_NS) -> tuple[int, int]:
    """Return what is used and held."""
    (balance,) = ledger.balances([ceiling], now_ns=now_ns)
    return balance.used, balance.held


class LedgerContract:
    """The tests. They use a clock of their own, so they need no waiting."""

    def test_reserve_holds_until_settled(self, make_ledger: MakeLedger) -> None:
        """A hold counts against the limit at once and is replaced by what was billed."""
        ledger, day = make_ledger(), limit(100)
        assert ledger.reserve(asking("a", 60, day), now_ns=NOON_NS) is None
        assert standing(ledger, day) == (0, 60)
        assert ledger.settle("a", tokens(25), now_ns=NOON_NS) == tokens(25)
        assert standing(ledger, day) == (25, 0)

    def test_reserve_says_what_is_full(self, make_ledger: MakeLedger) -> None:
        """A limit without room is named with its numbers and the start of the next window."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 30, day), now_ns=NOON_NS)
        ledger.settle("a", None, now_ns=NOON_NS)
        ledger.reserve(asking("b", 50, day), now_ns=NOON_NS)
        over = ledger.reserve(asking("c", 21, day), now_ns=NOON_NS)
        reset = NOON_NS + DAY_NS // 2
        assert over == OverLimit(limit=day, used=30, held=50, asked=21, resets_at_ns=reset)
        assert ledger.reserve(asking("c", 20, day), now_ns=NOON_NS) is None

    def test_reserve_holds_on_all_limits_or_none(self, make_ledger: MakeLedger) -> None:
        """When one of several limits is full, nothing is held on the others, in whatever order they come."""
        ledger = make_ledger()
        wide, narrow, calls = limit(1000), limit(10, name="narrow"), limit(5, unit=Unit.REQUESTS)
        for limits in ((wide, narrow, calls), (narrow, calls, wide), (calls, wide, narrow)):
            over = ledger.reserve(asking("a", 11, *limits), now_ns=NOON_NS)
            assert over is not None
            assert over.limit == narrow
            assert [standing(ledger, each) for each in limits] == [(0, 0)] * 3

    def test_reserve_holds_once_for_two_limits_on_one_account(self, make_ledger: MakeLedger) -> None:
        """Two ceilings over the same account hold the amount once; the lower one decides."""
        ledger, high, low = make_ledger(), limit(100), limit(50)
        assert ledger.reserve(asking("a", 40, high, low), now_ns=NOON_NS) is None
        assert standing(ledger, low) == (0, 40)
        over = ledger.reserve(asking("b", 11, high, low), now_ns=NOON_NS)
        assert over is not None
        assert over.limit == low

    def test_reserve_counts_each_unit_by_itself(self, make_ledger: MakeLedger) -> None:
        """Tokens, money and requests are three accounts, and so are two windows and two names."""
        ledger = make_ledger()
        limits = (
            limit(1000),
            limit(1000, unit=Unit.MICRO_USD),
            limit(1000, unit=Unit.REQUESTS),
            limit(1000, window=Window.HOUR),
            limit(1000, name="other"),
        )
        ledger.reserve(asking("a", 7, *limits[:3], micro_usd=5), now_ns=NOON_NS)
        assert [standing(ledger, each) for each in limits] == [(0, 7), (0, 5), (0, 1), (0, 0), (0, 0)]

    def test_reserve_accepts_limits_beyond_64_bits(self, make_ledger: MakeLedger) -> None:
        """A ceiling larger than the store's integers is a very high ceiling, not an error."""
        ledger, huge = make_ledger(), limit(10**30, window=Window.TOTAL)
        assert ledger.reserve(asking("a", 10**9, huge), now_ns=NOON_NS) is None
        assert standing(ledger, huge) == (0, 10**9)

    def test_reserve_refuses_an_id_twice(self, make_ledger: MakeLedger) -> None:
        """An id names one wire attempt; the second use is a defect and holds nothing."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 10, day), now_ns=NOON_NS)
        _raises(ProtocolMisuse, lambda: ledger.reserve(asking("a", 10, day), now_ns=NOON_NS))
        assert standing(ledger, day) == (0, 10)

    def test_b_3_negative_hold_is_refused(self, make_ledger: MakeLedger) -> None:
        """A negative amount can't be held: it would make room."""
        ledger, day = make_ledger(), limit(100)
        _raises(ProtocolMisuse, lambda: ledger.reserve(asking("a", -1, day), now_ns=NOON_NS))
        assert standing(ledger, day) == (0, 0)

    def test_b_3_missing_usage_charges_the_hold(self, make_ledger: MakeLedger) -> None:
        """Without usage the whole reservation is charged."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        assert ledger.settle("a", None, now_ns=NOON_NS) == tokens(60)
        assert standing(ledger, day) == (60, 0)

    def test_b_3_explicit_zero_is_honoured(self, make_ledger: MakeLedger) -> None:
        """A provider that says it billed nothing is believed."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        assert ledger.settle("a", tokens(0), now_ns=NOON_NS) == tokens(0)
        assert standing(ledger, day) == (0, 0)

    def test_b_3_usage_beyond_the_hold_is_charged(self, make_ledger: MakeLedger) -> None:
        """What was billed counts also where it exceeds the hold and the limit; then there is no room."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        ledger.settle("a", tokens(150), now_ns=NOON_NS)
        assert standing(ledger, day) == (150, 0)
        assert ledger.reserve(asking("b", 1, day), now_ns=NOON_NS) is not None

    def test_b_3_absurd_usage_charges_the_hold(self, make_ledger: MakeLedger) -> None:
        """Negative and impossible numbers are not believed: neither a refund nor a flood."""
        ledger, day = make_ledger(), limit(100_000)
        absurd = (-1, -(10**18), budget.MOST_TOKENS + 1, 2**63, 10**30)
        for number, count in enumerate(absurd):
            ledger.reserve(asking(f"a{number}", 60, day), now_ns=NOON_NS)
            assert ledger.settle(f"a{number}", tokens(count), now_ns=NOON_NS) == tokens(60)
        assert standing(ledger, day) == (60 * len(absurd), 0)

    def test_b_3_second_settle_changes_nothing(self, make_ledger: MakeLedger) -> None:
        """A call is charged once; later settles return what was charged."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        ledger.settle("a", tokens(10), now_ns=NOON_NS)
        for again in (tokens(10), tokens(99), None):
            assert ledger.settle("a", again, now_ns=NOON_NS) == tokens(10)
        ledger.release("a")
        assert standing(ledger, day) == (10, 0)
        assert [row.requests for row in ledger.usage()] == [1]

    def test_settle_unknown_id_is_refused(self, make_ledger: MakeLedger) -> None:
        """Settling what was never reserved is a defect of the caller."""
        ledger = make_ledger()
        _raises(ProtocolMisuse, lambda: ledger.settle("nobody", tokens(1), now_ns=NOON_NS))

    def test_settle_keeps_the_money_of_the_hold_when_unpriced(self, make_ledger: MakeLedger) -> None:
        """Usage whose price is unknown is charged the money that was held for it."""
        ledger, money = make_ledger(), limit(100, unit=Unit.MICRO_USD)
        ledger.reserve(asking("a", 60, money, micro_usd=70), now_ns=NOON_NS)
        ledger.settle("a", tokens(10, micro_usd=None), now_ns=NOON_NS)
        assert standing(ledger, money) == (70, 0)

    def test_release_gives_the_hold_back(self, make_ledger: MakeLedger) -> None:
        """A request of which nothing was sent costs nothing, also when it is released twice."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        ledger.release("a")
        ledger.release("a")
        ledger.release("nobody")
        assert standing(ledger, day) == (0, 0)
        assert ledger.usage() == []

    def test_settle_after_release_charges(self, make_ledger: MakeLedger) -> None:
        """What was billed counts even if somebody believed that nothing was sent."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        ledger.release("a")
        ledger.settle("a", tokens(40), now_ns=NOON_NS)
        assert standing(ledger, day) == (40, 0)

    def test_b_2_sweep_charges_what_is_left_behind(self, make_ledger: MakeLedger) -> None:
        """A hold older than its lifetime is charged whole; a younger one stays."""
        ledger, day = make_ledger(hold_ttl_ns=MINUTE_NS), limit(100)
        ledger.reserve(asking("old", 30, day), now_ns=NOON_NS)
        ledger.reserve(asking("young", 20, day), now_ns=NOON_NS + 30 * SECOND_NS)
        assert ledger.sweep(now_ns=NOON_NS + MINUTE_NS) == 1
        assert standing(ledger, day) == (30, 20)
        assert ledger.sweep(now_ns=NOON_NS + MINUTE_NS) == 0
        ledger.release("old")
        assert standing(ledger, day) == (30, 20)

    def test_b_2_reserve_sweeps_when_due(self, make_ledger: MakeLedger) -> None:
        """Another program's next call charges what a dead one left, without being asked."""
        ledger, day = make_ledger(hold_ttl_ns=MINUTE_NS), limit(100)
        ledger.reserve(asking("old", 30, day), now_ns=NOON_NS)
        make_ledger(hold_ttl_ns=MINUTE_NS).reserve(asking("new", 20, day), now_ns=NOON_NS + 2 * MINUTE_NS)
        assert standing(ledger, day) == (30, 20)

    def test_b_2_late_usage_raises_but_never_lowers(self, make_ledger: MakeLedger) -> None:
        """Usage that comes after the sweep is charged where it exceeds the hold; there is no refund."""
        ledger, day = make_ledger(hold_ttl_ns=MINUTE_NS), limit(1000)
        for identifier in ("less", "more", "none"):
            ledger.reserve(asking(identifier, 30, day), now_ns=NOON_NS)
        later = NOON_NS + 2 * MINUTE_NS
        assert ledger.sweep(now_ns=later) == 3
        assert ledger.settle("less", tokens(10), now_ns=later) == tokens(30)
        assert ledger.settle("more", tokens(50), now_ns=later) == tokens(50)
        assert ledger.settle("none", None, now_ns=later) == tokens(30)
        assert ledger.settle("more", tokens(70), now_ns=later) == tokens(50)
        assert standing(ledger, day) == (110, 0)
        (row,) = ledger.usage()
        assert (row.requests, row.input_tokens) == (3, 110)

    def test_b_5_a_new_window_has_room(self, make_ledger: MakeLedger) -> None:
        """The next day begins empty, and a hold of the day before stays with that day."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 100, day), now_ns=NOON_NS)
        tomorrow = NOON_NS + DAY_NS
        assert ledger.reserve(asking("b", 100, day), now_ns=tomorrow) is None
        ledger.settle("a", tokens(90), now_ns=tomorrow)
        assert standing(ledger, day, tomorrow) == (0, 100)

    def test_b_5_clock_back_opens_nothing(self, make_ledger: MakeLedger) -> None:
        """A clock that goes back leaves the last window in force."""
        ledger, minute = make_ledger(), limit(100, window=Window.MINUTE)
        ledger.reserve(asking("a", 100, minute), now_ns=NOON_NS)
        ledger.settle("a", None, now_ns=NOON_NS)
        for back in (1, MINUTE_NS, DAY_NS, 365 * DAY_NS, NOON_NS):
            over = ledger.reserve(asking(f"b{back}", 1, minute), now_ns=NOON_NS - back)
            assert over is not None
            assert over.resets_at_ns == NOON_NS + MINUTE_NS

    def test_b_5_clock_forward_opens_once(self, make_ledger: MakeLedger) -> None:
        """A clock that jumps ahead and returns opens one window, not one at each jump."""
        ledger, day = make_ledger(), limit(100)
        granted = 0
        for jump in (0, 30 * DAY_NS, 0, 30 * DAY_NS, 10 * DAY_NS, 0):
            asked = asking(f"{granted}-{jump}", 100, day)
            granted += ledger.reserve(asked, now_ns=NOON_NS + jump) is None
        assert granted == 2

    def test_b_5_total_never_resets(self, make_ledger: MakeLedger) -> None:
        """A limit in total has no next window."""
        ledger, total = make_ledger(), limit(100, window=Window.TOTAL)
        ledger.reserve(asking("a", 100, total), now_ns=NOON_NS)
        over = ledger.reserve(asking("b", 1, total), now_ns=NOON_NS + 10_000 * DAY_NS)
        assert over is not None
        assert over.resets_at_ns is None

    def test_usage_is_counted_without_limits(self, make_ledger: MakeLedger) -> None:
        """Usage is recorded per day, provider, model and operation also where nothing is limited."""
        ledger = make_ledger()
        ledger.reserve(asking("a", 60, micro_usd=9), now_ns=NOON_NS)
        assert ledger.usage() == []
        ledger.settle("a", Amounts(input_tokens=5, output_tokens=7, micro_usd=3), now_ns=NOON_NS)
        ledger.reserve(asking("b", 60, micro_usd=None), now_ns=NOON_NS)
        ledger.settle("b", Amounts(input_tokens=1, output_tokens=2), now_ns=NOON_NS)
        ledger.reserve(asking("c", 60), now_ns=NOON_NS + DAY_NS)
        ledger.settle("c", tokens(4), now_ns=NOON_NS + DAY_NS, model="model-b")
        newest, first = ledger.usage()
        assert (newest.day, newest.model, newest.input_tokens) == ("2024-10-05", "model-b", 4)
        assert (first.day, first.provider, first.model, first.operation) == ("2024-10-04", "openai", "model-a", "chat")
        assert (first.requests, first.input_tokens, first.output_tokens) == (2, 6, 9)
        assert (first.micro_usd, first.unpriced_requests) == (3, 1)
        assert ledger.usage(since_day="2024-10-05") == [newest]

    def test_usage_takes_any_model_name(self, make_ledger: MakeLedger) -> None:
        """A response can name a model as it likes: half a surrogate, a zero byte, a megabyte."""
        ledger = make_ledger()
        for number, model in enumerate(("\ud800", "a\x00b", "x" * 1_000_000, "'; DROP TABLE usage; --")):
            ledger.reserve(asking(str(number), 1), now_ns=NOON_NS)
            ledger.settle(str(number), tokens(1), now_ns=NOON_NS, model=model)
        assert sum(row.requests for row in ledger.usage()) == 4
        assert max(len(row.model) for row in ledger.usage()) < 1000

    def test_without_waiting_it_is_done_or_busy(self, make_ledger: MakeLedger) -> None:
        """A call that may not wait is done whole, or `Busy` is raised and nothing was done."""
        ledger, day = make_ledger(), limit(100)

        def now_or_later(act: Callable[..., object]) -> None:
            try:
                act(wait=False)
            except Busy:
                act(wait=True)

        for name, limits in (("a", (day,)), ("b", ())):
            now_or_later(partial(ledger.reserve, asking(name, 60, *limits), now_ns=NOON_NS))
            now_or_later(partial(ledger.settle, name, tokens(25), now_ns=NOON_NS))
        ledger.reserve(asking("c", 60, day), now_ns=NOON_NS)
        now_or_later(partial(ledger.release, "c"))
        assert standing(ledger, day) == (25, 0)
        assert sum(row.input_tokens for row in ledger.usage()) == 50

    def test_input_and_output_are_accounts_of_their_own(self, make_ledger: MakeLedger) -> None:
        """Input, output and all tokens are counted each by itself."""
        ledger = make_ledger()
        limits = (limit(50), limit(50, unit=Unit.INPUT_TOKENS), limit(50, unit=Unit.OUTPUT_TOKENS))
        held = Amounts(input_tokens=20, output_tokens=10, micro_usd=0)
        ledger.reserve(Reserve(id="a", amounts=held, limits=limits, labels=LABELS), now_ns=NOON_NS)
        assert [standing(ledger, one) for one in limits] == [(0, 30), (0, 20), (0, 10)]
        ledger.settle("a", Amounts(input_tokens=8, output_tokens=3, micro_usd=0), now_ns=NOON_NS)
        assert [standing(ledger, one) for one in limits] == [(11, 0), (8, 0), (3, 0)]

    def test_concurrency_counts_calls_under_way(self, make_ledger: MakeLedger) -> None:
        """As many calls as the limit says are under way at a time; settled, released or swept ones are not."""
        ledger, two = make_ledger(hold_ttl_ns=MINUTE_NS), limit(2, unit=Unit.CONCURRENCY, window=Window.TOTAL)
        for name in ("a", "b"):
            assert ledger.reserve(asking(name, 1, two), now_ns=NOON_NS) is None
        over = ledger.reserve(asking("c", 1, two), now_ns=NOON_NS)
        assert over is not None
        assert (over.used, over.held, over.asked) == (0, 2, 1)
        ledger.settle("a", None, now_ns=NOON_NS)
        assert ledger.reserve(asking("c", 1, two), now_ns=NOON_NS) is None
        ledger.release("b")
        assert ledger.reserve(asking("d", 1, two), now_ns=NOON_NS) is None
        assert ledger.sweep(now_ns=NOON_NS + MINUTE_NS) == 2
        assert standing(ledger, two) == (0, 0)

    def test_a_warning_counts_and_never_refuses(self, make_ledger: MakeLedger) -> None:
        """A limit that only warns has room for everything, and shows what was used."""
        ledger, soft = make_ledger(), replace(limit(10), action=OnLimit.WARN)
        for name in ("a", "b", "c"):
            assert ledger.reserve(asking(name, 8, soft), now_ns=NOON_NS) is None
        assert standing(ledger, soft) == (0, 24)

    def test_rate_lets_a_burst_through_and_then_an_even_flow(self, make_ledger: MakeLedger) -> None:
        """Six in a minute, two at once: the third waits for ten seconds, and so does each one after it."""
        ledger, rate = make_ledger(), flow(6, burst=2)
        for name in ("a", "b"):
            assert ledger.reserve(asking(name, 1, rate), now_ns=NOON_NS) is None
        over = ledger.reserve(asking("c", 1, rate), now_ns=NOON_NS)
        assert over == OverLimit(limit=rate, used=2, held=0, asked=1, resets_at_ns=NOON_NS + 10 * SECOND_NS)
        assert ledger.reserve(asking("c", 1, rate), now_ns=NOON_NS + 10 * SECOND_NS - 1000) is not None
        assert ledger.reserve(asking("c", 1, rate), now_ns=NOON_NS + 10 * SECOND_NS) is None
        assert ledger.reserve(asking("d", 1, rate), now_ns=NOON_NS + 10 * SECOND_NS) is not None
        assert standing(ledger, rate, NOON_NS + 10 * SECOND_NS) == (2, 0)
        assert standing(ledger, rate, NOON_NS + MINUTE_NS) == (0, 0)

    def test_rate_takes_what_was_billed(self, make_ledger: MakeLedger) -> None:
        """A rate of tokens takes the bound, and gives back what wasn't billed; a released call takes nothing."""
        ledger, rate = make_ledger(), flow(60, unit=Unit.TOKENS, burst=60)
        assert ledger.reserve(asking("a", 60, rate), now_ns=NOON_NS) is None
        assert ledger.reserve(asking("b", 1, rate), now_ns=NOON_NS) is not None
        ledger.settle("a", tokens(20), now_ns=NOON_NS)
        assert standing(ledger, rate) == (20, 0)
        assert ledger.reserve(asking("b", 40, rate), now_ns=NOON_NS) is None
        ledger.release("b")
        assert standing(ledger, rate) == (20, 0)
        ledger.settle("b", tokens(10), now_ns=NOON_NS)
        assert standing(ledger, rate) == (30, 0)

    def test_rate_says_when_a_call_never_fits(self, make_ledger: MakeLedger) -> None:
        """One that is larger than the burst has no moment at which it fits, and takes nothing of other limits."""
        ledger, rate, day = make_ledger(), flow(60, unit=Unit.TOKENS, burst=10), limit(1000)
        over = ledger.reserve(asking("a", 11, day, rate), now_ns=NOON_NS)
        assert over is not None
        assert (over.limit, over.resets_at_ns) == (rate, None)
        assert standing(ledger, day) == (0, 0)

    def test_b_5_clock_back_gives_no_rate_anew(self, make_ledger: MakeLedger) -> None:
        """A clock that goes back makes a rate wait longer, not shorter."""
        ledger, rate = make_ledger(), flow(6, burst=1)
        assert ledger.reserve(asking("a", 1, rate), now_ns=NOON_NS) is None
        assert ledger.reserve(asking("b", 1, rate), now_ns=NOON_NS - DAY_NS) is not None

    def test_accounts_are_found_by_the_limit_they_belong_to(self, make_ledger: MakeLedger) -> None:
        """A limit that counts per something has an account for each value; others that begin alike are not its own."""
        ledger = make_ledger()
        for name in ("team", "team|team=a", "team|team=b", "teams", "tea"):
            ledger.reserve(asking(name, 1, limit(10, name=name)), now_ns=NOON_NS)
        assert ledger.accounts("team") == ["team", "team|team=a", "team|team=b"]

    def test_weeks_begin_on_monday(self, make_ledger: MakeLedger) -> None:
        """A limit per week has room again on Monday, 00:00 UTC."""
        ledger, week = make_ledger(), limit(10, window=Window.WEEK)
        monday = NOON_NS + 2 * DAY_NS + DAY_NS // 2  # the day of `NOON_NS` is a Friday
        ledger.reserve(asking("a", 10, week), now_ns=NOON_NS)
        over = ledger.reserve(asking("b", 1, week), now_ns=monday - 1)
        assert over is not None
        assert over.resets_at_ns == monday
        assert ledger.reserve(asking("b", 1, week), now_ns=monday) is None

    def test_two_ledgers_share_one_store(self, make_ledger: MakeLedger) -> None:
        """What one program holds, another one sees and can settle."""
        one, two, day = make_ledger(), make_ledger(), limit(100)
        one.reserve(asking("a", 60, day), now_ns=NOON_NS)
        assert two.reserve(asking("b", 41, day), now_ns=NOON_NS) is not None
        two.settle("a", tokens(50), now_ns=NOON_NS)
        assert standing(one, day) == (50, 0)

    def test_use_after_close_opens_again(self, make_ledger: MakeLedger) -> None:
        """Closing loses nothing, and a later call works."""
        ledger, day = make_ledger(), limit(100)
        ledger.reserve(asking("a", 60, day), now_ns=NOON_NS)
        ledger.close()
        ledger.close()
        assert standing(ledger, day) == (0, 60)

    def test_b_1_threads_never_pass_the_limit(self, make_ledger: MakeLedger) -> None:
        """Eight threads on one ledger get exactly as many holds as there is room for."""
        ledger, day = make_ledger(), limit(50)
        granted: list[str] = []

        def ask(worker: int) -> None:
            for number in range(10):
                identifier = f"{worker}-{number}"
                if ledger.reserve(asking(identifier, 1, day), now_ns=NOON_NS) is None:
                    ledger.settle(identifier, tokens(1), now_ns=NOON_NS)
                    granted.append(identifier)

        threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(granted) == 50
        assert standing(ledger, day) == (50, 0)


def _raises(kind: type[Exception], act: Callable[[], object]) -> None:
    # Not pytest.raises: the contract also runs where pytest is only the runner.
    try:
        act()
    except kind:
        return
    msg = f"{kind.__name__} was not raised"
    raise AssertionError(msg)
