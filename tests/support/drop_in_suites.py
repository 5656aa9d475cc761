"""The suites that are compared: of which SDK, where its checkout is named, how it is run, which differences are promised."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "drop_in"
DOCS = ROOT / "docs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One SDK's own tests.

    Attributes:
        sdk: Its import name.
        variable: Names the folder of its checkout.
        promises: The listed differences.
        page: Where they are told to users.
        foreign: Prefixes of variables that the suite must not see.
    """

    sdk: str
    variable: str
    promises: Path
    page: Path
    foreign: tuple[str, ...]

    @property
    def listed(self) -> dict[str, Any]:
        """What the file of promises says."""
        return tomllib.loads(self.promises.read_text("utf-8"))


SUITES = (
    Suite(
        sdk="openai",
        variable="SAFELLM_OPENAI_TESTS",
        promises=HERE / "promises.toml",
        page=DOCS / "drop-in.md",
        foreign=("OPENAI_", "AZURE_", "SAFELLM_", "AWS_", "PYTEST_"),
    ),
    Suite(
        sdk="anthropic",
        variable="SAFELLM_ANTHROPIC_TESTS",
        promises=HERE / "promises-anthropic.toml",
        page=DOCS / "drop-in-anthropic.md",
        foreign=("ANTHROPIC_", "SAFELLM_", "AWS_", "PYTEST_"),
    ),
)
