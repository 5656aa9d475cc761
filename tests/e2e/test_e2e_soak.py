"""The small form of the soak run: many calls and streams at once through one async client, nothing lost, nothing mixed up."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.skipif(sys.platform == "win32", reason="raises the number of open files as POSIX does")
def test_soak_300_calls_and_100_streams_at_once():
    """Each call gets its own address back; trail, ledger and provider agree about every one of them."""
    command = [sys.executable, str(SCRIPT), "--calls", "300", "--streams", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["made"], found["billed"]["requests"], found["wrong"]) == (500, 500, [])
