"""What the core asks of the world, and the answers it gets: frozen values, carried out by `safellm.runtime`.

A call is two conversations between the core and its driver. `begin` yields effects and returns `Forward` or `Refuse`;
`finish` yields effects and returns nothing. The order of the effects is thereby pure and testable.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from safellm.errors import Refused

JSON: TypeAlias = "str | int | bool | list[JSON] | dict[str, JSON] | None"


class Unit(StrEnum):
    """What a limit counts."""

    TOKENS = "tokens"
    MICRO_USD = "micro_usd"
    REQUESTS = "requests"


class Window(StrEnum):
    """The stretch of UTC time over which a limit counts; `total` never resets."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One ceiling: at most `limit` of `unit` in each `window`. `name` is the account that is charged."""

    name: str
    unit: Unit
    limit: int
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What one wire attempt costs: tokens, integer micro-US-dollars (None: no price known), requests."""

    input_tokens: int = 0
    output_tokens: int = 0
    micro_usd: int | None = None
    requests: int = 1

    def of(self, unit: Unit) -> int:
        """Return the amount counted in `unit`; an unknown price counts 0 (callers refuse it before)."""
        if unit is Unit.TOKENS:
            return self.input_tokens + self.output_tokens
        if unit is Unit.MICRO_USD:
            return self.micro_usd or 0
        return self.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Hold `amounts` against every limit, all or none. Answer: `None`, or the first `OverLimit`."""

    id: str
    amounts: Amounts
    limits: tuple[Limit, ...]
    labels: Mapping[str, str]  # provider, model, operation: how usage is grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class OverLimit:
    """The limit that has no room: `used` + `held` + `asked` > `limit.limit`."""

    limit: Limit
    used: int
    held: int
    asked: int
    resets_at_ns: int | None  # start of the next window, Unix time; None for `total`


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Replace the hold by what was billed; `amounts=None` charges the whole hold. Answer: the charged `Amounts`."""

    id: str
    amounts: Amounts | None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give the hold back: nothing was sent. Answer: `None`."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Append one event to the audit trail; durable when the answer (`None`) comes back."""

    event: str
    fields: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Send this.

    Attributes:
        headers: All that are sent.
        body: None when the request's own bytes go out untouched.
        own_headers: The headers are the request's own, but for `accept-encoding: identity`; a shell may take the shorter way.
    """

    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    own_headers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Do not send; answer the program with this error."""

    error: Refused


Effect: TypeAlias = Reserve | Settle | Release | Record
Decision: TypeAlias = Forward | Refuse
