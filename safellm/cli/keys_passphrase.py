"""`safellm keys passphrase`: another passphrase for the encrypted key file."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from typing import Annotated

import typer

from safellm._core.secret import Secret
from safellm.cli.keys_shared import open_store
from safellm.cli.show import say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

Stdin = Annotated[bool, typer.Option("--stdin", help="Read the new passphrase from standard input.")]


def passphrase(*, stdin: Stdin = False) -> None:
    """Seal the encrypted key file under another passphrase. It is opened with the one that it has, as always.

    Where that one comes from a secret file or a credential, put the new one there next, or nothing opens the keys.
    """
    from safellm.stores.vault.sealed_file import SealedFileVault

    world = look()
    vault = open_store(world, "file")
    assert isinstance(vault, SealedFileVault)
    names = vault.names()
    vault.change_passphrase(_read(stdin=stdin))
    world.record("key.passphrase", {})
    say(f"Sealed {len(names)} key{'' if len(names) == 1 else 's'} in {vault.label} under the new passphrase.")


def _read(*, stdin: bool) -> Secret:
    """Read the new passphrase from a pipe, or have it typed twice, unseen."""
    if stdin:
        new = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        new = str(
            typer.prompt("New passphrase (not shown)", hide_input=True, confirmation_prompt="Once more", err=True)
        )
    else:
        raise ConfigurationError(
            "There is no terminal to type the new passphrase on", remedy="Pipe it in and add --stdin."
        )
    if not new:
        raise ConfigurationError("The new passphrase is empty", remedy="Type one, or pipe one in with --stdin.")
    return Secret(new)
