"""`safellm guard`: plug-ins: what is there, and a package to begin with."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from safellm._core.policy import Policy, plugin_in
from safellm.cli.show import AsJson, cell, make_console, make_table, print_json, say
from safellm.errors import ConfigurationError

app = typer.Typer(
    help="Guards, detectors, sinks, ledgers, vaults and providers of your own: see what is installed, begin a new one.",
    no_args_is_help=True,
)

# How the policy names one, in its dotted form: the same line works in code and, with SAFELLM_ in front, as a variable.
_ENABLED: Final = {
    "guard": 'plugins = ["@name@"]',
    "detector": 'plugins = ["@name@"]',
    "sink": 'audit.sinks = ["@name@"]',
    "ledger": 'budget.ledger = "plugin:@name@"',
    "vault": 'keys.store = "plugin:@name@"',
    "provider": 'providers = ["@name@"]',
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


class Kind(StrEnum):
    """What a plug-in does."""

    GUARD = "guard"
    DETECTOR = "detector"
    SINK = "sink"
    LEDGER = "ledger"
    VAULT = "vault"
    PROVIDER = "provider"


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What the policy will call it: small letters, digits and hyphens.")],
    *,
    kind: Annotated[
        Kind,
        typer.Option(
            help="guard: refuses or changes whole calls; detector: finds values to hide; sink: gets the trail's events; ledger: "
            "keeps what was spent; vault: keeps keys; provider: describes a server."
        ),
    ] = Kind.GUARD,
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    json: AsJson = False,
) -> None:
    """Write a small package with a test that passes: the beginning of a plug-in of your own.

    Nothing that is there is overwritten.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            "A plug-in's name is made of small letters, digits and single hyphens", remedy="For example: topic-list."
        )
    from safellm.cli.guard_templates import MODULES, PROJECT, TESTS

    module = "safellm_" + name.replace("-", "_")
    target = folder / f"safellm-{name.replace('_', '-')}"
    enabled = _ENABLED[kind].replace("@name@", name)
    names = {
        "name": name,
        "enabled": enabled,
        "module": module,
        "class_name": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "package": target.name,
        "kind": str(kind),
        "type": name.replace("-", "_").upper()[:32],
    }
    files = {
        "pyproject.toml": PROJECT,
        f"{module}.py": MODULES[kind],
        f"test_{module}.py": TESTS[kind],
    }
    try:
        target.mkdir(parents=True)
        for file, text in files.items():
            (target / file).write_text(_filled(text, names), "utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{target} is there already", remedy="Take another name or --folder.") from None
    except OSError as error:
        raise ConfigurationError(
            f"{target} can't be written ({error.strerror})", remedy="Take another --folder."
        ) from None
    if json:
        print_json({"folder": str(target), "files": list(files)})
        return
    say(f"Written: {target} ({', '.join(files)})")
    say(
        f"Try it:    cd {target} && python -m pytest\n"
        "Install:   python -m pip install -e .\n"
        f"Enable it: {enabled}     in the policy"
    )


@app.command("list")
def list_(*, json: AsJson = False) -> None:
    """Show the installed plug-ins, and which of them the policy uses. Nothing of them is run."""
    from safellm.plugins import offered
    from safellm.stores.environment import read_environment
    from safellm.stores.settings import load_policy

    policy = load_policy(environ=read_environment()).policy
    named = _used(policy)
    found = offered()
    there = {(kind, one.name) for one in found for kind in ([one.kind] if one.kind else ["guard", "detector"])}
    missing = [
        (kinds[0], name) for kinds, names in named for name in names if not any((kind, name) in there for kind in kinds)
    ]
    enabled = {(kind, name) for kinds, names in named for kind in (*kinds, "") for name in names}
    rows = [
        *((one.name, one.kind, (one.kind, one.name) in enabled, one.source, one.target) for one in found),
        *((name, "missing", True, "", "") for _, name in missing),
    ]
    if json:
        print_json([dict(zip(("name", "kind", "enabled", "source", "target"), row, strict=True)) for row in rows])
    elif not rows:
        say("No plug-ins are installed. Begin one: safellm guard new NAME")
    else:
        table = make_table("name", "kind", "used", "from", "code")
        for name, kind, used, source, target in rows:
            table.add_row(cell(name), cell(kind), "yes" if used else "no", cell(source), cell(target))
        make_console().print(table)
    if missing:
        raise ConfigurationError(
            f"The policy enables what isn't installed: {', '.join(name for _, name in missing)}",
            remedy="Install it, or take it out of the policy; until then no client is made.",
        )


def _used(policy: Policy) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return which names the policy has for which kinds."""
    vault = plugin_in(policy.keys.store)
    return (
        (("guard", "detector"), policy.plugins),
        (("sink",), policy.audit.sinks),
        (("ledger",), () if policy.plugged_ledger is None else (policy.plugged_ledger,)),
        (("vault",), () if vault is None else (vault,)),
        (("provider",), policy.providers),
    )


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"@{name}@", value)
    return text
