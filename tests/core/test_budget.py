"""Windows, holds, charges, the refusal's text, and the bound of input tokens."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, OverLimit, Unit, Window
from safellm._core.tokens import TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST, input_bound
from safellm.errors import ProtocolMisuse, Reason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NS = st.integers(0, 2**63 - 1)  # every Unix time in nanoseconds that a 64-bit clock can show
AMOUNT = st.integers(-5, 10**14)
AMOUNTS = st.builds(
    Amounts, input_tokens=AMOUNT, output_tokens=AMOUNT, micro_usd=st.none() | AMOUNT, requests=st.integers(-1, 10**7)
)
SANE = st.integers(0, 10**9)
SANE_AMOUNTS = st.builds(
    Amounts, input_tokens=SANE, output_tokens=SANE, micro_usd=st.none() | SANE, requests=st.integers(0, 10**6)
)


def ns(*parts: int) -> int:
    """Return a UTC date as Unix time in nanoseconds."""
    return (datetime(*parts, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1000  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("window", "now", "reset"),
    [
        (Window.MINUTE, ns(2026, 2, 28, 23, 59, 59), ns(2026, 3, 1)),
        (Window.HOUR, ns(2026, 2, 28, 22, 0, 0), ns(2026, 2, 28, 23)),
        (Window.DAY, ns(2028, 2, 28, 12), ns(2028, 2, 29)),
        (Window.DAY, ns(2028, 2, 29, 12), ns(2028, 3, 1)),
        (Window.MONTH, ns(2026, 12, 31, 23, 59, 59), ns(2027, 1, 1)),
        (Window.MONTH, ns(2026, 1, 1), ns(2026, 2, 1)),
        (Window.MONTH, ns(2026, 11, 15), ns(2026, 12, 1)),
        (Window.TOTAL, ns(2026, 1, 1), None),
    ],
)
def test_window_resets_at_the_next_utc_boundary(window: Window, now: int, reset: int | None) -> None:
    """A window ends where the next minute, hour, day or month of UTC begins; `total` never does."""
    assert budget.resets_at_ns(window, budget.window_id(window, now)) == reset


@given(window=st.sampled_from([w for w in Window if w not in (Window.TOTAL, Window.CALL)]), now=NS)
def test_window_ids_are_consecutive_and_contain_their_time(window: Window, now: int) -> None:
    """Each moment is in one window, which begins where the one before it ends."""
    number = budget.window_id(window, now)
    end, begin = budget.resets_at_ns(window, number), budget.resets_at_ns(window, number - 1)
    assert begin is not None
    assert end is not None
    assert begin <= now < end
    assert budget.window_id(window, begin) == number
    assert budget.window_id(window, end) == number + 1


@given(window=st.sampled_from(list(Window)), clock=st.lists(NS, min_size=1, max_size=20))
def test_b_5_window_id_never_decreases(window: Window, clock: list[int]) -> None:
    """Under any clock the id in force only grows, and is the largest that the clock has shown."""
    stored: int | None = None
    for now in clock:
        current = budget.current_window_id(window, stored=stored, now_ns=now)
        assert stored is None or current >= stored
        stored = current
    assert stored == max(budget.window_id(window, now) for now in clock)


def test_utc_day_is_the_iso_date() -> None:
    """Usage is grouped by UTC day, whatever the local time zone is."""
    assert budget.utc_day(ns(2026, 3, 1) - 1) == "2026-02-28"
    assert budget.utc_day(ns(2026, 3, 1)) == "2026-03-01"


@given(amounts=AMOUNTS)
def test_b_3_a_hold_is_within_bounds_or_refused(amounts: Amounts) -> None:
    """A hold is never negative and never more than one attempt can cost; within the bounds it is left alone."""
    numbers = (amounts.input_tokens, amounts.output_tokens, amounts.micro_usd or 0, amounts.requests)
    if min(numbers) < 0:
        with pytest.raises(ProtocolMisuse):
            budget.bounded_hold(amounts)
        return
    hold = budget.bounded_hold(amounts)
    assert budget.is_credible(hold)
    assert (hold == amounts) == budget.is_credible(amounts)
    assert (hold.micro_usd is None) == (amounts.micro_usd is None)


@given(hold=SANE_AMOUNTS, reported=st.none() | AMOUNTS)
def test_b_3_charge_is_the_credible_report_or_the_hold(hold: Amounts, reported: Amounts | None) -> None:
    """A charge is what was reported, if a provider can have billed it; else the whole hold."""
    charge = budget.charge_for(hold, reported)
    if reported is None or not budget.is_credible(reported):
        assert charge == hold
        return
    assert charge.of(Unit.TOKENS) == reported.of(Unit.TOKENS)
    assert charge.requests == reported.requests
    assert charge.micro_usd == (hold.micro_usd if reported.micro_usd is None else reported.micro_usd)


@pytest.mark.parametrize(
    "absurd",
    [
        Amounts(input_tokens=-1),
        Amounts(output_tokens=-1),
        Amounts(micro_usd=-1),
        Amounts(requests=-1),
        Amounts(input_tokens=budget.MOST_TOKENS + 1),
        Amounts(output_tokens=budget.MOST_TOKENS + 1),
        Amounts(micro_usd=budget.MOST_MICRO_USD + 1),
        Amounts(requests=budget.MOST_REQUESTS + 1),
    ],
)
def test_b_3_every_number_is_checked(absurd: Amounts) -> None:
    """One impossible number makes the whole report incredible."""
    assert not budget.is_credible(absurd)
    assert budget.charge_for(Amounts(input_tokens=7), absurd) == Amounts(input_tokens=7)


@given(one=SANE_AMOUNTS, other=SANE_AMOUNTS)
def test_b_2_late_charge_is_at_least_both(one: Amounts, other: Amounts) -> None:
    """The larger of two charges is at least each of them in every unit."""
    larger = budget.larger_of(one, other)
    for unit in Unit:
        assert larger.of(unit) >= max(one.of(unit), other.of(unit))
    assert (larger.micro_usd is None) == (one.micro_usd is None and other.micro_usd is None)


@pytest.mark.parametrize(
    ("unit", "amount", "text"),
    [
        (Unit.MICRO_USD, 5_000_000, "$5.00"),
        (Unit.MICRO_USD, 1_250_000, "$1.25"),
        (Unit.MICRO_USD, 1, "$0.000001"),
        (Unit.MICRO_USD, 1_234_567_890_100, "$1,234,567.8901"),
        (Unit.MICRO_USD, 0, "$0.00"),
        (Unit.MICRO_USD, -1_500_000, "-$1.50"),
        (Unit.TOKENS, 12_000, "12,000 tokens"),
        (Unit.TOKENS, 1, "1 token"),
        (Unit.REQUESTS, 0, "0 requests"),
    ],
)
def test_amounts_read_like_prose(unit: Unit, amount: int, text: str) -> None:
    """Money is shown as dollars without rounding, counts with their noun."""
    assert budget.show_amount(unit, amount) == text


def test_refusal_names_everything_a_person_needs() -> None:
    """The message names account, limit, used, held, asked, the reset and the command; the SDK sees status 429."""
    limit = Limit(name="team-a", unit=Unit.MICRO_USD, limit=5_000_000, window=Window.DAY)
    reset = ns(2026, 11, 24)
    error = budget.describe_over_limit(
        OverLimit(limit=limit, used=4_900_000, held=50_000, asked=60_001, resets_at_ns=reset)
    )
    assert (error.guard, error.reason, error.status, error.sent) == ("budget", Reason.BUDGET_EXCEEDED, 429, False)
    for part in (
        "team-a",
        "$5.00 per day (UTC)",
        "$4.90",
        "$0.05",
        "$0.060001",
        "2026-11-24 00:00 UTC",
        "`safellm budget`",
    ):
        assert part in str(error)


def test_refusal_of_a_total_says_that_it_never_resets() -> None:
    """A limit without a window is not promised to come back."""
    limit = Limit(name="all", unit=Unit.REQUESTS, limit=10, window=Window.TOTAL)
    error = budget.describe_over_limit(OverLimit(limit=limit, used=10, held=0, asked=1, resets_at_ns=None))
    assert "10 requests in total" in str(error)
    assert "never resets" in str(error)


@given(text=st.text(), messages=st.integers(0, 1000))
def test_b_7_input_bound_covers_every_byte_and_message(text: str, messages: int) -> None:
    """The bound is at least one token per byte and the published frame of 7 tokens per message and 3 per request."""
    size = len(text.encode("utf-8", "surrogatepass"))
    assert input_bound(size, messages) >= size + 7 * messages + 3
    assert input_bound(size, messages) == size + messages * TOKENS_PER_MESSAGE + TOKENS_PER_REQUEST


@pytest.mark.parametrize(("size", "messages"), [(-1, 0), (0, -1)])
def test_b_7_input_bound_refuses_negative_numbers(size: int, messages: int) -> None:
    """A negative number would lower the bound."""
    with pytest.raises(ValueError, match="negative"):
        input_bound(size, messages)
