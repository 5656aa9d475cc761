"""`safellm audit query | export | report`: use of the trail."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safellm.cli.audit_show import records_table
from safellm.cli.show import AsJson, cell, make_console, make_table, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safellm.audit.query import Query

_PARQUET = "parquet"
_Folder = Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")]
_Since = Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-01, 2026-11-01T08:30, 2h, 7d.")]
_Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before that.")]
_Event = Annotated[str | None, typer.Option(help="Kind of event, such as policy.deny; '*' stands for any text.")]
_Model = Annotated[str | None, typer.Option(help="Model that was asked for or answered; 'gpt-5*'.")]
_User = Annotated[str | None, typer.Option(help="User, grant or key that made the call.")]
_Grant = Annotated[str | None, typer.Option(help="Id of the grant.")]
_Decision = Annotated[str | None, typer.Option(help="allow, modify or deny.")]
_Finding = Annotated[str | None, typer.Option(help="Type of a value that was found, such as EMAIL.")]
_Reason = Annotated[str | None, typer.Option(help="Reason of a refusal, such as 'budget.*'.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(query)
    app.command()(export)
    app.command()(report)


def query(  # noqa: PLR0913 - one for each condition
    directory: _Folder = None,
    *,
    since: _Since = None,
    until: _Until = None,
    event: _Event = None,
    model: _Model = None,
    user: _User = None,
    grant: _Grant = None,
    decision: _Decision = None,
    finding: _Finding = None,
    reason: _Reason = None,
    sql: Annotated[
        str | None, typer.Option(metavar="SELECT", help="Run SQL over the records that fit: table `events`.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many records or rows at most.")] = 1000,
    json: AsJson = False,
) -> None:
    """Show the records that fit, oldest first."""
    from safellm.audit.query import run_sql

    wanted = _query(since, until, event, model, user, grant, decision, finding, reason)
    found = _found(directory, wanted)
    if sql is not None:
        names, rows = run_sql(sql, found, most=limit)
        if json:
            print_json([dict(zip(names, row, strict=True)) for row in rows])
            return
        table = make_table(*map(str, names))
        for row in rows:
            table.add_row(*(cell("" if value is None else value) for value in row))
        make_console().print(table)
        return
    records = list(islice(found, limit))
    if json:
        print_json(records)
    elif records:
        make_console().print(records_table(records))
    else:
        say("No record fits.")


def export(  # noqa: PLR0913 - one for each condition
    directory: _Folder = None,
    *,
    form: Annotated[str, typer.Option("--format", help="json, csv, otlp, ocsf or parquet.")] = "json",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file, not to standard output.")
    ] = None,
    since: _Since = None,
    until: _Until = None,
    event: _Event = None,
    model: _Model = None,
    user: _User = None,
    grant: _Grant = None,
    decision: _Decision = None,
    finding: _Finding = None,
    reason: _Reason = None,
) -> None:
    """Hand records to another system, one line each."""
    from safellm.audit.exports import FORMATS

    write = FORMATS.get(form)
    if write is None and form != _PARQUET:
        known = ", ".join((*FORMATS, _PARQUET))
        raise ConfigurationError("There is no such format", remedy=f"Take one of {known}.", where=form)
    found = _found(directory, _query(since, until, event, model, user, grant, decision, finding, reason))
    if write is None:
        _export_table(found, out)
        return
    if out is None:
        for line in write(found):
            typer.echo(line)
        return
    from safellm.stores import durable

    try:
        with os.fdopen(durable.open_private(out.absolute(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as stream:
            for line in write(found):
                stream.write(line.encode() + b"\n")
    except OSError as error:
        raise ConfigurationError(
            f"The export can't be written: {error.strerror}", remedy="Give another file.", where=str(out)
        ) from None


def report(
    directory: _Folder = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("audit-report.html"),
) -> None:
    """Write one HTML page: calls, tokens, money, refusals, findings, latency, and whether the trail is whole."""
    from safellm.audit.page import render
    from safellm.audit.walk import sum_up

    world = look()
    folder = directory or world.trail
    workers = 1 if sys.platform == "win32" else min(8, os.cpu_count() or 1)
    found, integrity = sum_up(folder, world.state, workers=workers)
    try:
        path = render(found, integrity, title=str(folder), now_s=int(time.time())).save(out)
    except OSError as error:
        raise ConfigurationError(
            f"The report can't be written: {error.strerror}", remedy="Give another file: --out FILE.", where=str(out)
        ) from None
    say(f"Wrote {path}: {found.records:,} records.")


def _export_table(found: Iterator[dict[str, Any]], out: Path | None) -> None:
    from safellm.audit.parquet import write_parquet
    from safellm.audit.query import KINDS, row

    if out is None:
        raise ConfigurationError("Parquet is no text", remedy="Give a file: --out FILE.")
    say(f"Wrote {write_parquet(out.absolute(), KINDS, map(row, found))}.")


def _found(directory: Path | None, wanted: Query) -> Iterator[dict[str, Any]]:
    from safellm.audit.query import select
    from safellm.audit.reading import records

    return select(records(directory or look().trail), wanted)


def _query(since: str | None, until: str | None, *texts: str | None) -> Query:
    from safellm.audit.query import Query, parse_time

    now = time.time_ns()
    event, model, user, grant, decision, finding, reason = texts
    return Query(
        since_ns=None if since is None else parse_time(since, now_ns=now),
        until_ns=None if until is None else parse_time(until, now_ns=now),
        event=event,
        model=model,
        user=user,
        grant=grant,
        decision=decision,
        finding=finding,
        reason=reason,
    )
