"""`safellm scan`: files, notebooks, staged changes, git history; reports that hold no secret."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from typer.testing import CliRunner

from safellm.cli.app import app
from safellm.scan.sources import from_history
from safellm.testing.canary import sweep

GIT = pytest.mark.skipif(shutil.which("git") is None, reason="NOT TESTED: git is missing: sudo apt-get install git")


def key(seed=1):
    """A key of a form that is known, made here."""
    draw = random.Random(seed)
    return "sk-" + "proj-" + "".join(draw.choices(string.ascii_letters + string.digits, k=48))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder to scan, and a home of its own."""
    for name in list(os.environ):
        if name.startswith(("SAFELLM_", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "user").mkdir()
    folder = tmp_path / "tree"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def scan(*arguments, code=None):
    result = CliRunner().invoke(app, ["scan", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if code is not None:
        assert result.exit_code == code, result.stdout + result.stderr
    return result


def leaks(*arguments):
    result = scan(*arguments, "--json")
    return json.loads(result.stdout)["leaks"]


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@t.test", *arguments],
        check=True, capture_output=True,
    )  # fmt: skip


def test_a_key_in_a_file_is_found_and_never_shown(tree):
    """Place, kind and remedy are told; the value is in no form of the report."""
    (tree / "app.py").write_text(f'import openai\n\nclient = openai.OpenAI(api_key="{key()}")\n')
    (tree / "clean.py").write_text('key = os.environ["OPENAI_API_KEY"]\n')
    text, as_json, sarif = scan(code=1), scan("--json", code=1), scan("--sarif", code=1)
    (one,) = json.loads(as_json.stdout)["leaks"]
    assert (one["file"], one["line"]) == ("app.py", 3)
    assert one["provider"] == "OpenAI"
    assert one["masked"].startswith("…")
    assert "app.py:3" in text.stdout
    assert "Revoke it" in text.stdout
    (result,) = json.loads(sarif.stdout)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert sweep(key(), texts=[text.stdout, as_json.stdout, sarif.stdout]) == []


def test_nothing_found_is_exit_code_0(tree):
    """Placeholders are no secrets."""
    (tree / "README.md").write_text("Set OPENAI_API_KEY=sk-proj-your-key-here and api_key = 'YOUR_KEY_HERE'.\n")
    assert "0 secrets" in scan(code=0).stdout


def test_notebooks_are_searched_cell_by_cell_with_their_outputs(tree):
    """A key that was printed is found in the output; a picture's base64 is not searched."""
    book = {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [
            {"cell_type": "code", "source": ["x = 1\n", "print(x)"], "outputs": [], "metadata": {}},
            {"cell_type": "code", "source": "print(key)", "metadata": {},
             "outputs": [{"output_type": "stream", "text": ["first\n", f"{key(2)}\n"]},
                         {"output_type": "display_data", "data": {"image/png": key(3), "text/plain": "x"}}]},
            {"cell_type": "code", "source": [f"k = '{key(4)}'"], "outputs": [], "metadata": {}},
        ],
    }  # fmt: skip
    (tree / "nb.ipynb").write_text(json.dumps(book))
    assert [one["place"] for one in leaks()] == ["nb.ipynb:cell 2 output:2", "nb.ipynb:cell 3:1"]


def test_files_of_tools_are_left_out_and_others_are_not(tree):
    """Dependencies only with --all; hidden settings always; UTF-16 too; a binary file is no text."""
    for name in (".env", "node_modules/x.js", "venv/lib/y.py", "wide.txt", "binary.dat"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"OPENAI_API_KEY={key(5)}\n")
    (tree / "venv" / "pyvenv.cfg").touch()
    (tree / "wide.txt").write_bytes(f"token {key(6)}".encode("utf-16"))
    (tree / "binary.dat").write_bytes(b"\0\1" + key(7).encode())
    assert sorted(one["file"] for one in leaks()) == [".env", "wide.txt"]
    assert len(leaks("--all")) == 4


def test_a_file_that_can_not_be_read_is_said(tree):
    """Not passed over in silence."""
    with (tree / "huge.log").open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    assert "not read: huge.log" in scan(code=0).stdout


def test_the_usual_places_of_a_home(tree, tmp_path):
    """Shell history and profiles, when asked."""
    (tmp_path / "user" / ".bash_history").write_text(f"ls\nexport OPENAI_API_KEY={key(8)}\n")
    assert leaks() == []
    (one,) = leaks("--home")
    assert one["file"].endswith(".bash_history")
    assert one["line"] == 2


def test_a_baseline_leaves_out_what_is_known(tree):
    """It holds no value; a new value in the old place is new, and moved lines are not."""
    path = tree / "app.py"
    path.write_text(f'key = "{key(9)}"\n')
    scan("--write-baseline", "known.json", code=0)
    assert sweep(key(9), texts=[(tree / "known.json").read_text()]) == []
    assert "1 known" in scan("--baseline", "known.json", code=0).stdout
    path.write_text(f'\n\nkey = "{key(9)}"\n')
    scan("--baseline", "known.json", code=0)
    path.write_text(f'key = "{key(10)}"\n')
    scan("--baseline", "known.json", code=1)
    (tree / "known.json").write_text("[]")
    assert scan("--baseline", "known.json").exit_code == 2


def test_an_over_wide_signed_link_is_critical(tree):
    """Rights and end are said; one that only reads and ends soon is not as bad."""
    signature = "sig=" + "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=43)) + "%3D"
    soon = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * 2))
    wide = f"https://acme.blob.core.windows.net/?sv=2020-08-04&ss=bfqt&srt=sco&sp=rwdlacupx&se=2051-10-06T00:00:00Z&{signature}"
    narrow = f"https://acme.blob.core.windows.net/c/f.txt?sv=2020-08-04&sr=b&sp=r&se={soon}T00:00:00Z&{signature}"
    (tree / "a.md").write_text(wide + "\n")
    (tree / "b.md").write_text(narrow + "\n")
    first, second = leaks()
    assert first["severity"] == "critical"
    assert "delete" in first["note"]
    assert "whole account" in first["note"]
    assert "may read; for " in second["note"]
    assert second["severity"] != "critical"


@GIT
def test_history_finds_what_was_deleted(tree):
    """Each version once, with the commit that brought it."""
    git(tree, "init", "-q")
    (tree / "old.py").write_text(f"key = '{key(11)}'\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    first = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tree, text=True).strip()
    (tree / "old.py").write_text("key = None\n")
    git(tree, "commit", "-qam", "two")
    assert leaks() == []
    (one,) = leaks("--history")
    assert one["commit"] == first
    assert one["place"] == f"{first[:12]}:old.py:1"
    assert "history" in one["remedy"]


@GIT
def test_the_hook_stops_a_commit(tree):
    """Only staged content counts, and a clean commit passes."""
    git(tree, "init", "-q")
    scan("--install-hook", code=0)
    assert scan("--install-hook").exit_code == 2
    (tree / "a.py").write_text(f"key = '{key(12)}'\n")
    git(tree, "add", "a.py")
    (tree / "a.py").write_text("key = None\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@t.test", "commit", "-qm", "x"]
    refused = subprocess.run(command, cwd=tree, capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode != 0
    assert "a.py:1" in refused.stdout + refused.stderr
    assert key(12) not in refused.stdout + refused.stderr
    git(tree, "add", "a.py")
    assert subprocess.run(command, cwd=tree, capture_output=True, env=environment, check=False).returncode == 0


def test_wrong_use_says_what_to_do(tree):
    """A path that isn't there, two forms at once, a folder without git."""
    for arguments in (("missing",), ("--json", "--sarif"), ("--severity", "huge"), ("--staged",)):
        assert scan(*arguments).exit_code == 2


@GIT
def test_the_history_is_searched_with_a_bar(tree):
    """On a terminal it shows how far it is; every version is counted once, a folder of git's own is none."""
    git(tree, "init", "-q")
    for number in range(3):
        (tree / "a.txt").write_text(f"version {number}\n")
        git(tree, "add", ".")
        git(tree, "commit", "-qm", str(number))
    seen = []
    texts = list(from_history(tree, tick=lambda done, total: seen.append((done, total))))
    assert sorted(one.text for one in texts) == [f"version {number}\n" for number in range(3)]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    if sys.platform == "win32":
        return  # no terminal to look at
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    command = [sys.executable, "-m", "safellm", "scan", "--history"]
    done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other side is closed
        while piece := os.read(ours, 65_536):
            shown += piece
    os.close(ours)
    assert done.returncode == 0
    assert b"searching" in shown
    assert b"0 found" in shown
    assert b"searching" not in done.stdout


@GIT
def test_a_search_of_the_history_may_end_early(tree):
    """Whoever looks at the first finding only leaves no process behind, however many versions there are."""
    git(tree, "init", "-q")
    for number in range(40):
        (tree / f"{number}.txt").write_text(f"{number} " * 4000)
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    texts = from_history(tree, tick=lambda *_: None)
    next(texts)
    texts.close()
