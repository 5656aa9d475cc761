"""How a call gets its holds: which limits count, what each does when it has no room, and who is told.

Yields `Reserve`, `Count`, `Pause` and `Watch`; the order "reserve, tell, record, send" is the exchange's.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, Final

from safellm._core.budget import describe_over_limit
from safellm._core.call import Call
from safellm._core.counting import look_closer
from safellm._core.effects import JSON, Effect, Limit, OnLimit, OverLimit, Pause, Record, Reserve, Watch, Window
from safellm._core.guards.ceiling import clamp
from safellm._core.limits import resolve
from safellm._core.who import account_shown
from safellm.errors import Reason

_MOST_TRIES: Final = 16  # clamps and waits of one call; others may take the room again and again
_SECOND_NS: Final = 1_000_000_000


def find_limits(call: Call, given: Mapping[str, str]) -> None:
    """Fill the call's labels and the limits of the policy that it falls under."""
    standing = call.standing
    known = {
        "provider": call.tools.adapter.provider_of(call.head.origin),
        "model": call.model,
        "operation": call.route.operation,
    }
    call.labels, call.said = known, given
    if call.policy.budget.rules:
        key = next((key.ref for key in call.bounds.managed if call.head.carries(key.placeholder)), "code")
        grant = "" if standing is None or standing.grant is None else standing.grant.id
        call.limits = resolve(call.policy.budget.rules, {**given, **known, "key": key, "grant": grant})


def hold(call: Call, call_id: str) -> Generator[Effect, Any, None]:
    """Hold on all limits of the call.

    Raises:
        Refused: `budget.exceeded`; nothing is held then.
    """
    counted: tuple[Limit, ...] = ()
    if call.limits:
        yield from _hold_alone(call)
        counted = tuple(limit for limit in call.limits if limit.window is not Window.CALL)
    waited_ns = 0
    for _ in range(_MOST_TRIES):
        over = yield Reserve(
            id=call_id, amounts=call.amounts, limits=(*counted, *call.scoped_limits), labels=call.labels
        )  # fmt: skip
        if not isinstance(over, OverLimit):
            return
        if (yield from look_closer(call, over)):
            continue
        limit = over.limit
        scoped = limit in call.scoped_limits
        if call.policy.observes and not scoped:
            if Reason.BUDGET_EXCEEDED in call.would_refuse:  # by a ledger that doesn't know of warnings
                return
            # It is counted all the same: what is observed is what would be used.
            call.would_refuse.append(Reason.BUDGET_EXCEEDED)
            counted = tuple(replace(one, action=OnLimit.WARN, warn_at=None) for one in counted)
            continue
        if limit.action is OnLimit.CLAMP and clamp(call, over):
            continue
        if limit.action is OnLimit.WAIT and over.resets_at_ns is not None:
            slept = yield Pause(until_ns=over.resets_at_ns, most_ns=_longest_wait_ns(call, limit) - waited_ns)
            if slept is not None:
                waited_ns += slept
                continue
        raise describe_over_limit(over)
    raise describe_over_limit(over)


def _longest_wait_ns(call: Call, limit: Limit) -> int:
    """Return how long a call may wait for a rate: never longer than its program would wait for an answer."""
    patience_s = call.head.timeout_s
    allowed_s = limit.wait_s if patience_s is None else min(limit.wait_s, max(0.0, patience_s))
    return int(allowed_s * _SECOND_NS)


def _hold_alone(call: Call) -> Generator[Effect, Any, None]:
    """Hold a call to the limits for each call."""
    for limit in () if call.policy.observes else call.limits:
        if limit.window is not Window.CALL or limit.action is OnLimit.WARN:
            continue
        over = _over_alone(call, limit)
        if over is not None and (yield from look_closer(call, over)):
            over = _over_alone(call, limit)
        if over is not None and not (limit.action is OnLimit.CLAMP and clamp(call, over)):
            raise describe_over_limit(over)


def _over_alone(call: Call, limit: Limit) -> OverLimit | None:
    asked = call.amounts.held_of(limit.unit)
    return OverLimit(limit=limit, used=0, held=0, asked=asked, resets_at_ns=None) if asked > limit.limit else None


def tell(call: Call, call_id: str) -> Generator[Effect, Any, None]:
    """Tell of limits that have reached their `warn_at`.

    Raises:
        Refused: a callback of the program says so.
    """
    watched = tuple(limit for limit in call.limits if limit.warn_at is not None and limit.window is not Window.CALL)
    if watched:
        for over in (yield Watch(limits=watched)):
            yield Record(event="budget.warning", fields=_warning(call, over, call_id))


def _warning(call: Call, over: OverLimit, call_id: str) -> dict[str, JSON]:
    limit = over.limit
    return {
        "event.parent": call_id,
        "safellm.budget.name": account_shown(call, limit.name),
        "safellm.budget.unit": limit.unit.value,
        "safellm.budget.window": limit.window.value,
        "safellm.budget.limit": limit.limit,
        "safellm.budget.used": over.used,
        "safellm.budget.held": over.held,
    }
