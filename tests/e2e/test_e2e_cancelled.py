"""Tasks that are cancelled while ledger or trail are at work: what was begun is settled and recorded."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import time
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import anyio
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


@types.coroutine
def _at_wait(number: int, happens: Callable[[], Any], work: Coroutine[Any, Any, None]) -> Generator[Any, Any, bool]:
    """Do something while a coroutine waits for the n-th time; return whether it did so often."""
    waits, value = 0, None
    failed: BaseException | None = None
    while True:
        try:
            waited = work.send(value) if failed is None else work.throw(failed)
        except StopIteration:
            return waits >= number
        waits, failed = waits + 1, None
        if waits == number:
            asyncio.get_running_loop().call_soon(happens)
        try:
            value = yield waited
        except BaseException as error:  # the coroutine's
            failed = error


@pytest.mark.parametrize("kind", ["whole", "read", "left"])
@pytest.mark.parametrize("way", ["task", "scope"])
def test_l_2_a_call_that_is_cancelled_wherever_it_waits_has_an_outcome(
    home: Path, provider: LoopbackProvider, kind: str, way: str
) -> None:
    """By asyncio or by a scope of anyio, on a new connection or a used one; the next call goes through."""

    async def main() -> int:
        client = safellm.AsyncOpenAI(base_url=provider.base_url, api_key="x", max_retries=0)
        said: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}

        async def work() -> None:
            made = await client.chat.completions.create(**said, stream=kind != "whole")
            if kind != "whole":
                async for _ in made:
                    if kind == "left":
                        await made.close()
                        return

        number, goes_on = 0, True
        while goes_on:
            number += 1
            if way == "scope":
                with anyio.CancelScope() as scope:
                    goes_on = await _at_wait(number, scope.cancel, work())
                continue

            async def begun(number: int = number) -> bool:
                own: Any = asyncio.current_task()
                return await _at_wait(number, own.cancel, work())

            task = asyncio.create_task(begun())
            await asyncio.wait([task])
            goes_on = task.cancelled() or task.result()
        await work()
        await client.close()
        return number

    assert asyncio.run(main()) > 4
    (file,) = (home / "audit").glob("*.jsonl")
    events = Counter(json.loads(line)["event.name"] for line in file.read_text("utf-8").splitlines())
    assert events["call.intent"] == events["call.outcome"] > 4
