"""Commands run in this process on a home of their own, with none of the developer's settings."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trail_schema import check_trails
from typer.testing import CliRunner

from safellm.cli.app import app
from safellm.stores.vault.keyring_vault import KeyringVault
from safellm.stores.vault.remembered import RememberedVault
from safellm.testing.canary import make_canary, sweep
from safellm.testing.provider import LoopbackProvider

Command = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of policy, ledger and trail; every variable that a command looks at is unset."""
    for name in list(os.environ):
        prefixes = ("SAFELLM_", "OPENAI_", "AZURE_", "ANTHROPIC_", "GOOGLE_", "GEMINI_")
        prefixes += ("SSL", "PYTHON_KEYRING", "FORCE_COLOR", "NO_COLOR")
        if name.startswith(prefixes) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("SAFELLM_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "110")
    yield folder
    check_trails(folder)


@pytest.fixture
def started_before(home: Path, compiled_rules: Path) -> None:
    """A home in which a program was started before; a first start takes twice as long."""
    os.link(compiled_rules, home / compiled_rules.name)


@pytest.fixture
def safellm(home: Path) -> Command:
    """Run a command; the result has `exit_code`, `stdout`, `stderr`."""

    def run(*arguments: str, stdin: str | None = None) -> Any:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


class MemoryBackend:
    """What `keyring` offers, in a dict."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture
def vault(home: Path, monkeypatch: pytest.MonkeyPatch) -> RememberedVault:
    """The real vault over a store in memory, where commands and clients look for theirs."""
    made = RememberedVault(KeyringVault(backend=MemoryBackend(), label="Memory"), home)
    monkeypatch.setattr("safellm.stores.vault.open.open_vault", lambda *_, **__: made)
    return made


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    """A provider on this machine."""
    with LoopbackProvider() as running:
        yield running


@pytest.fixture
def canary(home: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[str]:
    """A secret; after the test it stands in no file of the home and in nothing that was printed past the runner."""
    secret = make_canary()
    yield secret
    out, err = capfd.readouterr()
    assert sweep(secret, paths=[home], texts=[out, err]) == []
