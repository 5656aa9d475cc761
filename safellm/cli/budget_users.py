"""Who used up a limit: what the trail says of the calls in its window."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from safellm._core import budget
from safellm._core.effects import Amounts, Limit, Unit, Window
from safellm._core.limits import Rule, account

if TYPE_CHECKING:
    from safellm.stores.ledger.interface import Balance

_SHOWN: Final = 3
_UNKNOWN: Final = "process"  # the trail doesn't say it


@dataclass(frozen=True, slots=True)
class Used:
    """One call that was charged."""

    at_ns: int
    labels: Mapping[str, str]
    amounts: Amounts


def charged(records: Iterable[Mapping[str, Any]], *, names: Mapping[str, str]) -> Iterator[Used]:
    """Yield the calls of a trail.

    Args:
        records: Of the trail, oldest first.
        names: Of users, by their pseudonyms.
    """
    keys: dict[Any, str] = {}
    for record in records:
        event = record.get("event.name")
        if event == "call.intent":
            keys[record.get("event.id")] = str(record.get("safellm.key.ref") or "")
        amounts, at_ns = record.get("safellm.budget.charged"), str(record.get("time_ns"))
        if event != "call.outcome" or not isinstance(amounts, dict) or not at_ns.isdigit():
            continue
        said = record.get("safellm.labels")
        user = str(record.get("user.id") or "")
        labels = {
            **(said if isinstance(said, dict) else {}),
            "provider": str(record.get("gen_ai.provider.name") or ""),
            "model": str(record.get("gen_ai.request.model") or ""),
            "operation": str(record.get("gen_ai.operation.name") or ""),
            "grant": str(record.get("safellm.grant.id") or ""),
            "key": keys.pop(record.get("event.parent"), ""),
            "user": names.get(user, user),
        }
        yield Used(int(at_ns), labels, _amounts(amounts))


def shares(calls: Sequence[Used], rule: Rule, balance: Balance) -> list[tuple[str, int]]:
    """Return who used what was used of a limit in its window, in percent, the largest first.

    Nothing for a limit that counts for each user: its accounts name them.
    """
    if not balance.used:
        return []  # the trail may know calls that this limit was not there for
    limit, sums = balance.limit, dict[str, int]()
    if limit.unit is Unit.CONCURRENCY or _UNKNOWN in rule.per or "user" in rule.per:
        return []
    start_ns = began_ns(balance)
    for call in calls:
        if call.at_ns >= start_ns and _counts(rule, limit, call.labels):
            user = call.labels["user"] or "?"
            sums[user] = sums.get(user, 0) + call.amounts.of(limit.unit)
    total = sum(sums.values())
    most = sorted(sums.items(), key=lambda one: (-one[1], one[0])) if total else []
    return [(user, (number * 200 + total) // (total * 2)) for user, number in most]


def shares_text(found: Sequence[tuple[str, int]]) -> str:
    """Return the same for people: `jane 62 %, joan 38 %`."""
    shown = [f"{user} {percent} %" for user, percent in found[:_SHOWN]]
    return ", ".join([*shown, f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else shown)


def began_ns(balance: Balance) -> int:
    """Return when the window in force of a limit began, Unix time; 0 where it never did."""
    window, resets = balance.limit.window, balance.resets_at_ns
    if resets is None or window is Window.TOTAL:
        return 0
    return budget.resets_at_ns(window, budget.window_id(window, resets) - 2) or 0


def _counts(rule: Rule, limit: Limit, labels: Mapping[str, str]) -> bool:
    if rule.per and account(rule, labels) != limit.name:
        return False
    return all(fnmatchcase(labels.get(name, ""), pattern) for name, pattern in rule.where if name != _UNKNOWN)


def _amounts(told: Mapping[str, Any]) -> Amounts:
    numbers = {name: told[name] if isinstance(told.get(name), int) else 0 for name in ("input_tokens", "output_tokens")}
    return Amounts(micro_usd=told.get("micro_usd") if isinstance(told.get("micro_usd"), int) else None, **numbers)
