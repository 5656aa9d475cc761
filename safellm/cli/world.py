"""What a command finds on this machine: the policy in force, and where ledger and trail are."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safellm.cli.show import tell
from safellm.stores.journal.events import escaped
from safellm.stores.journal.open import audit_folder
from safellm.stores.places import find_places
from safellm.stores.settings import LoadedPolicy, load_policy

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm._core.policy import Policy
    from safellm.stores.ledger.interface import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One look at the user's settings."""

    environ: Mapping[str, str]
    loaded: LoadedPolicy
    state: Path

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.loaded.policy

    @property
    def trail(self) -> Path:
        """Folder of the audit trail."""
        return audit_folder(self.policy, self.state)

    @property
    def ledger(self) -> Path:
        """File of the ledger."""
        from safellm.stores.ledger.choose import FILE_NAME

        return self.state / FILE_NAME

    @property
    def ledger_name(self) -> str:
        """Where the ledger is, for people: a file, or an address without its password."""
        from safellm.stores.ledger.choose import describe_ledger

        return describe_ledger(self.policy.budget, self.state)

    def open_ledger(self) -> Ledger:
        """Return the ledger; it opens at its first use."""
        from safellm.stores.ledger.choose import open_ledger

        return open_ledger(self.policy, self.state)

    def record(self, event: str, fields: Mapping[str, JSON]) -> None:
        """Append what a person did to the trail (THREATS K.11), unless the policy keeps none.

        Raises:
            GuardFailure: it can't be written and the policy demands it.
        """
        if self.policy.audit.mode == "off":
            return
        from safellm.stores.journal.events import BestEffortJournal
        from safellm.stores.journal.interface import Journal
        from safellm.stores.journal.jsonl import JsonlJournal

        journal: Journal = JsonlJournal(self.trail, durable=frozenset({event}), sync="each")
        if self.policy.audit.mode == "best_effort":
            journal = BestEffortJournal(journal)
        try:
            journal.append(event, {**fields, "policy.digest": self.policy.digest()}, time_ns=time.time_ns())
        finally:
            journal.close()


def look(path: Path | None = None) -> World:
    """Return what is in force for a program that is started in the same environment.

    Args:
        path: A policy file instead of the user's.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    environ = dict(os.environ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are in `loaded.warnings` too, and shown as plain lines below
        loaded = load_policy(environ=environ, path=path)
    for warning in loaded.warnings:
        tell(f"safellm: {escaped(warning)}")
    return World(environ=environ, loaded=loaded, state=find_places(environ).state)
