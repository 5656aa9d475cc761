"""A home with a stored key, grants for it, and a provider that takes that key only."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safellm._core.grant import Grant
from safellm.stores.grants import Grants
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.provider import LoopbackProvider

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every test has a folder of its own and leaves nothing behind."""


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    """A provider that takes the stored key only; the key is a secret file, as in a container."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    for name in ("openai", "anthropic", "google"):
        file = folder / name
        file.write_text(KEY)
        file.chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with LoopbackProvider(api_key=KEY) as server:
        yield server


@pytest.fixture
def grants(home: Path) -> Grants:
    """The grants of this home."""
    return Grants(home)


@pytest.fixture
def grant(grants: Grants) -> Callable[..., Grant]:
    """Issue a grant; caveats that are given replace the wide ones."""

    def issue(**caveats: Any) -> Grant:
        now = int(time.time())
        wide: dict[str, Any] = {"key": "openai", "operation": ["*"], "model": ["*"], "expires": now + 3600}
        return grants.issue({**wide, **caveats}, note="test", now_s=now)

    return issue


@pytest.fixture
def records(home: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return the records of one event, oldest first, after the trail was verified."""

    def read(event: str = "") -> list[dict[str, Any]]:
        found = verify_directory(home / "audit")
        assert found.ok, found.explain()
        lines = [json.loads(line) for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]
        return [one for one in lines if not event or one["event.name"] == event]

    return read
