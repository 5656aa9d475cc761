"""Find the key for a provider: the vault, then a secret file, then the provider's variable where the policy lets it.

The vault is the operating system's key store, or the encrypted file (`sealed_file.py`): `keys.store` says which; `auto` takes
the file only where there is no key store and somebody made the file. A key is never moved from one to the other by itself.

| variable set | vault | guard, observe | strict, or `keys.environment = false` |
|---|---|---|---|
| no | has the key | vault | vault |
| no | lacks it | None | None |
| no | unavailable | `VaultUnavailable` | `VaultUnavailable` |
| yes | has the key | vault | vault |
| yes | lacks it, or never held it | variable | `ConfigurationError` |
| yes | unavailable | variable, with a note | `VaultUnavailable` |

The vault comes first, but it isn't asked for a name that was never stored here while the variable may be used: see
`remembered.py` for that list and for what is lost without it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from safellm._core.origin import Origin
from safellm._core.policy import Policy, plugin_in
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.places import find_places
from safellm.stores.vault.backends import CALL_TIMEOUT_S
from safellm.stores.vault.entry import check_name, check_secret
from safellm.stores.vault.interface import StoredKey, Vault
from safellm.stores.vault.keyring_vault import KeyringVault
from safellm.stores.vault.passphrase import passphrase_source
from safellm.stores.vault.remembered import RememberedVault, known_names
from safellm.stores.vault.sealed_file import FILE_NAME, SealedFileVault
from safellm.stores.vault.secret_files import find_secret_file, read_secret_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedKey:
    """A key, where it came from, and the only origins it may be sent to.

    Attributes:
        ref: `vault:NAME`, `file:PATH` or `env:VARIABLE`; safe to record.
        notes: What a person should know about the choice, in whole sentences.
    """

    ref: str
    secret: Secret
    origins: tuple[Origin, ...]
    notes: tuple[str, ...] = ()


def open_vault(policy: Policy, *, environ: Mapping[str, str] | None = None, timeout_s: float = CALL_TIMEOUT_S) -> Vault:
    """Return the vault of this user.

    Args:
        policy: `keys.vault` must be on.
        environ: Variables that say where the state folder is; the process's own by default.
        timeout_s: Longest wait for one call to the key store, in seconds; a command that a person runs may allow more.

    Raises:
        VaultUnavailable: it is switched off, or no key store of the allow-list works here.
    """
    if not policy.keys.vault:
        raise VaultUnavailable("The policy switches the vault off (keys.vault)", remedy="Set keys.vault = true.")
    environ = os.environ if environ is None else environ
    state = find_places(environ).state
    if policy.keys.store == "file":
        return open_sealed_file(environ)
    plugged = plugin_in(policy.keys.store)
    if plugged is not None:
        from safellm.stores.plugged.vault import open_plugged  # noqa: PLC0415 - only where one is named

        return open_plugged(plugged, policy.plugin_settings.get(plugged, {}))
    try:
        return RememberedVault(KeyringVault(timeout_s=timeout_s), state)
    except VaultUnavailable as error:
        if policy.keys.store == "keyring":
            raise
        if (state / FILE_NAME).exists():  # somebody chose it here before: no downgrade that nobody asked for
            return open_sealed_file(environ)
        raise VaultUnavailable(
            error.problem,
            remedy=f"{error.remedy} Or keep keys in an encrypted file: safellm keys set NAME --store file.",
            where=error.where,
        ) from None


def open_sealed_file(environ: Mapping[str, str]) -> SealedFileVault:
    """Return the encrypted file of this user; it need not exist yet."""
    return SealedFileVault(find_places(environ).state, passphrase_source(environ))


def resolve_key(  # noqa: PLR0913 - each is a separate fact about one provider
    policy: Policy,
    *,
    provider: str,
    variable: str,
    default_origins: tuple[Origin, ...],
    environ: Mapping[str, str],
    vault: Vault | None = None,
) -> ResolvedKey | None:
    """Return the key to use, or None when there is none anywhere.

    Args:
        policy: Its mode and `keys` decide.
        provider: As in `StoredKey.provider`; also the key's name unless `keys.name` says otherwise.
        variable: The provider's variable, such as `OPENAI_API_KEY`.
        default_origins: Where a key from the variable may go. A stored key goes only where it is bound to (K.11).
        environ: The process's variables.
        vault: Opened already; None opens it if it has to be asked.

    Raises:
        ConfigurationError: only the variable has a key and may not be used; or a key is malformed, or another
            provider's.
        VaultUnavailable: the vault can't be asked and there is nothing else.
    """
    name = check_name(policy.keys.name or provider)
    value = Secret(environ.get(variable, "").strip())
    is_set = value != Secret("")
    may_use_variable = is_set and policy.keys.environment and not policy.is_strict
    in_file = _from_file(policy, name, variable, environ) if policy.keys.files else None
    has_other = may_use_variable or in_file is not None
    why = "in strict mode" if policy.is_strict else "by the policy (keys.environment)"
    notes: list[str] = []
    if policy.keys.vault and not (vault is None and has_other and _never_stored(name, policy, environ)):
        try:
            stored = (open_vault(policy, environ=environ) if vault is None else vault).get(name)
        except VaultUnavailable as error:
            # Not a downgrade of a guard: the policy allows this source, and the note goes into the record.
            if not has_other and is_set:
                raise VaultUnavailable(
                    f"The key in {variable} is not used {why}, and the vault can't be asked: {error.problem}",
                    remedy=error.remedy,
                    where=error.where,
                ) from None
            if not has_other:
                raise
            stored = None
            notes.append(f"The vault could not be asked: {error.problem}.")
        if stored is not None:
            return _from_vault(stored, provider)
    if in_file is not None:
        where, secret = in_file
        return ResolvedKey(ref=f"file:{where}", secret=secret, origins=default_origins, notes=tuple(notes))
    if not is_set:
        return None
    if not may_use_variable:
        raise ConfigurationError(
            f"The key in {variable} is not used {why}",
            remedy=f"Run `safellm keys import {name}` to move it into the vault.",
            where=f"variable {variable}",
        )
    notes.append(f"The key comes from {variable}; `safellm keys import {name}` moves it into the vault.")
    secret = check_secret(value, where=f"variable {variable}")
    return ResolvedKey(ref=f"env:{variable}", secret=secret, origins=default_origins, notes=tuple(notes))


def resolve_granted(
    policy: Policy, *, name: str, provider: str, default_origins: tuple[Origin, ...], environ: Mapping[str, str]
) -> ResolvedKey | None:
    """Return the key that a grant names, or None when it is not stored here: the vault, then a secret file of that name.

    A variable is no such place: whoever may set one could put another key under the grant.

    Args:
        policy: Its `keys` decide where to look.
        name: Of the key.
        provider: As in `StoredKey.provider`; any, if empty.
        default_origins: Where a key from a file may go.
        environ: The process's variables.

    Raises:
        ConfigurationError: the key is malformed, or another provider's.
        VaultUnavailable: the vault can't be asked, and there is no file.
    """
    path = find_secret_file((check_name(name),), variable=None, environ=environ) if policy.keys.files else None
    if policy.keys.vault and not (path is not None and _never_stored(name, policy, environ)):
        try:
            stored = open_vault(policy, environ=environ).get(name)
        except VaultUnavailable:
            if path is None:
                raise
            stored = None
        if stored is not None:
            return _from_vault(stored, provider or stored.provider)
    if path is None:
        return None
    secret = check_secret(read_secret_file(path), where=str(path))
    return ResolvedKey(ref=f"file:{path}", secret=secret, origins=default_origins)


def _from_file(policy: Policy, name: str, variable: str, environ: Mapping[str, str]) -> tuple[str, Secret] | None:
    # A variable may point to a file only where it could hold the key itself.
    by_variable = f"{variable}_FILE" if policy.keys.environment and not policy.is_strict else None
    path = find_secret_file((name, variable, variable.lower()), variable=by_variable, environ=environ)
    return None if path is None else (str(path), check_secret(read_secret_file(path), where=str(path)))


def _never_stored(name: str, policy: Policy, environ: Mapping[str, str]) -> bool:
    if plugin_in(policy.keys.store) is not None:
        return False  # another machine may have stored it
    state = find_places(environ).state
    known = known_names(state)
    return known is not None and name not in known and not (state / FILE_NAME).exists()


def _from_vault(stored: StoredKey, provider: str) -> ResolvedKey:
    if stored.provider != provider:
        raise ConfigurationError(
            f"The key {stored.name!r} in the vault belongs to {stored.provider!r}, not to {provider!r}",
            remedy="Set keys.name to a key of this provider.",
        )
    return ResolvedKey(ref=f"vault:{stored.name}", secret=stored.secret, origins=stored.origins)
