"""`safellm discover`: where a code base calls language models without a guard."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say
from safellm.errors import ConfigurationError

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def discover(
    path: Annotated[Path, typer.Argument(help="A folder or a file.")] = Path(),
    *,
    as_json: AsJson = False,
    sarif: Annotated[
        bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log, for code hosts and editors.")
    ] = False,
    notes: Annotated[bool, typer.Option("--notes", help="Show imports, dependencies and guarded places too.")] = False,
) -> None:
    """Find use of language models that no guard covers. Reads files, runs nothing; exit code 1 if there is any."""
    from safellm.discover import discover as search
    from safellm.discover.findings import RULES, Level
    from safellm.discover.sarif import to_sarif

    if as_json and sarif:
        raise ConfigurationError("--json and --sarif exclude each other", remedy="Choose one.")
    report = search(path)
    if sarif:
        print_json(to_sarif(report))
    elif as_json:
        rows = [{**asdict(one), "level": one.level.value} for one in report.findings]
        print_json({"root": report.root, "files": report.files, "counts": report.counts, "findings": rows})
    else:
        shown = [one for one in report.findings if notes or one.level is not Level.NOTE]
        if shown:
            table = make_table("Level", "Place", "Kind", "What")
            for one in shown:
                # As it can be opened from here; in JSON and SARIF it is relative to the root that they name.
                file = path if path.is_file() else path / one.file
                place = f"{file}:{f'cell {one.cell}:' if one.cell else ''}{one.line}"
                level = one.level.value
                table.add_row(cell(level, _STYLES[level]), cell(place), cell(one.rule), cell(one.what))
            make_console().print(table)
        for rule in {one.rule for one in shown if not one.guarded}:
            say(f"{rule}: {RULES[rule].about} {RULES[rule].remedy}", "dim")
        counts = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in report.counts.items())
        say(f"{report.files} file{'' if report.files == 1 else 's'} searched: {counts}.")
    raise typer.Exit(0 if report.is_clean else PROBLEM)
