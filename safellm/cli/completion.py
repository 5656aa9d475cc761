"""`safellm completion`: a script that lets a shell complete commands, options and their values."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer
from typer.completion import completion_init, get_completion_script  # type: ignore[attr-defined]  # made elsewhere

_VARIABLE: Final = "_SAFELLM_COMPLETE"
completion_init()  # has the command answer a shell that asks


class Shell(StrEnum):
    """What Typer writes scripts for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to complete.")]) -> None:
    """Print a script for a shell: eval "$(safellm completion bash)".

    fish: safellm completion fish > ~/.config/fish/completions/safellm.fish
    """
    typer.echo(get_completion_script(prog_name="safellm", complete_var=_VARIABLE, shell=shell.value))
