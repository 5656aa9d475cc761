"""`safellm keys`: provider keys in the operating system's key store, each bound to the origins it may be sent to.

A key is never an argument: those stand in the shell's history and in the process list. It is typed unseen, piped in with
`--stdin`, or taken from a variable by `import`. No command prints one. Binding and removing are recorded (THREATS K.11).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm._core.origin import Origin, parse_origin
from safellm._core.secret import Secret
from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say, when
from safellm.cli.world import World, look
from safellm.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm.stores.vault.interface import StoredKey, Vault

app = typer.Typer(help="Store provider keys in this system's key store.", no_args_is_help=True)

OPENAI: Final = "openai"
# Variables that `import` knows; the second has no origin of its own.
VARIABLES: Final = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_ADMIN_KEY")
_AZURE: Final = "AZURE_OPENAI_API_KEY"
_DIALOG_S: Final = 60.0  # a key store may ask a person for a password
_TEST_S: Final = 15.0

_Name = Annotated[str, typer.Argument(help="Name of the key; the one called like the provider is the default.")]
_Provider = Annotated[str, typer.Option("--provider", help="Whose key it is.")]
_Origins = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", help="Where it may be sent; may be repeated. Default: the provider's own."),
]
_Yes = Annotated[bool, typer.Option("--yes", help="Replace a key of this name without asking.")]


@app.command("set")
def set_(
    name: _Name,
    *,
    provider: _Provider = OPENAI,
    origin: _Origins = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from standard input.")] = False,
    yes: _Yes = False,
) -> None:
    """Store a key. It is typed unseen, or read from a pipe with --stdin."""
    world = look()
    origins = _origins(origin, provider)
    vault = _open(world)
    _may_replace(vault, name, yes=yes, can_ask=not stdin)
    _store(world, vault, name, provider, origins, _read_key(stdin=stdin))


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Name to store it under.")] = OPENAI,
    *,
    variable: Annotated[str | None, typer.Option(help="The variable; default: the first one that is set.")] = None,
    provider: _Provider = OPENAI,
    origin: _Origins = None,
    yes: _Yes = False,
) -> None:
    """Store the key that is in a variable such as OPENAI_API_KEY.

    Then says how to get rid of the variable.
    """
    world = look()
    chosen = variable or next((one for one in VARIABLES if world.environ.get(one, "").strip()), None)
    secret = Secret(world.environ.get(chosen or "", "").strip())
    if chosen is None or secret == Secret(""):
        what = f"The variable {chosen} is not set" if chosen else f"None of {', '.join(VARIABLES)} is set"
        raise ConfigurationError(what, remedy="Set it for this one command, or use: safellm keys set NAME.")
    if chosen == _AZURE and not origin:
        raise ConfigurationError(
            "An Azure key belongs to one resource, and its address is not taken from a variable",
            remedy="Add --origin https://NAME.openai.azure.com.",
        )
    vault = _open(world)
    _may_replace(vault, name, yes=yes, can_ask=True)
    say(f"{chosen} holds a key that ends in {secret.hint()}")
    _store(world, vault, name, provider, _origins(origin, provider), secret)
    say(f"Now remove {chosen} from your shell's start file or .env, and in this shell: {_unset(chosen)}")


@app.command("list")
def list_(*, json: AsJson = False) -> None:
    """List stored keys and where each may be sent. Never shows a key."""
    world = look()
    vault = _open(world)
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
def remove(name: _Name) -> None:
    """Remove a key.

    Exit code 1: there was none.
    """
    world = look()
    vault = _open(world)
    was_there = vault.remove(name)
    if not was_there:
        say(f"There is no key {name!r} in {vault.label}.")
        raise typer.Exit(PROBLEM)
    world.record("key.remove", {"safellm.key.ref": f"vault:{name}"})
    say(f"Removed {name!r} from {vault.label}.")


@app.command("test")
def try_(name: _Name = OPENAI, *, json: AsJson = False) -> None:
    """Ask the bound origin for its models with this key; costs nothing.

    The call passes the guard and is recorded. Exit code 1: it failed.
    """
    world = look()
    key = _open(world).get(name)
    if key is None:
        raise ConfigurationError(f"There is no key {name!r}", remedy=f"Store it first: safellm keys set {name}.")
    if key.provider != OPENAI:
        raise ConfigurationError(
            f"Keys of {key.provider!r} can't be tested yet", remedy="Only OpenAI-compatible servers can be asked."
        )
    results = [(str(origin), *_ask(name, origin)) for origin in key.origins]
    if json:
        print_json({"key": name, "results": [{"origin": one, "ok": ok, "what": what} for one, ok, what in results]})
    else:
        console = make_console()
        for one, ok, what in results:
            console.print(cell(f"{'works ' if ok else 'fails '} {one}: {what}", "" if ok else "red"), soft_wrap=True)
    if not all(ok for _, ok, _ in results):
        raise typer.Exit(PROBLEM)


def _ask(name: str, origin: Origin) -> tuple[bool, str]:
    """Return whether one origin took the key, and what it said in few words; never its own text."""
    import openai
    from safellm.openai import OpenAI as Guarded

    settings = {"keys": {"name": name, "environment": False}}
    try:
        with Guarded(base_url=f"{origin}/v1", max_retries=0, timeout=_TEST_S, safellm=settings) as client:
            models = client.models.list()
    except Refused as error:
        return False, f"{error.what} [{error.reason}]"
    except openai.AuthenticationError:
        return False, "the server does not know this key (401)"
    except openai.APIStatusError as error:
        return False, f"the server answered {error.status_code}"
    except openai.APITimeoutError:
        return False, f"no answer within {_TEST_S:g} s"
    except openai.APIConnectionError:
        return False, "the server could not be reached"
    return True, f"{len(models.data)} models"


def _open(world: World) -> Vault:
    from safellm.stores.vault.open import open_vault

    return open_vault(world.policy, environ=world.environ, timeout_s=_DIALOG_S if sys.stdin.isatty() else 2.0)


def _origins(texts: list[str] | None, provider: str) -> tuple[Origin, ...]:
    if texts:
        return tuple(dict.fromkeys(parse_origin(text) for text in texts))
    if provider != OPENAI:
        raise ConfigurationError(
            f"The addresses of {provider!r} are not known",
            remedy="Say where the key may be sent: --origin https://host.",
        )
    from safellm_openai.adapter import ADAPTER

    return ADAPTER.origins


def _may_replace(vault: Vault, name: str, *, yes: bool, can_ask: bool) -> None:
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


def _read_key(*, stdin: bool) -> Secret:
    if stdin:
        return Secret(sys.stdin.readline().strip())
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal to type the key on", remedy="Pipe it in and add --stdin.")
    return Secret(str(typer.prompt("Key (not shown)", hide_input=True, err=True)).strip())


def _store(  # noqa: PLR0913 - the parts of a key
    world: World, vault: Vault, name: str, provider: str, origins: tuple[Origin, ...], secret: Secret
) -> None:
    from safellm.stores.vault.interface import StoredKey
    from safellm.stores.vault.entry import check_name, check_secret

    check_name(name)
    check_secret(secret)
    bound: list[JSON] = [str(one) for one in origins]
    # Recorded first: a binding without a record must not be possible.
    world.record(
        "key.bind", {"safellm.key.ref": f"vault:{name}", "safellm.key.origins": bound, "safellm.key.provider": provider}
    )
    vault.set(StoredKey(name=name, provider=provider, origins=origins, created_ns=time.time_ns(), secret=secret))
    say(f"Stored {name!r} in {vault.label}, bound to {', '.join(map(str, origins))}.")


def _unset(variable: str) -> str:
    return f"Remove-Item Env:{variable}" if sys.platform == "win32" else f"unset {variable}"


def _age(age_ns: int) -> str:
    seconds = max(0, age_ns // 1_000_000_000)
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
