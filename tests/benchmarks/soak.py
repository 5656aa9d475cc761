"""A long run through one async client: `python tests/benchmarks/soak.py [--calls 10000] [--streams 1000]`.

Every call carries a mail address of its own and must get that one back, and no other. All streams are open at once. Afterwards:

* no address reached the provider, and every answer had its own;
* the trail verifies, and has one intent and one outcome for each call;
* the ledger adds up to what the provider billed;
* memory stays where it was after the warm-up (half of the calls, and a first round of streams).

Prints what it found as JSON and exits with 1 if anything is wrong. The provider runs in a process of its own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

_PROVIDER = """
import json, re, resource, sys
from safellm.testing import LoopbackProvider
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
with LoopbackProvider() as provider:
    print(provider.base_url, flush=True)
    sys.stdin.read()
    leaked = sum(bool(re.search(rb"user[0-9]+@", request.body)) for request in provider.requests)
    print(json.dumps({"requests": len(provider.requests), "leaked": leaked}), flush=True)
"""
_MAIL = re.compile(r"user[0-9]+@mail\.example")
_SETTLED_CALLS = 4000  # with fewer, memory is still filling up and says nothing
_MOST_GROWTH = 0.02  # of the allocated blocks: what is in flight at the moment of counting differs


class Run:
    """One client, and what it was told."""

    def __init__(self, url: str, at_once: int) -> None:
        import safellm

        self.client = safellm.AsyncOpenAI(base_url=url, api_key="x", max_retries=0, timeout=300)
        self.gate = asyncio.Semaphore(at_once)
        self.made = 0
        self.billed: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def call(self) -> None:
        """Make one call and check its answer."""
        async with self.gate:
            number, mail = self.next_mail()
            made = await self.client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": f"Order {number}: please write to {mail} today."}]
            )
            self.check(mail, made.choices[0].message.content, made.usage)

    async def stream(self, opened: asyncio.Barrier) -> None:
        """Open a stream, wait until all are open, read it to its end and check it."""
        number, mail = self.next_mail()
        stream = await self.client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": f"Order {number}: please write to {mail} today."}],
            stream=True,
            stream_options={"include_usage": True},
        )
        text, usage, is_first = "", None, True
        async for chunk in stream:
            if is_first:
                is_first = False
                await opened.wait()
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            usage = chunk.usage or usage
        self.check(mail, text, usage)

    def next_mail(self) -> tuple[int, str]:
        """Return a number and an address that no other call has."""
        self.made += 1
        return self.made, f"user{self.made}@mail.example"

    def check(self, mail: str, text: str, usage: Any) -> None:
        """Compare an answer with what it must be."""
        if set(_MAIL.findall(text)) != {mail} or "X-EMAIL" in text:
            self.wrong.append(f"asked with {mail}, answered {text[:200]!r}")
        if usage is None:
            self.wrong.append(f"no usage for {mail}")
        else:
            self.billed.update(requests=1, input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)


async def soak(url: str, calls: int, streams: int, at_once: int) -> dict[str, Any]:
    """Make all calls; returns what was seen."""
    run = Run(url, at_once)
    began, cpu = time.monotonic(), time.process_time()
    marks = []
    async with run.client:
        for part in (calls // 2, calls - calls // 2):
            await asyncio.gather(*(run.call() for _ in range(part)))
            marks.append(await memory("after calls", run.made))
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        for _ in range(2):
            opened = asyncio.Barrier(streams)
            await asyncio.gather(*(run.stream(opened) for _ in range(streams)))
            marks.append(await memory("after streams", run.made))
    return {
        "calls": calls,
        "streams": 2 * streams,
        "seconds_of_calls": round(took, 1),
        "cpu_ms_per_call": round(cpu / max(1, calls) * 1000, 2),
        "billed": dict(run.billed),
        "made": run.made,
        "memory": marks,
        "wrong": run.wrong,
    }


async def memory(when: str, made: int) -> dict[str, Any]:
    """Return what is allocated now, in blocks of Python's allocator and as resident memory."""
    for _ in range(
        3 if made >= _SETTLED_CALLS // 2 else 0
    ):  # the SDK's async generators are closed by tasks of their own, once they are collected
        gc.collect()
        await asyncio.sleep(0.5)
    resident = 0
    if sys.platform == "linux":
        statm = Path("/proc/self/statm").read_text()  # noqa: ASYNC240 - no disk behind it
        resident = int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"when": when, "made": made, "blocks": sys.getallocatedblocks(), "resident_mb": round(resident / 1e6, 1)}


def judge(found: dict[str, Any], provider: dict[str, int], home: Path) -> list[str]:
    """Return what is wrong."""
    from safellm.stores.journal.files import find, verify_directory
    from safellm.stores.ledger.choose import file_ledger

    wrong: list[str] = list(found.pop("wrong"))[:20]
    made = found["made"]
    if provider != {"requests": made, "leaked": 0}:
        wrong.append(f"the provider saw {provider} of {made} calls")
    trail = verify_directory(home / "audit")
    if not trail.ok or trail.open_intents:
        wrong.append(f"the trail: {trail.explain()}")
    intents: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for file in find(home / "audit"):
        with file.path.open("rb") as lines:
            for line in lines:
                record = json.loads(line)
                if record["event.name"] == "call.intent":
                    intents[record["event.id"]] += 1
                elif record["event.name"] == "call.outcome":
                    outcomes[record["event.parent"]] += 1
                else:
                    others[record["event.name"]] += 1
    if len(intents) != made or intents != outcomes or set(intents.values()) != {1}:
        wrong.append(f"the trail has {len(intents)} intents and {len(outcomes)} outcomes of {made} calls")
    if set(others) - {"audit.rotate"}:
        wrong.append(f"the trail also has {dict(others)}")
    ledger: Counter[str] = Counter()
    for one in file_ledger(home / "ledger.sqlite3").usage():
        ledger.update(requests=one.requests, input_tokens=one.input_tokens, output_tokens=one.output_tokens)
    if ledger != Counter(found["billed"]):
        wrong.append(f"the ledger has {dict(ledger)}, billed was {found['billed']}")
    if found["calls"] >= _SETTLED_CALLS:
        for before, after in (found["memory"][:2], found["memory"][2:]):
            growth = after["blocks"] / before["blocks"] - 1
            if growth > _MOST_GROWTH:
                wrong.append(f"memory grew by {growth:.1%} {after['when']}")
    return wrong


def main() -> int:
    """Run and judge; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))  # negative: no limit
    with tempfile.TemporaryDirectory(prefix="safellm-soak-") as name:
        os.environ["SAFELLM_HOME"] = name
        os.environ["SAFELLM_KEYS_VAULT"] = "false"
        server = subprocess.Popen(
            [sys.executable, "-c", _PROVIDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            found = asyncio.run(soak(url, options.calls, options.streams, options.at_once))
            told, _ = server.communicate(timeout=60)
        finally:
            server.kill()
            server.wait()
        wrong = judge(found, json.loads(told), Path(name))
    print(json.dumps({**found, "wrong": wrong}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
