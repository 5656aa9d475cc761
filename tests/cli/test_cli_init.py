"""`safellm init`."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safellm.cli import init as module
from safellm.stores.settings import check_file, load_policy

Command = Callable[..., Any]


def test_defaults_make_the_default_policy(safellm: Command, home: Path) -> None:
    """With --yes nothing is asked, and what is in force is what was in force before."""
    before = load_policy(environ=os.environ).policy
    assert safellm("init", "--yes").exit_code == 0
    loaded = load_policy(environ=os.environ)
    assert loaded.file == home / "policy.toml"
    assert loaded.policy.model_copy(update={"redaction": before.redaction}) == before
    assert os.name != "posix" or (home / "policy.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", ["guard", "strict", "observe"])
@pytest.mark.parametrize("model", ["", 'odd "name"\\'])
def test_every_answer_makes_a_sound_file(safellm: Command, home: Path, mode: str, model: str) -> None:
    """What was answered is in force."""
    given = ("--mode", mode, "--personal", "allow", "--secrets", "block", "--monthly-usd", "12.5", "--model", model)
    result = safellm("init", *given, "--json")
    assert json.loads(result.stdout) == {"file": str(home / "policy.toml")}
    assert check_file(home / "policy.toml") == []
    policy = load_policy(environ=os.environ).policy
    assert (policy.mode, policy.ask.model, policy.redaction.types["SECRET"]) == (mode, model, "block")
    assert (policy.redaction.default, policy.budget.limits[0].window) == ("allow", "month")
    assert policy.budget.limits[0].usd == 12.5


def test_comments_are_settings_that_work(safellm: Command, home: Path) -> None:
    """Each line that is out-commented can be taken in."""
    safellm("init", "--yes")
    file = home / "policy.toml"
    lines = file.read_text("utf-8").splitlines()
    taken = [line.removeprefix("# ") if "=" in line or "[[" in line else line for line in lines]
    kept = [line for line in taken if line.startswith("#") or _is_toml(line)]
    file.write_text("\n".join(kept), "utf-8")
    assert check_file(file) == []
    assert load_policy(environ=os.environ).policy.budget.limits[0].usd == 20


def _is_toml(line: str) -> bool:
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def test_a_file_that_is_there_is_kept(safellm: Command, home: Path) -> None:
    """It is replaced with --force only, and stays as .bak."""
    (home / "policy.toml").write_text('mode = "strict"\n', "utf-8")
    assert safellm("init", "--yes").exit_code == 2
    assert safellm("init", "--yes", "--force").exit_code == 0
    assert (home / "policy.toml.bak").read_text("utf-8") == 'mode = "strict"\n'
    assert sorted(path.name for path in home.iterdir()) == ["policy.toml", "policy.toml.bak"]


def test_without_a_terminal_nothing_is_asked(safellm: Command, home: Path) -> None:
    """The remedy names the options that are missing; no file is written."""
    result = safellm("init", "--mode", "guard")
    assert result.exit_code == 2
    assert "--monthly-usd" in result.stderr
    assert list(home.iterdir()) == []


def test_questions_are_asked_until_they_are_answered(safellm: Command, home: Path, monkeypatch: Any) -> None:
    """Enter takes the default; a word that isn't one of the choices is asked again."""
    monkeypatch.setattr(module, "_can_ask", lambda: True)
    result = safellm("init", stdin="maybe\nstrict\n\nblock\n5\n\n")
    assert result.exit_code == 0, result.stderr
    policy = load_policy(environ=os.environ).policy
    assert (policy.mode, policy.redaction.types["SECRET"], policy.budget.limits[0].usd) == ("strict", "block", 5)


def test_a_file_elsewhere_says_how_it_counts(safellm: Command, home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Written beside a project, it counts where a variable names it: the line to copy is printed, and works."""
    monkeypatch.chdir(tmp_path)
    said = safellm("init", "--yes", "--secrets", "block", "--file", "our policy.toml").stdout
    (line,) = [one for one in said.splitlines() if "export SAFELLM_POLICY=" in one]
    (value,) = shlex.split(line.partition("SAFELLM_POLICY=")[2])
    monkeypatch.setenv("SAFELLM_POLICY", value)
    assert json.loads(safellm("policy", "show", "--json").stdout)["settings"]["redaction.types"]["value"] == {
        "SECRET": "block"
    }
    assert "export" not in safellm("init", "--yes", "--force").stdout
