"""What a guarded call costs over the plain SDK: `python tests/benchmarks/calls.py`.

Prints CPU time for each call (this process only; the provider runs in another), contenders in turn, medians; and import time.
Ratios within one run can be compared, absolute values between machines can't.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

_PROVIDER = """
import sys
from safellm.testing import LoopbackProvider, Reply
with LoopbackProvider() as provider:
    provider.reply_with(Reply(chunks=("word ",) * 200))
    print(provider.base_url, flush=True)
    sys.stdin.read()
"""
_SENTENCE = "The quick brown fox jumps over the lazy dog while it rains in the valley. "
_SIZES = {"1 KB": 1024, "4 KB": 4096, "100 KB": 102_400}
_ROUNDS = 40


def main() -> None:
    """Run everything and print one table."""
    os.environ["SAFELLM_HOME"] = tempfile.mkdtemp(prefix="safellm-benchmark-")
    import openai
    import safellm

    server = subprocess.Popen(
        [sys.executable, "-c", _PROVIDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    url = server.stdout.readline().strip()
    clients = {
        "plain SDK": openai.OpenAI(base_url=url, api_key="x"),
        "safellm": safellm.OpenAI(base_url=url, api_key="x"),
        "safellm, audit off": safellm.OpenAI(base_url=url, api_key="x", safellm={"audit": {"mode": "off"}}),
    }
    for label, size in _SIZES.items():
        prompt = (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]
        show(f"call, {label} prompt", clients, lambda client, text=prompt: call(client, text))
    show(
        "stream of 200 deltas, 4 KB prompt", clients, lambda client: stream(client, (_SENTENCE * 60)[:4096]), rounds=12
    )
    server.stdin.close()
    server.wait(timeout=10)
    for module in ("openai", "safellm.openai"):
        code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
        times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7)]
        print(f"import {module:<44} {statistics.median(times) * 1000:8.0f} ms")


def call(client: Any, text: str) -> None:
    """Make one chat call."""
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])


def stream(client: Any, text: str) -> None:
    """Read one streamed chat to its end."""
    for _ in client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True):
        pass


def show(what: str, clients: dict[str, Any], run: Callable[[Any], None], rounds: int = _ROUNDS) -> None:
    """Time all clients in turn and print their medians with the ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + 3):
        for name, client in clients.items():
            start = time.process_time()
            run(client)
            if number >= 3:  # the first ones warm caches and connections
                times[name].append(time.process_time() - start)
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{what:<36} {name:<20} {middle * 1e6:8.0f} us  x {middle / first:.2f}")


if __name__ == "__main__":
    main()
