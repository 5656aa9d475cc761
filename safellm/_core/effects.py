"""What the core asks of the world, and the answers it gets: frozen values, carried out by `safellm.transports.driver`.

A call is two conversations between the core and its driver. `begin` yields effects and returns `Forward` or `Refuse`;
`finish` yields effects and returns nothing. The order of the effects is thereby pure and testable.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from safellm.errors import Refused

if TYPE_CHECKING:
    from safellm._core.account import Account
    from safellm._core.adapter import LocalAnswer

JSON: TypeAlias = "str | int | bool | list[JSON] | dict[str, JSON] | None"


class Unit(StrEnum):
    """What a limit counts."""

    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    MICRO_USD = "micro_usd"
    REQUESTS = "requests"
    CONCURRENCY = "concurrency"  # calls under way: held, never used


class Window(StrEnum):
    """The stretch of UTC time over which a limit counts; `total` never resets, `call` is each call by itself."""

    CALL = "call"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class OnLimit(StrEnum):
    """What happens to a call that a limit has no room for."""

    BLOCK = "block"
    CLAMP = "clamp"  # its output ceiling is lowered to what is left; without room for that it is refused
    WARN = "warn"  # it goes on, and is told of
    WAIT = "wait"  # of a rate: the call waits its turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One ceiling: at most `limit` of `unit` in each `window`.

    Attributes:
        name: The account that is charged.
        action: What happens to a call without room.
        warn_at: Amount from which on a person is told; None for never.
        burst: The limit is a rate: as much as may come at once, the rest evenly spread over the window. None: no rate.
        wait_s: Seconds that a call may wait for a rate.
    """

    name: str
    unit: Unit
    limit: int
    window: Window
    action: OnLimit = OnLimit.BLOCK
    warn_at: int | None = None
    burst: int | None = None
    wait_s: int = 0

    @property
    def ceiling(self) -> int | None:
        """What the ledger enforces; None when it only counts."""
        return None if self.action is OnLimit.WARN else self.limit


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
        if unit is Unit.REQUESTS:
            return self.requests
        if unit is Unit.INPUT_TOKENS:
            return self.input_tokens
        return self.output_tokens if unit is Unit.OUTPUT_TOKENS else 0

    def held_of(self, unit: Unit) -> int:
        """Return what a hold of these amounts takes in `unit`: a call under way is one of them until it is settled."""
        return 1 if unit is Unit.CONCURRENCY else self.of(unit)


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
class Watch:
    """Look where limits with `warn_at` stand. Answer: the `OverLimit`s (`asked` is 0) to be told of for the first time."""

    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait until a moment of Unix time. Answer: the nanoseconds that passed, or None: that is longer than `most_ns`."""

    until_ns: int
    most_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Count the tokens of texts, each by itself. Answer: their sum, or None where that can't be done."""

    encoding: str
    texts: tuple[str, ...]


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
class Content:
    """The first bytes of a request or an answer, and how long it was as a whole."""

    data: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Append one event to the audit trail; durable when the answer (`None`) comes back.

    Attributes:
        content: Kept beside the trail first, if there is a place for it; the record gets its digest.
        account: Of a call that is over with this event.
    """

    event: str
    fields: Mapping[str, JSON]
    content: Content | None = None
    account: Account | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Send this.

    Attributes:
        make_headers: Returns all headers that are sent.
        body: None when the request's own bytes go out untouched.
        own_headers: The headers are the request's own, but for `accept-encoding: identity` and the length of another body; a shell
            may take the shorter way.
        local: Send nothing: this is the answer. Only for shells that said they can.
    """

    make_headers: Callable[[], tuple[tuple[str, str], ...]]
    body: bytes | None
    own_headers: bool = False
    local: LocalAnswer | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers that are sent; made when they are asked for, since a shell that takes the shorter way doesn't."""
        return self.make_headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Do not send; answer the program with this error."""

    error: Refused


Effect: TypeAlias = Reserve | Count | Watch | Pause | Settle | Release | Record
Decision: TypeAlias = Forward | Refuse
