"""The comparison with the SDK's own suite is left out of a normal run: it needs a checkout of that suite, and minutes."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
from drop_in_suites import SUITES

FILE = "test_drop_in_suite.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the comparison out, unless a suite's variable is set or somebody asks for it by name: then it runs, or skips aloud."""
    named = any(FILE in argument for argument in config.invocation_params.args if isinstance(argument, str))
    wanted = named or any(os.environ.get(suite.variable) for suite in SUITES)
    return True if collection_path.name == FILE and not wanted else None
