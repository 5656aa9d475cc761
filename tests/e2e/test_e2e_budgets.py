"""Budgets hold through the real SDK: threads, retries, hostile usage, a killed process (B.1-B.4)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import openai
import safellm
from safellm.stores.journal.files import verify_directory
from safellm.stores.ledger.choose import file_ledger
from safellm.testing.replies import Reply

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
HOUR_NS = 3_600_000_000_000


def limited(**limit):
    return {"budget.limits": [{"window": "total", **limit}]}


def charged(usage):
    return sum(one.input_tokens + one.output_tokens for one in usage())


def test_b_1_threads_never_spend_more_than_the_limit(sync, provider, usage):
    """Eight threads call until the budget refuses: what the provider billed stays within it, and the ledger has all of it."""
    limit = 1500
    client = sync.client(provider, safellm=limited(tokens=limit))
    billed, refused, wrong = [], [], []

    def work(number):
        for turn in range(400):
            try:
                made = client.chat.completions.create(
                    model="gpt-4o", max_tokens=20, messages=[{"role": "user", "content": f"{number} {turn}"}]
                )
                billed.append(made.usage.total_tokens)
            except openai.RateLimitError as error:
                refused.append(error)
                return
            except BaseException as error:
                wrong.append(error)
                raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(refused) == 8
    assert all(isinstance(error, safellm.Refused) for error in refused)
    assert 0 < sum(billed) <= limit
    assert len(provider.requests) == len(billed)
    assert charged(usage) == sum(billed)


def test_b_1_tasks_never_spend_more_than_the_limit(provider, usage):
    """The same for an async program: forty calls at once, whose bills add up to more than the limit in any order."""
    limit = 300

    async def main():
        async with safellm.AsyncOpenAI(
            base_url=provider.base_url, api_key="x", max_retries=0, safellm=limited(tokens=limit)
        ) as client:
            return await asyncio.gather(
                *(
                    client.responses.create(model="gpt-4o", input=f"task {number}", max_output_tokens=20)
                    for number in range(40)
                ),
                return_exceptions=True,
            )

    results = asyncio.run(main())
    billed = [one.usage.total_tokens for one in results if not isinstance(one, Exception)]
    assert all(isinstance(one, openai.RateLimitError) for one in results if isinstance(one, Exception))
    assert 0 < len(billed) < 40
    assert sum(billed) <= limit
    assert charged(usage) == sum(billed)


@APIS
@STREAMED
def test_b_3_credible_usage_is_charged(face, faults, outcome, api, stream):
    """What the provider says, when it can be true; also a zero."""
    for fault in ("none", "usage-zero"):
        client = face.client(base_url=faults.base_url(fault), api_key="x")
        face.ask(client, api=api, stream=stream)
        told = 0 if fault == "usage-zero" else outcome()["gen_ai.usage.output_tokens"]
        assert outcome()["safellm.budget.charged"]["output_tokens"] == told
        assert (told > 0) is (fault == "none")


@APIS
@STREAMED
@pytest.mark.parametrize("fault", ["usage-missing", "usage-negative", "usage-huge"])
def test_b_3_usage_that_is_missing_or_absurd_charges_the_hold(face, faults, outcome, records, api, stream, fault):
    """The whole reservation is charged."""
    client = face.client(base_url=faults.base_url(fault), api_key="x", safellm=limited(tokens=100_000))
    face.ask(client, api=api, stream=stream)
    reserved = next(one for one in records() if one["event.name"] == "call.intent")["safellm.budget.reserved"]
    assert outcome()["safellm.budget.charged"] == reserved
    assert reserved["output_tokens"] == 4096


@APIS
@STREAMED
def test_b_3_second_smaller_usage_does_not_lower_the_charge(face, faults, outcome, api, stream):
    """Usage that comes twice: never charged less than the first one said; a body with a key twice is refused and charged."""
    client = face.client(base_url=faults.base_url("usage-twice"), api_key="x")
    if stream:
        face.ask(client, api=api, stream=True)
    else:
        with pytest.raises(safellm.Refused):
            face.ask(client, api=api)
    assert outcome()["safellm.budget.charged"]["output_tokens"] > 0


@STREAMED
@pytest.mark.parametrize("fault", ["reset-mid-body", "stall-mid-body", "half-event", "invalid-json"])
def test_b_3_answer_that_breaks_off_charges_the_hold(face, faults, outcome, records, fault, stream):
    """An aborted answer was billed, as far as anyone knows."""
    timeout = 0.5 if fault.startswith("stall") else 20
    client = face.client(base_url=faults.base_url(fault), api_key="x", timeout=timeout)
    try:
        face.ask(client, stream=stream, max_tokens=33)
    except Exception as error:
        assert not isinstance(error, AssertionError)
    reserved = next(one for one in records() if one["event.name"] == "call.intent")["safellm.budget.reserved"]
    assert outcome()["safellm.budget.charged"] == reserved
    assert reserved["output_tokens"] == 33


def test_b_4_each_retry_needs_room_in_the_budget(face, provider, usage):
    """A provider that always says 429: two attempts fit, the third is refused here, and no more go out."""
    provider.reply_with(Reply(status=429, headers={"retry-after-ms": "1"}))
    client = face.client(provider, max_retries=5, safellm=limited(requests=2))
    with pytest.raises(openai.RateLimitError) as caught:
        face.ask(client)
    assert isinstance(caught.value, safellm.Refused)
    assert len(provider.requests) == 2
    assert sum(one.requests for one in usage()) == 2


@pytest.mark.parametrize("fault", ["reset-before-headers", "close-before-headers", "stall-before-headers"])
def test_b_4_attempt_without_an_answer_is_charged(face, faults, records, usage, fault):
    """The request was sent: each attempt charges its hold, also when it is tried again."""
    timeout = 0.3 if fault.startswith("stall") else 20
    client = face.client(base_url=faults.base_url(fault), api_key="x", timeout=timeout, max_retries=1)
    with pytest.raises(openai.APIConnectionError):
        face.ask(client, max_tokens=10)
    attempts = len(faults.requests)
    assert attempts == 2
    assert sum(one.requests for one in usage()) == attempts
    assert sum(one.output_tokens for one in usage()) == attempts * 10
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome"] * attempts


def test_b_4_attempt_of_which_nothing_was_sent_is_released(face, usage, outcome, free_port):
    """Nobody listens: nothing left, nothing is charged."""
    client = face.client(base_url=f"http://127.0.0.1:{free_port}/v1", api_key="x", safellm=limited(requests=1))
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError) as caught:
            face.ask(client)
        assert not isinstance(caught.value, safellm.Refused)
    assert sum(one.requests for one in usage()) == 0
    assert "safellm.budget.charged" not in outcome()


def test_b_7_ceiling_is_put_into_a_request_that_has_none(face, provider):
    """With a token limit the request gets an output ceiling; without one it is left alone."""
    settings = {**limited(tokens=100_000), "budget.max_output_tokens": 77}
    face.ask(face.client(provider, safellm=settings))
    assert provider.requests[-1].json["max_tokens"] == 77
    face.ask(face.client(provider, safellm=settings), api="responses")
    assert provider.requests[-1].json["max_output_tokens"] == 77
    face.ask(face.client(provider))
    assert "max_tokens" not in provider.requests[-1].json


def test_left_stream_is_settled_when_it_is_dropped(face, client, provider, outcome):
    """`break` out of a loop over a stream that nobody keeps: settled and recorded."""
    provider.reply_with("word " * 300)
    call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 44}

    async def leave():
        async for _ in await client.chat.completions.create(**call):
            break
        gc.collect()
        await asyncio.sleep(0.2)  # the loop closes what was collected

    if face.is_async:
        face.run(leave())
    else:
        for _ in client.chat.completions.create(**call):
            break
    gc.collect()  # the SDK's stream is a reference cycle
    assert outcome()["error.type"] == "closed"
    assert outcome()["safellm.budget.charged"]["output_tokens"] == 44


@pytest.mark.parametrize("fault", ["stall-before-headers", "stall-mid-body"])
@STREAMED
def test_b_3_cancelled_task_is_settled_and_recorded(faults, outcome, usage, fault, stream):
    """A task is cancelled in a call: the hold is charged, the trail says so, the cancellation goes on."""

    async def main():
        async with safellm.AsyncOpenAI(base_url=faults.base_url(fault), api_key="x", max_retries=0) as client:

            async def ask():
                made = await client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "x"}], stream=stream, max_tokens=12
                )
                return [chunk async for chunk in made]

            task = asyncio.create_task(ask())
            while not faults.requests:  # noqa: ASYNC110 - the server is a thread
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # into the body, where there is one
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert outcome()["error.type"] in {"cancelled", "closed"}
    assert sum(one.output_tokens for one in usage()) == 12


CHILD = """
import sys
import safellm
limit = {"budget.limits": [{"window": "total", "tokens": 100_000}]}  # without any, usage may be lost with the process
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x", max_retries=0, timeout=60, safellm=limit)
stream = sys.argv[2] == "streamed"
made = client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=stream, max_tokens=21
)
for chunk in made:
    print("chunk", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("stage", "how"), [("stall-before-headers", "plain"), ("stall-mid-body", "plain"), ("stall-mid-body", "streamed")]
)
def test_b_2_process_killed_in_a_call_is_charged_and_its_intent_stays(faults, home, usage, stage, how):
    """kill -9: the trail verifies and names the open intent; the next sweep charges the hold."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, faults.base_url(stage), how], stdout=subprocess.PIPE)
    try:
        end = time.monotonic() + 30
        while not faults.requests and time.monotonic() < end:
            assert child.poll() is None
            time.sleep(0.01)
        if how == "streamed":
            assert child.stdout.readline() == b"chunk\n"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    found = verify_directory(home / "audit")
    assert found.ok
    assert len(found.open_intents) == 1
    ledger = file_ledger(home / "ledger.sqlite3")
    assert ledger.sweep(now_ns=time.time_ns()) == 0
    assert ledger.sweep(now_ns=time.time_ns() + 2 * HOUR_NS) == 1
    assert [(one.requests, one.output_tokens) for one in usage()] == [(1, 21)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_b_2_trail_goes_on_after_a_kill(faults, provider, sync, home):
    """The next process continues the chain."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, faults.base_url("stall-before-headers"), "plain"])
    while not faults.requests:
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    sync.ask(sync.client(provider))
    found = verify_directory(home / "audit")
    assert found.ok
    assert (found.records, len(found.open_intents)) == (3, 1)
