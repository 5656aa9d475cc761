"""Stage 8: what the call may cost at most, and an output ceiling where a limit needs one (THREATS B.7)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from safellm._core.adapter import Billing, Ceiling
from safellm._core.call import Call
from safellm._core.effects import Amounts, OnLimit, OverLimit, Unit
from safellm._core.media import extra_tokens
from safellm._core.tokens import encoding_of, input_bound, normalized_excess
from safellm.errors import Reason, Refused

NAME = "ceiling"
_SPENT: Final = frozenset({Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.MICRO_USD})
_SHORTEST_ANSWER: Final = 16  # output tokens; the Responses API takes no smaller ceiling, and less says nothing


def guard(call: Call) -> None:
    """Fill `call.amounts` with an upper bound of the cost; inject or clamp the output ceiling.

    Raises:
        Refused: `budget.unpriced` or `budget.unbounded`, when a limit is set that this call can't be held to.
    """
    # A grant's limits hold in every mode; its guard refuses what can't be held to them.
    limits = () if call.policy.observes else call.limits
    limited = {limit.unit for limit in limits if limit.action is not OnLimit.WARN} & _SPENT if limits else ()
    route = call.route
    if route.billing is Billing.FREE:
        call.amounts = Amounts(requests=1, micro_usd=0)
        return
    if call.policy.budget.stream_usage and not call.policy.observes and isinstance(call.body.value, dict):
        call.hide_usage = call.tools.adapter.ask_for_usage(route, call.body.value)
        call.changed |= call.hide_usage
    if route.billing is Billing.OTHER:
        if limited:
            raise Refused(
                f"The cost of {route.operation} isn't known before it is done, and a token or money limit is set",
                guard=NAME,
                reason=Reason.BUDGET_UNBOUNDED,
                remedy="Make this call with a client whose policy has no such limit, or limit requests instead.",
                status=429,
            )
        call.amounts = Amounts(requests=1)
        return
    call.bounded = bool(limited) or _spends(call)
    output = _output_bound(call)
    tokens = _input_bound(call)
    cost = _cost(call, tokens, output)
    if cost is None and Unit.MICRO_USD in limited:
        raise Refused(
            f"No price is known for the model {call.model!r}, and a money limit is set",
            guard=NAME,
            reason=Reason.BUDGET_UNPRICED,
            remedy="Use a model with a known price, or limit tokens instead of money.",
            status=429,
        )
    call.amounts = Amounts(input_tokens=tokens, output_tokens=output, micro_usd=cost, requests=1)


def clamp(call: Call, over: OverLimit) -> bool:
    """Lower the output ceiling to what a limit has left; return whether that leaves room for an answer."""
    ceiling = call.tools.adapter.ceiling(call.route, call.head.origin)
    body, unit, amounts = call.body.value, over.limit.unit, call.amounts
    if ceiling is None or ceiling.fixed is not None or not isinstance(body, dict):
        return False
    place = ceiling.place(body)
    key = next((name for name in ceiling.keys if place is not None and is_count(place.get(name))), None)
    if place is None or key is None:
        return False
    room = over.limit.limit - over.used - over.held
    if unit is Unit.TOKENS:
        room -= amounts.input_tokens
    elif unit is Unit.MICRO_USD:
        room = _affordable(call, room)
    elif unit is not Unit.OUTPUT_TOKENS:
        return False
    share = room // choices(ceiling, place)
    if share < _SHORTEST_ANSWER or share >= _number(place[key]):
        return False
    place[key] = share
    call.changed = True
    output = share * choices(ceiling, place)
    call.amounts = replace(amounts, output_tokens=output, micro_usd=_cost(call, amounts.input_tokens, output))
    return True


def _affordable(call: Call, micro_usd: int) -> int:
    """Return the most output tokens that cost no more than this together with the input, or less than nothing."""
    low, high = -1, call.amounts.output_tokens
    while low < high:
        middle = (low + high + 1) // 2
        cost = _cost(call, call.amounts.input_tokens, middle)
        low, high = (middle, high) if cost is not None and cost <= micro_usd else (low, middle - 1)
    return low


def _cost(call: Call, tokens: int, output: int) -> int | None:
    return call.tools.prices.bound(call.labels["provider"], call.model, tokens, output)


def _input_bound(call: Call) -> int:
    # The whole body bounds everything in it: texts, property names, token arrays (two bytes for each number and its comma).
    # JSON only makes texts longer. What is no text, or may have more tokens than bytes, comes on top.
    bound = input_bound(call.size + max(0, call.grown), 1)
    if not call.bounded:
        return bound
    bound += extra_tokens(call.body.value, call.model)
    return bound if encoding_of(call.model) is not None else bound + normalized_excess(one.text for one in call.fields)


def _fixed(call: Call, most: int) -> int:
    """Return what the session bounds an answer by.

    Raises:
        Refused: that is more than the grant or scope around the call allows, and no message lowers it.
    """
    scoped = None if call.standing is None else call.standing.output_ceiling
    if scoped is not None and most > scoped:
        raise Refused(
            f"Answers of this session may have {most} tokens, and {scoped} are allowed",
            guard=NAME,
            reason=Reason.BUDGET_UNBOUNDED,
            remedy="Lower the ceiling in the settings of the session.",
            status=429,
        )
    return most


def _output_bound(call: Call) -> int:  # noqa: C901 - one rule after the other
    ceiling = call.tools.adapter.ceiling(call.route, call.head.origin)
    body = call.body.value
    if ceiling is not None and ceiling.fixed is not None:
        return _fixed(call, ceiling.fixed)
    if ceiling is None or not isinstance(body, dict):
        return 0
    limited, most = call.bounded, call.policy.budget.max_output_tokens
    place = ceiling.place(body)
    scoped = None if call.standing is None else call.standing.output_ceiling
    if scoped is not None:
        share = max(1, scoped // choices(ceiling, place or {}))
        limited, most = True, min(most, share) if limited else share
    if place is None:
        place = {}
        if limited:
            body[ceiling.within[0]] = place
    key = None
    for name in ceiling.keys:
        if name in place and is_count(place[name]):
            key = name
            break
    if limited:
        if key is None:
            place[ceiling.inject] = most
            call.changed, key = True, ceiling.inject
        elif call.policy.budget.clamp_output and _number(place[key]) > most:
            place[key] = most
            call.changed = True
    bound = most if key is None else _number(place[key])
    return bound * choices(ceiling, place)


def _spends(call: Call) -> bool:
    limits = call.scoped_limits
    return bool(limits) and any(limit.unit in _SPENT for limit in limits)


def choices(ceiling: Ceiling, body: dict[str, Any]) -> int:
    """Return how many answers a request asks for, each of which may be as long as the ceiling."""
    most = 1
    for name in ceiling.multipliers:
        if name in body and is_count(body[name]):
            most = max(most, _number(body[name]))
    prompts = body.get("prompt")
    # Legacy completions answer each prompt of a list; `best_of` of them are billed for each that is shown.
    batch = len(prompts) if isinstance(prompts, list) and prompts and isinstance(prompts[0], (str, list)) else 1
    return most * batch


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number that can be a ceiling."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> int:
    return int(value)
