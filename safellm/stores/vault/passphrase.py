"""Where the passphrase of the encrypted key file comes from: a secret file, or a person at a terminal. Never a variable's value."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from safellm._core.secret import Secret
from safellm.errors import VaultUnavailable
from safellm.stores.vault.secret_files import find_secret_file, read_secret_file

VARIABLE: Final = "SAFELLM_PASSPHRASE_FILE"
_NAMES: Final = ("safellm-passphrase",)


def find_passphrase_file(environ: Mapping[str, str]) -> Path | None:
    """Return the secret file that holds the passphrase, if there is one."""
    return find_secret_file(_NAMES, variable=VARIABLE, environ=environ)


def passphrase_source(environ: Mapping[str, str]) -> Callable[[bool], Secret]:
    """Return the function that gets the passphrase; `True` means that a new file is made, so a person types it twice.

    It raises `VaultUnavailable` when there is neither a file nor a terminal: nothing waits for somebody who isn't there.
    """

    def get(new: bool) -> Secret:
        path = find_passphrase_file(environ)
        if path is not None:
            return read_secret_file(path)
        if sys.stdin is None or not sys.stdin.isatty() or sys.stderr is None or not sys.stderr.isatty():
            raise VaultUnavailable(
                "The encrypted key file needs its passphrase, and there is no terminal to ask for it",
                remedy=f"Put the passphrase into a file of mode 0400 and name it in {VARIABLE}, "
                "or hand it over as the credential safellm-passphrase.",
            )
        first = _ask("New passphrase for safellm's key file: " if new else "Passphrase of safellm's key file: ")
        if new and _ask("Once more: ") != first:
            raise VaultUnavailable("The two passphrases differ", remedy="Run the command again.")
        return first

    return get


def _ask(prompt: str) -> Secret:
    try:
        return Secret(getpass.getpass(prompt))
    except (EOFError, getpass.GetPassWarning):
        raise VaultUnavailable("No passphrase was typed", remedy="Run the command again.") from None
