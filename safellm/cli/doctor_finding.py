"""What a check of `safellm doctor` says."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters; the last two end the command with exit code 1."""

    OK = "ok"
    HINT = "hint"
    DANGER = "danger"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    area: str
    level: Level
    what: str
    remedy: str = ""
