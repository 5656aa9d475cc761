"""Keys from the vault for programs that only know variables: the variable holds a placeholder, the seam puts the key in.

Without it, a program under `safellm run` needs its key in clear in the environment. With it, `safellm keys set openai` is
enough, and neither the program nor its children ever hold the key (THREATS K.4).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from safellm._core.grant import is_grant
from safellm.auto.table import DIALECTS
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm.auto.targets import Target
    from safellm.client import Setup

PREFIX = "safellm-vault-"  # what a variable holds: this and the key's name; nothing secret, and no key of any provider
_lent: dict[str, str] = {}


def lend() -> None:
    """Put a placeholder into each variable that is not set, and whose key was stored by `safellm keys set`."""
    from safellm.stores.places import find_places  # noqa: PLC0415

    state = find_places(os.environ).state
    listed, sealed = state / "vault-names.json", state / "keys.sealed"
    if not (listed.exists() or sealed.exists()):
        return  # the usual case where nothing was ever stored: no vault code is loaded
    if os.environ.get("SAFELLM_KEYS_VAULT", "").lower() in ("false", "0", "off", "no"):
        return
    from safellm.stores.vault.remembered import known_names  # noqa: PLC0415

    names = (known_names(state) or frozenset()) | (_sealed_names() if sealed.exists() else frozenset())
    lend_named(names)


def lend_named(names: Collection[str]) -> None:
    """Put placeholders into the variables of these providers that are not set: their keys are there now.

    Args:
        names: Names of keys: in the vault, or held by whoever is asked for keys (see `stores.vault.asking`).
    """
    for name, variable in _pairs():
        if name in names and not os.environ.get(variable):
            os.environ[variable] = _lent[variable] = PREFIX + name


def _sealed_names() -> frozenset[str]:
    """Return the names in the encrypted file, if its passphrase is in a file; a program that starts must not stop and ask."""
    from safellm.errors import VaultUnavailable  # noqa: PLC0415
    from safellm.stores.journal.events import tell  # noqa: PLC0415
    from safellm.stores.vault.open import open_sealed_file  # noqa: PLC0415
    from safellm.stores.vault.passphrase import VARIABLE, find_passphrase_file  # noqa: PLC0415

    if find_passphrase_file(os.environ) is None:
        tell(f"Keys in the encrypted file are used once {VARIABLE} names a file with its passphrase.")
        return frozenset()
    try:
        return frozenset(open_sealed_file(os.environ).names())
    except (VaultUnavailable, ConfigurationError) as error:
        tell(f"Keys in the encrypted file are not used: {error.problem}. {error.remedy}")
        return frozenset()


def take_back() -> None:
    """Remove the placeholders that are still there."""
    for variable, placeholder in _lent.items():
        if os.environ.get(variable) == placeholder:
            del os.environ[variable]
    _lent.clear()


def give_keys(setup: Setup, target: Target) -> None:
    """Let the transport replace this target's placeholders by their keys, to the origins that they are bound to.

    Raises:
        ConfigurationError: the vault lost the key, or may not be used.
    """
    pairs = ((target.profile.name, target.profile.variable),) if target.profile is not None else target.dialect.keys
    for name, variable in pairs:
        placeholder = PREFIX + name
        held = setup.environ.get(variable, "").strip()
        if is_grant(held):
            placeholder = held  # what the SDK puts into the header is the grant itself
            setup.adopt(held, where=f"variable {variable}")
        elif held != placeholder:
            continue
        setup.environ = {key: value for key, value in setup.environ.items() if key != variable}
        own = setup.manage(name, variable, default_origins=setup.adapter.origins)
        if own is None:
            raise setup.vault_problem or ConfigurationError(
                f"The key {name!r} is not in the vault any more", remedy=f"Store it: safellm keys set {name}"
            )
        setup.keys[placeholder] = setup.keys.pop(own)
    if setup.grant is None:
        setup.refuse_own_key()


def _pairs() -> list[tuple[str, str]]:
    from safellm.profiles import profiles  # noqa: PLC0415 - only where a key was ever stored

    return [
        *(pair for one in DIALECTS for pair in one.keys),
        *((one.name, one.variable) for one in profiles().values()),
    ]
