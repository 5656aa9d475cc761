"""`safellm run`: a program, unchanged, with every call to a language model guarded; or watched, with `--observe`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from safellm.auto import children
from safellm.cli.show import AsJson, cell, make_console, make_table, tell
from safellm.errors import ConfigurationError

_SIGNALLED = 128  # shells report a death by signal as 128 and its number


_OWN = frozenset({"--observe", "--json", "-h", "--help"})


class Run(TyperCommand):
    """Takes its own options before the program; everything from the program on is the program's, as with `python`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Cut the command line where the program begins."""
        first = next((at for at, word in enumerate(args) if word not in _OWN), len(args))
        rest = args[first + 1 :] if args[first : first + 1] == ["--"] else args[first:]
        return list(super().parse_args(ctx, [*args[:first], "--", *rest]))


def run(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="SCRIPT | -m MODULE | -- COMMAND", help="What to run.")
    ] = None,
    *,
    observe: Annotated[
        bool, typer.Option("--observe", help="Change nothing; list at the end which models were called, through what.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a Python program, unchanged, with every LLM call guarded.

    safellm run script.py, safellm run -m module, safellm run -- jupyter lab
    """
    words = _command(command or [])
    environment = dict(os.environ)
    if observe:
        raise typer.Exit(_observed(words, environment, as_json=as_json))
    from safellm.auto import gate

    gate.start(None)  # a wrong policy is told here, with its place, before the program starts
    gate.stop()
    environment |= children.variables(environment, "guard")
    _become(words, environment)


def _command(words: list[str]) -> list[str]:
    if not words or words == ["-m"]:
        raise ConfigurationError(
            "There is nothing to run",
            remedy="Write: safellm run script.py, safellm run -m module, or safellm run -- COMMAND",
        )
    first = words[0]
    if first in ("-m", "-c") or first.endswith((".py", ".pyw", ".pyz")) or Path(first).is_dir():
        return [sys.executable, *words]
    found = shutil.which(first)
    if found is None:
        raise ConfigurationError(f"There is no program {first!r}", remedy="Check its name, or give its path.")
    return [found, *words[1:]]


def _become(command: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process by the program, so that signals, job control and exit codes are its own."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if os.name == "posix":
        os.execve(command[0], list(command), environment)  # noqa: S606 - running a program is what this is for
    sys.exit(_run(command, environment))


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    with _signals_are_its_own():
        done = subprocess.run(command, env=environment, check=False)  # noqa: S603 - running a program is what this is for
    return done.returncode if done.returncode >= 0 else _SIGNALLED - done.returncode


def _observed(command: Sequence[str], environment: dict[str, str], *, as_json: bool) -> int:
    from safellm.auto.observed import read_report

    with tempfile.TemporaryDirectory(prefix="safellm-") as folder:
        file = Path(folder) / "calls"
        file.touch(mode=0o600)
        code = _run(command, environment | children.variables(environment, "observe") | {children.REPORT: str(file)})
        found = read_report(file)
    if as_json:
        sys.stderr.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
        return code
    if not found:
        tell("safellm: no call to a known language model was seen.")
        return code
    table = make_table("Provider", "Address", "Through", "Library", "Called from", "Calls", numbers=("Calls",))
    for one in found:
        words = (one.provider or "unknown", one.origin + one.path, one.through, one.library, one.caller, one.calls)
        table.add_row(*(cell(word) for word in words))
    make_console(stderr=True).print(table)  # standard output is the program's
    return code


@contextlib.contextmanager
def _signals_are_its_own() -> Iterator[None]:
    """Leave Ctrl-C to the program: the terminal sends it to both."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
