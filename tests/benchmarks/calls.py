"""What a guarded call costs over the plain SDK: `python tests/benchmarks/calls.py [--peers] [--rounds 40]`.

Prints, in one run: CPU time for each call and what is added to the plain SDK's (1 KB, 4 KB, 100 KB prompts, a stream of 200
deltas), sync and async; how many Python functions run for one of them, which no other load on the machine can change; the time to
the first streamed token; CPU time of imports; resident memory. With `--peers` also other
wrappers, each in an environment of its own that is made on demand (see `peers.py`).

CPU is of this process with all its threads; the provider runs in another. Contenders take turns, and medians are shown. Ratios
within one run can be compared, absolute values between machines can't.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peers

_PROVIDER = """
import sys
from safellm.testing import LoopbackProvider, Reply
with LoopbackProvider() as provider:
    provider.reply_with(Reply(chunks=("word ",) * 200))
    print(getattr(provider, sys.argv[1]), flush=True)
    sys.stdin.read()
"""
_SENTENCE = "The quick brown fox jumps over the lazy dog while it rains in the valley. "
_SIZES = {"1 KB": 1024, "4 KB": 4096, "100 KB": 102_400}
_TURNS = 200  # for times on the wall, which scatter more than CPU time
_DIFFERENT = 64  # texts; a wrapper that remembers what it has seen must not look faster than it is on new text
_MEMORY = """
import sys, {module}
client = {module}.OpenAI(base_url=sys.argv[1], api_key="x")
client.chat.completions.create(model="gpt-4o", messages=[{{"role": "user", "content": "hello"}}])
try:
    print(int(open("/proc/self/statm").read().split()[1]) * 4096)
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="measure other wrappers too; installs them")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    os.environ["SAFELLM_HOME"] = tempfile.mkdtemp(prefix="safellm-benchmark-")
    with provider("base_url") as url:
        heading("CPU", "us", "added us", "ratio")
        sync_calls(url, options.rounds)
        asyncio.run(async_calls(url, options.rounds))
        heading("Python calls (this thread)", "calls", "added", "ratio")
        function_calls(url)
        heading("time to the first token (wall)", "us", "added us", "ratio")
        first_token(url, max(options.rounds, _TURNS))
        heading("import, client and first call", "", "", "")
        start(url)
        if options.peers:
            heading("peers (CPU; plain is the SDK of their own environment)", "us", "added us", "ratio")
            for name in peers.PEERS:
                peers.show(name, url, texts(4096), row, options.rounds // 2)


@contextmanager
def provider(address: str) -> Iterator[str]:
    """Run a provider in a process of its own; yields its `base_url` or `origin`."""
    server = subprocess.Popen(
        [sys.executable, "-c", _PROVIDER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait(timeout=10)


def texts(size: int) -> list[str]:
    """Return clean prompts of this size, no two alike."""
    return [(f"Note {number}. " + _SENTENCE * (size // len(_SENTENCE) + 1))[:size] for number in range(_DIFFERENT)]


def sync_calls(url: str, rounds: int) -> None:
    """Plain and guarded, each with different prompts in turn."""
    import openai
    import safellm

    # In a folder of its own: two that write one trail in turn read each other's records.
    own_trail = {"audit.sync": "each", "audit.directory": tempfile.mkdtemp(prefix="safellm-benchmark-")}
    clients = {
        "plain SDK": openai.OpenAI(base_url=url, api_key="x"),
        "safellm": safellm.OpenAI(base_url=url, api_key="x"),
        "safellm, audit off": safellm.OpenAI(base_url=url, api_key="x", safellm={"audit": {"mode": "off"}}),
        "safellm, with a limit": safellm.OpenAI(
            base_url=url, api_key="x", safellm={"budget.limits": [{"window": "total", "tokens": 10**12}]}
        ),
        "safellm, strict sync": safellm.OpenAI(base_url=url, api_key="x", safellm=own_trail),
    }
    for label, size in _SIZES.items():
        prompts = texts(size)
        compare(f"call, {label}", clients, lambda client, turn, prompts=prompts: call(client, prompts[turn]), rounds)
    prompts = texts(4096)
    compare("stream of 200 deltas, 4 KB", clients, lambda client, turn: stream(client, prompts[turn]), rounds // 3)
    for client in clients.values():
        client.close()


async def async_calls(url: str, rounds: int) -> None:
    """The same for async clients, one call at a time."""
    import openai
    import safellm

    clients = {
        "plain SDK": openai.AsyncOpenAI(base_url=url, api_key="x"),
        "safellm": safellm.AsyncOpenAI(base_url=url, api_key="x"),
    }
    prompts = texts(4096)
    times: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(rounds + 3):
        for name, client in clients.items():
            began = time.process_time()
            await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": prompts[turn % _DIFFERENT]}]
            )
            times[name].append(time.process_time() - began)
    table("async call, 4 KB", {name: values[3:] for name, values in times.items()})
    for client in clients.values():
        await client.close()


def function_calls(url: str) -> None:
    """How many Python functions are called for one call, and for one stream: the same on any machine."""
    import openai
    import safellm

    clients = {
        "plain SDK": openai.OpenAI(base_url=url, api_key="x"),
        "safellm": safellm.OpenAI(base_url=url, api_key="x"),
    }
    prompts = texts(4096)
    for what, run in (("call, 4 KB", call), ("stream of 200 deltas, 4 KB", stream)):
        counts = {
            name: statistics.median(_counted(run, client, prompts) for _ in range(7))
            for name, client in clients.items()
        }
        plain = counts["plain SDK"]
        for name, count in counts.items():
            print(f"{what:<34}{name:<24}{count:>9.0f}{count - plain:>+12.0f}{count / plain:>8.2f}", flush=True)
    for client in clients.values():
        client.close()


def _counted(run: Callable[[Any, str], None], client: Any, prompts: list[str]) -> int:
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        run(client, prompts.pop())
    finally:
        sys.setprofile(None)
    return count


def first_token(url: str, rounds: int) -> None:
    """From the call to the first piece of text."""
    import openai
    import safellm

    clients = {
        "plain SDK": openai.OpenAI(base_url=url, api_key="x"),
        "safellm": safellm.OpenAI(base_url=url, api_key="x"),
    }
    prompts = texts(4096)
    times: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(rounds + 3):
        for name, client in clients.items():
            began = time.perf_counter()
            made = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": prompts[turn % _DIFFERENT]}], stream=True
            )
            for chunk in made:
                if chunk.choices and chunk.choices[0].delta.content:
                    times[name].append(time.perf_counter() - began)
                    break
            for _ in made:
                pass
    table("first token, 4 KB", {name: values[3:] for name, values in times.items()})
    for client in clients.values():
        client.close()


def start(url: str) -> None:
    """What a program pays once."""
    times: dict[str, list[float]] = {"openai": [], "safellm.openai": []}
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    for _ in range(7):
        for module, values in times.items():
            values.append(float(subprocess.check_output([sys.executable, "-c", code.format(module)])))
    plain = statistics.median(times["openai"])
    for module, values in times.items():
        middle = statistics.median(values)
        print(f"{'import, CPU':<34}{module:<24}{middle * 1000:>9.0f} ms{'':>9}{middle / plain:>8.2f}")
    for module in times:
        command = [sys.executable, "-c", _MEMORY.format(module=module), url]
        resident = statistics.median(int(subprocess.check_output(command)) for _ in range(3))
        print(f"{'resident memory after one call':<34}{module:<24}{resident / 1e6:>9.0f} MB")


def call(client: Any, text: str) -> None:
    """Make one chat call."""
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])


def stream(client: Any, text: str) -> None:
    """Read one streamed chat to its end."""
    for _ in client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True):
        pass


def compare(what: str, clients: dict[str, Any], run: Callable[[Any, int], None], rounds: int) -> None:
    """Time all clients in turn and print their medians with the ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(rounds + 3):
        for name, client in clients.items():
            began = time.process_time()
            run(client, turn % _DIFFERENT)
            if turn >= 3:  # the first ones warm caches and connections
                times[name].append(time.process_time() - began)
    table(what, times)


def table(what: str, times: dict[str, list[float]]) -> None:
    """Print the medians, and how they compare with the first.

    What is added is the median over pairs of neighbours in time: a machine whose speed drifts moves both alike.
    """
    first = next(iter(times.values()))
    for name, values in times.items():
        added = statistics.median(one - plain for one, plain in zip(values, first, strict=True))
        row(what, name, statistics.median(values), statistics.median(first), added)


def row(what: str, name: str, seconds: float, plain: float, added: float | None = None) -> None:
    """Print one line."""
    added = (seconds - plain if added is None else added) * 1e6
    print(f"{what:<34}{name:<24}{seconds * 1e6:>9.0f}{added:>+12.0f}{seconds / plain:>8.2f}", flush=True)


def heading(what: str, *columns: str) -> None:
    """Print a line of names."""
    print(f"\n{what:<58}{columns[0]:>9}{columns[1]:>12}{columns[2]:>8}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
