"""`safellm audit alerts`: which alerts were raised, which are set, and what the set ones would have said."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safellm.cli.show import AsJson, cell, make_console, make_table, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safellm._core.alerts import Rule


def alerts(
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-01, 2h, 7d.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Show the alerts of the policy instead.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Show what the policy's alerts would have raised over the trail.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the alerts that were raised, oldest first."""
    from safellm.audit.query import Query, parse_time

    world = look()
    set_here = world.policy.alert_rules()
    if rules:
        _print_rules(set_here, json=json)
        return
    if replay and not set_here:
        raise ConfigurationError("The policy has no alerts", remedy="Write [[alerts]] into it: see docs/audit.md.")
    now = time.time_ns()
    wanted = Query(since_ns=None if since is None else parse_time(since, now_ns=now))
    folder = directory or world.trail
    found = [one for one in (_replayed(folder, set_here) if replay else _raised(folder)) if wanted.matches(one)]
    if json:
        print_json(found)
    elif not found:
        say("No alert would have been raised." if replay else "No alert was raised.")
    else:
        _print(found)


def _raised(folder: Path) -> Iterator[dict[str, Any]]:
    from safellm._core.alerts import EVENT
    from safellm.audit.reading import records

    return (record for record in records(folder) if record["event.name"] == EVENT)


def _replayed(folder: Path, rules: tuple[Rule, ...]) -> Iterator[dict[str, Any]]:
    from safellm._core.alerts import Watch
    from safellm.audit.reading import records

    watch = Watch(rules)
    for record in records(folder):
        for fields in watch.add(record):
            yield {"time": record.get("time"), "time_ns": record.get("time_ns"), **fields}


def _print(found: list[dict[str, Any]]) -> None:
    from safellm._core.alerts import in_words

    table = make_table("time (UTC)", "alert", "what")
    for record in found:
        when = str(record.get("time", ""))[:19].replace("T", " ")
        table.add_row(cell(when), cell(record.get("safellm.alert.name", ""), "red"), cell(in_words(record)))
    make_console().print(table)


def _print_rules(rules: tuple[Rule, ...], *, json: bool) -> None:
    if json:
        print_json([{"name": one.name, "when": rule_in_words(one)} for one in rules])
        return
    if not rules:
        say("The policy has no alerts.")
        return
    table = make_table("alert", "is raised at")
    for one in rules:
        table.add_row(cell(one.name), cell(rule_in_words(one)))
    make_console().print(table)


def rule_in_words(rule: Rule) -> str:
    """Return when a rule is tripped, for people."""
    from safellm._core.alerts import shown

    if rule.new is not None:
        text = f"a new {rule.new}"
    else:
        count = str(rule.count)
        parts = [] if rule.at_least is None else [f"{shown(count, rule.at_least)} or more within {rule.window}"]
        if rule.times_mean is not None:
            days = f"{rule.mean_of_s // rule.within_s} times {rule.window}"
            parts.append(f"{'' if parts else f'{count} within {rule.window} '}above {rule.times_mean / 1000:g} times the "
                         f"mean of the {days} before")  # fmt: skip
        text = " and ".join(parts)
    if rule.per:
        text += f", per {', '.join(rule.per)}"
    return text + "".join(f", where {name} is {pattern}" for name, pattern in rule.where)
