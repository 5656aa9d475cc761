"""An SDK's own test suite, with the guarded drop-in in the place of the SDK, passes what it passes without, but for promises.

Set SAFELLM_OPENAI_TESTS or SAFELLM_ANTHROPIC_TESTS to a checkout of the SDK's repository, or its source distribution, at the
installed version, or SAFELLM_GOOGLE_TESTS to the folder that it is installed in; see docs/drop-in.md, docs/drop-in-anthropic.md
and docs/drop-in-google.md. Nothing is fetched.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import collections
import fnmatch
import importlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from pathlib import Path

import pytest
from drop_in_suites import SUITES
from provider_of_types import serving

HERE = Path(__file__).parent
MOCK_SERVER = os.environ.get("TEST_API_BASE_URL", "http://127.0.0.1:4010")
LIMIT_SECONDS = 1800


@pytest.fixture(scope="module", params=SUITES, ids=lambda suite: suite.sdk)
def suite(request):
    """The SDK whose tests are run."""
    return request.param


@pytest.fixture(scope="module")
def installed(suite):
    """The version of the SDK that is installed."""
    return importlib.import_module(suite.sdk).__version__


@pytest.fixture(scope="module")
def checkout(suite, installed):
    """The folder of the SDK's repository."""
    given = os.environ.get(suite.variable)
    if not given:
        pytest.skip(f"{suite.variable} names no checkout of the SDK's repository: see docs/{suite.page.name}")
    folder = Path(given).resolve()
    found = re.search(r"""__version__ = ["']([^"']+)""", (folder / suite.version).read_text("utf-8"))
    assert found, "no version in the checkout"
    assert found[1] == installed, f"the suite is of {found[1]}, the installed SDK is {installed}"
    return folder


def has_mock_server():
    address = urllib.parse.urlsplit(MOCK_SERVER)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port or 80)) == 0


@contextmanager
def provider(suite, numbers):
    """Give the address of what answers the suite's tests of API resources; None where nothing does."""
    if numbers is not None and numbers["with_mock_server"]:
        yield MOCK_SERVER if has_mock_server() else None
    elif suite.client:
        with serving(getattr(importlib.import_module(suite.sdk), suite.client)(api_key="none")) as address:
            yield address
    else:
        yield None


def run(suite, checkout, out, home, address, *, guarded):
    """Run the suite; return what became of each test, and why."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(suite.foreign)}
    environ |= {
        "SAFELLM_HOME": str(home),
        "SAFELLM_KEYS_VAULT": "false",
        "PYTHONPATH": str(HERE),
        "GUARDED_SDK": suite.sdk,
    }
    environ |= {name: os.environ[name] for name in ("OPENAI_TEST_HTTP_CLIENT",) if name in os.environ}
    environ |= {"TEST_API_BASE_URL": address} if address else {}
    command = [sys.executable, "-m", "pytest", suite.tests, "-q", f"--junitxml={out}"]
    # Reports with sources fail on Python 3.11 where a test's threads read sources at the same time.
    command += ["-o", "addopts=--tb=native", "--no-summary"]  # of thousands it takes longer than the run
    command += [*suite.options, "-p", "no:cacheprovider", "-p", "no:randomly"]
    # A module that makes a refused client when it is imported must not end the run.
    command += ["--continue-on-collection-errors"]
    if (checkout / "tests" / "_alias_httpx.py").exists():
        command += ["-p", "tests._alias_httpx"]  # the suite's own `addopts` load it
    if importlib.util.find_spec("xdist"):
        command += ["-n", "auto"]
    if not address:
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


def completed(plain, guarded):
    """Return the second run, in which the tests of a module that only the first could import failed for the module's reason."""
    modules = {name.partition("::")[2]: guarded[name] for name in guarded if name.startswith("::")}
    lost = {name: modules[module] for name in plain if (module := module_of(name, modules)) and name not in guarded}
    return {name: said for name, said in guarded.items() if not name.startswith("::")} | lost


def module_of(name, modules):
    place = name.partition("::")[0]
    return next((module for module in modules if place == module or place.startswith(f"{module}.")), None)


def test_own_suite_of_the_sdk_passes_but_for_promises(suite, installed, checkout, tmp_path):
    """Each test that passes without the guard passes with it, or is one of the listed promises, for the listed reason."""
    home, listed, numbers = tmp_path / "home", suite.listed, suite.numbers(installed)
    with provider(suite, numbers) as address:
        plain = run(suite, checkout, tmp_path / "plain.xml", home, address, guarded=False)
        assert not home.exists(), "the first run must know nothing of safellm"
        guarded = run(suite, checkout, tmp_path / "guarded.xml", home, address, guarded=True)
    plain = {
        name: said for name, said in plain.items() if not name.startswith("::")
    }  # modules that lack something anyway
    guarded = completed(plain, guarded)
    assert plain.keys() == guarded.keys()
    assert list((home / "audit").iterdir()), "the second run must have passed the guard"
    passed = [sum(outcome == "passed" for outcome, _ in one.values()) for one in (plain, guarded)]
    differing = [name for name in plain if plain[name][0] == "passed" and guarded[name][0] != "passed"]
    counts = collections.Counter(
        next((one["id"] for one in listed["promise"] if explains(one, name, guarded[name][1])), name)
        for name in differing
    )
    sys.stderr.write(f"\n{suite.sdk} {installed}: {passed[0]} passed without, {passed[1]} with; {dict(counts)}\n")
    known = {one["id"]: one["count"].get(installed, 0) for one in listed["promise"]}
    assert [name for name in counts if name not in known] == [], "differences that no promise explains"
    # The numbers of a suite hold for all of it: where they were taken with a mock server, only with one.
    if numbers is not None and (address or not numbers["with_mock_server"]):
        found = {name: counts[name] for name in known}
        assert (found, *passed) == (known, numbers["passed_plain"], numbers["passed_guarded"])
