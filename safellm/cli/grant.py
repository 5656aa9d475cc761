"""`safellm grant`: scoped credentials that are used in place of an API key."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm.cli.show import PROBLEM, AsJson, amount, cell, make_console, make_table, print_json, say, tell, when
from safellm.cli.world import World, look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from safellm._core.effects import JSON
    from safellm._core.grant import Grant
    from safellm.stores.grants import Grants

app = typer.Typer(
    help="Make credentials that may do little and end soon; programs use them in place of an API key.",
    no_args_is_help=True,
)

_SECOND_NS: Final = 1_000_000_000
_NARROW: Final = 100  # columns of a terminal; below, there are fewer columns

_Keys = Annotated[str | None, typer.Option("--key", help="Name of the stored key that it stands for.")]
_Operations = Annotated[
    list[str] | None,
    typer.Option("--operation", help="What may be called: chat, embeddings, …; may be repeated; '*' for all."),
]
_Models = Annotated[list[str] | None, typer.Option("--model", help="Which models, '*' for any text; may be repeated.")]
_Expires = Annotated[str | None, typer.Option("--expires", metavar="TIME", help="How long it lasts: 30min, 8h, 7d.")]
_Origins = Annotated[list[str] | None, typer.Option("--origin", metavar="URL", help="Only to these addresses.")]
_MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Output tokens of one call.")]
_Calls = Annotated[int | None, typer.Option("--calls", min=1, help="How many calls in all.")]
_BudgetOption = Annotated[str | None, typer.Option("--budget", metavar="AMOUNT", help="In all: 5usd or 100000tokens.")]
_Tools = Annotated[list[str] | None, typer.Option("--tool", help="Only these tools may be declared; may be repeated.")]
_NoTools = Annotated[bool, typer.Option("--no-tools", help="No tools.")]
_Stream = Annotated[bool | None, typer.Option("--stream/--no-stream", help="Only streamed calls, or none of them.")]
_Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="TYPE", help="No such data, even masked: EMAIL, SECRET, '*' for any."),
]
_Uid = Annotated[int | None, typer.Option("--uid", help="Only for this user of this machine (the broker checks it).")]


@app.command("new")
def new(  # noqa: PLR0913 - the caveats of a grant
    *,
    key: _Keys = "openai",
    operation: _Operations = None,
    model: _Models = None,
    expires: _Expires = "8h",
    origin: _Origins = None,
    max_tokens: _MaxTokens = None,
    calls: _Calls = None,
    budget: _BudgetOption = None,
    tool: _Tools = None,
    no_tools: _NoTools = False,
    stream: _Stream = None,
    without: _Without = None,
    uid: _Uid = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Print a new grant. It is shown once and kept nowhere.

    It says which key, operations and models it is for, and when it ends.
    """
    world = look()
    if not operation or not model:
        raise ConfigurationError(
            "A grant says what it is for",
            remedy="Give --operation and --model, such as --operation chat --model 'gpt-5*'.",
        )
    caveats: dict[str, JSON] = {
        "key": key,
        "operation": [*operation],
        "model": [*model],
        "expires": _end(expires or "8h"),
    }
    caveats |= _caveats(
        origin, max_tokens, calls, budget, tool, no_tools=no_tools, stream=stream, without=without, uid=uid
    )
    _hint(world, key or "openai")
    made = _store().issue(caveats, note=note, now_s=int(time.time()))
    world.record(
        "grant.issue", {"safellm.grant.id": made.id, "safellm.grant.caveats": [name for name, _ in made.caveats]}
    )
    tell(f"Grant {made.id}; it ends at {when((made.expires_s or 0) * _SECOND_NS)} UTC. Use it in place of the API key:")
    typer.echo(made.text())


@app.command()
def narrow(  # noqa: PLR0913 - the caveats of a grant
    text: Annotated[str, typer.Argument(metavar="GRANT", help="The grant; '-' reads it from standard input.")] = "-",
    *,
    operation: _Operations = None,
    model: _Models = None,
    expires: _Expires = None,
    origin: _Origins = None,
    max_tokens: _MaxTokens = None,
    calls: _Calls = None,
    budget: _BudgetOption = None,
    tool: _Tools = None,
    no_tools: _NoTools = False,
    stream: _Stream = None,
    without: _Without = None,
    uid: _Uid = None,
) -> None:
    """Print a narrower grant made from one. Needs nothing but the grant; nobody is asked."""
    caveats = _caveats(
        origin, max_tokens, calls, budget, tool, no_tools=no_tools, stream=stream, without=without, uid=uid
    )
    caveats |= {name: [*value] for name, value in (("operation", operation), ("model", model)) if value}
    if expires:
        caveats["expires"] = _end(expires)
    if not caveats:
        raise ConfigurationError(
            "There is nothing to narrow", remedy="Give at least one option, such as --max-tokens 500."
        )
    typer.echo(_read(text).narrow(**caveats).text())


@app.command()
def show(
    text: Annotated[str, typer.Argument(metavar="GRANT", help="The grant; '-' reads it from standard input.")] = "-",
    *,
    json: AsJson = False,
) -> None:
    """Show what a grant allows, and whether it holds here. Exit code 1: it doesn't."""
    from safellm._core.grant import InvalidGrant

    found = _read(text)
    problem = ""
    try:
        _store().verify(found.text())
    except InvalidGrant as error:
        problem = str(error)
    if not problem and (found.expires_s or 0) <= time.time():
        problem = "The grant has ended"
    if json:
        caveats = [{name: value} for name, value in found.caveats]
        print_json({"id": found.id, "holds": not problem, "problem": problem, "caveats": caveats})
    else:
        table = make_table("caveat", "value")
        for name, value in found.caveats:
            shown = when(value * _SECOND_NS) + " UTC" if name == "expires" and isinstance(value, int) else _plain(value)
            table.add_row(cell(name), cell(shown))
        make_console().print(table)
        say(f"Grant {found.id}: {problem or 'it holds here'}.", "red" if problem else "green")
    if problem:
        raise typer.Exit(PROBLEM)


@app.command("list")
def list_(*, json: AsJson = False) -> None:
    """List the grants that were made here. The grants themselves are kept nowhere."""
    issued = _store().all()
    now = int(time.time())
    rows = []
    for one in issued:
        end = min(
            (int(value) for name, value in one.caveats if name == "expires" and isinstance(value, int)), default=0
        )
        state = "revoked" if one.revoked_s is not None else "ended" if end <= now else "holds"
        rows.append({"id": one.id, "state": state, "issued": one.issued_s, "ends": end, "note": one.note,
                     "caveats": [{name: value} for name, value in one.caveats]})  # fmt: skip
    if json:
        print_json(rows)
        return
    if not rows:
        say("No grants were made here. Make one: safellm grant new --operation chat --model 'gpt-5*'")
        return
    console = make_console()
    narrow = console.width < _NARROW
    table = make_table(*(("id", "holds to", "for") if narrow else ("id", "state", "ends (UTC)", "for", "note")))
    for column in table.columns:
        column.no_wrap = column.header not in ("for", "note")  # an id is copied whole
    for row, one in zip(rows, issued, strict=True):
        allowed = ", ".join(f"{name} {_plain(value)}" for name, value in one.caveats if name != "expires")
        state = str(row["state"])
        style = "green" if state == "holds" else "dim"
        ends = when(int(str(row["ends"])) * _SECOND_NS)
        if narrow:
            told = f"{one.note}: {allowed}" if one.note else allowed
            table.add_row(cell(one.id), cell(ends[5:16] if state == "holds" else state, style), cell(told))
        else:
            table.add_row(cell(one.id), cell(state, style), cell(ends), cell(allowed), cell(one.note))
    console.print(table)


@app.command()
def revoke(
    number: Annotated[str, typer.Argument(metavar="ID", help="Number of the grant, or the grant itself.")],
) -> None:
    """Refuse a grant, and all that were narrowed from it, from the next call on. Exit code 1: there is none."""
    from safellm._core.grant import is_grant

    world = look()
    number = _read(number).id if is_grant(number) else number
    if not _store().revoke(number, now_s=int(time.time())):
        say("There is no such grant, or it was revoked before.")
        raise typer.Exit(PROBLEM)
    world.record("grant.revoke", {"safellm.grant.id": number})
    say(f"Revoked {number}.")


def _caveats(  # noqa: PLR0913 - see `new`
    origin: list[str] | None,
    max_tokens: int | None,
    calls: int | None,
    budget: str | None,
    tool: list[str] | None,
    *,
    no_tools: bool,
    stream: bool | None,
    without: list[str] | None,
    uid: int | None,
) -> dict[str, JSON]:
    from safellm._core.caveats import parse_amount
    from safellm._core.origin import parse_origin

    if tool and no_tools:
        raise ConfigurationError("--tool and --no-tools exclude each other", remedy="Choose one.")
    found: dict[str, JSON] = {}
    given: tuple[tuple[str, object, Callable[[], JSON]], ...] = (
        ("origin", origin, lambda: [str(parse_origin(one)) for one in origin or ()]),
        ("max_output_tokens", max_tokens, lambda: max_tokens),
        ("calls", calls, lambda: calls),
        ("budget", budget, lambda: parse_amount(budget or "")),
        ("tool", tool or no_tools or None, lambda: [*(tool or ())]),
        ("stream", stream, lambda: stream),
        ("without", without, lambda: [*(without or ())]),
        ("uid", uid, lambda: uid),
    )
    for name, value, make in given:
        if value is not None:
            found[name] = make()
    return found


def _hint(world: World, key: str) -> None:
    """Say so when nothing was ever stored under this name: a secret file would do, and is looked for when the grant is used."""
    from safellm.stores.vault.remembered import known_names
    from safellm.stores.vault.sealed_file import FILE_NAME

    names = known_names(world.state)
    if names is not None and key not in names and not (world.state / FILE_NAME).exists():
        tell(f"safellm: no key {key!r} was stored here yet. Unless a secret file has it: safellm keys set {key}")


def _end(text: str) -> int:
    from safellm._core.caveats import parse_duration

    return int(time.time()) + parse_duration(text)


def _read(given: str) -> Grant:
    from safellm._core import grant

    text = sys.stdin.readline().strip() if given == "-" else given
    try:
        return grant.read(text)
    except grant.InvalidGrant as error:
        raise ConfigurationError(str(error), remedy="Give the grant as it was printed.") from None


def _store() -> Grants:
    from safellm.stores.grants import Grants

    return Grants(look().state)


def _plain(value: JSON) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(amount(int(str(number)), unit) for unit, number in value.items())
    return str(value)
