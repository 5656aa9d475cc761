"""How `--help` names what an option takes: `--max-tokens TOKENS`; nothing where an option is a switch.

Typer shows the types of Python (`<bool>`, `<list[str]>`, `{file}`), which say nothing to somebody who types a command.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any


def use_plain_words(command: Any) -> None:
    """Give each parameter of a command, and of the commands below it, a word for what it takes.

    Args:
        command: A command or group of click's.
    """
    for one in command.params:
        is_argument = one.param_type_name == "argument"
        if one.metavar is None:
            one.metavar = one.name.upper() if is_argument else _word(one)
        if is_argument:
            one.display_type_rich = lambda **_: None  # typer's second column; its name says it
    made = command.get_help_option

    def get_help_option(context: Any) -> Any:
        option = made(context)
        if option is not None:
            option.metavar = ""
        return option

    command.get_help_option = get_help_option
    for below in getattr(command, "commands", {}).values():
        use_plain_words(below)


def _word(option: Any) -> str | None:
    """Return the last word of an option's name; "" for a switch, None where its choices are shown."""
    if option.is_flag or option.count:
        return ""
    kinds = (
        getattr(option, "type_descriptor", None),
        getattr(option, "type", None),
    )  # typer's own, and click's before it
    if getattr(kinds[0], "is_choice", False) or hasattr(kinds[1], "choices"):
        return None
    name: str = max(option.opts, key=len)
    if not name.startswith("--"):
        name = option.name
    return name.replace("_", "-").rpartition("-")[2].upper()
