"""What a machine remembers of a ledger, in a small file of its own (THREATS B.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


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
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump({"generation": mark.generation, "day": mark.day}, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
