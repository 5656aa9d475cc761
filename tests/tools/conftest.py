"""Each test has a folder of its own, and no rule, pin or approver of another."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safellm.stores.tools import TOOLBOX


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> Iterator[None]:
    TOOLBOX.reset()
    yield
    TOOLBOX.reset()
