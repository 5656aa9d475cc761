"""`safellm policy`: what is in force and why, and whether a file is sound."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from safellm.cli.show import PROBLEM, AsJson, cell, make_console, make_table, print_json, say
from safellm.cli.world import look
from safellm.errors import ConfigurationError

app = typer.Typer(help="Show the policy in force, or check a policy file.", no_args_is_help=True)


@app.command()
def show(
    *,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Use this policy file instead of yours.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show every setting with its value and where it comes from."""
    world = look(file)
    loaded = world.loaded
    values = _flat(loaded.policy.model_dump(mode="json"), loaded.sources)
    if json:
        print_json(
            {
                "digest": loaded.policy.digest(),
                "file": None if loaded.file is None else str(loaded.file),
                "warnings": list(loaded.warnings),
                "settings": {name: {"value": values[name], "source": loaded.sources[name]} for name in values},
            }
        )
        return
    table = make_table("setting", "value", "from")
    table.columns[0].no_wrap = True  # a name is copied
    for name, value in values.items():
        source = loaded.sources[name].replace(f"file {loaded.file}", "file")  # which one is told below
        style = "dim" if source == "default" else "bold"
        table.add_row(cell(name, style), cell(_text(value), style), cell(source, style))
    console = make_console()
    console.print(table)
    console.print(cell(f"file    {loaded.file or 'none'}"), soft_wrap=True)
    console.print(cell(f"digest  {loaded.policy.digest()}"), soft_wrap=True)


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The policy file. Default: what is in force here, your file and the variables together.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    *,
    json: AsJson = False,
) -> None:
    """Check a policy file, or the policy in force; each problem is named with its place.

    Exit code 1: it has problems.
    """
    from safellm.stores.settings import check_file

    if file is None:
        name, problems = _check_here()
    else:
        name, problems = str(file), check_file(file)
    if json:
        print_json({"file": None if file is None else name, "ok": not problems, "problems": problems})
    elif problems:
        console = make_console()
        for problem in problems:
            console.print(cell(problem), soft_wrap=True)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        console.print(cell(f"{count} in {name}", "bold red"), soft_wrap=True)
    else:
        say(f"{name}: no problems.")
    if problems:
        raise typer.Exit(PROBLEM)


def _check_here() -> tuple[str, list[str]]:
    """Return what the policy in force is made of, and its problems."""
    from safellm.stores.settings import load_policy, policy_path

    environ = dict(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are in `loaded.warnings` too
            loaded = load_policy(environ=environ)
    except ConfigurationError as error:
        first, *each = error.problem.splitlines()
        problems = [one.removeprefix("- ") for one in each] or [f"{first}. {error.remedy}"]
        return "the policy in force", problems
    if loaded.file is None:
        return f"defaults and variables (there is no {policy_path(environ)})", list(loaded.warnings)
    return f"{loaded.file} and the variables", list(loaded.warnings)


def _flat(tree: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return the values of dotted names, in the order of the policy."""
    values: dict[str, Any] = {}
    for name in names:
        value: Any = tree
        for part in name.split("."):
            value = value[part]
        values[name] = value
    return values


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(one)}" for key, one in value.items() if one is not None) or "-"
    if isinstance(value, list):
        return "; ".join(_text(one) for one in value) or "-"
    return str(value) or "-"
