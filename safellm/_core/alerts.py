"""Alerts: what a person wants to be told of, decided from the records of the trail alone.

A rule either counts (`5 refusals within a minute`, `more than twice the mean of the week`) or waits for a value that was never
seen (`a new origin`). `Watch` takes the records in their order and says which rules they trip; it holds sums, never content, and
its state is a JSON value, so that another process can go on from it.

* A window slides in steps of a sixtieth of it, of a second at least: what is within it is counted, up to one step more is not.
* A mean is that of the whole windows before; without one of them, or without anything in them, nothing is compared.
* A rule that was tripped is silent for as long as its window, for the same subject.
* The first value that is ever seen of a subject is what is usual for it, and not new.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, cast

from safellm._core.effects import JSON
from safellm._core.record import MAX_INT

EVENT: Final = "alert.raise"
Counted = Literal["calls", "refusals", "failures", "findings", "tokens", "usd"]
Label = Literal[
    "user", "grant", "key", "model", "provider", "operation", "origin", "reason", "guard", "decision", "finding"
]
_NS: Final = 1_000_000_000
_STEPS: Final = 60  # of a window
_MOST_SUBJECTS: Final = 10_000  # of a rule; the one that was seen first is forgotten
_MOST_OPEN: Final = 2_000  # intents whose outcome isn't there yet
_THOUSANDTHS: Final = 1000
_INTENT, _OUTCOME, _DENIAL = "call.intent", "call.outcome", "policy.deny"
_FIELDS: Final = {
    "grant": "safellm.grant.id", "key": "safellm.key.ref", "model": "gen_ai.request.model",
    "provider": "gen_ai.provider.name", "operation": "gen_ai.operation.name", "reason": "reason",
    "guard": "safellm.guard", "decision": "decision",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert.

    Attributes:
        name: Its name for people.
        count: What is summed up, or None.
        new: The label whose new values are told, or None.
        at_least: The sum from which on it is tripped; money in millionths of a US dollar.
        times_mean: Thousandths of the mean that the sum must exceed.
        within_s: Length of the window, in seconds.
        mean_of_s: Length of the time before it whose mean counts.
        window: The window as it was written.
        per: Labels each of whose values is a subject of its own.
        where: Labels and the patterns they must match.
    """

    name: str
    count: Counted | None
    new: Label | None
    at_least: int | None
    times_mean: int | None
    within_s: int
    mean_of_s: int
    window: str
    per: tuple[Label, ...]
    where: tuple[tuple[Label, str], ...]


@dataclass(slots=True)
class _Sums:
    """What one subject of a counting rule adds up to."""

    steps: dict[int, int] = field(default_factory=dict)
    windows: dict[int, int] = field(default_factory=dict)
    silent_until: int = 0


class Watch:
    """Takes records in order, and says what they trip.

    Args:
        rules: The rules.
        state: What `state` returned for the same rules, or None to begin.
    """

    def __init__(self, rules: Iterable[Rule], state: Mapping[str, Any] | None = None) -> None:
        self._rules = tuple(rules)
        self._since = 0
        self._open: dict[str, dict[str, str]] = {}
        self._sums: list[dict[str, _Sums]] = [{} for _ in self._rules]
        self._seen: list[dict[str, set[str]]] = [{} for _ in self._rules]
        if state is not None:
            self._take(state)

    def add(self, record: Mapping[str, Any]) -> list[dict[str, JSON]]:
        """Take one record; return the fields of the alerts that it trips. A record of another form trips nothing."""
        try:
            return self._add(record)
        except (TypeError, ValueError, AttributeError, KeyError):
            return []

    def state(self) -> dict[str, Any]:
        """Return what another `Watch` of the same rules needs to go on."""
        return {
            "since": self._since,
            "open": self._open,
            "sums": [
                {
                    key: [list(one.steps.items()), list(one.windows.items()), one.silent_until]
                    for key, one in sums.items()
                }
                for sums in self._sums
            ],
            "seen": [{key: sorted(values) for key, values in seen.items()} for seen in self._seen],
        }

    def _take(self, state: Mapping[str, Any]) -> None:
        self._since = int(state["since"])
        self._open = {str(key): dict(labels) for key, labels in state["open"].items()}
        self._sums = [
            {
                key: _Sums({int(k): int(v) for k, v in steps}, {int(k): int(v) for k, v in windows}, int(silent))
                for key, (steps, windows, silent) in sums.items()
            }
            for sums in state["sums"]
        ]
        self._seen = [{key: set(values) for key, values in seen.items()} for seen in state["seen"]]
        if not len(self._sums) == len(self._seen) == len(self._rules):
            raise ValueError("the state is of other rules")

    def _add(self, record: Mapping[str, Any]) -> list[dict[str, JSON]]:
        event = record["event.name"]
        if event not in (_INTENT, _OUTCOME, _DENIAL):
            return []
        time_ns = int(record["time_ns"])
        self._since = self._since or time_ns
        labels = self._labels(event, record)
        raised = []
        for index, rule in enumerate(self._rules):
            if not all(name == "finding" or _fits(labels, name, pattern) for name, pattern in rule.where):
                continue
            subject: dict[str, JSON] = {name: labels.get(name, "") for name in rule.per}
            if rule.count is not None:
                tripped = self._count(index, rule, event, record, subject, time_ns)
                raised += [] if tripped is None else [tripped]
            else:
                raised += self._look(index, rule, event, record, subject, labels)
        for fields in raised:
            fields["event.parent"] = str(record["event.id"])
        return raised

    def _labels(self, event: str, record: Mapping[str, Any]) -> dict[str, str]:
        labels = {
            name: str(record[wanted]) for name, wanted in _FIELDS.items() if isinstance(record.get(wanted), (str, int))
        }
        if "server.address" in record:
            labels["origin"] = f"{record['server.address']}:{record.get('server.port', 0)}"
        user = record.get("user.id") or labels.get("grant") or labels.get("key")
        if user:
            labels["user"] = str(user)
        if event == _INTENT:
            self._open[str(record["event.id"])] = {name: labels[name] for name in ("user", "key") if name in labels}
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        elif event == _OUTCOME:
            labels = {**self._open.pop(str(record.get("event.parent")), {}), **labels}
        return labels

    def _count(  # noqa: PLR0913 - the parts of one look
        self, index: int, rule: Rule, event: str, record: Mapping[str, Any], subject: dict[str, JSON], time_ns: int
    ) -> dict[str, JSON] | None:
        amount = _amount(rule, event, record)
        if amount <= 0:
            return None
        sums = _of_subject(self._sums[index], subject, _Sums)
        second, width = time_ns // _NS, max(1, rule.within_s // _STEPS)
        step, window = second // width, second // rule.within_s
        first, oldest = step - rule.within_s // width + 1, window - rule.mean_of_s // rule.within_s - 1
        sums.steps = {key: value for key, value in sums.steps.items() if key >= first}
        sums.steps[step] = sums.steps.get(step, 0) + amount
        total = sum(sums.steps.values())
        before, mean = None, None
        if rule.times_mean is not None:
            sums.windows = {key: value for key, value in sums.windows.items() if key >= oldest}
            sums.windows[window] = sums.windows.get(window, 0) + amount
            # Whole windows that ended before the one that slides now began.
            last = (second - rule.within_s) // rule.within_s - 1
            begun = max(oldest, self._since // _NS // rule.within_s)
            whole = last - begun + 1
            before = sum(value for key, value in sums.windows.items() if begun <= key <= last)
            if whole <= 0 or before <= 0 or total * whole * _THOUSANDTHS <= rule.times_mean * before:
                return None
            mean = before // whole
        if (rule.at_least is not None and total < rule.at_least) or time_ns < sums.silent_until:
            return None
        sums.silent_until = time_ns + rule.within_s * _NS
        found: dict[str, JSON] = {
            "safellm.alert.name": rule.name,
            "safellm.alert.count": cast("str", rule.count),
            "safellm.alert.value": min(total, MAX_INT),
            "safellm.alert.window": rule.window,
        }
        if rule.at_least is not None:
            found["safellm.alert.limit"] = rule.at_least
        if mean is not None:
            found["safellm.alert.mean"] = min(mean, MAX_INT)
        return {**found, **_subject(subject)}

    def _look(  # noqa: PLR0913 - the parts of one look
        self,
        index: int,
        rule: Rule,
        event: str,
        record: Mapping[str, Any],
        subject: dict[str, JSON],
        labels: Mapping[str, str],
    ) -> list[dict[str, JSON]]:
        label = cast("Label", rule.new)
        if label == "finding":
            values = [str(one) for one in _findings(rule, record)]
        else:
            # What an outcome names, its intent did; but for why it was withheld.
            here = event != _OUTCOME or label in {"reason", "decision"}
            values = [labels[label]] if here and labels.get(label) else []
        if not values:
            return []
        known = _of_subject(self._seen[index], subject, set)
        usual = not known
        fresh = [value for value in values if value not in known]
        if len(known) < _MOST_SUBJECTS:
            known.update(fresh)
        if usual:
            return []
        return [
            {"safellm.alert.name": rule.name, "safellm.alert.new": label, **_subject({**subject, label: value})}
            for value in fresh
        ]


def digest_of(rules: Iterable[Rule]) -> str:
    """Return a name for a set of rules: the first 16 characters of a SHA-256."""
    text = repr([(one.name, one.count, one.new, one.at_least, one.times_mean, one.within_s, one.mean_of_s, one.per,
                  one.where) for one in rules])  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def in_words(fields: Mapping[str, Any]) -> str:
    """Return what an alert says, for people."""
    subject = fields.get("safellm.alert.subject")
    of = ", ".join(f"{name} {value}" for name, value in sorted(subject.items())) if isinstance(subject, dict) else ""
    new = fields.get("safellm.alert.new")
    if new is not None:
        value = str(subject.get(new, "")) if isinstance(subject, dict) else ""
        rest = ", ".join(f"{name} {one}" for name, one in sorted(subject.items()) if name != new) if subject else ""
        return f"a new {new}: {value}" + (f" ({rest})" if rest else "")
    count = str(fields.get("safellm.alert.count", ""))
    text = f"{shown(count, fields.get('safellm.alert.value'))} within {fields.get('safellm.alert.window')}"
    mean = fields.get("safellm.alert.mean")
    if mean is not None:
        text += f", the mean is {shown(count, mean)}"
    return text + (f" ({of})" if of else "")


def shown(count: str, value: Any) -> str:
    """Return an amount with its unit: `5 refusals`, `1.20 USD`."""
    if count == "usd" and isinstance(value, int):
        return f"{value / 1_000_000:.2f} USD"
    if value == 1 and count.endswith("s"):
        return f"1 {count.removesuffix('s')}"
    return f"{value} {count}"


def _amount(rule: Rule, event: str, record: Mapping[str, Any]) -> int:  # noqa: PLR0911 - one for each count
    count = rule.count
    if count == "calls":
        return int(event == _INTENT)
    if count == "refusals":
        return int(event == _DENIAL or (event == _OUTCOME and record.get("decision") == "deny"))
    if count == "failures":
        return int(event == _OUTCOME and "error.type" in record)
    if count == "findings":
        return sum(_findings(rule, record).values())
    if event != _OUTCOME:
        return 0
    charged = record.get("safellm.budget.charged") or {}
    if count == "usd":
        return int(charged.get("micro_usd") or 0)
    return sum(
        int(record.get(f"gen_ai.usage.{name}", charged.get(name)) or 0) for name in ("input_tokens", "output_tokens")
    )


def _findings(rule: Rule, record: Mapping[str, Any]) -> dict[str, int]:
    counts = record.get("safellm.redaction.counts") or {}
    patterns = [pattern for name, pattern in rule.where if name == "finding"]
    return {
        kind: int(count) for kind, count in counts.items() if all(fnmatchcase(kind, pattern) for pattern in patterns)
    }


def _fits(labels: Mapping[str, str], name: str, pattern: str) -> bool:
    return name in labels and fnmatchcase(labels[name], pattern)


def _of_subject(table: dict[str, Any], subject: Mapping[str, JSON], make: Any) -> Any:
    key = json.dumps(list(subject.values()))
    found = table.get(key)
    if found is None:
        if len(table) >= _MOST_SUBJECTS:
            del table[next(iter(table))]
        found = table[key] = make()
    return found


def _subject(labels: Mapping[str, JSON]) -> dict[str, JSON]:
    return {"safellm.alert.subject": dict(labels)} if labels else {}
