"""`safellm keys`: provider keys in the vault (key store or encrypted file), each bound to the origins it may be sent to.

A key is never an argument: those stand in the shell's history and in the process list. It is typed unseen, piped in with
`--stdin`, or taken from a variable by `import`. No command prints one. Binding and removing are recorded (THREATS K.11).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli.keys_import import import_
from safellm.cli.keys_passphrase import passphrase
from safellm.cli.keys_shared import (
    DAY_NS,
    Days,
    Name,
    Origins,
    Provider,
    Stdin,
    Store,
    Yes,
    find_key,
    may_replace,
    open_store,
    origins_of,
    provider_of,
    read_key,
    store_key,
    warn_of_plain_http,
)
from safellm.cli.keys_try import try_
from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say, when
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.cli.world import World
    from safellm.stores.grants import Issued
    from safellm.stores.vault.interface import StoredKey

app = typer.Typer(help="Store keys of providers, each with the addresses it may be sent to.", no_args_is_help=True)


@app.command("set")
def set_(  # noqa: PLR0913 - the parts of a key
    name: Name,
    *,
    provider: Provider = None,
    origin: Origins = None,
    rotate_days: Days = None,
    store: Store = None,
    stdin: Stdin = False,
    yes: Yes = False,
) -> None:
    """Store a key. It is typed unseen, or read from a pipe with --stdin."""
    world = look()
    provider = provider or provider_of(name)
    origins = origins_of(origin, provider)
    vault = open_store(world, store)
    may_replace(vault, name, yes=yes, can_ask=not stdin)
    store_key(world, vault, name, provider, origins, read_key(stdin=stdin), rotate_days)


app.command("import")(import_)
app.command()(passphrase)


@app.command("list")
def list_(*, store: Store = None, json: AsJson = False) -> None:
    """List stored keys and where each may be sent. Never shows a key."""
    world = look()
    vault = open_store(world, store)
    found: list[StoredKey] = []
    damaged: list[str] = []
    for name in vault.names():
        try:
            key = vault.get(name)
        except ConfigurationError:
            damaged.append(name)
            continue
        if key is not None:
            found.append(key)
    if json:
        keys = [
            {
                "name": key.name,
                "provider": key.provider,
                "origins": [str(one) for one in key.origins],
                "created": when(key.created_ns).replace(" ", "T") + "Z",
                "rotate_by": None if key.rotate_by_ns is None else when(key.rotate_by_ns).replace(" ", "T") + "Z",
            }
            for key in found
        ]
        print_json({"vault": vault.label, "keys": keys, "damaged": damaged})
    elif found or damaged:
        table = make_table("name", "provider", "bound to", "age", numbers=("age",))
        for key in found:
            bound = "\n".join(str(one) for one in key.origins)
            origins = cell("")
            origins.append(bound)
            table.add_row(cell(key.name), cell(key.provider), origins, cell(_age(time.time_ns() - key.created_ns)))
        for name in damaged:
            table.add_row(cell(name), cell("?"), cell("damaged: remove it and import the key again", "red"), "")
        console = make_console()
        console.print(table)
        console.print(cell(f"in {vault.label}"))
    else:
        say(f"No keys in {vault.label}. Store one: safellm keys set openai")
    if damaged:
        raise typer.Exit(PROBLEM)


@app.command()
def show(name: Name, *, store: Store = None, json: AsJson = False) -> None:
    """Show what is known about a key: provider, bound addresses, dates, its last characters."""
    key, vault = find_key(look(), name, store)
    facts = {
        "name": key.name,
        "provider": key.provider,
        "bound to": [str(one) for one in key.origins],
        "created": when(key.created_ns),
        "rotate by": "no date" if key.rotate_by_ns is None else when(key.rotate_by_ns),
        "key": key.secret.hint(),
        "vault": vault.label,
    }
    if json:
        print_json({what.replace(" ", "_"): value for what, value in facts.items()})
        return
    table = make_table("", "")
    table.show_header = False
    for what, value in facts.items():
        table.add_row(cell(what), cell(", ".join(value) if isinstance(value, list) else value))
    make_console().print(table)


@app.command("export-origin")
def export_origin(name: Name, *, store: Store = None) -> None:
    """Print where a key may be sent, one origin a line: for a policy's egress.origins or a firewall."""
    for origin in find_key(look(), name, store)[0].origins:
        typer.echo(str(origin))


@app.command()
def rotate(name: Name, *, rotate_days: Days = None, store: Store = None, stdin: Stdin = False) -> None:
    """Replace a key by its successor; provider and bound addresses stay. Then revoke the old one at the provider."""
    world = look()
    old, vault = find_key(world, name, store)
    secret = read_key(stdin=stdin)
    if secret == old.secret:
        raise ConfigurationError("This is the key that is stored already", remedy="Make a new one at the provider.")
    if rotate_days is None and old.rotate_by_ns is not None:
        rotate_days = max(1, (old.rotate_by_ns - old.created_ns) // DAY_NS)
    store_key(world, vault, name, old.provider, old.origins, secret, rotate_days, event="key.rotate")
    say(f"Now revoke the old key, which ends in {old.secret.hint()}, at the provider.")


@app.command()
def bind(
    name: Name,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="Where it may be sent as well; may be repeated.")],
    *,
    only: Annotated[
        bool, typer.Option("--only", help="To these addresses only: what it was bound to is dropped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    store: Store = None,
) -> None:
    """Let a stored key be sent to another address. The key, its age and its other addresses stay.

    Whoever answers at an address that a key is bound to gets the key: so it asks.
    """
    world = look()
    key, vault = find_key(world, name, store)
    given = origins_of(urls, key.provider)
    origins = given if only else tuple(dict.fromkeys((*key.origins, *given)))
    if origins == key.origins:
        say(f"{name!r} is bound to {_joined(origins)} already.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "Nobody can be asked here whether the key may be sent there", remedy="Add --yes if it may."
            )
        typer.confirm(f"The key {name!r} may be sent to {_joined(origins)} from now on?", abort=True, err=True)
    # Recorded first: a binding without a record must not be possible.
    world.record(
        "key.bind",
        {
            "safellm.key.ref": f"vault:{name}",
            "safellm.key.origins": [str(one) for one in origins],
            "safellm.key.provider": key.provider,
        },
    )
    vault.set(replace(key, origins=origins))
    say(f"Bound {name!r} in {vault.label} to {_joined(origins)}.")
    warn_of_plain_http(world, given)


@app.command()
def rename(name: Name, new: Annotated[str, typer.Argument(help="Its new name.")], *, store: Store = None) -> None:
    """Give a key another name."""
    world = look()
    key, vault = find_key(world, name, store)
    if vault.get(new) is not None:
        raise ConfigurationError(f"There is a key {new!r} already", remedy="Remove it first, or take another name.")
    world.record("key.rename", {"safellm.key.ref": f"vault:{name}", "safellm.key.new_ref": f"vault:{new}"})
    vault.set(replace(key, name=new))
    vault.remove(name)
    say(f"Renamed {name!r} to {new!r} in {vault.label}.")
    if any(dict(one.caveats).get("key") == name and one.revoked_s is None for one in _issued(world)):
        say(f"Grants for {name!r} hold no more, unless another key gets this name.", "yellow")


@app.command()
def migrate(
    to: Annotated[str, typer.Argument(help="keyring or file: where the keys shall be.")],
    *,
    yes: Yes = False,
) -> None:
    """Move all keys from the system's key store into the encrypted file, or back.

    A key is removed from its old place only after the new one gave it back.
    """
    world = look()
    target, source = open_store(world, to), open_store(world, "keyring" if to == "file" else "file")
    names = source.names()
    for name in names:
        key = source.get(name)
        if key is None:
            continue
        may_replace(target, name, yes=yes, can_ask=True)
        world.record("key.migrate", {"safellm.key.ref": f"vault:{name}", "safellm.key.store": to})
        target.set(key)
        if target.get(name) == key:
            source.remove(name)
            say(f"Moved {name!r} to {target.label}.")
    say(
        f'{len(names)} key{"" if len(names) == 1 else "s"} moved. Say so in the policy: keys.store = "{to}"'
        if names
        else f"There are no keys in {source.label}."
    )


@app.command()
def remove(name: Name, *, store: Store = None) -> None:
    """Remove a key.

    Exit code 1: there was none.
    """
    world = look()
    vault = open_store(world, store)
    was_there = vault.remove(name)
    if not was_there:
        say(f"There is no key {name!r} in {vault.label}.")
        raise typer.Exit(PROBLEM)
    world.record("key.remove", {"safellm.key.ref": f"vault:{name}"})
    say(f"Removed {name!r} from {vault.label}.")


app.command("test")(try_)


def _issued(world: World) -> list[Issued]:
    from safellm.stores.grants import Grants

    return Grants(world.state).all()


def _joined(origins: tuple[Origin, ...]) -> str:
    return ", ".join(map(str, origins))


def _age(age_ns: int) -> str:
    seconds = max(0, age_ns // 1_000_000_000)
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
