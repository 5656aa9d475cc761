"""Which ledger a policy means: a file, or one that many machines share."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from safellm._core.policy import Budgets
from safellm.stores.ledger.address import open_shared, parse_address
from safellm.stores.ledger.interface import Ledger


def open_ledger(budgets: Budgets, state: Path) -> Ledger:
    """Return the ledger of a policy; its first use opens or connects it.

    Args:
        budgets: The policy's part.
        state: The user's state folder.

    Raises:
        ConfigurationError: the address is no good, or the package for it is missing.
    """
    if budgets.ledger is None:
        from safellm.stores.ledger.sqlite import SQLiteLedger  # noqa: PLC0415 - only the one that is used

        return SQLiteLedger(state / "ledger.sqlite3")
    share = budgets.fallback_share if budgets.on_outage == "fallback" else None
    address = budgets.ledger.get_secret_value()
    return open_shared_ledger(address, state, allow_volatile=budgets.allow_volatile, fallback_share=share)


def open_shared_ledger(
    address: str, state: Path, *, allow_volatile: bool, fallback_share: Decimal | None
) -> Ledger:  # fmt: skip
    """Return the ledger at an address, with a share of this process's own for outages if one is granted.

    Raises:
        ConfigurationError: the address is no good, or the package for it is missing.
    """
    shared = open_shared(address, state=state, allow_volatile=allow_volatile)
    if fallback_share is None:
        return shared
    from safellm.stores.ledger.fallback import FallbackLedger  # noqa: PLC0415 - the same

    return FallbackLedger(shared, fallback_share)


def describe_ledger(budgets: Budgets, state: Path) -> str:
    """Return where the ledger is, for people, without a password."""
    if budgets.ledger is None:
        return str(state / "ledger.sqlite3")
    return parse_address(budgets.ledger.get_secret_value()).shown
