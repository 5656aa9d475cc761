"""The arithmetic of budgets: windows of time, what a hold may be, what is charged, and how a refusal reads.

* A window has an integer id that grows with UTC time. The id in force is never smaller than one seen before, so a clock
  that goes back re-opens nothing and one that jumps forward opens each window once (THREATS B.5).
* A rate has no windows: what was taken flows off evenly. It is kept as the one moment at which all of it has flowed off (the
  "theoretical arrival time" of GCRA, ITU-T I.371 annex A), in microseconds, with every share rounded up.
* A hold is an upper bound of one wire attempt. It is charged whole when no credible usage comes back (THREATS B.3).
* Numbers beyond what any attempt can cost are not believed.

Where the numbers are kept is the ledger's matter (`safellm.stores.ledger`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from safellm._core.effects import Amounts, Limit, OverLimit, Unit, Window
from safellm.errors import ProtocolMisuse, Reason, Refused

GUARD = "budget"
STATUS_TOO_MANY_REQUESTS = 429  # RFC 6585 4

# The most that one wire attempt can cost. The largest context windows hold some ten million tokens and an API call asks
# for at most 128 choices: a thousand million is above both together. At 600 US dollars per million output tokens, the
# dearest public price in 2025, that is 0.6 million dollars. Both stay far below 2**63 when a ledger adds them up.
MOST_TOKENS = 1_000_000_000
MOST_MICRO_USD = 1_000_000_000_000
MOST_REQUESTS = 1_000_000

_NOUNS = {
    Unit.TOKENS: "token",
    Unit.INPUT_TOKENS: "input token",
    Unit.OUTPUT_TOKENS: "output token",
    Unit.REQUESTS: "request",
    Unit.CONCURRENCY: "call",
}
_SPANS = {Window.TOTAL: "in total", Window.CALL: "per call"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 1_000_000_000
_LENGTH_NS = {
    Window.MINUTE: 60 * _SECOND_NS,
    Window.HOUR: 3600 * _SECOND_NS,
    Window.DAY: 86400 * _SECOND_NS,  # Unix time has no leap seconds, so every day is this long (POSIX 4.19)
}
_WEEK_BEGAN_DAYS = 3  # 1 January 1970 was a Thursday; weeks begin on Monday (ISO 8601)
_WEEK_DAYS = 7
_MONTHS = 12
# What the ledgers can count to: numbers in Redis's scripts are IEEE doubles, exact up to 2**53. As micro-dollars that is nine
# thousand million dollars.
LARGEST = 2**53 - 1


def window_id(window: Window, now_ns: int) -> int:
    """Return the number of the UTC window that contains `now_ns` (nanoseconds since 1970); 0 for `total`."""
    if window in (Window.TOTAL, Window.CALL):
        return 0
    if window is Window.MONTH:
        moment = _moment(now_ns)
        return moment.year * _MONTHS + moment.month - 1
    if window is Window.WEEK:
        return (now_ns // _LENGTH_NS[Window.DAY] + _WEEK_BEGAN_DAYS) // _WEEK_DAYS
    return now_ns // _LENGTH_NS[window]


def current_window_id(window: Window, *, stored: int | None, now_ns: int) -> int:
    """Return the id in force: the larger of the last one seen and the computed one (THREATS B.5)."""
    computed = window_id(window, now_ns)
    return computed if stored is None else max(stored, computed)


def resets_at_ns(window: Window, window_id: int) -> int | None:
    """Return the Unix time in nanoseconds at which the window after `window_id` begins; None for `total`."""
    if window in (Window.TOTAL, Window.CALL):
        return None
    if window is Window.WEEK:
        return ((window_id + 1) * _WEEK_DAYS - _WEEK_BEGAN_DAYS) * _LENGTH_NS[Window.DAY]
    if window is Window.MONTH:
        year, month = divmod(window_id + 1, _MONTHS)
        return (datetime(year, month + 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
    return (window_id + 1) * _LENGTH_NS[window]


def utc_day(now_ns: int) -> str:
    """Return the UTC day of `now_ns` as `YYYY-MM-DD`."""
    return _moment(now_ns).date().isoformat()


def rate_cost_us(limit: Limit, amount: int) -> int:
    """Return the microseconds in which `amount` flows off at the rate of `limit`, rounded up."""
    return -(-amount * (rate_length_ns(limit.window) // 1000) // limit.limit)


def rate_length_ns(window: Window) -> int:
    """Return the nanoseconds over which a rate is given.

    Raises:
        ProtocolMisuse: a window without a length of its own.
    """
    length = _WEEK_DAYS * _LENGTH_NS[Window.DAY] if window is Window.WEEK else _LENGTH_NS.get(window)
    if length is None:
        msg = "a rate is per minute, hour, day or week"
        raise ProtocolMisuse(msg)
    return length


def rate_standing(limit: Limit, flows_off_us: int, now_ns: int) -> int:
    """Return how much of a rate's burst is taken at this moment, rounded up."""
    left_us = max(0, flows_off_us - now_ns // 1000)
    return -(-left_us * limit.limit // (rate_length_ns(limit.window) // 1000))


def rate_over(limit: Limit, flows_off_us: int, *, asked: int, now_ns: int) -> OverLimit:
    """Return the refusal of a rate; `resets_at_ns` is when `asked` will have room, None if it never will."""
    cost, burst = rate_cost_us(limit, asked), rate_cost_us(limit, limit.burst or 0)
    fits_us = max(flows_off_us, now_ns // 1000) + cost - burst
    return OverLimit(
        limit=limit,
        used=rate_standing(limit, flows_off_us, now_ns),
        held=0,
        asked=asked,
        resets_at_ns=None if cost > burst else fits_us * 1000,
    )


def rate_change_us(cost_us: int, held: int, charged: int) -> int:
    """Return by how much the moment of a rate moves when a hold that cost `cost_us` is charged as `charged`."""
    return 0 if held == 0 else -(-cost_us * charged // held) - cost_us


def bounded_hold(amounts: Amounts) -> Amounts:
    """Return what is held for one wire attempt: `amounts`, but never more than an attempt can cost.

    Lowering it is sound, because no provider can bill more than these bounds for one attempt.

    Raises:
        ProtocolMisuse: a number is negative; a hold is computed here, so that is a defect and not hostile input.
    """
    if min(amounts.input_tokens, amounts.output_tokens, amounts.micro_usd or 0, amounts.requests) < 0:
        msg = "a reservation can't hold a negative amount"
        raise ProtocolMisuse(msg)
    if is_credible(amounts):
        return amounts
    return Amounts(
        input_tokens=min(amounts.input_tokens, MOST_TOKENS),
        output_tokens=min(amounts.output_tokens, MOST_TOKENS),
        micro_usd=None if amounts.micro_usd is None else min(amounts.micro_usd, MOST_MICRO_USD),
        requests=min(amounts.requests, MOST_REQUESTS),
    )


def is_credible(amounts: Amounts) -> bool:
    """Return whether a provider can have billed this for one wire attempt: nothing negative, nothing absurd (B.3)."""
    return (
        0 <= amounts.input_tokens <= MOST_TOKENS
        and 0 <= amounts.output_tokens <= MOST_TOKENS
        and 0 <= (amounts.micro_usd or 0) <= MOST_MICRO_USD
        and 0 <= amounts.requests <= MOST_REQUESTS
    )


def charge_for(hold: Amounts, reported: Amounts | None) -> Amounts:
    """Return what a settled call is charged (THREATS B.3).

    Args:
        hold: What was reserved, an upper bound.
        reported: What the provider says it billed; None when it said nothing.

    Returns:
        The reported amounts, an explicit zero included and also where they exceed the hold. The hold where nothing or
        nothing credible was reported. Its money where only the price of the reported usage is unknown.
    """
    if reported is None or not is_credible(reported):
        return hold
    return reported if reported.micro_usd is not None else replace(reported, micro_usd=hold.micro_usd)


def larger_of(charged: Amounts, late: Amounts) -> Amounts:
    """Return the larger of two charges, number by number.

    For usage that arrives after a hold was swept: it may raise the charge, never lower it (THREATS B.2).
    """
    money = [value for value in (charged.micro_usd, late.micro_usd) if value is not None]
    return Amounts(
        input_tokens=max(charged.input_tokens, late.input_tokens),
        output_tokens=max(charged.output_tokens, late.output_tokens),
        micro_usd=max(money) if money else None,
        requests=max(charged.requests, late.requests),
    )


def show_amount(unit: Unit, amount: int) -> str:
    """Return an amount as a person reads it: `$1.25`, `12,000 tokens`, `1 request`."""
    if unit is Unit.MICRO_USD:
        dollars, micro = divmod(abs(amount), 1_000_000)
        cents, rest = f"{micro:06d}"[:2], f"{micro:06d}"[2:].rstrip("0")
        return f"{'-' if amount < 0 else ''}${dollars:,}.{cents}{rest}"
    noun = _NOUNS[unit]
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def describe_over_limit(over: OverLimit) -> Refused:
    """Return the error for a limit without room: the account, the four numbers, when it resets and what to run."""
    limit = over.limit
    ceiling = show_amount(limit.unit, limit.limit)
    span = _SPANS.get(limit.window, f"per {limit.window} (UTC)")
    if limit.unit is Unit.CONCURRENCY:
        span = "at a time"
    elif limit.burst is not None:
        span = f"per {limit.window}, at most {show_amount(limit.unit, limit.burst)} at once"
    used, held, asked = (show_amount(limit.unit, value) for value in (over.used, over.held, over.asked))
    return Refused(
        f"The budget '{limit.name}' has no room for this call: "
        f"limit {ceiling} {span}, used {used}, held {held}, asked at most {asked}",
        guard=GUARD,
        reason=Reason.BUDGET_EXCEEDED,
        remedy=f"{_reset(over)}; `safellm budget` shows every account and how to raise a limit.",
        status=STATUS_TOO_MANY_REQUESTS,
    )


def _reset(over: OverLimit) -> str:
    limit = over.limit
    if limit.window is Window.CALL:
        return "Ask for less in one call: a shorter prompt or a lower output ceiling"
    if limit.unit is Unit.CONCURRENCY:
        return "Wait until a call that is under way has ended"
    if over.resets_at_ns is None:
        return "It never resets by itself" if limit.burst is None else "One call is larger than the burst of this rate"
    if limit.burst is not None:
        return f"It has room at {_moment(over.resets_at_ns):%Y-%m-%d %H:%M:%S} UTC"
    return f"It resets at {_moment(over.resets_at_ns):%Y-%m-%d %H:%M} UTC"


def _moment(time_ns: int) -> datetime:
    # Not datetime.fromtimestamp: it takes a float, and fails before 1970 on Windows.
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
