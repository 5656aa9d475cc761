"""`safellm budget`: what may be spent."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli.show import AsJson, amount, bar, cell, dollars, make_console, make_table, print_json, say, when
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from safellm._core.effects import Limit
    from safellm._core.limits import Rule
    from safellm.cli.world import World
    from safellm.stores.ledger.interface import Balance, Ledger

app = typer.Typer(help="Show limits and what is left of them.", invoke_without_command=True)


@app.callback()
def budget(context: typer.Context, *, json: AsJson = False) -> None:
    """Show limits and what is left of them."""
    if context.invoked_subcommand is not None:
        return
    world = look()
    rules = [rule for rule in world.policy.budget.rules if rule.limit.window.value != "call"]
    balances: list[Balance] = []
    if rules:
        ledger = world.open_ledger()
        try:
            balances = ledger.balances(_accounts(rules, ledger), now_ns=time.time_ns())
        finally:
            ledger.close()
    if json:
        print_json({"ledger": world.ledger_name, "limits": [_as_json(one) for one in balances]})
    elif balances:
        make_console().print(balances_table(balances))
    else:
        say("No limit is set; usage is counted all the same (safellm usage).")
        say("Set one with SAFELLM_BUDGET_USD=5/day or SAFELLM_BUDGET_TOKENS=100000/hour, or in the policy file.")


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


def _accounts(rules: Sequence[Rule], ledger: Ledger) -> list[Limit]:
    """Return the limits of each account there is: one that counts per something has one for each value."""
    found: list[Limit] = []
    for rule in rules:
        if not rule.per:
            found.append(rule.limit)
            continue
        for name in ledger.accounts(rule.limit.name):
            labels = [part.partition("=")[0] for part in name.removeprefix(rule.limit.name).split("|")[1:]]
            if labels == list(rule.per):
                found.append(replace(rule.limit, name=name))
    return found


def _rearm_shared(world: World) -> None:
    from safellm.stores.ledger.address import open_shared

    address = world.policy.budget.ledger
    if address is None:
        return
    ledger = open_shared(
        address.get_secret_value(), state=world.state, allow_volatile=world.policy.budget.allow_volatile
    )  # fmt: skip
    try:
        if ledger.rearm():
            say(f"A new, empty ledger was begun at {world.ledger_name}; other machines have to be re-armed too.")
        else:
            say(f"The ledger at {world.ledger_name} is now used as it is.")
    finally:
        ledger.close()


def balances_table(balances: Sequence[Balance]) -> Table:
    """Return where limits stand, with a bar for each."""
    console = make_console()
    plain = not console.encoding.lower().startswith("utf")
    table = make_table("limit", "used", "held", "left", "", "resets (UTC)", numbers=("used", "held", "left"))
    for column in table.columns:
        column.no_wrap = column.header != "limit"
    for one in balances:
        limit, unit = one.limit, one.limit.unit.value
        left = max(0, limit.limit - one.used - one.held)
        table.add_row(
            cell(limit_text(limit)),
            cell(_short(one.used, unit)),
            cell(_short(one.held, unit)),
            cell(_short(left, unit), "bold red" if left == 0 else ""),
            bar(one.used, one.held, limit.limit, width=12, ascii_only=plain),
            cell("never" if one.resets_at_ns is None else when(one.resets_at_ns)[:16]),
        )
    return table


def limit_text(limit: Limit) -> str:
    """Return a limit in words: `default $5.00/day`."""
    if limit.unit.value == "concurrency":
        return f"{limit.name} {limit.limit:,} at a time"
    spread = "" if limit.burst is None else ", spread evenly"
    words = amount(limit.limit, limit.unit.value).replace("_", " ")
    return f"{limit.name} {words}/{limit.window.value}{spread}"


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
        "left": max(0, one.limit.limit - one.used - one.held),
        "resets_at": None if one.resets_at_ns is None else when(one.resets_at_ns).replace(" ", "T") + "Z",
    }
