"""Tasks that are cancelled while ledger or trail are at work: what was begun is settled and recorded."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest

import safellm
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.testing import LoopbackProvider
from safellm.transports.http import in_thread


def test_a_cancelled_task_waits_for_its_thread() -> None:
    """The thread goes on whatever happens to the task: nobody goes on beside it."""
    done: list[str] = []

    def work() -> None:
        time.sleep(0.1)
        done.append("work")

    async def main() -> None:
        task = asyncio.create_task(in_thread(work))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["work"]

    asyncio.run(main())


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1])
def test_l_2_a_call_that_is_cancelled_while_it_is_recorded_has_an_outcome(
    home: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    """Each intent is followed by an outcome, and nothing is held any more."""
    wait = JsonlJournal._wait

    def slowly(self: JsonlJournal, ticket: int) -> None:
        time.sleep(0.06)
        wait(self, ticket)

    monkeypatch.setattr(JsonlJournal, "_wait", slowly)
    settings = {"audit.sync": "each", "audit.directory": str(home / "trail")}

    async def main() -> None:
        client = safellm.AsyncOpenAI(base_url=provider.base_url, api_key="x", safellm=settings)
        said = [{"role": "user", "content": "hello"}]
        task = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=said))
        while not list((home / "trail").glob("*.jsonl")):  # noqa: ASYNC110 - no event tells of a file
            await asyncio.sleep(0.005)
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, AssertionError)):
            await task
            raise AssertionError  # it was over already
        await client.close()

    asyncio.run(main())
    (file,) = (home / "trail").glob("*.jsonl")
    events = Counter(json.loads(line)["event.name"] for line in file.read_text("utf-8").splitlines())
    assert events["call.intent"] == events["call.outcome"] == 1
