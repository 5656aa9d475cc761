"""Write what documents take from the code anew: `python docs/generate.py`.

The tables of `guards.md`, `audit.md`, `threats.md` and `command-line.md`, the JSON Schema of audit records in the package, and the
manual page.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

from safellm._core import events_described
from safellm._core.guards import described
from safellm.cli import manual

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import rows  # noqa: E402 - beside this script

PAGES = {
    "guards.md": described.render,
    "audit.md": events_described.render,
    "threats.md": rows.render,
    "command-line.md": manual.render_markdown,
}
SCHEMA = DOCS.parent / "safellm" / "schemas" / "audit-event.v1.json"
MANUAL = DOCS / "safellm.1"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def updated(text: str, page: str = "guards.md") -> str:
    """Return a page with the tables of the code."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{PAGES[page]()}\n{END}{after}"


if __name__ == "__main__":
    for name in PAGES:
        path = DOCS / name
        path.write_text(updated(path.read_text("utf-8"), name), "utf-8")
    SCHEMA.write_text(events_described.schema_text(), "utf-8")
    MANUAL.write_text(manual.render(), "utf-8")
