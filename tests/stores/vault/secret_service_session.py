"""Run inside a private D-Bus session by test_secret_service.py: do one scenario against the real store, print JSON.

Not collected by pytest: it must be the only user of its bus, and its variables point to a home folder of its own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

from safellm._core.policy import Policy
from safellm.errors import VaultUnavailable
from safellm.stores.vault.interface import Vault
from safellm.stores.vault.keyring_vault import KeyringVault
from safellm.stores.vault.open import open_vault
from safellm.testing.vault_contract import VaultContract, make_key


class RealContract(VaultContract):
    """The contract, through `open_vault` and nothing injected."""

    def open_vault(self) -> Vault:
        return open_vault(Policy())


def contract() -> dict[str, object]:
    """Return the failures of each contract test, and whether the store's files show a stored secret."""
    failures: dict[str, str] = {}
    names = [name for name in dir(RealContract) if name.startswith("test_")]
    for name in names:
        try:
            getattr(RealContract(), name)()
        except Exception:
            failures[name] = traceback.format_exc()
    key = make_key("openai")
    vault = open_vault(Policy())
    vault.set(key)
    files = [path for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()]
    stores = [path for path in files if "keyrings" in path.parts]
    shown = [str(path) for path in files if key.secret.reveal().encode() in path.read_bytes()]
    return {
        "ran": len(names),
        "failures": failures,
        "label": vault.label,
        "store_files": len(stores),
        "files_with_the_secret": shown,
    }


def locked() -> dict[str, object]:
    """Store a key, lock the collection as a desktop does when it sleeps, and ask again."""
    import secretstorage

    vault = KeyringVault()
    vault.set(make_key("openai"))
    connection = secretstorage.dbus_init()
    collection = secretstorage.get_default_collection(connection)
    collection.lock()
    return {"was_locked": collection.is_locked(), "get": timed(lambda: vault.get("openai"))}


def timed(work: object) -> dict[str, object]:
    """Return how a call ended and after how many seconds."""
    start = time.monotonic()
    try:
        work()  # type: ignore[operator]
    except VaultUnavailable as error:
        outcome = {"error": str(error), "remedy": error.remedy}
    else:
        outcome = {"error": None}
    return outcome | {"seconds": time.monotonic() - start}


def unusable() -> dict[str, object]:
    """Try to open the vault and to store a key where no store is ready."""

    def work() -> None:
        open_vault(Policy()).set(make_key("openai"))

    import keyring.backends.SecretService  # noqa: F401 - the wait is measured, not the import

    return {"get": timed(work)}


if __name__ == "__main__":
    scenario = {"contract": contract, "locked": locked, "unusable": unusable}[sys.argv[1]]
    print(json.dumps(scenario()))
