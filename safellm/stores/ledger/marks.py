"""What a machine remembers of a ledger, in a small file of its own (THREATS B.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safellm.stores import durable


class DamagedMark(Exception):
    """A mark can't be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Which ledger it is, and the number of the last UTC day that it has seen (`safellm._core.budget.window_id`)."""

    generation: str
    day: int


def read_mark(file: Path) -> Mark | None:
    """Return what is remembered, or None when nothing is.

    Raises:
        DamagedMark: it can't be understood.
        OSError: it can't be read.
    """
    try:
        parts = json.loads(file.read_text("utf-8"))
        return Mark(generation=str(parts["generation"]), day=int(parts["day"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise DamagedMark from None


def write_mark(file: Path, mark: Mark) -> None:
    """Remember it: on disk, and whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    durable.private_folder(file.parent)
    durable.replace(file, json.dumps({"generation": mark.generation, "day": mark.day}).encode())
