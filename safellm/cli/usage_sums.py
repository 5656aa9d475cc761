"""What was used, summed up by what a person asks for: days, models, users."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from safellm.stores.ledger.interface import Usage

IN_LEDGER: Final = ("day", "week", "month", "provider", "model", "operation")
IN_TRAIL: Final = ("user", "grant", "key", "server")  # the ledger's sums don't say these, the audit trail does
TIMES: Final = ("day", "week", "month")
NUMBERS: Final = ("requests", "input_tokens", "output_tokens", "micro_usd", "unpriced_requests")
_NS: Final = 1_000_000_000


@dataclass(slots=True)
class Sums:
    """What calls came to; money in micro-US-dollars."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    micro_usd: int = 0
    unpriced_requests: int = 0

    def add(self, other: Sums) -> None:
        """Add other calls."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    def as_json(self) -> dict[str, int]:
        """Return the numbers by name."""
        return {name: getattr(self, name) for name in NUMBERS}


Row = tuple[Mapping[str, str], Sums]


def from_ledger(found: Iterable[Usage]) -> Iterator[Row]:
    """Yield what the ledger says."""
    for one in found:
        named = {"day": one.day, "provider": one.provider, "model": one.model, "operation": one.operation}
        yield named, Sums(*(getattr(one, name) for name in NUMBERS))


def from_trail(records: Iterable[Mapping[str, Any]], *, since_ns: int) -> Iterator[Row]:
    """Yield what the outcomes of a trail say; the key's name and the user stand in the intent before."""
    intents: dict[Any, Mapping[str, Any]] = {}
    for record in records:
        event, time_ns = record.get("event.name"), record.get("time_ns")
        if event == "call.intent":
            intents[record.get("event.id")] = record
        if event != "call.outcome":
            continue
        intent = intents.pop(record.get("event.parent"), {})
        charged = record.get("safellm.budget.charged")
        # Writers may write a time as text: JSON's numbers are not exact beyond 2**53 (RFC 7493 2.2).
        at = int(time_ns) if isinstance(time_ns, (int, str)) and str(time_ns).isdigit() else 0
        if at < since_ns or not isinstance(charged, dict):
            continue
        grant = record.get("safellm.grant.id")
        key = intent.get("safellm.key.ref")
        labels = record.get("safellm.labels")
        named = {
            **(labels if isinstance(labels, dict) else {}),
            "day": datetime.fromtimestamp(at // _NS, UTC).date().isoformat(),
            "provider": record.get("gen_ai.provider.name"),
            "model": record.get("gen_ai.response.model") or record.get("gen_ai.request.model"),
            "operation": record.get("gen_ai.operation.name"),
            "user": record.get("user.id") or intent.get("user.id") or grant or key,
            "grant": grant,
            "key": key,
            "server": record.get("server.address"),
        }
        money = charged.get("micro_usd")
        yield (
            {name: str(value or "") for name, value in named.items()},
            Sums(1, _count(charged, "input_tokens"), _count(charged, "output_tokens"), money or 0, int(money is None)),
        )


def group(rows: Iterable[Row], by: Sequence[str]) -> list[tuple[tuple[str, ...], Sums]]:
    """Return sums by these names: the newest time first, then the dearest."""
    found: dict[tuple[str, ...], Sums] = {}
    for named, sums in rows:
        key = tuple(_value(named, name) for name in by)
        if key not in found:
            found[key] = Sums()
        found[key].add(sums)
    ordered = sorted(found.items(), key=lambda item: item[0])
    ordered.sort(key=lambda item: (item[1].micro_usd, item[1].tokens), reverse=True)
    timed = next((place for place, name in enumerate(by) if name in TIMES), None)
    if timed is not None:
        ordered.sort(key=lambda item: item[0][timed], reverse=True)
    return ordered


def _value(named: Mapping[str, str], name: str) -> str:
    if name == "month":
        return named["day"][:7]
    if name == "week":
        day = date.fromisoformat(named["day"])
        return (day - timedelta(days=day.weekday())).isoformat()  # its Monday
    return named.get(name, "")


def _count(numbers: Mapping[str, Any], name: str) -> int:
    value = numbers.get(name)
    return value if isinstance(value, int) else 0
