"""A vault in the place of a plug-in: what it gives back is checked, and none of its errors is told with its text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from safellm._core.plugged_stores import VaultStore
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.plugged.found import make_one
from safellm.stores.vault.backends import Done, Failed, bounded
from safellm.stores.vault.entry import NAME, check_key, check_name, decode_named, encode_key
from safellm.stores.vault.interface import StoredKey

TIMEOUT_S: Final = 10.0  # a vault is asked when a client is made; a service over the network may take its time


class PluggedVault:
    """Implements `safellm.stores.vault.interface.Vault`.

    Args:
        store: The plug-in.
        name: As the policy has it.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(self, store: VaultStore, name: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.label = f"plug-in {name}"
        self._store = store
        self._timeout_s = timeout_s

    def get(self, name: str) -> StoredKey | None:
        """Return the key, or None when there is no such name.

        Raises:
            VaultUnavailable: the plug-in broke, or took too long.
            ConfigurationError: the entry isn't one that safellm wrote for this name.
        """
        entry = self._read(check_name(name))
        if entry is None:
            return None
        key = decode_named(entry.reveal(), name)
        if key is None:
            raise ConfigurationError(
                f"The entry {name!r} in the vault is not one that safellm wrote",
                remedy=f"Store the key again: safellm keys set {name}.",
                where=self.label,
            )
        return key

    def set(self, key: StoredKey) -> None:
        """Store or replace; counts as stored only once read back.

        Raises:
            VaultUnavailable: the plug-in broke, took too long, or gives back something else than was written.
            ConfigurationError: the name or the secret is malformed, or the key is bound to no origin.
        """
        check_key(key)
        entry = Secret(encode_key(key))
        self._call(lambda: self._store.set(key.name, entry.reveal()))
        if self._read(key.name) != entry:
            self._fail("did not give back what was written to it")

    def names(self) -> list[str]:
        """Return all names of keys, sorted."""
        said = self._call(lambda: list(self._store.names()))
        return sorted({one for one in said if isinstance(one, str) and NAME.fullmatch(one)})

    def remove(self, name: str) -> bool:
        """Remove; False when there was none."""
        check_name(name)
        if self._read(name) is None:
            return False
        self._call(lambda: self._store.remove(name))
        if self._read(name) is not None:
            self._fail("still has the key after it was removed")
        return True

    def _read(self, name: str) -> Secret | None:
        said = self._call(lambda: self._store.get(name))
        if said is None:
            return None
        if not isinstance(said, str):
            self._fail("gave back something that is no text")
        return Secret(said)

    def _call(self, work: Callable[[], Any]) -> Any:
        result = bounded(work, timeout_s=self._timeout_s)
        if isinstance(result, Done):
            return result.value
        why = (
            f"broke ({result.error})" if isinstance(result, Failed) else f"did not answer within {self._timeout_s:g} s"
        )
        return self._fail(why)

    def _fail(self, what: str) -> NoReturn:
        raise VaultUnavailable(
            f"The vault {what}", remedy="Look at what its class does, or name another: keys.store.", where=self.label
        )


def open_plugged(name: str, settings: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S) -> PluggedVault:
    """Return the vault of a plug-in.

    Raises:
        ConfigurationError: it is missing or can't be made.
    """
    store = make_one("vault", name, settings, methods=("get", "set", "names", "remove"), where="keys.store")
    return PluggedVault(store, name, timeout_s=timeout_s)
