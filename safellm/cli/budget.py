"""`safellm budget`: what may be spent."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer

from safellm.cli.budget_users import shares_text
from safellm.cli.show import AsJson, amount, bar, cell, dollars, make_console, make_table, print_json, say, when
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from safellm._core.effects import Limit
    from safellm._core.limits import Rule
    from safellm.cli.world import World
    from safellm.stores.ledger.interface import Balance

_WORDS = ("limit", "used by")
_WORD = 12  # characters in which names can still be read
_NARROW = 90  # columns of a terminal; below, bars give way to words

app = typer.Typer(help="Show limits and what is left of them.", invoke_without_command=True)


@app.callback()
def budget(context: typer.Context, *, json: AsJson = False) -> None:
    """Show limits and what is left of them."""
    if context.invoked_subcommand is not None:
        return
    world = look()
    standing = standings(world)
    balances = [one for _, one in standing]
    users = _users(world, standing)
    if json:
        limits = [
            {**_as_json(one), "used_by": [{"user": user, "percent": percent} for user, percent in who]}
            for one, who in zip(balances, users, strict=True)
        ]
        print_json({"ledger": world.ledger_name, "limits": limits})
    elif balances:
        make_console().print(balances_table(balances, users))
        where = world.loaded.sources.get("budget.limits", "the policy")
        say(f"Set in: {where}. Raise a limit there, or in the code or the grant that sets its own.")
    else:
        say("No limit is set; usage is counted all the same (safellm usage).")
        say("Set one with SAFELLM_BUDGET_USD=5/day or SAFELLM_BUDGET_TOKENS=100000/hour, or in the policy file.")


def standings(world: World) -> list[tuple[Rule, Balance]]:
    """Return where each account of each limit stands; limits of single calls have none.

    Raises:
        GuardFailure: the ledger can't answer.
    """
    from safellm.stores.ledger.standings import rules_and_accounts

    rules = world.policy.budget.rules
    if not rules:
        return []
    ledger = world.open_ledger()
    try:
        pairs = rules_and_accounts(rules, ledger)
        balances = ledger.balances([limit for _, limit in pairs], now_ns=time.time_ns()) if pairs else []
    finally:
        ledger.close()
    return [(rule, one) for (rule, _), one in zip(pairs, balances, strict=True)]


def room(one: Balance) -> int:
    """Return what is left of a limit, in its unit."""
    return max(0, one.limit.limit - one.used - one.held)


def _users(world: World, standing: Sequence[tuple[Rule, Balance]]) -> list[list[tuple[str, int]]]:
    """Return who used most of each account, as far as the trail says."""
    from safellm.audit.reading import records
    from safellm.cli.budget_users import began_ns, charged, shares
    from safellm.cli.known_users import names_by_pseudonym

    if not standing or not world.trail.is_dir():
        return [[] for _ in standing]
    since_ns = min(began_ns(one) for _, one in standing)
    ledger = world.open_ledger()
    try:
        found = charged(records(world.trail), names=names_by_pseudonym(world, ledger))
    finally:
        ledger.close()
    calls = [one for one in found if one.at_ns >= since_ns]
    return [shares(calls, rule, one) for rule, one in standing]


@app.command()
def rearm(*, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False) -> None:
    """Set a damaged ledger aside and begin a new, empty one.

    What was spent in running windows is forgotten then.
    """
    from safellm.stores.ledger.sqlite_file import rearm as set_aside

    world = look()
    shared = world.policy.budget.ledger is not None
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("Nobody can be asked here", remedy="Add --yes if all limits shall begin anew.")
        typer.confirm("All limits begin anew, as if nothing had been spent. Go on?", abort=True, err=True)
    world.record("budget.rearm", {})
    if shared:
        _rearm_shared(world)
        return
    aside = set_aside(world.ledger, now_ns=time.time_ns())
    say("There was no ledger." if aside is None else f"The old ledger now lies at {aside}.")


def _rearm_shared(world: World) -> None:
    from safellm.stores.ledger.choose import open_rearmable

    ledger = open_rearmable(world.policy, world.state)
    if ledger is None:
        return
    try:
        if ledger.rearm():
            say(f"A new, empty ledger was begun at {world.ledger_name}; other machines have to be re-armed too.")
        else:
            say(f"The ledger at {world.ledger_name} is now used as it is.")
    finally:
        ledger.close()


def balances_table(balances: Sequence[Balance], users: Sequence[Sequence[tuple[str, int]]] = ()) -> Table:
    """Return where limits stand, with a bar for each, and who used them where anybody did."""
    console = make_console()
    plain = not console.encoding.lower().startswith("utf")
    titles = ("limit", "used", "held", "left", "", "resets (UTC)", *(("used by",) if any(users) else ()))
    table = make_table(*titles, numbers=("used", "held", "left"))
    for column in table.columns:
        column.no_wrap = column.header not in _WORDS
    narrow = console.width < _NARROW
    for column in table.columns:
        column.min_width = (_WORD // 2 if narrow else _WORD) if column.header in _WORDS else None
    for one, who in zip(balances, users or [() for _ in balances], strict=True):
        limit, unit = one.limit, one.limit.unit.value
        left = room(one)
        table.add_row(
            cell(limit_text(limit)),
            cell(_short(one.used, unit)),
            cell(_short(one.held, unit)),
            cell(_short(left, unit), "bold red" if left == 0 else ""),
            "" if narrow else bar(one.used, one.held, limit.limit, width=12, ascii_only=plain),
            cell(_resets(one)[5:] if narrow and _resets(one)[:2] == "20" else _resets(one)),
            *((cell(shares_text(who)),) if any(users) else ()),
        )
    return table


def _resets(one: Balance) -> str:
    if one.limit.unit.value == "concurrency":
        return "as calls end"
    if one.limit.burst is not None:
        return "all the time"
    return "never" if one.resets_at_ns is None else when(one.resets_at_ns)[:16]


def limit_text(limit: Limit) -> str:
    """Return a limit in words: `default $5.00/day`."""
    name = account_text(limit.name)
    if limit.unit.value == "concurrency":
        return f"{name} {limit.limit:,} at a time"
    spread = "" if limit.burst is None else ", spread evenly"
    words = amount(limit.limit, limit.unit.value).replace("_", " ")
    return f"{name} {words}/{limit.window.value}{spread}"


def account_text(name: str) -> str:
    """Return the name of an account for people: `teams (team red, model gpt-4o*)` of `teams|model~gpt-4o%2A|team=red`."""
    base, *parts = name.split("|")
    pairs = (re.split("[~=]", part, maxsplit=1) for part in parts)
    said = ", ".join(f"{label} {unquote(value) or '-'}" for label, value in (pair for pair in pairs if len(pair) > 1))
    return f"{base} ({said})" if said else base


def _short(number: int, unit: str) -> str:
    return dollars(number) if unit == "micro_usd" else f"{number:,}"


def _as_json(one: Balance) -> dict[str, object]:
    return {
        "name": one.limit.name,
        "unit": one.limit.unit.value,
        "window": one.limit.window.value,
        "limit": one.limit.limit,
        "used": one.used,
        "held": one.held,
        "left": room(one),
        "resets_at": None if one.resets_at_ns is None else when(one.resets_at_ns).replace(" ", "T") + "Z",
    }
