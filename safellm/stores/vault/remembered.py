"""Which names the vault holds, remembered outside it, so that a program without stored keys never pays for asking.

Loading `keyring` costs about a quarter of a second. `vault-names.json` in the state folder holds the names (nothing
secret) of the keys that safellm stored on this machine. It is only ever used to *skip* the vault, never as its answer:

* a name is written here before its key is stored, so the list may have a name too many (costs one question), and
  lacks one only when the key was stored under another `SAFELLM_HOME` or the file was deleted;
* `safellm keys list` writes it anew from the vault; a file that can't be read means "ask the vault".
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.places import ensure_private
from safellm.stores.vault.backends import CALL_TIMEOUT_S, unavailable
from safellm.stores.vault.interface import StoredKey
from safellm.stores.vault.keyring_vault import KeyringVault

FILE_NAME: Final = "vault-names.json"
_LOCK_POLL_S: Final = 0.02


def known_names(state: Path) -> frozenset[str] | None:
    """Return the remembered names; empty when nothing was ever stored, None when the file can't be trusted."""
    try:
        names = json.loads((state / FILE_NAME).read_text(encoding="utf-8"))["names"]
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return frozenset(names) if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


class RememberedVault:
    """A `KeyringVault` whose changes are locked between processes and remembered in the state folder.

    Raises:
        ConfigurationError: the state folder can't be written; nothing is stored then.
        VaultUnavailable: as `KeyringVault`, or another process holds the lock for too long.
    """

    def __init__(self, vault: KeyringVault, state: Path) -> None:
        self._vault = vault
        self._state = state
        self.label = vault.label

    def get(self, name: str) -> StoredKey | None:
        """Return the key, or None when there is no such name."""
        return self._vault.get(name)

    def set(self, key: StoredKey) -> None:
        """Remember the name, then store the key."""
        with _locked(self._state):
            known = known_names(self._state)
            if known is None:  # damaged: a list with only the new name would hide the others
                known = frozenset(self._vault.names())
            self._remember(known | {key.name})
            self._vault.set(key)

    def names(self) -> list[str]:
        """Return all names, sorted, and bring the memory and the vault's own index into line."""
        with _locked(self._state):
            known = known_names(self._state)
            names = self._vault.names(also=known or ())
            if known != frozenset(names):
                self._remember(names)
            return names

    def remove(self, name: str) -> bool:
        """Remove the key, then forget the name; False when there was none."""
        with _locked(self._state):
            removed = self._vault.remove(name)
            known = known_names(self._state)
            if known is not None and name in known:
                self._remember(known - {name})
            return removed

    def _remember(self, names: Iterable[str]) -> None:
        try:
            durable.replace(self._state / FILE_NAME, json.dumps({"v": 1, "names": sorted(names)}).encode())
        except OSError as error:
            raise _unwritable(self._state, error) from None


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the lock between processes; it ends with the process, so a crash leaves none behind."""
    ensure_private(state)
    try:
        descriptor = os.open(state / "vault.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise _unwritable(state, error) from None
    try:
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise unavailable("Another program is changing the vault and does not finish", where=str(state))
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)  # lets the lock go, on every platform


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _unwritable(state: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The state folder can't be written ({error.strerror})",
        remedy="Mend its permissions, or set SAFELLM_HOME to an absolute folder that you own.",
        where=str(state),
    )
