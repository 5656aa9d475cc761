"""Which ledger a policy means: a file, or one that many machines share."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from safellm._core.policy import Budgets, Policy, plugin_in
from safellm.stores.ledger.address import open_shared, parse_address
from safellm.stores.ledger.interface import Ledger
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.live import Live, Settled

FILE_NAME: Final = "ledger.sqlite3"
LEDGERS: Final[Live[Ledger]] = Live()


def open_ledger(policy: Policy, state: Path) -> Ledger:
    """Return the ledger of a policy; its first use opens or connects it.

    Args:
        policy: Its `budget`, and the settings of plug-ins.
        state: The user's state folder.

    Raises:
        ConfigurationError: the address is no good, or the package for it is missing.
    """
    budgets = policy.budget
    if budgets.ledger is None:
        from safellm.stores.ledger.sqlite import SQLiteLedger  # noqa: PLC0415 - only the one that is used

        return SQLiteLedger(state / FILE_NAME)
    share = budgets.fallback_share if budgets.on_outage == "fallback" else None
    address = budgets.ledger.get_secret_value()
    settings = policy.plugin_settings.get(policy.plugged_ledger or "", {})
    return open_shared_ledger(
        address, state, allow_volatile=budgets.allow_volatile, fallback_share=share, settings=settings
    )


def live_ledger(policy: Policy, state: Path) -> Ledger:
    """Return the ledger of a policy that all clients of this process share; see `open_ledger`."""
    budgets = policy.budget
    if budgets.ledger is None:
        return file_ledger(state / FILE_NAME)
    share = budgets.fallback_share if budgets.on_outage == "fallback" else None
    plugged = Settled(policy.plugin_settings.get(policy.plugged_ledger or "", {}))
    settings = (budgets.ledger, state, budgets.allow_volatile, share, plugged)
    return LEDGERS.get(settings, lambda: open_ledger(policy, state))


def file_ledger(path: Path) -> Ledger:
    """Return the ledger in a file that all clients of this process share."""
    from safellm.stores.ledger.sqlite import SQLiteLedger  # noqa: PLC0415 - only the one that is used

    return LEDGERS.get(path, lambda: SQLiteLedger(path))


def open_rearmable(policy: Policy, state: Path) -> SharedLedger | None:
    """Return the ledger that many machines share, without anything around it; None where the policy names none.

    Raises:
        ConfigurationError: as `open_ledger`.
    """
    address = policy.budget.ledger
    if address is None:
        return None
    settings = policy.plugin_settings.get(policy.plugged_ledger or "", {})
    return _open(address.get_secret_value(), state, policy.budget.allow_volatile, settings)


def open_shared_ledger(
    address: str,
    state: Path,
    *,
    allow_volatile: bool,
    fallback_share: Decimal | None,
    settings: Mapping[str, Any] | None = None,
) -> Ledger:
    """Return the ledger at an address, with a share of this process's own for outages if one is granted.

    Args:
        address: As in `budget.ledger`.
        state: The user's state folder.
        allow_volatile: Use an engine that may forget.
        fallback_share: Share of each limit in an outage; None: none.
        settings: Of a plug-in.

    Raises:
        ConfigurationError: the address is no good, or the package for it is missing.
    """
    shared = _open(address, state, allow_volatile, settings or {})
    if fallback_share is None:
        return shared
    from safellm.stores.ledger.fallback import FallbackLedger  # noqa: PLC0415 - the same

    return FallbackLedger(shared, fallback_share)


def _open(address: str, state: Path, allow_volatile: bool, settings: Mapping[str, Any]) -> SharedLedger:
    name = plugin_in(address)
    if name is None:
        return open_shared(address, state=state, allow_volatile=allow_volatile)
    from safellm.stores.plugged.ledger import open_plugged  # noqa: PLC0415 - only where one is named

    return open_plugged(name, settings, state=state)


def describe_ledger(budgets: Budgets, state: Path) -> str:
    """Return where the ledger is, for people, without a password."""
    if budgets.ledger is None:
        return str(state / FILE_NAME)
    address = budgets.ledger.get_secret_value()
    return address if plugin_in(address) else parse_address(address).shown
