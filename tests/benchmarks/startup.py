"""What `safellm run` costs at the start of a program: `python tests/benchmarks/startup.py`.

Each row is a program, run with and without the guard in turn; CPU seconds of the child, the median of several runs, as other
programs on the machine disturb wall clocks. The second part is what the guard adds to a request that isn't a model's.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import timeit

from safellm.auto import children

PROGRAMS = {
    "nothing": "pass",
    "import json, ssl, subprocess, http.client": "import json, ssl, subprocess, http.client",
    "import httpx2": "import httpx2",
    "import openai": "import openai",
}
RUNS = 15


def cpu_seconds(code: str, environment: dict[str, str]) -> float:
    """Return the CPU time of one interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    plain = dict(os.environ)
    guarded = plain | children.variables(plain, "guard")
    print(f"{'program':<44}{'plain':>10}{'guarded':>10}{'added':>10}   (ms of CPU, median of {RUNS})")
    for name, code in PROGRAMS.items():
        pairs = [(cpu_seconds(code, plain), cpu_seconds(code, guarded)) for _ in range(RUNS)]
        without, with_guard = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        print(f"{name:<44}{without:>10.1f}{with_guard:>10.1f}{with_guard - without:>10.1f}")
    from safellm.auto import gate

    gate.STATE.installed = True
    seconds = min(
        timeit.repeat(lambda: gate.find("https", "example.com", None, "/a", library="x"), number=10_000, repeat=5)
    )
    print(f"\na request to another address: {seconds / 10_000 * 1e6:.1f} us added")


if __name__ == "__main__":
    main()
