"""Which of two values of a setting is stricter: what a variable or an argument may still change when the file locks it.

Each setting of the policy has its comparison here, or stands in `UNORDERED`: then a locked one can't be changed at all.
A setting that is in neither is treated as unordered, so forgetting one is safe; a test asks for it all the same.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import inf
from typing import Final, TypeAlias

from safellm._core.limits import Rule
from safellm._core.policy import STRICTNESS as STRICTNESS_OF_ACTIONS
from safellm._core.policy import Action, Mode, Policy
from safellm._core.tools.rules import STRICTNESS, ToolAction, ToolRule, rule_for

# (old policy, new policy) -> the new value is at least as strict as the old one
Order: TypeAlias = Callable[[Policy, Policy], bool]


def get(policy: Policy, dotted: str) -> object:
    """Return a setting by its dotted name, such as `redaction.enabled`."""
    value: object = policy
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def is_as_strict(dotted: str, old: Policy, new: Policy) -> bool:
    """Say whether the setting in `new` allows nothing that it doesn't allow in `old`."""
    if get(old, dotted) == get(new, dotted):
        return True
    order = ORDERS.get(dotted)
    return order is not None and order(old, new)


def _ranked(dotted: str, *values: object) -> Order:
    """Order by a list of all values, loosest first."""

    def compare(old: Policy, new: Policy) -> bool:
        return values.index(get(new, dotted)) >= values.index(get(old, dotted))

    return compare


def _lower(dotted: str) -> Order:
    def compare(old: Policy, new: Policy) -> bool:
        before, after = get(old, dotted), get(new, dotted)
        if before is None:
            return True  # there was no limit
        return isinstance(before, (int, Decimal)) and isinstance(after, (int, Decimal)) and after <= before

    return compare


def _more(dotted: str) -> Order:
    def compare(old: Policy, new: Policy) -> bool:
        before, after = get(old, dotted), get(new, dotted)
        return isinstance(before, tuple) and isinstance(after, tuple) and set(after) >= set(before)

    return compare


def _fewer(dotted: str) -> Order:
    def compare(old: Policy, new: Policy) -> bool:
        before, after = get(old, dotted), get(new, dotted)
        return isinstance(before, tuple) and isinstance(after, tuple) and set(after) <= set(before)

    return compare


_ACTIONS: Final = STRICTNESS_OF_ACTIONS


def _types(old: Policy, new: Policy) -> bool:
    before, after = old.redaction, new.redaction

    def rank(action: Action) -> int:
        return _ACTIONS.index(action)

    return all(
        rank(after.types.get(name, after.default)) >= rank(before.types.get(name, before.default))
        for name in {*before.types, *after.types}
    )


def _paths(old: Policy, new: Policy) -> bool:
    """What was hidden stays hidden; under which name doesn't matter."""
    return set(old.redaction.paths) <= set(new.redaction.paths)


def _countries(old: Policy, new: Policy) -> bool:
    before, after = old.redaction.countries, new.redaction.countries
    return not after or (bool(before) and set(after) >= set(before))  # none means every country


def _tools(old: Policy, new: Policy) -> bool:
    """Each tool that either names may do no more than before, when nobody named it."""
    denied = ToolRule(action=ToolAction.DENY)
    missing = denied if old.is_strict else ToolRule()
    names = {*old.tools, *new.tools}
    if "*" in old.tools and "*" not in new.tools:
        return False
    return all(
        _is_tool_as_strict(rule_for(name, old.tools)[0] or missing, rule_for(name, new.tools)[0] or missing)
        for name in names
    )


def _is_tool_as_strict(old: ToolRule, new: ToolRule) -> bool:
    if new.action is ToolAction.DENY:
        return True
    lower = all(
        before is None or (after is not None and after <= before)
        for before, after in (
            (old.per_answer, new.per_answer),
            (old.per_run, new.per_run),
            (old.max_bytes, new.max_bytes),
        )
    )
    return (
        lower
        and STRICTNESS.index(new.action) >= STRICTNESS.index(old.action)
        and (old.effect in (None, False) or new.effect is True)
        and (old.effect is not None or new.effect is not False)  # strict mode takes what isn't said for an effect
        and new.trust in {old.trust, "untrusted"}
        and old.pin in (None, new.pin)
        and all(new.arguments.get(name) == one for name, one in old.arguments.items())
    )


def _budgets(old: Policy, new: Policy) -> bool:
    """Every old limit must still be there, at most as high; new limits may come."""
    return _limited(old.budget.rules, new.budget.rules)


def _tiers(old: Policy, new: Policy) -> bool:
    """The same for each tier, also for those that aren't chosen."""
    return all(
        name in new.budget.tiers and _limited(tier.rules(), new.budget.tiers[name].rules())
        for name, tier in old.budget.tiers.items()
    )


def _limited(old: Sequence[Rule], new: Sequence[Rule]) -> bool:
    before, after = _ceilings(old), _ceilings(new)
    return all(
        account in after and after[account][0] <= ceiling[0] and after[account][1] <= ceiling[1]
        for account, ceiling in before.items()
    )


def _ceilings(rules: Sequence[Rule]) -> dict[tuple[object, ...], tuple[float, int]]:
    """Return the lowest ceiling of each account, with the burst of a rate; one that only warns is none."""
    lowest: dict[tuple[object, ...], tuple[float, int]] = {}
    for rule in rules:
        limit = rule.limit
        account = (limit.name, rule.per, limit.unit, limit.window, limit.burst is None)
        ceiling = (inf if limit.ceiling is None else limit.ceiling, limit.burst or 0)
        lowest[account] = min(ceiling, lowest.get(account, ceiling))
    return lowest


def _rules(old: Policy, new: Policy) -> bool:
    """Every old rule must still be there as it was; new ones may come, if they let nothing of another rule's type pass."""
    added = [one for one in new.rules if one not in old.rules]
    return all(one in new.rules for one in old.rules) and not any(one.action == "allow" for one in added)


def _alerts(old: Policy, new: Policy) -> bool:
    """Every old alert must still be there as it was; new ones may come."""
    return all(one in new.alerts for one in old.alerts)


_RANKED: Final[dict[str, tuple[object, ...]]] = {
    "mode": (Mode.OBSERVE, Mode.GUARD, Mode.STRICT),
    "unknown_endpoints": ("walk", "deny"),
    "retention": ("provider", "none"),
    "redaction.enabled": (False, True),
    "redaction.default": _ACTIONS,
    "redaction.remember": ("encrypted", "process"),
    "redaction.restore": (True, False),  # values that don't come back can't be shown or sent on
    "input.hidden_characters": ("pass", "remove"),
    "untrusted.score": ("off", "untrusted", "all"),
    "untrusted.delimiters": ("pass", "defuse"),
    "untrusted.spotlight": ("off", "delimit", "mark", "encode"),
    "output.terminal_controls": ("pass", "escape"),
    "output.hidden_characters": ("pass", "remove"),
    "output.secrets": ("pass", "registered", "all"),
    "output.personal": ("pass", "registered", "others", "any"),
    "output.canary": ("off", "mask", "refuse"),
    "output.links": ("pass", "defang", "show"),
    "content.binary": ("pass", "deny"),
    "content.documents": ("pass", "secrets", "refuse"),
    "tool_calls.undeclared": ("allow", "deny"),
    "tool_calls.arguments": ("none", "listed", "all"),
    "tool_calls.look_alikes": ("allow", "deny"),
    "budget.clamp_output": (False, True),
    "budget.allow_volatile": (True, False),
    "budget.on_outage": ("fallback", "refuse"),
    "budget.unknown_price": ("dearest", "refuse"),
    "audit.mode": ("off", "best_effort", "required"),
    "audit.content": ("full", "redacted", "off"),
    "audit.sync": ("none", "group", "each"),
    "audit.users": ("plain", "pseudonym", "off"),
    "egress.allow_http": (True, False),
    "keys.clear_environment": (False, True),
    "keys.environment": (True, False),
    "keys.vault": (False, True),  # without the vault, the variable decides
    "keys.files": (True, False),
}
_LOWER: Final = (
    "keys.rotate_days",
    "redaction.remember_days",
    "untrusted.block_at",
    "audit.checkpoint_records",
    "audit.content_bytes",
    "audit.checkpoint_seconds",
    "budget.max_output_tokens",
    "budget.run.calls",
    "budget.run.usd",
    "budget.run.tokens",
    "budget.run.depth",
    "budget.run.repeats",
    "budget.fallback_share",
    "tool_calls.per_answer",
    "tool_calls.per_run",
    "tool_calls.approval_seconds",
    "limits.request_bytes",
    "limits.response_bytes",
    "limits.response_seconds",
    "limits.event_bytes",
    "limits.json_depth",
)
_FEWER: Final = ("redaction.restore_tool_arguments", "output.allowed_origins", "egress.origins", "egress.private")

ORDERS: Final[dict[str, Order]] = {
    **{dotted: _ranked(dotted, *values) for dotted, values in _RANKED.items()},
    **{dotted: _lower(dotted) for dotted in _LOWER},
    **{dotted: _fewer(dotted) for dotted in _FEWER},
    "audit.checkpoint_to": _more("audit.checkpoint_to"),
    "rules": _rules,
    "plugins": _more("plugins"),
    "audit.sinks": _more("audit.sinks"),
    "providers": _fewer("providers"),
    "alerts": _alerts,
    "redaction.types": _types,
    "redaction.paths": _paths,
    "redaction.countries": _countries,
    "tools": _tools,
    "budget.limits": _budgets,
    "budget.tiers": _tiers,
    "budget.tier": _budgets,
}
_AUDIT_SINKS: Final = ("audit.console_format", "audit.otel", "audit.webhook")
UNORDERED: Final = frozenset(_AUDIT_SINKS) | frozenset(
    {
        "ask.model",
        "ask.profile",
        "audit.content_key",
        "audit.directory",
        "audit.console",
        "budget.labels",
        "budget.ledger",
        "budget.webhook",
        "metrics",
        "plugin_settings",
        "budget.stream_usage",
        "egress.ca_bundle",
        "egress.proxy",
        "keys.name",
        "keys.store",
        "prices",
    }
)
