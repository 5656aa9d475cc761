"""One guarded client for the whole walk: each method is called once, whoever asks first."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mediation_walk import Walk


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    made = Walk(tmp_path_factory.mktemp("walk"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def async_walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    made = Walk(tmp_path_factory.mktemp("async-walk"), is_async=True)
    yield made
    made.close()
