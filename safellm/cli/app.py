"""All commands in one application, and what is the same for each of them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import sys
from typing import Annotated, Any

import typer
from typer import rich_utils
from typer.core import TyperGroup

from safellm._version import __version__
from safellm.cli import (
    ask,
    audit,
    broker,
    budget,
    completion,
    demo,
    discover,
    doctor,
    grant,
    guard,
    init,
    keys,
    policy,
    redact,
    usage,
)
from safellm.cli import run as run_command
from safellm.cli import scan as scan_command
from safellm.cli.show import INTERRUPTED, is_plain, tell_error
from safellm.cli.wording import use_plain_words
from safellm.errors import SafeLLMError

_START, _KEYS, _MONEY, _TRAIL = "Start here", "Keys", "Policy and money", "Audit trail"
_SHELL = "Shell"

_ORDER = (
    "demo",
    "init",
    "ask",
    "doctor",
    "discover",
    "run",
    "redact",
    "keys",
    "grant",
    "broker",
    "scan",
    "policy",
    "guard",
    "budget",
    "usage",
    "audit",
    "completion",
)


class _Guarded(TyperGroup):
    """Turns our errors into two sentences and an exit code; a traceback would show frames, and frames hold keys."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        use_plain_words(self)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of their panels."""
        known = super().list_commands(ctx)
        return sorted(known, key=_ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SafeLLMError as error:
            code = tell_error(error)
        except typer.Abort as error:
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise  # somebody said no
            code = INTERRUPTED
        raise typer.Exit(code)


app = typer.Typer(
    name="safellm",
    cls=_Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print the values of local variables
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            sdk = importlib.metadata.version("openai")
        except importlib.metadata.PackageNotFoundError:
            sdk = "not installed"
        typer.echo(f"safellm {__version__} (openai {sdk}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Guards between your program and an LLM provider, on this machine.

    Swap one import: from safellm import OpenAI
    """


app.command("demo", rich_help_panel=_START)(demo.demo)
app.command("init", rich_help_panel=_START)(init.init)
app.command("ask", rich_help_panel=_START)(ask.ask)
app.command("doctor", rich_help_panel=_START)(doctor.doctor)
app.command("discover", rich_help_panel=_START)(discover.discover)
app.command("run", cls=run_command.Run, rich_help_panel=_START)(run_command.run)
app.command("redact", rich_help_panel=_START)(redact.redact)
app.command("scan", rich_help_panel=_KEYS)(scan_command.scan)
app.add_typer(keys.app, name="keys", rich_help_panel=_KEYS)
app.add_typer(grant.app, name="grant", rich_help_panel=_KEYS)
app.add_typer(broker.app, name="broker", rich_help_panel=_KEYS)
app.add_typer(policy.app, name="policy", rich_help_panel=_MONEY)
app.add_typer(guard.app, name="guard", rich_help_panel=_MONEY)
app.add_typer(budget.app, name="budget", rich_help_panel=_MONEY)
app.command("usage", rich_help_panel=_MONEY)(usage.usage)
app.add_typer(audit.app, name="audit", rich_help_panel=_TRAIL)
app.command("completion", rich_help_panel=_SHELL)(completion.completion)


def run() -> None:
    """Run the command line on the process's arguments and end the process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe in an old encoding gets "\u2713" instead of a crash.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text streams have it
    if is_plain():
        rich_utils.COLOR_SYSTEM = None
    app(prog_name="safellm")
