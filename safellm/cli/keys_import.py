"""`safellm keys import`: keys that lie about go into the vault."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm.auto.targets import own_origins
from safellm.cli import keys_found
from safellm.cli.keys_shared import Origins, Store, Yes, may_replace, open_store, origins_of, store_key
from safellm.cli.show import PROBLEM, cell, make_console, make_table, say
from safellm.cli.world import World, look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm.stores.vault.interface import StoredKey, Vault

_HOSTS: Final = {
    "AZURE_OPENAI_API_KEY": "NAME.openai.azure.com",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock-mantle.REGION.api.aws",
}
_SHOWN: Final = 4  # variables that an error names


def import_(  # noqa: PLR0913 - what may be said about each key
    name: Annotated[str | None, typer.Argument(help="Name to store it under. Default: the provider's.")] = None,
    *,
    variable: Annotated[str | None, typer.Option(help="Only this variable.")] = None,
    file: Annotated[list[Path] | None, typer.Option("--file", help="Look in this file too; may be repeated.")] = None,
    look_around: Annotated[
        bool, typer.Option("--look-around", help="Look in .env files here and in the profiles of your shells too.")
    ] = False,
    take_out: Annotated[
        bool,
        typer.Option("--take-out", help="Replace the line of a stored key by a comment, in the files it came from."),
    ] = False,
    origin: Origins = None,
    store: Store = None,
    yes: Yes = False,
) -> None:
    """Move keys from variables, .env files and shell profiles into the vault.

    Shows what it found, masked, and asks before each one when there are several. Then says how to get rid of the rest.
    """
    world = look()
    files = (*(file or ()), *(keys_found.usual_files(world.environ, Path.cwd()) if look_around else ()))
    found = _find(world, files, variable)
    vault = open_store(world, store)
    if len(found) > 1:
        _show(found)
        _refuse_one_for_all(found, name, origin)
    left = False
    for one in found:
        if len(found) > 1 and not yes:
            if not sys.stdin.isatty():
                raise ConfigurationError("There are several keys", remedy="Add --yes, or choose one with --variable.")
            if not typer.confirm(f"Store {one.variable} from {one.place}?", err=True):
                continue
        if len(found) > 1 and not origin and not own_origins(keys_found.variables()[one.variable]):
            say(f"Left {one.variable}: {_addressless(one.variable).remedy}", "yellow")
            left = True
            continue
        _import_one(world, vault, one, name=name, origin=origin, yes=yes, take_out=take_out)
    if left:
        raise typer.Exit(PROBLEM)


def _find(world: World, files: tuple[Path, ...], variable: str | None) -> list[keys_found.FoundKey]:
    known = keys_found.variables()
    if variable is not None and variable not in known:
        raise ConfigurationError(f"{variable} is not a variable of a provider", remedy=f"Known are {', '.join(known)}.")
    found = [one for one in keys_found.find_keys(world.environ, files=files) if variable in {None, one.variable}]
    found = [one for n, one in enumerate(found) if one.secret not in [other.secret for other in found[:n]] or one.path]
    if not found:
        where = f" or in {', '.join(map(str, files))}" if files else ""
        some = f"None of {', '.join([*known][:_SHOWN])} and the others ({len(known)} in all) is set"
        what = f"The variable {variable} is not set{where}" if variable else f"{some}{where}"
        raise ConfigurationError(what, remedy="Set it for this one command, or use: safellm keys set NAME.")
    return found


def _show(found: list[keys_found.FoundKey]) -> None:
    table = make_table("variable", "key", "place")
    for one in found:
        table.add_row(cell(one.variable), cell(one.secret.hint()), cell(one.place))
    make_console().print(table)


def _refuse_one_for_all(found: list[keys_found.FoundKey], name: str | None, origin: list[str] | None) -> None:
    if name is not None:
        raise ConfigurationError(
            f"Here are {len(found)} keys and one name", remedy="Choose one with --variable, or leave the name away."
        )
    if origin and len({one.variable for one in found}) > 1:
        raise ConfigurationError(
            "Here are keys of several providers and one address", remedy="Choose one with --variable."
        )


def _import_one(  # noqa: PLR0913 - see above
    world: World,
    vault: Vault,
    one: keys_found.FoundKey,
    *,
    name: str | None,
    origin: list[str] | None,
    yes: bool,
    take_out: bool,
) -> None:
    provider = keys_found.variables()[one.variable]
    if not origin and not own_origins(provider):
        raise _addressless(one.variable)
    name = name or provider
    say(f"{one.variable} holds a key that ends in {one.secret.hint()}")
    known = _stored(vault, name)
    if known is not None and known.secret == one.secret:
        say(f"It is in {vault.label} already, as {name!r}.")
    else:
        may_replace(vault, name, yes=yes, can_ask=True)
        store_key(world, vault, name, provider, origins_of(origin, provider), one.secret)
    if one.path is None:
        say(
            f"Now remove {one.variable} from your shell's start file or .env, and in this shell: {_unset(one.variable)}"
        )
    elif take_out:
        keys_found.take_out(one, name)
        say(f"Replaced the line in {one.place} by a comment.")
    else:
        say(f"Now remove the line in {one.place}, or run this again with --take-out.")


def _addressless(variable: str) -> ConfigurationError:
    host = _HOSTS.get(variable, "NAME.services.ai.azure.com")
    return ConfigurationError(
        f"The key in {variable} belongs to one resource, and its address is not taken from a variable",
        remedy=f"safellm keys import --variable {variable} --origin https://{host}",
    )


def _stored(vault: Vault, name: str) -> StoredKey | None:
    try:
        return vault.get(name)
    except ConfigurationError:  # an entry that isn't ours: `_may_replace` says so
        return None


def _unset(variable: str) -> str:
    return f"Remove-Item Env:{variable}" if sys.platform == "win32" else f"unset {variable}"
