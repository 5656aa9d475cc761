"""The arithmetic of budgets: windows of time, what a hold may be, what is charged, and how a refusal reads.

* A window has an integer id that grows with UTC time. The id in force is never smaller than one seen before, so a clock
  that goes back re-opens nothing and one that jumps forward opens each window once (THREATS B.5).
* A hold is an upper bound of one wire attempt. It is charged whole when no credible usage comes back (THREATS B.3).
* Numbers beyond what any attempt can cost are not believed.

Where the numbers are kept is the ledger's matter (`safellm.stores.ledger`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from safellm._core.effects import Amounts, OverLimit, Unit, Window
from safellm.errors import ProtocolMisuse, Reason, Refused

GUARD = "budget"
STATUS_TOO_MANY_REQUESTS = 429  # RFC 6585 4

# The most that one wire attempt can cost. The largest context windows hold some ten million tokens and an API call asks
# for at most 128 choices: a thousand million is above both together. At 600 US dollars per million output tokens, the
# dearest public price in 2025, that is 0.6 million dollars. Both stay far below 2**63 when a ledger adds them up.
MOST_TOKENS = 1_000_000_000
MOST_MICRO_USD = 1_000_000_000_000
MOST_REQUESTS = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 1_000_000_000
_LENGTH_NS = {
    Window.MINUTE: 60 * _SECOND_NS,
    Window.HOUR: 3600 * _SECOND_NS,
    Window.DAY: 86400 * _SECOND_NS,  # Unix time has no leap seconds, so every day is this long (POSIX 4.19)
}
_MONTHS = 12


def window_id(window: Window, now_ns: int) -> int:
    """Return the number of the UTC window that contains `now_ns` (nanoseconds since 1970); 0 for `total`."""
    if window is Window.TOTAL:
        return 0
    if window is Window.MONTH:
        moment = _moment(now_ns)
        return moment.year * _MONTHS + moment.month - 1
    return now_ns // _LENGTH_NS[window]


def current_window_id(window: Window, *, stored: int | None, now_ns: int) -> int:
    """Return the id in force: the larger of the last one seen and the computed one (THREATS B.5)."""
    computed = window_id(window, now_ns)
    return computed if stored is None else max(stored, computed)


def resets_at_ns(window: Window, window_id: int) -> int | None:
    """Return the Unix time in nanoseconds at which the window after `window_id` begins; None for `total`."""
    if window is Window.TOTAL:
        return None
    if window is Window.MONTH:
        year, month = divmod(window_id + 1, _MONTHS)
        return (datetime(year, month + 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
    return (window_id + 1) * _LENGTH_NS[window]


def utc_day(now_ns: int) -> str:
    """Return the UTC day of `now_ns` as `YYYY-MM-DD`."""
    return _moment(now_ns).date().isoformat()


def bounded_hold(amounts: Amounts) -> Amounts:
    """Return what is held for one wire attempt: `amounts`, but never more than an attempt can cost.

    Lowering it is sound, because no provider can bill more than these bounds for one attempt.

    Raises:
        ProtocolMisuse: a number is negative; a hold is computed here, so that is a defect and not hostile input.
    """
    if min(amounts.input_tokens, amounts.output_tokens, amounts.micro_usd or 0, amounts.requests) < 0:
        msg = "a reservation can't hold a negative amount"
        raise ProtocolMisuse(msg)
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
    noun = "token" if unit is Unit.TOKENS else "request"
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def describe_over_limit(over: OverLimit) -> Refused:
    """Return the error for a limit without room: the account, the four numbers, when it resets and what to run."""
    limit = over.limit
    ceiling = show_amount(limit.unit, limit.limit)
    span = "in total" if limit.window is Window.TOTAL else f"per {limit.window} (UTC)"
    used, held, asked = (show_amount(limit.unit, value) for value in (over.used, over.held, over.asked))
    if over.resets_at_ns is None:
        reset = "It never resets by itself"
    else:
        reset = f"It resets at {_moment(over.resets_at_ns):%Y-%m-%d %H:%M} UTC"
    return Refused(
        f"The budget '{limit.name}' has no room for this call: "
        f"limit {ceiling} {span}, used {used}, held {held}, asked at most {asked}",
        guard=GUARD,
        reason=Reason.BUDGET_EXCEEDED,
        remedy=f"{reset}; `safellm budget` shows every account and how to raise a limit.",
        status=STATUS_TOO_MANY_REQUESTS,
    )


def _moment(time_ns: int) -> datetime:
    # Not datetime.fromtimestamp: it takes a float, and fails before 1970 on Windows.
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
