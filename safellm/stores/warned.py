"""Who is told when a limit is nearly used up: callbacks of the program, once for each window of an account in this process."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safellm._core.budget import show_amount
from safellm._core.effects import OverLimit
from safellm.errors import Refused
from safellm.stores.ledger.interface import Balance

_MOST = 4096  # accounts and windows that are remembered

_lock = threading.Lock()
_callbacks: list[Callable[[BudgetWarning], None]] = []
_told: OrderedDict[tuple[object, ...], None] = OrderedDict()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarning:
    """A limit of which much is used.

    Attributes:
        name: The account, with its labels: `default|team=red`.
        unit: What is counted: tokens, micro_usd, requests, ...
        window: minute, hour, day, week, month or total.
        limit: The limit.
        used: What was billed in this window.
        held: What calls under way may cost.
        resets_at_ns: When the next window begins, Unix time; None for `total`.
    """

    name: str
    unit: str
    window: str
    limit: int
    used: int
    held: int
    resets_at_ns: int | None

    @property
    def share(self) -> float:
        """How much of the limit is used or held."""
        return (self.used + self.held) / self.limit


def on_budget_warning(callback: Callable[[BudgetWarning], None]) -> Callable[[], None]:
    """Have a function called when a limit with `warn_at`, or one that only warns, is reached, before the call is sent.

    It is called once for each account and window in this process, in the thread of the call. If it raises `safellm.Refused`, the
    call is refused; any other error is logged, and the call goes on.

    Returns:
        What takes the callback away again.
    """
    with _lock:
        _callbacks.append(callback)

    def remove() -> None:
        with _lock:
            if callback in _callbacks:
                _callbacks.remove(callback)

    return remove


def tell(balances: Sequence[Balance]) -> list[OverLimit]:
    """Call the callbacks for those that have reached their `warn_at` for the first time, and return them.

    Raises:
        Refused: a callback says so.
    """
    found = []
    for balance in balances:
        limit = balance.limit
        if limit.warn_at is None or balance.used + balance.held < limit.warn_at:
            continue
        key = (limit.name, limit.unit, limit.window, limit.burst, limit.warn_at, balance.resets_at_ns)
        with _lock:
            if key in _told:
                continue
            _told[key] = None
            if len(_told) > _MOST:
                _told.popitem(last=False)
            callbacks = tuple(_callbacks)
        over = OverLimit(
            limit=limit, used=balance.used, held=balance.held, asked=0, resets_at_ns=balance.resets_at_ns
        )  # fmt: skip
        found.append(over)
        _call(callbacks, over)
    return found


def _call(callbacks: Sequence[Callable[[BudgetWarning], None]], over: OverLimit) -> None:
    limit = over.limit
    logging.getLogger("safellm").warning(
        "budget %s: %s of %s used or held",
        limit.name,
        show_amount(limit.unit, over.used + over.held),
        show_amount(limit.unit, limit.limit),
    )
    warning = BudgetWarning(
        name=limit.name,
        unit=limit.unit.value,
        window=limit.window.value,
        limit=limit.limit,
        used=over.used,
        held=over.held,
        resets_at_ns=over.resets_at_ns,
    )
    for callback in callbacks:
        try:
            callback(warning)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - it tells somebody; it is no guard
            logging.getLogger("safellm").error("a callback of budget warnings failed (%s)", type(error).__name__)  # noqa: TRY400 - its message may hold anything
