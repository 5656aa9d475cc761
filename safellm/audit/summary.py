"""What a trail adds up to: calls, tokens, money, refusals, findings, latency. Sums of parts can be joined.

Who made a call is the first of: the user, the grant, the key that its records name.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from safellm._core import alerts
from safellm._core.record import Unsealed

HOUR_S: Final = 3600
UNKNOWN: Final = "unknown"
_WHO: Final = ("user.id", "safellm.grant.id", "safellm.key.ref")
_PER_DOUBLING: Final = 4  # classes of latency: each is a fifth wider than the one before


@dataclass(slots=True)
class Spent:
    """Calls that were sent, and what they used; money in millionths of a US dollar."""

    calls: int = 0
    tokens: int = 0
    micro_usd: int = 0

    def add(self, other: Spent) -> None:
        """Add another sum."""
        self.calls += other.calls
        self.tokens += other.tokens
        self.micro_usd += other.micro_usd


@dataclass(slots=True)
class Summary:
    """Sums of a trail or of a part of it. Keys of `models` and `users` are (hour since 1970, name)."""

    first_s: int | None = None
    last_s: int = 0
    records: int = 0
    odd: int = 0  # records of another program
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    models: dict[tuple[int, str], Spent] = field(default_factory=dict)
    users: dict[tuple[int, str], Spent] = field(default_factory=dict)
    refusals: Counter[int] = field(default_factory=Counter)  # by hour
    reasons: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)  # by name
    latency: Counter[int] = field(default_factory=Counter)  # by class; see `latency_ms`
    intents: dict[str, tuple[int, str]] = field(default_factory=dict)  # without outcome yet: time in ns, who
    loose: list[tuple[str, int, str, Spent]] = field(
        default_factory=list
    )  # outcomes whose intent is in an earlier part

    def __getstate__(self) -> dict[str, Any]:
        # Columns: a year has a hundred thousand sums by hour, which travel between processes in a tenth of the time so.
        whole = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**whole, "models": _columns(self.models), "users": _columns(self.users)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, _table(*value) if name in {"models", "users"} else value)

    def add(self, record: Unsealed) -> None:
        """Count one record; one whose values have other forms than ours counts as odd."""
        try:
            self._add(record)
        except (TypeError, ValueError, AttributeError):
            self.odd += 1

    def _add(self, record: Unsealed) -> None:
        fields = record.fields
        time_ns = int(str(fields["time_ns"]))
        seconds = time_ns // 1_000_000_000
        if self.first_s is None:
            self.first_s = seconds
        self.last_s = max(self.last_s, seconds)
        self.records += 1
        event = record.event
        if event == "call.intent":
            self._intent(record.event_id, fields, time_ns, seconds)
        elif event == "call.outcome":
            self._outcome(fields, time_ns)
        elif event == "policy.deny":
            self.refused += 1
            self.refusals[seconds // HOUR_S] += 1
            self.reasons[str(fields.get("reason"))] += 1
        elif event == alerts.EVENT:
            self.alerts[str(fields.get("safellm.alert.name"))] += 1

    def join(self, later: Summary) -> None:
        """Add the sum of the part that follows this one."""
        if self.first_s is None:
            self.first_s = later.first_s
        self.last_s = max(self.last_s, later.last_s)
        self.records += later.records
        self.odd += later.odd
        self.refused += later.refused
        self.input_tokens += later.input_tokens
        self.output_tokens += later.output_tokens
        for mine, theirs in ((self.models, later.models), (self.users, later.users)):
            for key, spent in theirs.items():
                mine.setdefault(key, Spent()).add(spent)
        for name in ("refusals", "reasons", "findings", "actions", "errors", "alerts", "latency"):
            getattr(self, name).update(getattr(later, name))
        for parent, time_ns, who, spent in later.loose:
            if not self._pay(parent, time_ns, spent.tokens, spent.micro_usd):
                self.loose.append((parent, time_ns, who, spent))
        self.intents.update(later.intents)

    def by_name(self, table: Mapping[tuple[int, str], Spent]) -> dict[str, Spent]:
        """Return the sums of `models` or `users` over all hours."""
        out: dict[str, Spent] = {}
        for (_, name), spent in table.items():
            out.setdefault(name, Spent()).add(spent)
        return out

    def total(self) -> Spent:
        """Return the sum of all calls."""
        out = Spent()
        for spent in self.models.values():
            out.add(spent)
        return out

    def latency_ms(self, share: float) -> int | None:
        """Return the latency that this share of the calls didn't exceed, to about a fifth; None without a call."""
        wanted = share * sum(self.latency.values())
        seen = 0
        for step in sorted(self.latency):
            seen += self.latency[step]
            if seen >= wanted:
                return class_ms(step)
        return None

    def _intent(self, event_id: str, fields: Mapping[str, Any], time_ns: int, seconds: int) -> None:
        who = _who(fields)
        self.intents[event_id] = (time_ns, who)
        hour = seconds // HOUR_S
        _of(self.models, hour, str(fields.get("gen_ai.request.model", UNKNOWN))).calls += 1
        _of(self.users, hour, who).calls += 1
        found = fields.get("safellm.redaction.counts")
        if found:
            for kind, count in found.items():
                self.findings[kind] += count

    def _outcome(self, fields: Mapping[str, Any], time_ns: int) -> None:
        charged = fields.get("safellm.budget.charged") or {}
        into = fields.get("gen_ai.usage.input_tokens", charged.get("input_tokens", 0))
        out = fields.get("gen_ai.usage.output_tokens", charged.get("output_tokens", 0))
        self.input_tokens += into
        self.output_tokens += out
        used, money = into + out, charged.get("micro_usd", 0)
        hour = time_ns // 1_000_000_000 // HOUR_S
        spent = _of(self.models, hour, str(fields.get("gen_ai.request.model", UNKNOWN)))
        spent.tokens += used
        spent.micro_usd += money
        parent = str(fields.get("event.parent"))
        if not self._pay(parent, time_ns, used, money):
            self.loose.append((parent, time_ns, _who(fields), Spent(0, used, money)))
        if fields.get("decision") == "deny":
            self.refused += 1
            self.refusals[hour] += 1
            self.reasons[str(fields.get("reason"))] += 1
        if "error.type" in fields:
            self.errors[str(fields["error.type"])] += 1
        for kind, count in (fields.get("safellm.output.actions") or {}).items():
            self.actions[kind] += count

    def _pay(self, parent: str, time_ns: int, tokens: int, micro_usd: int) -> bool:
        """Book what a call used on who made it; False where its intent isn't known."""
        intent = self.intents.pop(parent, None)
        if intent is None:
            return False
        began, who = intent
        spent = _of(self.users, time_ns // 1_000_000_000 // HOUR_S, who)
        spent.tokens += tokens
        spent.micro_usd += micro_usd
        self.latency[_class(max(0, time_ns - began) // 1_000_000)] += 1
        return True


def _of(table: dict[tuple[int, str], Spent], hour: int, name: str) -> Spent:
    spent = table.get((hour, name))
    if spent is None:
        spent = table[hour, name] = Spent()
    return spent


def _columns(table: Mapping[tuple[int, str], Spent]) -> tuple[list[tuple[int, str]], list[int], list[int], list[int]]:
    sums = table.values()
    return list(table), [one.calls for one in sums], [one.tokens for one in sums], [one.micro_usd for one in sums]


def _table(
    keys: list[tuple[int, str]], calls: list[int], tokens: list[int], micro_usd: list[int]
) -> dict[tuple[int, str], Spent]:
    return dict(zip(keys, map(Spent, calls, tokens, micro_usd), strict=True))


def class_ms(step: int) -> int:
    """Return the upper end of a class of latency, in milliseconds."""
    doublings, part = divmod(step, _PER_DOUBLING)
    return int(2**doublings * (1 + (part + 1) / _PER_DOUBLING))


def _class(ms: int) -> int:
    doublings = max(1, ms).bit_length() - 1
    return doublings * _PER_DOUBLING + (max(1, ms) * _PER_DOUBLING >> doublings) - _PER_DOUBLING


def _who(fields: Mapping[str, Any]) -> str:
    for name in _WHO:
        value = fields.get(name)
        if value:
            return str(value)
    return UNKNOWN
