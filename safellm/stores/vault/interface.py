"""The vault: provider keys, each stored with the only origins it may be sent to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from safellm._core.origin import Origin
from safellm._core.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key and what it is bound to (promise P1)."""

    name: str
    provider: str
    origins: tuple[Origin, ...]
    created_ns: int
    rotate_by_ns: int | None = None  # `safellm doctor` warns after it
    secret: Secret


class Vault(Protocol):
    """Where keys rest.

    Raises:
        VaultUnavailable: the store can't be used; never a silent fallback, never a prompt without a terminal.
    """

    label: str  # for `safellm doctor`: "Secret Service (org.freedesktop.secrets)"

    def get(self, name: str) -> StoredKey | None:
        """Return the key, or None when there is no such name."""
        ...

    def set(self, key: StoredKey) -> None:
        """Store or replace; counts as stored only once read back."""
        ...

    def names(self) -> list[str]:
        """Return all names, sorted."""
        ...

    def remove(self, name: str) -> bool:
        """Remove; False when there was none."""
        ...
