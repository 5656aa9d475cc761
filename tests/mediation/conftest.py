"""One guarded client for the whole walk of an SDK: each method is called once, whoever asks first."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mediation_walk import Walk, installed


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Walk]]:
    """Return the walk of an SDK, made once."""
    yield from _walks(tmp_path_factory, is_async=False)


@pytest.fixture(scope="session")
def async_walks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Walk]]:
    """Return the async walk of an SDK, made once."""
    yield from _walks(tmp_path_factory, is_async=True)


def _walks(factory: pytest.TempPathFactory, *, is_async: bool) -> Iterator[Callable[[str], Walk]]:
    made: list[Walk] = []

    @cache
    def walk(name: str) -> Walk:
        made.append(Walk(factory.mktemp(name), installed()[name], is_async=is_async))
        return made[-1]

    yield walk
    for one in made:
        one.close()
