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

_ONLINE = ("single", "multiple_uris", "token_refresh", "quota_project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One SDK's own tests.

    Attributes:
        sdk: Its import name.
        variable: Names the folder of its checkout.
        promises: The listed differences.
        page: Where they are told to users.
        foreign: Prefixes of variables that the suite must not see.
        tests: Where they stand in the checkout.
        version: The file that says the version.
        options: More for pytest.
        client: The SDK's class whose types answer the tests of API resources, but for versions whose numbers were taken with a
            mock server of the SDK's own; empty: there are no such tests.
    """

    sdk: str
    variable: str
    promises: Path
    page: Path
    foreign: tuple[str, ...]
    tests: str = "tests"
    version: str
    options: tuple[str, ...] = ("--inline-snapshot=disable",)
    client: str = ""

    @property
    def listed(self) -> dict[str, Any]:
        """What the file of promises says."""
        return tomllib.loads(self.promises.read_text("utf-8"))

    def numbers(self, version: str) -> dict[str, Any] | None:
        """Return what the file says of one version; None where it says nothing of it."""
        return next((one for one in self.listed["suite"] if one["version"] == version), None)


SUITES = (
    Suite(
        sdk="openai",
        variable="SAFELLM_OPENAI_TESTS",
        promises=HERE / "promises.toml",
        page=DOCS / "drop-in.md",
        foreign=("OPENAI_", "AZURE_", "SAFELLM_", "AWS_", "PYTEST_"),
        version="src/openai/_version.py",
        client="OpenAI",
    ),
    Suite(
        sdk="anthropic",
        variable="SAFELLM_ANTHROPIC_TESTS",
        promises=HERE / "promises-anthropic.toml",
        page=DOCS / "drop-in-anthropic.md",
        foreign=("ANTHROPIC_", "SAFELLM_", "AWS_", "PYTEST_"),
        version="src/anthropic/_version.py",
        client="Anthropic",
    ),
    Suite(
        sdk="google.genai",
        variable="SAFELLM_GOOGLE_TESTS",
        promises=HERE / "promises-google.toml",
        page=DOCS / "drop-in-google.md",
        foreign=("GOOGLE_", "GEMINI_", "SAFELLM_", "PYTEST_"),
        tests="google/genai/tests",
        version="google/genai/version.py",
        options=(
            "-o",
            "consider_namespace_packages=true",  # the suite is a part of the SDK: `from ... import client`
            "-o",
            "asyncio_mode=auto",
            # Without the guard they need the network; with it they pass.
            *(f"--deselect=google/genai/tests/files/test_register.py::test_async_{name}" for name in _ONLINE),
        ),
    ),
)
