"""The line under an answer: what is left of limits, as the command line says it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safellm.asking import Told
from safellm.cli.app import app
from safellm.cli.show import dollars
from safellm.notebook.strip import Strip, left


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a limit of money."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("SAFELLM_HOME", str(home))
    monkeypatch.setenv("SAFELLM_BUDGET_USD", "5/day")
    return home


def test_what_is_left_is_what_the_command_line_says(limited: Path) -> None:
    """One figure for both."""
    (said,) = json.loads(CliRunner().invoke(app, ["budget", "--json"]).stdout)["limits"]
    assert left() == [f"{dollars(said['left'])} left of default $5.00/day"] == ["$5.00 left of default $5.00/day"]


def test_a_ledger_that_cannot_be_read_takes_no_answer_away(limited: Path) -> None:
    """The answer was made and charged; the strip says that what is left isn't known."""
    (limited / "ledger.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert "isn't known" in repr(Strip(Told(model="gpt-4o")))
