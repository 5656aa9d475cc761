"""Every public SDK method in a network namespace without a network: connections are made to the guarded address only (E.10)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHILD = Path(__file__).parents[1] / "support" / "namespace_walk.py"
LEAST = {"openai": 200, "anthropic": 200, "google": 25}  # requests that have to arrive, or the walk was an empty one
IMPORTS = {"google": "google.genai"}


@cache
def unshare() -> list[str]:
    """Return the command that gives a process a network of its own, where the system permits one; else nothing."""
    program = shutil.which("unshare") if sys.platform == "linux" else None
    for options in (["-n"], ["-r", "-n"]):
        if program and subprocess.run([program, *options, "true"], capture_output=True, check=False).returncode == 0:
            return [program, *options]
    return []


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(IMPORTS.get(name, name)) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not unshare(), reason="NOT TESTED without a network: this system permits no network namespace")
def test_e_10_every_method_connects_to_the_guarded_address_only(home: Path) -> None:
    """No other address and no other name, by the SDKs' own HTTP clients and their websockets."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [*unshare(), sys.executable, str(CHILD)], capture_output=True, text=True, timeout=120, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["cut_off"], "the namespace has no way out"
    assert found["connected"] == [str(tuple(found["server"]))]
    assert found["asked"] == ["127.0.0.1"]
    assert set(found["sent"]) == {name for name in LEAST if installed(name)}
    for name, sent in found["sent"].items():
        assert sent >= LEAST[name], f"{name}: only {sent} requests of {found['called'][name]} methods arrived"
