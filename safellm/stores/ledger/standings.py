"""Which accounts there are under the rules of a policy: a limit that counts per something has one for each value."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safellm._core.effects import Limit, Window
from safellm._core.limits import Rule
from safellm.stores.ledger.interface import Ledger


def accounts_of(rules: Sequence[Rule], ledger: Ledger) -> list[Limit]:
    """Return the limits of each account there is, in the order of the rules; limits for each call have none.

    Raises:
        GuardFailure: the ledger can't answer.
    """
    return [limit for _, limit in rules_and_accounts(rules, ledger)]


def rules_and_accounts(rules: Sequence[Rule], ledger: Ledger) -> list[tuple[Rule, Limit]]:
    """Return the same, each with its rule.

    Raises:
        GuardFailure: the ledger can't answer.
    """
    found: list[tuple[Rule, Limit]] = []
    for rule in rules:
        if rule.limit.window is Window.CALL:
            continue
        if not rule.per:
            found.append((rule, rule.limit))
            continue
        for name in ledger.accounts(rule.limit.name):
            labels = [part.partition("=")[0] for part in name.removeprefix(rule.limit.name).split("|")[1:]]
            if labels == list(rule.per):
                found.append((rule, replace(rule.limit, name=name)))
    return found
