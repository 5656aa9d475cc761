"""`safellm budget` and `safellm usage`: what may be spent, and what was."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli.show import AsJson, amount, bar, cell, dollars, make_console, make_table, print_json, say, when
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from safellm._core.effects import Limit
    from safellm.stores.ledger.interface import Balance, Usage

app = typer.Typer(help="Show limits and what is left of them.", invoke_without_command=True)


@app.callback()
def budget(context: typer.Context, *, json: AsJson = False) -> None:
    """Show limits and what is left of them."""
    if context.invoked_subcommand is not None:
        return
    world = look()
    limits = world.policy.budget_limits()
    balances: list[Balance] = []
    if limits:
        ledger = world.open_ledger()
        try:
            balances = ledger.balances(limits, now_ns=time.time_ns())
        finally:
            ledger.close()
    if json:
        print_json({"ledger": str(world.ledger), "limits": [_as_json(one) for one in balances]})
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
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("Nobody can be asked here", remedy="Add --yes if all limits shall begin anew.")
        typer.confirm("All limits begin anew, as if nothing had been spent. Go on?", abort=True, err=True)
    world.record("budget.rearm", {})
    aside = set_aside(world.ledger, now_ns=time.time_ns())
    say("There was no ledger." if aside is None else f"The old ledger now lies at {aside}.")


def usage(
    *,
    since: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="From this UTC day on.")] = None,
    json: AsJson = False,
) -> None:
    """Show what was used: by day, provider, model and operation."""
    if since is not None and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", since):
        raise ConfigurationError("--since is not a day", remedy="Write it as YYYY-MM-DD, for example 2026-01-31.")
    world = look()
    rows: list[Usage] = []
    if world.ledger.exists():
        ledger = world.open_ledger()
        try:
            rows = ledger.usage(since_day=since)
        finally:
            ledger.close()
    if json:
        print_json(
            {
                "ledger": str(world.ledger),
                "usage": [{name: getattr(one, name) for name in one.__slots__} for one in rows],
                "micro_usd": sum(one.micro_usd for one in rows),
                "input_tokens": sum(one.input_tokens for one in rows),
                "output_tokens": sum(one.output_tokens for one in rows),
                "requests": sum(one.requests for one in rows),
            }
        )
    elif rows:
        make_console().print(_usage_table(rows))
    else:
        say("Nothing was used yet." if since is None else f"Nothing was used since {since}.")


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
    return f"{limit.name} {amount(limit.limit, limit.unit.value)}/{limit.window.value}"


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


def _usage_table(rows: Sequence[Usage]) -> Table:
    table = make_table(
        "day", "provider", "model", "operation", "calls", "in", "out", "cost", numbers=("calls", "in", "out", "cost")
    )
    for one in rows:
        unpriced = f" + {one.unpriced_requests} unpriced" if one.unpriced_requests else ""
        table.add_row(
            cell(one.day),
            cell(one.provider),
            cell(one.model),
            cell(one.operation),
            cell(f"{one.requests:,}"),
            cell(f"{one.input_tokens:,}"),
            cell(f"{one.output_tokens:,}"),
            cell(f"{dollars(one.micro_usd)}{unpriced}"),
        )
    table.add_section()
    table.add_row(
        cell("all", "bold"),
        "",
        "",
        "",
        cell(f"{sum(one.requests for one in rows):,}", "bold"),
        cell(f"{sum(one.input_tokens for one in rows):,}", "bold"),
        cell(f"{sum(one.output_tokens for one in rows):,}", "bold"),
        cell(dollars(sum(one.micro_usd for one in rows)), "bold"),
    )
    return table
