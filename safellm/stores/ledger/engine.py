"""What a database has to do for a ledger that many machines share; `shared` does the rest, the same for all of them.

An engine knows accounts, reservations and usage, and does each operation whole or not at all. It decides one thing: whether all
accounts of a reservation have room (THREATS B.1). What is charged is computed outside; `book` writes it if the reservation is
still as it was, so nothing is charged twice.

* An account has a window in force, which never goes back, and two sums per window: used and held.
* An account of a rate has one number instead: the microsecond at which everything taken has flowed off.
* Operations may arrive twice, when an answer was lost on the way: a reservation of the same nonce, or a booking onto a state that
  has been reached, changes nothing.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from safellm._core.effects import Amounts
from safellm.stores.ledger.amounts import UsageKey
from safellm.stores.ledger.interface import Usage
from safellm.stores.ledger.marks import Mark

State: TypeAlias = Literal["held", "settled", "swept", "released"]
Counted: TypeAlias = tuple[UsageKey, Sequence[int]]  # what is added to the usage
GONE: Final = "it was emptied, or another ledger has been put in its place"
REARM: Final = "Look at what happened, then run `safellm budget rearm` to use the ledger as it is now."
SEPARATOR = "\x1f"  # between the parts of an account's name in the store; no name holds it


class EngineFailure(Exception):
    """The engine can't answer.

    Attributes:
        problem: What is wrong, without address or password.
        remedy: What to do.
        is_outage: It can't be reached, as against: it isn't what it should be.
    """

    def __init__(self, problem: str, *, remedy: str, is_outage: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.is_outage = is_outage


class UsedTwice(Exception):
    """There is a reservation of this id already, of another nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One account of a reservation.

    Attributes:
        account: Its name in the store.
        window: Number of the window that the clock says.
        amount: What is to be held.
        ceiling: `used + held + amount` may be at most this.
        cost_us: Of a rate: how long the amount takes to flow off; None for windows.
        burst_us: Of a rate: how much may be waiting to flow off.
        now_us: Of a rate: the clock.
    """

    account: str
    window: int = 0
    amount: int = 0
    ceiling: int = 0
    cost_us: int | None = None
    burst_us: int = 0
    now_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Ask number `index` has no room; `used` of a rate is its moment."""

    index: int
    window: int
    used: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A reservation. `amounts` is the hold while `held` or `released`, and what was charged afterwards.

    Attributes:
        accounts: Its accounts, with the microseconds that it took of a rate (None for windows).
        windows: The windows in which it holds.
        day: UTC day of the usage it was counted in.
    """

    id: str
    nonce: str
    state: State
    created_us: int
    amounts: Amounts
    labels: tuple[str, str, str]
    accounts: tuple[tuple[str, int | None], ...]
    windows: tuple[int, ...] = ()
    day: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a booking changes on one account; of a rate, `used` moves its moment."""

    account: str
    window: int
    used: int
    held: int
    is_rate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The last window of an account; `used` of a rate is its moment."""

    window: int
    used: int
    held: int


class Engine(Protocol):
    """Used by many threads at once.

    Raises:
        EngineFailure: in every method.
    """

    address: str  # for people, without password

    def open(self, day: int) -> Mark:
        """Make the ledger if there is none, note that UTC day number `day` was seen, and say what it is."""
        ...

    def reserve(self, generation: str, row: Row, asks: Sequence[Ask]) -> tuple[int, ...] | Full:
        """Hold on all accounts and return their windows, or on none.

        Raises:
            UsedTwice: the id was used before.
        """
        ...

    def find(self, reservation_id: str) -> Row | None:
        """Return a reservation."""
        ...

    def book(self, generation: str, row: Row, moves: Sequence[Move], usage: Counted | None, *, was: State) -> bool:
        """Write `row`, its moves and its usage, if its state is still `was`; return whether it was."""
        ...

    def overdue(self, *, before_us: int, count: int) -> list[Row]:
        """Return the oldest holds that were made at `before_us` or earlier."""
        ...

    def forget(self) -> None:
        """Delete reservations that were closed long ago."""
        ...

    def standings(self, accounts: Sequence[str]) -> list[Standing | None]:
        """Return where accounts stand; None where there is none."""
        ...

    def accounts(self) -> list[str]:
        """Return the names of all accounts."""
        ...

    def usage(self, since_day: str) -> list[Usage]:
        """Return what was billed, newest day first."""
        ...

    def renew(self) -> None:
        """Set everything aside and begin a new, empty ledger."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
