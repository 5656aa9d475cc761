"""How commands speak: text for people on standard output, one JSON document with `--json`, errors on standard error.

* Exit codes: 0 fine, 1 a problem was found, 2 wrong use or configuration, 130 interrupted.
* Colours only on a terminal, and never with `NO_COLOR` (no-color.org) or `TERM=dumb`; then not a single escape code.
* Data comes from outside: it is shown as plain text with control and hidden characters escaped, never as markup.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safellm.errors import ConfigurationError, Refused, SafeLLMError
from safellm.stores.journal.events import escaped

PROBLEM: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130
_NARROW: Final = 60
_WIDE: Final = 120  # longer lines are hard to read

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def is_plain() -> bool:
    """Return whether the user's environment asks for no colours."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def make_console(*, stderr: bool = False, plain: bool = False, record: bool = False) -> Console:
    """Return a console; see the module's text for colours.

    Args:
        stderr: Write to standard error.
        plain: No colours, whatever the environment says.
        record: Keep what is printed, for an export.
    """
    # `no_color` alone would leave bold and dim, which are escape codes too; without a colour system there are none.
    off = plain or is_plain()
    made = Console(stderr=stderr, color_system=None if off else "auto", highlight=False, emoji=False, record=record)
    made.width = max(_NARROW, min(made.width, _WIDE))
    return made


def print_json(value: object) -> None:
    """Print one JSON document, in ASCII."""
    typer.echo(json.dumps(value, indent=2))


def say(text: str, style: str = "") -> None:
    """Print one paragraph for a person."""
    make_console().print(Text(text, style=style), soft_wrap=True)


def tell(text: str) -> None:
    """Print a note on standard error."""
    make_console(stderr=True).print(Text(text), soft_wrap=True)


def tell_error(error: SafeLLMError) -> int:
    """Print what went wrong and the way out on standard error; return the exit code."""
    if isinstance(error, ConfigurationError):
        place = f" ({error.where})" if error.where else ""
        what, remedy, code = f"{error.problem}{place}", error.remedy, MISUSE
    elif isinstance(error, Refused):
        what, remedy, code = f"{error.what} [{error.guard}: {error.reason}]", error.remedy, PROBLEM
    else:
        what, remedy, code = str(error), "Please report this as a defect of safellm.", PROBLEM
    what = "\n".join(escaped(line) for line in what.splitlines())
    console = make_console(stderr=True)
    end = "" if what.endswith((".", ":", "?")) or "\n" in what else "."
    console.print(Text.assemble(("safellm: ", "bold red"), f"{what}{end}"), soft_wrap=True)
    console.print(Text(escaped(remedy)), soft_wrap=True)
    return code


def make_table(*titles: str, numbers: Sequence[str] = ()) -> Table:
    """Return a table with these columns; those in `numbers` are set to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in numbers else "left", overflow="fold")
    return table


def cell(value: object, style: str = "") -> Text:
    """Return a value from outside as a table's cell."""
    return Text(escaped(str(value)), style=style)


def when(time_ns: int) -> str:
    """Return a Unix time in nanoseconds as UTC, to the second."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def dollars(micro_usd: int) -> str:
    """Return micro-US-dollars as dollars, exactly; at least two decimals."""
    sign = "-" if micro_usd < 0 else ""
    whole, rest = divmod(abs(micro_usd), 1_000_000)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"


def amount(number: int, unit: str) -> str:
    """Return an amount of a limit's unit in words: `$0.05`, `1,200 tokens`."""
    if unit == "micro_usd":
        return dollars(number)
    return f"{number:,} {unit}" if number != 1 else f"1 {unit.removesuffix('s')}"


def bar(used: int, held: int, limit: int, *, width: int = 24, ascii_only: bool = False) -> Text:
    """Return a bar of `width` characters: what is used, what is held, what is left."""
    full, partly, free = ("#", "=", ".") if ascii_only else ("█", "▒", "░")
    share = max(limit, 1)
    first = min(width, -(-used * width // share))  # rounded up: a bar that looks empty would promise too much
    second = min(width - first, -(-held * width // share))
    style = "red" if used + held >= limit else "yellow" if (used + held) * 5 >= limit * 4 else "green"
    return Text.assemble((full * first, style), (partly * second, style), (free * (width - first - second), "dim"))
