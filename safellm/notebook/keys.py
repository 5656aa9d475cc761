"""Keys in notebooks: asked for once, unseen, and kept in the key store; Colab's own secrets are read where they exist."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core.origin import Origin
from safellm._core.secret import Secret
from safellm.errors import VaultUnavailable

# The variables that SDKs look at, and Colab's secrets are usually called the same.
VARIABLES: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
}


@dataclass(slots=True)
class _Asked:
    """Keys of this session that no store could take, and what was asked already."""

    shell: Any = None
    keys: dict[str, Secret] = field(default_factory=dict, repr=False)
    refused: set[str] = field(default_factory=set)


_asked = _Asked()


def start(shell: Any) -> None:
    """Ask the person when a client is made that has no key."""
    from safellm.stores.vault import asking  # noqa: PLC0415

    _asked.shell = shell
    asking.asker = ask_for


def stop() -> None:
    """Ask no more, and forget keys that were kept for this session."""
    from safellm.stores.vault import asking  # noqa: PLC0415

    asking.asker = None
    _asked.shell = None
    _asked.keys.clear()
    _asked.refused.clear()


def ask_for(provider: str, origins: tuple[Origin, ...]) -> Secret | None:
    """Return the key that the person types, unseen, or None; asked once for each provider.

    Args:
        provider: Its name, and the key's name in the store.
        origins: Where it may be sent.
    """
    if provider in _asked.keys:
        return _asked.keys[provider]
    if provider in _asked.refused or _asked.shell is None:
        return None
    where = ", ".join(str(one) for one in origins)
    text = (
        ask_person(f"Key for {provider} (not shown; goes to {where} only; empty for none): ", hidden=True) or ""
    ).strip()
    if not text:
        _asked.refused.add(provider)
        return None
    store(provider, text)
    return Secret(text)


def store(provider: str, key: str) -> None:
    """Put a key into the key store, or keep it for this session where there is none; say which.

    Raises:
        ConfigurationError: it is no key.
    """
    from safellm.auto.targets import own_origins  # noqa: PLC0415
    from safellm.cli.keys_shared import open_store, store_key  # noqa: PLC0415
    from safellm.cli.world import look  # noqa: PLC0415
    from safellm.stores.vault.entry import check_secret  # noqa: PLC0415

    secret = check_secret(Secret(key.strip()), where="typed key")
    try:
        world = look()
        store_key(world, open_store(world, None), provider, provider, own_origins(provider), secret)
    except VaultUnavailable as error:
        _asked.keys[provider] = secret
        print(f"safellm: the key is kept for this session only: {error.problem}.")  # noqa: T201 - for the person
    _asked.refused.discard(provider)
    lend(provider)


def lend(*providers: str) -> None:
    """Let clients of the plain SDKs find these keys too, or those of this session: they only know variables."""
    from safellm import auto  # noqa: PLC0415 - patches HTTP libraries
    from safellm.auto import managed  # noqa: PLC0415

    names = providers or tuple(_asked.keys)
    if names and auto.is_installed():
        managed.lend_named(names)


def read_colab() -> None:
    """Take Colab's secrets of the known names: they are in no notebook."""
    try:
        from google.colab import userdata  # noqa: PLC0415 - there only
    except ModuleNotFoundError:
        return
    for provider, variable in VARIABLES.items():
        try:
            value = userdata.get(variable)
        except Exception:  # noqa: BLE001, S112 - not there, or not allowed for this notebook: both mean none
            continue
        if value:
            _asked.keys[provider] = Secret(str(value))


def hint() -> str:
    """Return what to do about keys, in one sentence."""
    return "Keys are asked for once, unseen; %safellm key NAME stores one now."


def ask_person(question: str, *, hidden: bool = False) -> str | None:
    """Return what the person answers, or None where nobody can."""
    try:
        return getpass.getpass(question) if hidden else input(question)
    except (EOFError, OSError, RuntimeError):
        return None
    except Exception as error:
        if type(error).__name__ != "StdinNotImplementedError":  # ipykernel's word for a front end without input
            raise
        return None
