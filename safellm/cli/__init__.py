"""The command line. typer and rich are loaded here and nowhere else; each command's work is loaded when it runs."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the process's arguments name; ends the process with its exit code."""
    from safellm.cli.app import run

    run()
