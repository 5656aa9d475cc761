"""Holds are upper bounds, and one caller's bound must not keep the others out for longer than its call lasts (B.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from typing import Any

import openai
import safellm

LIMIT = 20_000
PATIENCE_S = 30


def ask(client: Any, ceiling: int) -> int:
    """Call until there is room; return what was billed."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            made = client.chat.completions.create(
                model="gpt-4o", max_tokens=ceiling, messages=[{"role": "user", "content": "hi"}]
            )
        except openai.RateLimitError:
            assert time.monotonic() < end, "starved"
            time.sleep(0.002)
        else:
            return int(made.usage.total_tokens)


def test_b_8_a_mixed_load_finishes(home: Any, provider: Any) -> None:
    """Large bounds, small bills: what a call doesn't use is there for the others as soon as it ends, so that all get through."""
    limits = {"budget.limits": [{"tokens": LIMIT, "window": "total"}]}
    client = safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0, safellm=limits)
    billed: list[int] = []
    wrong: list[BaseException] = []

    def work(ceiling: int, calls: int) -> None:
        try:
            billed.extend(ask(client, ceiling) for _ in range(calls))
        except BaseException as error:
            wrong.append(error)
            raise

    # Two of the large ones fill the limit: 4 x 5 of them held one after another would pass it five times over.
    loads = [(9_000, 5)] * 4 + [(50, 15)] * 4
    threads = [threading.Thread(target=work, args=load) for load in loads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert wrong == []
    assert len(billed) == sum(calls for _, calls in loads)
    assert sum(billed) <= LIMIT < 9_000 * 20


def test_b_8_a_ceiling_for_each_call_caps_what_it_can_hold(home: Any, provider: Any) -> None:
    """A request for a million tokens holds no more than the policy's ceiling; without that it is refused, and holds nothing."""
    limits = {"budget.limits": [{"tokens": LIMIT, "window": "total"}]}
    greedy = safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0, safellm=limits)
    capped = safellm.OpenAI(
        base_url=provider.base_url,
        api_key="x",
        max_retries=0,
        safellm={**limits, "budget.clamp_output": True, "budget.max_output_tokens": 500},
    )
    messages = [{"role": "user", "content": "hi"}]
    try:
        for _ in range(3):
            try:
                greedy.chat.completions.create(model="gpt-4o", max_tokens=1_000_000, messages=messages)
            except openai.RateLimitError as error:
                assert isinstance(error, safellm.Refused)
            else:
                raise AssertionError("held more than the limit")
        assert provider.requests == []
        capped.chat.completions.create(model="gpt-4o", max_tokens=1_000_000, messages=messages)
        assert provider.requests[-1].json["max_tokens"] == 500
    finally:
        greedy.close()
        capped.close()
