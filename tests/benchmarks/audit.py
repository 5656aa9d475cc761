"""What the use of a trail costs: `python tests/benchmarks/audit.py [--records N]`; a million records by default, some 1 GB.

CPU is of this process and its children; compare lines of one run only. What appending costs is in `stores.py`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safellm._core.alerts import Watch
from safellm._core.effects import Content
from safellm._core.policy import Alert, Audit
from safellm.audit.exports import FORMATS
from safellm.audit.page import render
from safellm.audit.reading import records
from safellm.audit.walk import sum_up
from safellm.stores.content.kept import open_contents
from safellm.stores.content.keys import make_pair, read_private
from safellm.stores.content.store import read
from safellm.stores.journal.checkpoints import make_checkpoint, signing_key
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.journal.jsonl import JsonlJournal

COMMON = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "server.address": "api.example", "server.port": 443,
    "safellm.sdk": "openai 3.54.0", "policy.digest": "b" * 64, "safellm.version": "0.1.0", "decision": "allow",
}  # fmt: skip
RULES = (
    Alert(name="refusals", count="refusals", at_least=10**9, within="1m").rule(),
    Alert(name="spending", count="usd", at_least=10**9, times_mean=2, within="1d", per=("user",)).rule(),
    Alert(name="origins", new="origin").rule(),
)
BEGIN = 1_760_000_000_000_000_000
SOME = 50_000


def main() -> None:
    """Run everything and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory(prefix="safellm-benchmark-") as name:
        state = Path(name)
        trail = state / "audit"
        measure(f"{count:,} records written, with chain", count, lambda: fill(trail, count))
        measure("signed", count, lambda: make_checkpoint(trail, signing_key(state), now_ns=BEGIN))
        size = sum(file.path.stat().st_size for file in find(trail))
        seconds = measure("verify", count, lambda: verify_directory(trail))
        print(f"{'':<46}{size / seconds / 1e6 * 60:>12,.0f} MB/min {count / seconds * 60:>14,.0f} records/min")
        for workers in (1, min(8, os.cpu_count() or 1)):
            measure(f"report, {workers} processes", count, lambda workers=workers: report(trail, state, workers))
        some = [record for record, _ in zip(records(trail), range(SOME), strict=False)]
        measure("alerts, three rules", len(some), lambda: watch(some))
        for form, write in FORMATS.items():
            measure(f"export, {form}", len(some), lambda write=write: sum(len(line) for line in write(some)))
        contents(state)


def fill(trail: Path, count: int) -> None:
    """Write calls of a year by forty users, some of them refused."""
    journal, draw, now = JsonlJournal(trail, sync="none"), random.Random(1), BEGIN
    for number in range(count // 2):
        now += 60_000_000_000 * 1_000_000 // count
        who = {
            **COMMON,
            "safellm.grant.id": f"g{draw.randrange(40)}",
            "gen_ai.request.model": f"model-{draw.randrange(5)}",
        }
        intent = {
            **who, "event.id": f"call-{number}", "gen_ai.request.stream": False, "safellm.request.bytes": 4200,
            "safellm.content.hmac_in": "a" * 64, "safellm.redaction.counts": {"EMAIL": 2},
            "safellm.budget.reserved": {"input_tokens": 4200, "output_tokens": 4096, "micro_usd": 51470},
        }  # fmt: skip
        outcome = {
            **who, "event.parent": f"call-{number}", "http.response.status_code": 200, "safellm.content.hmac_out": "c" * 64,
            "gen_ai.response.model": "model-of-the-answer", "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 200,
            "safellm.budget.charged": {"input_tokens": 1000, "output_tokens": 200, "micro_usd": draw.randrange(9000)},
        }  # fmt: skip
        journal.append("call.intent", intent, time_ns=now)
        journal.append("call.outcome", outcome, time_ns=now + draw.randrange(9_000_000_000))
    journal.close()


def report(trail: Path, state: Path, workers: int) -> None:
    """Sum up, check and render."""
    found, integrity = sum_up(trail, state, workers=workers)
    assert integrity.ok
    render(found, integrity, title="benchmark", now_s=BEGIN // 10**9)


def watch(some: list[dict[str, object]]) -> None:
    """Look for what trips a rule."""
    one = Watch(RULES)
    for record in some:
        one.add(record)


def contents(state: Path) -> None:
    """Keep requests and answers of 4 KB, and read one back."""
    public, rounds = make_pair(state / "content.key"), 500
    kept = open_contents(state / "kept", Audit(content="redacted", content_key=public))
    content = Content(data=b"some text of a request " * 180, length=4140)

    def keep() -> None:
        for number in range(rounds):
            fields = {"event.id": str(number), "event.parent": str(number)}
            for event in ("call.intent", "call.outcome"):
                kept.keep(event, fields, content, at_ns=BEGIN)

    measure("content of a call kept, sealed", rounds, keep)
    found = read(state / "kept", read_private(state / "content.key"), "0", "in")
    assert found is not None
    assert found.data == content.data


def measure(name: str, count: int, work: Callable[[], object]) -> float:
    """Print what work costs, in all and for each of so many; return its wall time in seconds."""
    cpu, wall = _cpu_s(), time.perf_counter()
    work()
    cpu, wall = _cpu_s() - cpu, time.perf_counter() - wall
    print(f"{name:<46}{wall:>8.2f} s wall{cpu:>8.2f} s CPU{cpu / count * 1e6:>8.1f} us CPU each", flush=True)
    return wall


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
