"""The kit: a new package whose test passes, contracts that catch what is wrong, fixtures, and the list."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from safellm.cli.app import app
from safellm.plugins import Found, Refuse, RequestView
from safellm.stores.settings import load_policy
from safellm.testing import plugin_contract
from safellm.testing.plugin_contract import DetectorContract, GuardContract

RUNNER = CliRunner()
FIXTURES = """
def test_fixtures(loopback_provider, safellm_home, monkeypatch):
    from safellm import OpenAI, plugins
    from {module} import {name}
    plugins.register("{plugin}", {name})
    with OpenAI(base_url=loopback_provider.base_url, api_key="any", safellm={{"plugins": ["{plugin}"]}}) as client:
        client.chat.completions.create(model="gpt-5-mini", messages=[{{"role": "user", "content": "C-4711 is fine"}}])
    assert loopback_provider.requests
    assert (safellm_home / "ledger.sqlite3").exists() or list(safellm_home.iterdir())
"""


@pytest.mark.parametrize(
    ("kind", "name", "passed"),
    [
        ("guard", "topic-words", 7),
        ("detector", "my_numbers2", 6),
        ("sink", "siem", 5),
        ("ledger", "etcd", 46),
        ("vault", "bank", 15),
        ("provider", "acme", 3),
    ],
)
def test_a_new_package_s_test_passes_right_away(home: Path, tmp_path: Path, kind: str, name: str, passed: int) -> None:
    """With its entry point, its contract and the fixtures; warnings are errors; nothing is overwritten."""
    made = RUNNER.invoke(app, ["guard", "new", name, "--kind", kind, "--folder", str(tmp_path), "--json"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    folder = Path(told["folder"])
    assert sorted(one.name for one in folder.iterdir()) == sorted(told["files"])
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    module, _, class_name = project["project"]["entry-points"][f"safellm.{kind}s"][name].partition(":")
    assert (folder / f"{module}.py").exists()
    for file in folder.glob("*.py"):
        ast.parse(file.read_text("utf-8"))
    if kind in ("guard", "detector"):
        (folder / "test_more.py").write_text(FIXTURES.format(module=module, name=class_name, plugin=name), "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "safellm.testing.pytest_plugin",
        "-p",
        "no:asyncio",
        "-W",
        "error",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert f"{passed} passed" in done.stdout, done.stdout + done.stderr
    again = RUNNER.invoke(app, ["guard", "new", name, "--folder", str(tmp_path)])
    assert again.exit_code == 2
    assert "there already" in again.output


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a b", "a--b", "1st", "a/b", "-a", "ä"])
def test_a_name_that_is_none_writes_nothing(home: Path, tmp_path: Path, name: str) -> None:
    """It becomes a folder, a module and a class: other signs are an error."""
    assert RUNNER.invoke(app, ["guard", "new", "--folder", str(tmp_path / "new"), "--", name]).exit_code == 2
    assert not (tmp_path / "new").exists()


def test_the_list_shows_what_is_there_and_what_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed ones with their package, whether the policy names them, and what it names in vain."""
    (info := tmp_path / "site" / "mine-1.0.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[safellm.detectors]\nnumbers = mine:Numbers\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    row = {"name": "numbers", "kind": "detector", "enabled": False, "source": "mine 1.0", "target": "mine:Numbers"}
    listed = json.loads(RUNNER.invoke(app, ["guard", "list", "--json"]).stdout)
    assert [one for one in listed if not one["source"].startswith("safellm ")] == [row]
    assert "mine 1.0" in RUNNER.invoke(app, ["guard", "list"]).stdout
    monkeypatch.setenv("SAFELLM_PLUGINS", "numbers,gone")
    shown = RUNNER.invoke(app, ["guard", "list", "--json"])
    assert shown.exit_code == 2
    assert "gone" in shown.stderr
    used = [(one["name"], one["enabled"]) for one in json.loads(shown.stdout)]
    assert [one for one in used if one[1]] == [("numbers", True), ("gone", True)]


class _Quotes:
    def on_request(self, request: RequestView) -> Refuse | None:
        for one in request.texts:
            if "forbidden" in one.text:
                return Refuse(f"You wrote: {one.text}")
        return None


class _Counts:
    """Every second text is forbidden."""

    def __init__(self) -> None:
        self.count = 0

    def on_request(self, request: RequestView) -> Refuse | None:
        self.count += 1
        return Refuse("No") if self.count == 1 else None


class _Breaks:
    def on_request(self, request: RequestView) -> Refuse | None:
        return Refuse("No") if request.texts[0].text.encode().find(b"forbidden") >= 0 else None


class _Late:
    """Looks at requests only, though it claims answers."""

    def on_request(self, request: RequestView) -> Refuse | None:
        return Refuse("No") if any("forbidden" in one.text for one in request.texts) else None


@pytest.mark.parametrize(
    ("guard", "test"),
    [
        (_Quotes, "test_it_decides_as_it_says"),
        (_Counts, "test_order_and_threads_change_nothing"),
        (_Breaks, "test_any_text_gets_a_verdict"),
        (_Late, "test_a_refused_answer_is_not_seen"),
        (lambda: None, "test_it_decides_as_it_says"),
    ],
)
def test_the_contract_catches_a_wrong_guard(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: Any, test: str
) -> None:
    """One that quotes, remembers, breaks on odd texts, or doesn't do what it says."""

    class Contract(GuardContract):
        refuses = ("This is forbidden.",)
        passes = ("This is fine.",)
        refuses_answers = ("This is forbidden.",)

        def make(self) -> Any:
            return guard()

    parts = {"tmp_path": tmp_path, "monkeypatch": monkeypatch} if "answer" in test else {}
    with pytest.raises((AssertionError, pytest.fail.Exception, Exception)) as caught:
        getattr(Contract(), test)(**parts)
    assert not isinstance(caught.value, (TypeError, NameError))


class _Finds:
    """Finds C-numbers in the way that is given."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.calls: list[int] = []

    def find(self, text: str) -> Iterator[Found]:
        self.calls.append(threading.get_ident())
        for match in re.finditer("C-[0-9]+", text):
            if self.way == "moved":
                yield Found(match.start() + 1, match.end(), "NUMBER")
            elif self.way == "first" and len(self.calls) > 1:
                continue
            elif self.way == "allowed":
                yield Found(match.start(), match.end(), "number")
            else:
                yield Found(match.start(), match.end(), "NUMBER")
        if self.way == "greedy" and len(text) > 1000:
            yield Found(0, len(text) + 1, "NUMBER")


@pytest.mark.parametrize(
    ("way", "test"),
    [
        ("moved", "test_it_finds_what_it_says"),
        ("first", "test_order_and_threads_change_nothing"),
        ("allowed", "test_it_finds_what_it_says"),
        ("greedy", "test_any_text_is_searched"),
    ],
)
def test_the_contract_catches_a_wrong_detector(way: str, test: str) -> None:
    """One that is off by one, remembers, names wrong types, or finds what isn't there."""

    class Contract(DetectorContract):
        finds: ClassVar[dict[str, list[str]]] = {"Customer C-4711 writes.": ["C-4711"]}
        passes = ("Vitamin C.",)

        def make(self) -> Any:
            return _Finds(way)

    with pytest.raises((AssertionError, plugin_contract.GuardFailure)):
        getattr(Contract(), test)()


class TestARightDetector(DetectorContract):
    """The contract holds for one that does as it says."""

    finds: ClassVar[dict[str, list[str]]] = {"Customer C-4711 writes.": ["C-4711"], "C-1": ["C-1"]}
    passes = ("Vitamin C.", "")

    def make(self) -> Any:
        """Return it."""
        return _Finds("right")


def test_a_policy_s_plug_ins_can_be_locked(home: Path, tmp_path: Path) -> None:
    """With the lock, more may come and none goes."""
    from safellm.errors import ConfigurationError

    (tmp_path / "policy.toml").write_text('locked = ["plugins"]\nplugins = ["a-guard"]\n', "utf-8")
    environ = {"SAFELLM_POLICY": str(tmp_path / "policy.toml"), "SAFELLM_HOME": str(home)}
    loaded = load_policy(environ={**environ, "SAFELLM_PLUGINS": "a-guard,b-guard"})
    assert loaded.policy.plugins == ("a-guard", "b-guard")
    with pytest.raises(ConfigurationError, match="plugins is locked"):
        load_policy(environ={**environ, "SAFELLM_PLUGINS": "b-guard"})
