"""What the commands about keys share: options, the vault, asking, storing with a record."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm._core.origin import Origin, parse_origin
from safellm._core.policy import plugin_in
from safellm._core.secret import Secret
from safellm.cli.show import say
from safellm.cli.world import World
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm.stores.vault.interface import StoredKey, Vault

DAY_NS: Final = 86_400 * 10**9
_DIALOG_S: Final = 60.0  # a key store may ask a person for a password

Name = Annotated[str, typer.Argument(help="Name of the key; the one called like the provider is the default.")]
Provider = Annotated[
    str | None,
    typer.Option("--provider", help="Whose key it is. Default: the provider of that name, such as groq; else openai."),
]
Origins = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", help="Where it may be sent; may be repeated. Default: the provider's own."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Replace a key of this name without asking.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="keyring: the system's key store; file: the encrypted file; plugin:NAME. Default: policy."
    ),
]
Stdin = Annotated[bool, typer.Option("--stdin", help="Read the key from standard input.")]
Days = Annotated[int | None, typer.Option("--rotate-days", min=1, help="Say when it should be replaced, in days.")]


def open_store(world: World, store: str | None = None) -> Vault:
    """Return the vault: the policy's, or the one that the command names."""
    from safellm.stores.vault.open import open_vault

    policy = world.policy
    if store is not None:
        if store not in {"keyring", "file"} and plugin_in(store) is None:
            raise ConfigurationError(
                "There is no such store", remedy="Use --store keyring, --store file or --store plugin:NAME."
            )
        policy = policy.model_copy(update={"keys": policy.keys.model_copy(update={"store": store})})
    return open_vault(policy, environ=world.environ, timeout_s=_DIALOG_S if sys.stdin.isatty() else 2.0)


def find_key(world: World, name: str, store: str | None) -> tuple[StoredKey, Vault]:
    """Return a stored key and its vault; an error says how to store one."""
    vault = open_store(world, store)
    key = vault.get(name)
    if key is None:
        names = vault.names()
        there = (
            f"There {'is' if len(names) == 1 else 'are'}: {', '.join(names)}. Or store it"
            if names
            else "Store it first"
        )
        raise ConfigurationError(f"There is no key {name!r}", remedy=f"{there}: safellm keys set {name}.")
    return key, vault


def origins_of(texts: list[str] | None, provider: str) -> tuple[Origin, ...]:
    """Return the origins that were given, else the provider's own."""
    if texts:
        return tuple(dict.fromkeys(parse_origin(text) for text in texts))
    from safellm.auto.targets import own_origins

    found = own_origins(provider)
    if not found:
        raise ConfigurationError(
            f"The addresses of {provider!r} are not known",
            remedy="Say where the key may be sent: --origin https://host.",
        )
    return found


def provider_of(name: str) -> str:
    """Return whose key this is by its name: that of a provider, or OpenAI's dialect, which most servers speak."""
    from safellm.auto.targets import is_provider

    return name if is_provider(name) else "openai"


def may_replace(vault: Vault, name: str, *, yes: bool, can_ask: bool) -> None:
    """Ask before a key is replaced; without a terminal and `--yes`, refuse."""
    try:
        old = vault.get(name)
    except ConfigurationError:  # an entry that isn't ours: storing over it is what mends it
        if not yes:
            raise
        return
    if old is None or yes:
        return
    if not (can_ask and sys.stdin.isatty()):
        raise ConfigurationError(f"There is a key {name!r} already", remedy="Add --yes to replace it.")
    bound = ", ".join(str(one) for one in old.origins)
    typer.confirm(f"There is a key {name!r} for {bound}. Replace it?", abort=True, err=True)


def read_key(*, stdin: bool) -> Secret:
    """Read a key from a pipe, or have it typed unseen."""
    if stdin:
        return Secret(sys.stdin.readline().strip())
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal to type the key on", remedy="Pipe it in and add --stdin.")
    return Secret(str(typer.prompt("Key (not shown)", hide_input=True, err=True)).strip())


def store_key(  # noqa: PLR0913 - the parts of a key
    world: World,
    vault: Vault,
    name: str,
    provider: str,
    origins: tuple[Origin, ...],
    secret: Secret,
    rotate_days: int | None = None,
    *,
    event: str = "key.bind",
) -> None:
    """Record the binding, then store the key."""
    from safellm.stores.vault.entry import check_name, check_secret
    from safellm.stores.vault.interface import StoredKey

    check_name(name)
    check_secret(secret)
    bound: list[JSON] = [str(one) for one in origins]
    # Recorded first: a binding without a record must not be possible.
    world.record(
        event, {"safellm.key.ref": f"vault:{name}", "safellm.key.origins": bound, "safellm.key.provider": provider}
    )
    now = time.time_ns()
    rotate_by = None if rotate_days is None else now + rotate_days * DAY_NS
    vault.set(
        StoredKey(name=name, provider=provider, origins=origins, created_ns=now, rotate_by_ns=rotate_by, secret=secret)
    )
    say(f"Stored {name!r} in {vault.label}, bound to {', '.join(map(str, origins))}.")
    warn_of_plain_http(world, origins)


def warn_of_plain_http(world: World, origins: tuple[Origin, ...]) -> None:
    """Say which of these addresses calls are refused to, though a key is bound to them."""
    for one in origins:
        if one.scheme == "http" and not one.is_loopback and not world.policy.egress.allow_http:
            say(f"Calls to {one} are refused as long as it is plain http (egress.allow_http allows it).", "yellow")
