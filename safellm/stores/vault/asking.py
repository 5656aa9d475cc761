"""Who asks a person for a key that is nowhere: nobody, unless a notebook put itself here."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm._core.secret import Secret
    from safellm.stores.vault.open import ResolvedKey

asker: Callable[[str, tuple[Origin, ...]], Secret | None] | None = None
"""Takes a provider's name and where its key may go; returns the key, or None."""


def ask_for_key(provider: str, origins: tuple[Origin, ...]) -> ResolvedKey | None:
    """Return the key that a person gives, bound to these origins, or None."""
    secret = None if asker is None else asker(provider, origins)
    if secret is None:
        return None
    from safellm.stores.vault.open import ResolvedKey  # noqa: PLC0415 - loads the vault

    return ResolvedKey(ref=f"asked:{provider}", secret=secret, origins=origins)
