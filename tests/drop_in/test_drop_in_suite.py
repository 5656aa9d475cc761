"""The SDK's own test suite, with the guarded drop-in in the place of `openai`, passes what it passes without, but for promises.

Set SAFELLM_OPENAI_TESTS to a checkout of the SDK's repository at the installed version; see docs/drop-in.md. Nothing is fetched.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import collections
import fnmatch
import importlib.util
import os
import re
import socket
import subprocess
import sys
import tomllib
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import openai

HERE = Path(__file__).parent
LISTED = tomllib.loads((HERE / "promises.toml").read_text("utf-8"))
MOCK_SERVER = os.environ.get("TEST_API_BASE_URL", "http://127.0.0.1:4010")
FOREIGN = ("OPENAI_", "AZURE_", "SAFELLM_", "AWS_", "PYTEST_")
LIMIT_SECONDS = 1800


@pytest.fixture(scope="module")
def checkout():
    """The folder of the SDK's repository."""
    given = os.environ.get("SAFELLM_OPENAI_TESTS")
    if not given:
        pytest.skip("SAFELLM_OPENAI_TESTS names no checkout of the SDK's repository: see docs/drop-in.md")
    folder = Path(given).resolve()
    found = re.search(r'__version__ = "([^"]+)"', (folder / "src" / "openai" / "_version.py").read_text("utf-8"))
    assert found, "no version in the checkout"
    assert found[1] == openai.__version__, f"the suite is of {found[1]}, the installed SDK is {openai.__version__}"
    return folder


def has_mock_server():
    address = urllib.parse.urlsplit(MOCK_SERVER)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port or 80)) == 0


def run(checkout, out, home, *, guarded):
    """Run the suite; return what became of each test, and why."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environ |= {"SAFELLM_HOME": str(home), "SAFELLM_KEYS_VAULT": "false", "PYTHONPATH": str(HERE)}
    environ |= {
        name: os.environ[name] for name in ("TEST_API_BASE_URL", "OPENAI_TEST_HTTP_CLIENT") if name in os.environ
    }
    command = [sys.executable, "-m", "pytest", "tests", "-q", f"--junitxml={out}", "-o", "addopts=--tb=short"]
    command += ["--inline-snapshot=disable", "-p", "no:cacheprovider", "-p", "no:randomly"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", "auto"]
    if not has_mock_server():
        command += ["--ignore=tests/api_resources"]
    if guarded:
        command += ["-p", "guarded_imports"]
    done = subprocess.run(
        command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode in (0, 1), done.stdout[-4000:] + done.stderr[-4000:]
    return outcomes(out)


def outcomes(file):
    """Return {test: (outcome, what the report says about a failure)}."""
    found = {}
    for case in ET.parse(file).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        # A test may have two entries: one for itself, one for what comes after it.
        outcome, text = found.get(name, ("passed", ""))
        for part in case:
            if part.tag in ("failure", "error"):
                outcome, text = "failed", f"{text}\n{part.get('message')}\n{part.text}"
            elif part.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        found[name] = (outcome, text)
    return found


def explains(promise, name, text):
    # Names are compared without brackets, which mean something else in a pattern.
    plain = name.partition("[")[0]
    return any(fnmatch.fnmatchcase(plain, pattern) for pattern in promise["tests"]) and any(
        words in text for words in promise["says"]
    )


def test_own_suite_of_the_sdk_passes_but_for_promises(checkout, tmp_path, record_property):
    """Each test that passes without the guard passes with it, or is one of the listed promises, for the listed reason."""
    home = tmp_path / "home"
    plain = run(checkout, tmp_path / "plain.xml", home, guarded=False)
    assert not home.exists(), "the first run must know nothing of safellm"
    guarded = run(checkout, tmp_path / "guarded.xml", home, guarded=True)
    assert plain.keys() == guarded.keys()
    assert list((home / "audit").iterdir()), "the second run must have passed the guard"
    passed = [sum(outcome == "passed" for outcome, _ in one.values()) for one in (plain, guarded)]
    differing = [name for name in plain if plain[name][0] == "passed" and guarded[name][0] != "passed"]
    counts = collections.Counter(
        next((one["id"] for one in LISTED["promise"] if explains(one, name, guarded[name][1])), name)
        for name in differing
    )
    sys.stderr.write(f"\nopenai {openai.__version__}: {passed[0]} passed without, {passed[1]} with; {dict(counts)}\n")
    known = {one["id"]: one["count"] for one in LISTED["promise"]}
    assert [name for name in counts if name not in known] == [], "differences that no promise explains"
    suite = LISTED["suite"]
    if suite["version"] == openai.__version__ and has_mock_server():
        assert (dict(counts), *passed) == (known, suite["passed_plain"], suite["passed_guarded"])
