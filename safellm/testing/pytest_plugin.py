"""Fixtures for tests of programs and plug-ins, found by pytest itself once safellm is installed.

* `loopback_provider`: a provider on this machine; what arrived is in its `requests`.
* `safellm_home`: a folder of the test's own for policy, keys, ledger and trail, and no `SAFELLM_*` variable from outside.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from safellm.testing.provider import LoopbackProvider


@pytest.fixture
def loopback_provider() -> Iterator[LoopbackProvider]:
    """A provider on this machine that speaks OpenAI's, Anthropic's and Google's dialects."""
    from safellm.testing.provider import LoopbackProvider  # noqa: PLC0415 - only for tests that use it

    with LoopbackProvider() as server:
        yield server


@pytest.fixture
def safellm_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for all that safellm writes; the user's key store isn't asked."""
    for name in list(os.environ):
        if name.startswith("SAFELLM_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "safellm"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("SAFELLM_HOME", str(folder))
    monkeypatch.setenv("SAFELLM_KEYS_VAULT", "false")
    return folder
