"""The marker of tests that run a real language model."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that `--strict-markers` knows it."""
    config.addinivalue_line("markers", "local_model: runs a real language model on this machine (needs its weights)")
