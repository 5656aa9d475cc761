"""Conversations of one grant: what a provider calls a conversation is found again by the grant that it was said to, by no other.

The names are the provider's (a previous answer's id, a thread) and no secrets: who reads one in a log must not get the values
that were hidden for somebody else.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

from safellm._core.placeholder import Mapping
from safellm.transports.driver import Driver


def of_grant(driver: Driver, grant_id: str) -> Driver:
    """Return a driver that knows the conversations of one grant.

    Args:
        driver: Of the grant's calls.
        grant_id: Of the grant.
    """
    changes: dict[str, Any] = {"conversations": _OfGrant(driver.conversations, grant_id)}
    return replace(driver, **changes)


class _OfGrant:
    """Puts the grant before each of the provider's names. Those that a program gives have it already."""

    def __init__(self, inner: Any, grant_id: str) -> None:
        self._inner, self._grant_id = inner, grant_id
        self.keep = inner.keep

    def open(self, known_as: str | None, began_with: str | None) -> Mapping:
        found: Mapping = self._inner.open(None if known_as is None else self._name(known_as), began_with)
        return found

    def remember(self, known_as: str, mapping: Mapping) -> None:
        self._inner.remember(self._name(known_as), mapping)

    def _name(self, known_as: str) -> str:
        return f"{self._grant_id}:{known_as}"
