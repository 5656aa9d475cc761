"""The users whom this machine knows by name: records name them by pseudonyms, which only it can make."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from safellm.cli.world import World
    from safellm.stores.ledger.interface import Ledger

_PART = "user="


def names_by_pseudonym(world: World, ledger: Ledger | None) -> dict[str, str]:
    """Return the names of this machine's own user and of those who have an account of a limit, by their pseudonyms.

    Raises:
        GuardFailure: the ledger can't answer.
    """
    from safellm._core.who import pseudonym
    from safellm.client import installation_key
    from safellm.stores.labels import system_user

    names = {system_user()}
    for rule in world.policy.budget.rules if ledger is not None else ():
        if ledger is not None and "user" in rule.per:
            parts = (part for name in ledger.accounts(rule.limit.name) for part in name.split("|"))
            names.update(unquote(part.removeprefix(_PART)) for part in parts if part.startswith(_PART))
    key = installation_key(world.state)
    return {pseudonym(key, name): name for name in names if name}
