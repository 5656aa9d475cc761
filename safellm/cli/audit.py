"""`safellm audit`: look at the trail, and check that it is whole."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from safellm._core.effects import JSON
    from safellm._core.verify import KnownHead, Verification

app = typer.Typer(help="Look at the audit trail and check that it is whole.", no_args_is_help=True)

_SHOWN_PROBLEMS = 20
_MOST_RECORDS = 100_000  # they are held in memory


@app.command()
def tail(
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    count: Annotated[int, typer.Option("-n", min=1, max=_MOST_RECORDS, help="How many records.")] = 20,
    json: AsJson = False,
) -> None:
    """Show the last records."""
    from safellm.stores.journal.files import tail as read

    folder = directory or look().trail
    try:
        records = read(folder, count)
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be read: {error.strerror}", remedy="Run this as its owner.", where=str(folder)
        ) from None
    if json:
        print_json(records)
        return
    if not records:
        say(f"There are no records in {folder} yet.")
        return
    make_console().print(records_table(records))


@app.command()
def verify(
    directory: Annotated[Path | None, typer.Argument(help="Folder of the trail; default: yours.")] = None,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="Last record of an earlier check, that you kept elsewhere."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check that no record was edited, inserted, deleted or reordered.

    Exit code 1: the trail is broken.
    """
    from safellm.stores.journal.files import verify_directory

    folder = directory or look().trail
    found = verify_directory(folder, known=_known(head))
    if json:
        print_json(as_json(folder, found))
    else:
        _print(folder, found)
    if not found.ok:
        raise typer.Exit(PROBLEM)


def records_table(records: list[dict[str, JSON]]) -> Table:
    """Return records as one line each."""
    table = make_table("seq", "time (UTC)", "event", "decision", "model", "what", numbers=("seq",))
    for record in records:
        decision = record.get("decision", "")
        style = "red" if decision == "deny" else "cyan" if decision == "modify" else ""
        table.add_row(
            cell(record.get("seq", "?")),
            cell(str(record.get("time", ""))[:19].replace("T", " ")),
            cell(record.get("event.name", "")),
            cell(decision, style),
            cell(record.get("gen_ai.response.model") or record.get("gen_ai.request.model") or ""),
            cell(what_of(record)),
        )
    return table


def what_of(record: Mapping[str, JSON]) -> str:
    """Return in few words what a record says besides its decision."""
    parts: list[str] = []
    if record.get("reason"):
        parts.append(str(record["reason"]))
    if record.get("event.name") == "unreadable":
        parts.append("not a record")
    parts += [f"hid {kind} x{count}" for kind, count in _counts(record, "safellm.redaction.counts")]
    if record.get("safellm.input.hidden_removed"):
        parts.append(f"removed {record['safellm.input.hidden_removed']} hidden characters")
    parts += [f"{name.replace('_', ' ')} {count}" for name, count in _counts(record, "safellm.output.actions")]
    charged = dict(_counts(record, "safellm.budget.charged"))
    if charged:
        parts.append(f"charged {charged.get('input_tokens', 0)}+{charged.get('output_tokens', 0)} tokens")
    if record.get("error.type"):
        parts.append(f"ended by {record['error.type']}")
    for name in ("safellm.key.ref", "safellm.key.origins"):
        value = record.get(name)
        if value:
            parts.append(", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return "; ".join(parts)


def as_json(folder: Path, found: Verification) -> dict[str, object]:
    """Return a verification as a JSON value."""
    return {
        "directory": str(folder),
        "ok": found.ok,
        "explanation": found.explain(),
        "chain": found.chain_uid,
        "records": found.records,
        "first_seq": found.first_seq,
        "last_seq": found.last_seq,
        "head": f"{found.last_seq}:{found.head}" if found.last_seq is not None else None,
        "open_intents": [{"seq": one.seq, "event_id": one.event_id} for one in found.open_intents],
        "recovered": [
            {"file": one.file, "line": one.line, "bytes": one.bytes, "named_by_seq": one.named_by_seq}
            for one in found.recovered
        ],
        "problem_count": found.problem_count,
        "problems": [{"file": one.file, "line": one.line, "seq": one.seq, "what": one.what} for one in found.problems],
    }


def _counts(record: Mapping[str, JSON], name: str) -> list[tuple[str, JSON]]:
    value = record.get(name)
    return sorted(value.items()) if isinstance(value, dict) else []


def _known(text: str | None) -> KnownHead | None:
    if text is None:
        return None
    from safellm._core.verify import KnownHead

    match = re.fullmatch(r"([1-9][0-9]{0,15}):([0-9a-f]{64})", text.strip())
    if match is None:
        raise ConfigurationError(
            "The kept head is not of the form SEQ:HASH", remedy="Give the line `head` of an earlier check as it was."
        )
    return KnownHead(seq=int(match[1]), hash=match[2])


def _print(folder: Path, found: Verification) -> None:
    console = make_console()
    if found.ok:
        console.print(cell(f"verified: {found.records} records, chain intact", "bold green"))
    else:
        where = found.problems[0] if found.problems else None
        place = f", first at {where.file}:{where.line}" if where else ""
        console.print(cell(f"BROKEN: {found.problem_count} problem(s){place}", "bold red"))
        table = make_table("file:line", "record", "what", numbers=("record",))
        for one in found.problems[:_SHOWN_PROBLEMS]:
            table.add_row(cell(f"{one.file}:{one.line}"), cell("" if one.seq is None else one.seq), cell(one.what))
        console.print(table)
        if found.problem_count > _SHOWN_PROBLEMS:
            console.print(cell(f"and {found.problem_count - _SHOWN_PROBLEMS} more (--json lists up to 1000)"))
    console.print(cell(found.explain()))
    for left in found.recovered:
        where_left = f"{left.file}:{left.line}"
        console.print(cell(f"After a crash: {left.bytes} bytes at {where_left}, named by record {left.named_by_seq}."))
    if found.open_intents:
        console.print(cell(f"{len(found.open_intents)} call(s) without an outcome: under way, or their program died."))
    console.print(cell(f"trail  {folder}"), soft_wrap=True)
    if found.last_seq is not None:
        console.print(cell(f"head   {found.last_seq}:{found.head}"), soft_wrap=True)
