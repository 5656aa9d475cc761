"""Keys in the operating system's key store.

Each key is one entry: service `safellm`, user name = the key's name, value = one JSON object with the secret and what
it is bound to, so that the origin can't be changed without the key (promise P1, THREATS K.11). Key stores can't list
their entries through `keyring`, so one more entry holds the names. It is written before a key and cleaned after one:
a crash in between leaves a name too many, never a key that nobody sees; `names()` removes such names.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Final

from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.vault.backends import (
    CALL_TIMEOUT_S,
    Backend,
    Done,
    TimedOut,
    bounded,
    choose_backend,
    unavailable,
)
from safellm.stores.vault.entry import NAME, check_key, check_name, decode_named, encode_key
from safellm.stores.vault.interface import StoredKey

SERVICE: Final = "safellm"
INDEX: Final = "#names"  # no key can be called so
_PROBLEMS: Final = {
    "KeyringLocked": "is locked",
    "InitError": "could not be opened: it has no unlocked collection",
    "NoKeyringError": "is not there",
    "LockedException": "is locked",
    "PromptDismissedException": "is locked, and nobody answered its question",
    "SecretServiceNotAvailableException": "is not running",
}


class KeyringVault:
    """A `Vault` over one backend of the allow-list.

    Args:
        backend: Only tests pass one; otherwise `choose_backend` decides and nothing can talk it out of the list.
        label: Name of the store for people.
        timeout_s: Longest wait for one call to the store, in seconds. Commands that a person runs may allow more, as
            some stores open a dialog.

    Raises:
        VaultUnavailable: no store can be used.
    """

    label: str

    def __init__(
        self, *, backend: Backend | None = None, label: str | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        if backend is None:
            backend, chosen = choose_backend(timeout_s=timeout_s)
            label = label or chosen
        self.label = label or type(backend).__name__
        self._backend = backend
        self._timeout_s = timeout_s
        self._stuck: threading.Thread | None = None
        self._lock = threading.RLock()  # kwallet's backend holds a connection that isn't for two threads

    def get(self, name: str) -> StoredKey | None:
        """Return the key, or None when there is no such name.

        Raises:
            VaultUnavailable: the store can't be asked.
            ConfigurationError: the entry isn't one that safellm wrote for this name.
        """
        entry = self._read(check_name(name))
        if entry is None:
            return None
        key = decode_named(entry.reveal(), name)
        if key is None:
            raise ConfigurationError(
                f"The entry {name!r} in the key store is not one that safellm wrote",
                remedy=f"Run `safellm keys remove {name}` and import the key again.",
                where=self.label,
            )
        return key

    def set(self, key: StoredKey) -> None:
        """Store or replace; counts as stored only once read back.

        Raises:
            VaultUnavailable: the store can't be used, or gives back something else than was written (a null store).
            ConfigurationError: the name or the secret is malformed, or the key is bound to no origin.
        """
        check_key(key)
        with self._lock:
            self._write_index(self._read_index() | {key.name})
            self._write(key.name, Secret(encode_key(key)))

    def names(self, *, also: Iterable[str] = ()) -> list[str]:
        """Return all names, sorted; names without an entry are dropped from the index, found ones of `also` added."""
        with self._lock:
            listed = self._read_index()
            asked = sorted(name for name in listed.union(also) if NAME.fullmatch(name))
            present = frozenset(name for name in asked if self._read(name) is not None)
            if present != listed:
                self._write_index(present)
            return sorted(present)

    def remove(self, name: str) -> bool:
        """Remove the entry, whatever it holds; False when there was none.

        Raises:
            VaultUnavailable: the store can't be used, or still has the entry afterwards.
        """
        check_name(name)
        with self._lock:
            was_there = self._read(name) is not None
            if was_there:
                self._call(lambda: self._backend.delete_password(SERVICE, name))
                if self._read(name) is not None:
                    raise unavailable(f"The key {name!r} is still there after it was removed", where=self.label)
            listed = self._read_index()
            if name in listed:
                self._write_index(listed - {name})
            return was_there

    def _read_index(self) -> frozenset[str]:
        # Damage here costs the list, not the keys: they are found by name, and the list grows again.
        entry = self._read(INDEX)
        try:
            names = json.loads(entry.reveal()) if entry else []
        except (ValueError, RecursionError):
            names = []
        listed = names if isinstance(names, list) else []
        return frozenset(name for name in listed if isinstance(name, str) and NAME.fullmatch(name))

    def _write_index(self, names: frozenset[str]) -> None:
        self._write(INDEX, Secret(json.dumps(sorted(names))))

    def _read(self, user: str) -> Secret | None:
        value = self._call(lambda: self._backend.get_password(SERVICE, user))
        return Secret(value) if isinstance(value, str) and value else None

    def _write(self, user: str, entry: Secret) -> None:
        self._call(lambda: self._backend.set_password(SERVICE, user, entry.reveal()))
        if self._read(user) != entry:
            raise unavailable("The key store did not give back what was written to it", where=self.label)

    def _call(self, work: Callable[[], object]) -> object:
        with self._lock:
            if self._stuck is not None and self._stuck.is_alive():
                raise self._error("still has not answered an earlier question")
            result = bounded(work, timeout_s=self._timeout_s)
            if isinstance(result, Done):
                return result.value
            if isinstance(result, TimedOut):
                self._stuck = result.thread
                raise self._error(f"did not answer within {self._timeout_s:g} s; it may be waiting for its dialog")
            raise self._error(_PROBLEMS.get(result.error, f"refused ({result.error})"))

    def _error(self, problem: str) -> VaultUnavailable:
        return unavailable(f"The key store {problem}", where=self.label)
