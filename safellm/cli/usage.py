"""`safellm usage`: what was used, by day, model, user; as a table with bars, as CSV, JSON or one HTML page."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safellm.cli.show import AsJson, bar, cell, dollars, make_console, make_table, print_json, say
from safellm.cli.usage_sums import IN_LEDGER, IN_TRAIL, NUMBERS, TIMES, Row, Sums, from_ledger, from_trail, group
from safellm.cli.world import World, look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

_DEFAULT: Final = "day,provider,model,operation"
_NS: Final = 1_000_000_000
_LABEL: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_BAR: Final = 18
_WORD: Final = 10  # characters in which names can still be read
_NARROW: Final = 90  # columns of a terminal; below, bars give way to words
_MANY: Final = 3  # columns of names from which on the bars are short
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets run when a cell begins with it

_Since = Annotated[str | None, typer.Option(metavar="TIME", help="From that UTC day on: 2026-01-31, or 24h, 7d ago.")]
_By = Annotated[
    str, typer.Option(metavar="NAMES", help=f"Sum up by any of {', '.join((*IN_LEDGER, *IN_TRAIL))}, or by a label.")
]
_Page = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML page with plots to this file.")
]
_Parquet = Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file.")]
_AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")]


def usage(  # noqa: PLR0913 - one for each form
    *,
    by: _By = _DEFAULT,
    since: _Since = None,
    html: _Page = None,
    parquet: _Parquet = None,
    as_csv: _AsCsv = False,
    json: AsJson = False,
) -> None:
    """Show what was used: requests, tokens and money, by day, model, user."""
    names = _names(by)
    world = look()
    rows = _rows(world, names, since)
    found = group(rows, names)
    total = Sums()
    for _, sums in found:
        total.add(sums)
    if json:
        listed = [{**dict(zip(names, key, strict=True)), **sums.as_json()} for key, sums in found]
        print_json({"ledger": world.ledger_name, "by": list(names), "usage": listed, **total.as_json()})
    elif as_csv:
        typer.echo(_csv(names, found), nl=False)
    elif parquet is not None:
        from safellm.audit.parquet import write_parquet

        columns: dict[str, type[str | int]] = {**dict.fromkeys(names, str), **dict.fromkeys(NUMBERS, int)}
        path = write_parquet(
            parquet, columns, ({**dict(zip(names, key, strict=True)), **sums.as_json()} for key, sums in found)
        )
        say(f"Wrote {path}: {len(found):,} rows, {total.requests:,} calls.")
    elif html is not None:
        from safellm.cli.usage_page import write_page

        path = write_page(html, rows, names, now_s=int(time.time()))
        say(f"Wrote {path}: {total.requests:,} calls.")
    elif found:
        make_console().print(_table(names, found, total))
    else:
        say("Nothing was used yet." if since is None else f"Nothing was used since {since}.")


def _names(by: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    if not names or any(_LABEL.fullmatch(name) is None for name in names):
        known = ", ".join((*IN_LEDGER, *IN_TRAIL))
        raise ConfigurationError("--by needs names", remedy=f"Take any of {known}, or of your labels.", where=by)
    return names


def _check_labels(names: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse a name that no call has: it is misspelt."""
    known = {*IN_LEDGER, *IN_TRAIL, *(name for named, _ in rows for name in named)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            "--by names a label that no call had",
            remedy=f"Take any of {', '.join(sorted(known))}.",
            where=", ".join(unknown),
        )


def _with_known_users(world: World, rows: Sequence[Row]) -> list[Row]:
    """Put names in place of the pseudonyms of users whom this machine knows."""
    from safellm.cli.known_users import names_by_pseudonym

    there = world.policy.budget.ledger is not None or world.ledger.exists()
    ledger = world.open_ledger() if there and world.policy.budget.rules else None
    try:
        shown = names_by_pseudonym(world, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    return [({**named, "user": shown.get(named.get("user", ""), named.get("user", ""))}, sums) for named, sums in rows]


def _rows(world: World, names: Sequence[str], since: str | None) -> list[Row]:
    from safellm.audit.query import parse_time

    since_ns = 0 if since is None else parse_time(since, now_ns=time.time_ns())
    since_day = None if since is None else datetime.fromtimestamp(since_ns // _NS, UTC).date().isoformat()
    if any(name not in IN_LEDGER for name in names):
        from safellm.audit.reading import records

        if not world.trail.is_dir():
            return []
        start = 0 if since_day is None else int(datetime.fromisoformat(since_day).replace(tzinfo=UTC).timestamp()) * _NS
        rows = list(from_trail(records(world.trail), since_ns=start))
        if rows:
            _check_labels(names, rows)
        return _with_known_users(world, rows) if "user" in names else rows
    if world.policy.budget.ledger is None and not world.ledger.exists():
        return []
    ledger = world.open_ledger()
    try:
        return list(from_ledger(ledger.usage(since_day=since_day)))
    finally:
        ledger.close()


def _table(names: Sequence[str], found: Sequence[tuple[tuple[str, ...], Sums]], total: Sums) -> Table:
    """Return the sums, with a bar for each where there is room."""
    width = make_console().width
    if width < _NARROW:
        return _narrow_table(names, found, total)
    return _wide_table(names, found, total)


def _wide_table(names: Sequence[str], found: Sequence[tuple[tuple[str, ...], Sums]], total: Sums) -> Table:
    """Return a column for each name, and a bar: the share of the money, or of the tokens where no price is known."""
    plain = not make_console().encoding.lower().startswith("utf")
    numbers = ("calls", "in", "out", "cost")
    table = make_table(*names, *numbers, "", numbers=numbers)
    width = _BAR if len(names) < _MANY else _BAR // 3
    largest = max((_weight(sums, total) for _, sums in found), default=0)
    for key, sums in found:
        share = bar(_weight(sums, total), 0, max(largest, 1) * 2, width=width * 2, ascii_only=plain)
        share.truncate(width)
        share.stylize("cyan")
        tokens = cell(f"{sums.input_tokens:,}"), cell(f"{sums.output_tokens:,}")
        table.add_row(
            *(cell(value or "-") for value in key), cell(f"{sums.requests:,}"), *tokens, cell(_money(sums)), share
        )
    table.add_section()
    table.add_row(
        cell("all", "bold"),
        *("" for _ in names[1:]),
        cell(f"{total.requests:,}", "bold"),
        cell(f"{total.input_tokens:,}", "bold"),
        cell(f"{total.output_tokens:,}", "bold"),
        cell(dollars(total.micro_usd), "bold"),
        "",
    )
    for place, column in enumerate(table.columns):
        column.no_wrap = place >= len(names) or names[place] in TIMES
        column.min_width = None if column.no_wrap else _WORD
    return table


def _narrow_table(names: Sequence[str], found: Sequence[tuple[tuple[str, ...], Sums]], total: Sums) -> Table:
    """Return one column for all names but times, so that words stay whole on a narrow terminal."""
    times = [place for place, name in enumerate(names) if name in TIMES]
    others = [place for place in range(len(names)) if place not in times]
    title = ", ".join(names[place] for place in others)
    numbers = ("calls", "in+out", "cost")
    table = make_table(*(names[place] for place in times), *((title,) if others else ()), *numbers, numbers=numbers)
    for key, sums in found:
        words = (cell(" ".join(key[place] or "-" for place in others)),) if others else ()
        counted = cell(f"{sums.requests:,}"), cell(f"{sums.input_tokens:,}+{sums.output_tokens:,}"), cell(_money(sums))
        table.add_row(*(cell(key[place] or "-") for place in times), *words, *counted)
    table.add_section()
    blank = [""] * (len(table.columns) - len(numbers) - 1)
    sums_of_all = f"{total.requests:,}", f"{total.input_tokens:,}+{total.output_tokens:,}", dollars(total.micro_usd)
    table.add_row(cell("all", "bold"), *blank, *(cell(one, "bold") for one in sums_of_all))
    for column in table.columns:
        column.no_wrap = column.header != title
    return table


def _money(sums: Sums) -> str:
    if not sums.unpriced_requests:
        return dollars(sums.micro_usd)
    return "no price" if sums.unpriced_requests == sums.requests else f"{dollars(sums.micro_usd)} + ?"


def _weight(sums: Sums, total: Sums) -> int:
    return sums.micro_usd if total.micro_usd else sums.tokens


def _csv(names: Sequence[str], found: Sequence[tuple[tuple[str, ...], Sums]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*names, *NUMBERS))
    for key, sums in found:
        # A model's name comes from outside: a spreadsheet shall show it, not run it (THREATS O).
        writer.writerow(
            (*(f"'{value}" if value.startswith(_FORMULA) else value for value in key), *sums.as_json().values())
        )
    return out.getvalue()
