"""What can be wrong with budgets whose values have the right type."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from safellm._core.budget import rate_length_ns
from safellm._core.effects import OnLimit, Unit, Window
from safellm._core.policy import Budget, Budgets, plugin_in
from safellm.errors import ConfigurationError, ProtocolMisuse
from safellm.stores.policy_lines import Path as KeyPath

_LARGEST: Final = 2**63 - 1  # ledgers count in 64-bit integers
_CLAMPED: Final = frozenset({Unit.TOKENS, Unit.OUTPUT_TOKENS, Unit.MICRO_USD})


def budget_problems(budgets: Budgets) -> list[tuple[KeyPath, str]]:
    """Return what is wrong, each with the path of its key."""
    found = list(_of_limits(budgets.limits, ("budget", "limits")))
    for name, tier in budgets.tiers.items():
        found += _of_limits(tier.limits, ("budget", "tiers", name, "limits"))
    if budgets.ledger is not None and plugin_in(budgets.ledger.get_secret_value()) is None:
        from safellm.stores.ledger.address import parse_address  # noqa: PLC0415 - only where one is named

        try:
            parse_address(budgets.ledger.get_secret_value())
        except ConfigurationError as error:
            found.append((("budget", "ledger"), f"{error.problem}. {error.remedy}"))
    return found


def _of_limits(limits: Sequence[Budget], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    accounts = set()
    for index, budget in enumerate(limits):
        here = (*path, index)
        rules = budget.rules()
        if len(rules) != 1:
            yield here, "a limit has exactly one of usd, tokens, input_tokens, output_tokens, requests, concurrency"
            continue
        [rule] = rules
        limit = rule.limit
        if not 0 < limit.limit <= _LARGEST:
            yield here, "this amount is too small or too large to be counted"
        if problem := _odd(budget, limit.unit):
            yield here, problem
        account = (limit.name, rule.per, limit.unit, limit.window, budget.rate)
        if account in accounts:
            yield path, "two limits have the same name, window and unit"
        accounts.add(account)


def _odd(budget: Budget, unit: Unit) -> str | None:  # noqa: PLR0911 - one for each
    """Return why the parts of a limit don't fit together."""
    if budget.action is OnLimit.CLAMP and (unit not in _CLAMPED or budget.rate):
        return "action 'clamp' lowers output: it needs tokens, output_tokens or usd, and no rate"
    if budget.action is OnLimit.WAIT and not budget.rate:
        return "action 'wait' needs a rate: write rate = true"
    if budget.burst is not None and not budget.rate:
        return "burst belongs to a rate: write rate = true"
    if budget.window is Window.CALL and budget.warn_at is not None:
        return "a limit for each call has nothing to warn of before it is reached"
    if unit is Unit.CONCURRENCY and (budget.rate or "window" in budget.model_fields_set):
        return "concurrency counts calls under way: it has neither window nor rate"
    if budget.rate:
        try:
            rate_length_ns(budget.window)
        except ProtocolMisuse:
            return "a rate is per minute, hour, day or week"
    return None
