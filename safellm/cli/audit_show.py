"""How records of the trail are shown to people: one line each."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import typer

from safellm._core import alerts
from safellm.cli.show import cell, make_console, make_table
from safellm.stores.journal.events import escaped

# From which width of a terminal on there is room for which columns; what has no column of its own is told in the last one.
_COLUMNS: Final = (
    (100, ("seq", "time (UTC)", "event", "decision", "model", "what")),
    (75, ("time (UTC)", "event", "decision", "what")),
    (0, ("time (UTC)", "event", "what")),
)

if TYPE_CHECKING:
    from rich.table import Table

    from safellm._core.effects import JSON


def print_line(record: Mapping[str, JSON], *, json: bool) -> None:
    """Print one record, as a line of JSON in ASCII or for a person."""
    if json:
        typer.echo(json_text.dumps(record))
        return
    model = record.get("gen_ai.response.model") or record.get("gen_ai.request.model") or ""
    parts = (
        str(record.get("time", ""))[:19].replace("T", " "),
        record.get("event.name", ""),
        record.get("decision", ""),
        model,
    )
    typer.echo(escaped("  ".join(str(part) for part in (*parts, what_of(record)) if part)))


def records_table(records: list[dict[str, JSON]]) -> Table:
    """Return records as one line each; on a narrow terminal with fewer columns, so that words stay whole."""
    room = make_console().width
    titles = next(titles for width, titles in _COLUMNS if room >= width)
    table = make_table(*titles, numbers=("seq",))
    for column in table.columns:
        column.no_wrap = column.header not in ("model", "what")
    for record in records:
        decision = str(record.get("decision", ""))
        style = "red" if decision == "deny" else "cyan" if decision == "modify" else ""
        model = str(record.get("gen_ai.response.model") or record.get("gen_ai.request.model") or "")
        time = str(record.get("time", ""))[:19].replace("T", " ")
        known = {
            "seq": cell(record.get("seq", "?")),
            "time (UTC)": cell(time if "seq" in titles else time[5:]),
            "event": cell(record.get("event.name", "")),
            "decision": cell(decision, style),
            "model": cell(model),
        }
        rest = [text for name, text in (("decision", decision), ("model", model)) if name not in titles]
        known["what"] = cell("; ".join(part for part in (*rest, what_of(record)) if part))
        table.add_row(*(known[title] for title in titles))
    return table


def what_of(record: Mapping[str, JSON]) -> str:
    """Return in few words what a record says besides its decision."""
    parts = _endpoint(record)
    if record.get("reason"):
        parts.append(str(record["reason"]))
    if record.get("event.name") == "unreadable":
        parts.append("not a record")
    if record.get("safellm.content.erased"):
        parts.append(f"erased {record['safellm.content.erased']} kept requests or answers")
    if record.get("event.name") == alerts.EVENT:
        parts.append(f"{record.get('safellm.alert.name')}: {alerts.in_words(record)}")
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


def _endpoint(record: Mapping[str, JSON]) -> list[str]:
    """Return what was asked for, where no model says it."""
    if record.get("gen_ai.response.model") or record.get("gen_ai.request.model"):
        return []
    operation = record.get("gen_ai.operation.name")
    return [str(operation)] if operation else []


def _counts(record: Mapping[str, JSON], name: str) -> list[tuple[str, JSON]]:
    value = record.get(name)
    return sorted(value.items()) if isinstance(value, dict) else []
