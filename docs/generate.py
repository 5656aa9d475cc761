"""Write the generated part of `guards.md` anew: `python docs/generate.py`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from safellm._core.guards.described import render

PAGE = Path(__file__).with_name("guards.md")
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def updated(text: str) -> str:
    """Return the page with the tables of the code."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
