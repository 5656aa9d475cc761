"""Limits by label, tier, action and rate, runs and warnings, through the real SDK."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import openai
import safellm


@pytest.fixture
def make(provider):
    """Clients of this provider with these limits."""
    made = []

    def client(*limits, **settings):
        made.append(
            safellm.OpenAI(
                base_url=provider.base_url,
                api_key="x",
                max_retries=0,
                safellm={"budget.limits": list(limits), **settings},
            )
        )
        return made[-1]

    yield client
    for one in made:
        one.close()


def ask(client, model="gpt-4o", text="hello", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def refused(client, **more):
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, **more)
    assert isinstance(caught.value, safellm.Refused)
    return caught.value


def test_a_limit_per_label_is_one_for_each_value(make):
    """Two calls for each team and model; calls without a team share one account; what is known can't be claimed."""
    client = make({"requests": 2, "window": "total", "per": ["team", "model"]})
    for team in ("red", "blue"):
        with safellm.labels(team=team):
            ask(client)
            ask(client)
            assert f"team={team}|model=gpt-4o" in str(refused(client))
            ask(client, model="gpt-4o-mini")
    ask(client)
    ask(client)
    refused(client)
    for name in ("model", "process", "key", "Team", ""):
        with pytest.raises(ValueError, match=r"label"):
            with safellm.labels(**{name: "x"}):
                pass


def test_where_chooses_the_calls_that_count(make):
    """A limit for some models leaves the others alone; two of one name but other conditions are two accounts."""
    client = make(
        {"requests": 1, "window": "total", "where": {"model": "gpt-4o*"}},
        {"requests": 2, "window": "total", "where": {"model": "o3*", "team": "red"}},
    )
    ask(client)
    refused(client, model="gpt-4o-mini")
    with safellm.labels(team="red"):
        ask(client, model="o3-mini")
        ask(client, model="o3-mini")
        refused(client, model="o3-mini")
    ask(client, model="o3-mini")
    ask(client, model="gpt-4.1")


def test_labels_hold_in_tasks_and_in_threads_that_get_the_context(make, provider):
    """Each task has its own; a pool has those of the block when it runs in the block's context."""
    limits = {"budget.limits": [{"requests": 3, "window": "total", "per": ["team"]}]}

    async def work(client, team):
        with safellm.labels(team=team):
            return [
                one
                for one in await asyncio.gather(
                    *(
                        client.chat.completions.create(
                            model="gpt-4o", messages=[{"role": "user", "content": str(number)}]
                        )
                        for number in range(5)
                    ),
                    return_exceptions=True,
                )
                if not isinstance(one, Exception)
            ]

    async def main():
        async with safellm.AsyncOpenAI(
            base_url=provider.base_url, api_key="x", max_retries=0, safellm=limits
        ) as client:
            return await asyncio.gather(*(work(client, team) for team in ("a", "b", "c")))

    assert [len(one) for one in asyncio.run(main())] == [3, 3, 3]
    client = make(*limits["budget.limits"])
    with safellm.labels(team="d"), ThreadPoolExecutor(2) as pool:
        context = contextvars.copy_context()
        for _ in range(3):
            pool.submit(context.run, ask, client).result()
        refused(client)
    thread = threading.Thread(target=ask, args=(client,))  # without the context: on the account of those without a team
    thread.start()
    thread.join()


def test_several_limits_are_held_at_once_or_not_at_all(make):
    """A call that one limit refuses takes nothing of the others."""
    client = make(
        {"requests": 5, "window": "total"}, {"name": "small", "requests": 1, "window": "day", "where": {"model": "o3*"}}
    )
    ask(client, model="o3-mini")
    for _ in range(4):
        refused(client, model="o3-mini")
    for _ in range(4):
        ask(client)
    refused(client)


def test_clamp_lowers_the_output_ceiling_to_what_is_left(make, provider):
    """The answer gets as much as there is room for, by tokens or by money; without room for any the call is refused."""
    client = make({"tokens": 1000, "window": "total", "action": "clamp"})
    ask(client, max_tokens=5000)
    sent = provider.requests[-1].json["max_tokens"]
    assert 500 < sent < 1000
    money = make({"name": "money", "usd": "0.01", "window": "total", "action": "clamp"})
    ask(money, max_tokens=5000)
    assert 100 < provider.requests[-1].json["max_tokens"] < 1000
    refused(make({"name": "tiny", "tokens": 20, "window": "total", "action": "clamp"}))


def test_a_limit_for_each_call_looks_at_one_call(make, provider):
    """It never fills up: too large is refused or clamped, the next small one goes through."""
    client = make({"output_tokens": 100, "window": "call"})
    for _ in range(3):
        ask(client, max_tokens=100)
    assert "per call" in str(refused(client, max_tokens=101))
    clamped = make({"output_tokens": 100, "window": "call", "action": "clamp"})
    ask(clamped, max_tokens=101)
    assert provider.requests[-1].json["max_tokens"] == 100


def test_warnings_are_told_once_and_refuse_nothing(make, records):
    """At the share that `warn_at` says, a callback, a log line and a record; a limit that only warns lets everything through."""
    told = []
    remove = safellm.on_budget_warning(told.append)
    try:
        client = make(
            {"requests": 4, "window": "total", "warn_at": 0.5, "per": ["team"]},
            {"name": "soft", "requests": 1, "window": "total", "action": "warn"},
        )
        with safellm.labels(team=f"t{id(told)}"):
            for _ in range(4):
                ask(client)
            refused(client)
    finally:
        remove()
    mine = [one for one in told if one.name != "soft"]
    assert [(one.unit, one.limit, one.used, one.held, one.share) for one in mine] == [("requests", 4, 1, 1, 0.5)]
    events = [one for one in records() if one["event.name"] == "budget.warning"]
    assert {"safellm.budget.used": 1, "safellm.budget.held": 1}.items() <= events[-1].items()
    ask(make({"name": "soft", "requests": 1, "window": "total", "action": "warn"}))


def test_a_callback_can_refuse_and_its_defects_do_not(make):
    """`Refused` from a callback stops the call; anything else is logged."""

    def broken(warning):
        raise ZeroDivisionError

    def strict(warning):
        raise safellm.Refused("enough", guard="mine", reason=safellm.Reason.BUDGET_EXCEEDED, remedy="Stop.", status=429)

    for callback, name in ((broken, "one"), (strict, "two")):
        remove = safellm.on_budget_warning(callback)
        client = make({"name": f"{name}-{id(make)}", "requests": 5, "window": "total", "warn_at": 0.1})
        try:
            if callback is broken:
                ask(client)
            else:
                assert "enough" in str(refused(client))
        finally:
            remove()


def test_concurrency_is_counted_while_calls_are_under_way(make):
    """A streamed call holds its place until it ends."""
    client = make({"concurrency": 1})
    stream = ask(client, stream=True)
    assert "at a time" in str(refused(client))
    list(stream)
    stream.close()
    ask(client)


def test_a_rate_refuses_or_waits_its_turn(make):
    """Beyond its burst a rate refuses; with `wait` the call comes a moment later, and a wait that is too long is refused."""
    client = make({"requests": 6, "window": "minute", "rate": True, "burst": 2})
    ask(client)
    ask(client)
    assert "at once" in str(refused(client))
    waiting = make({"name": "w", "requests": 1200, "window": "minute", "rate": True, "burst": 1, "action": "wait"})
    for _ in range(4):  # 50 ms each
        ask(waiting)
    short = make(
        {"name": "s", "requests": 6, "window": "minute", "rate": True, "burst": 1, "action": "wait", "wait_s": 1}
    )
    ask(short)
    refused(short)


def test_a_rate_waits_in_async_calls(provider):
    """Tasks wait for their turn while the loop goes on."""

    async def main():
        limits = [{"requests": 1200, "window": "minute", "rate": True, "burst": 1, "action": "wait"}]
        async with safellm.AsyncOpenAI(
            base_url=provider.base_url, api_key="x", max_retries=0, safellm={"budget.limits": limits}
        ) as client:
            calls = [client.responses.create(model="gpt-4o", input=str(number)) for number in range(5)]
            ticks = 0
            done = asyncio.gather(*calls)
            while not done.done():
                await asyncio.sleep(0.001)
                ticks += 1
            return len(await done), ticks

    answered, ticks = asyncio.run(main())
    assert answered == 5
    assert ticks > 20


def test_tiers_are_named_sets_of_limits(make):
    """The one that the policy names counts besides its own limits."""
    tiers = {"silver": {"limits": [{"requests": 1, "window": "total"}]}, "gold": {"limits": []}}
    client = make(**{"budget.tiers": tiers, "budget.tier": "silver"})
    ask(client)
    refused(client)
    ask(make(**{"budget.tiers": tiers, "budget.tier": "gold"}))


def test_b_9_a_looping_model_stops_at_the_limit(make, provider):
    """An agent whose model asks for the same tool for ever is stopped by calls, by repetition, by cost and by depth."""
    client = make()

    def loop(**run):
        done = 0
        with pytest.raises(openai.RateLimitError, match="run 'job' was stopped") as caught, safellm.run("job", **run):
            while True:
                ask(client, text=f"step {done}" if "repeats" not in run else "the same")
                done += 1
        assert caught.value.reason is safellm.Reason.RUN_EXCEEDED
        return done

    assert loop(calls=7) == 7
    assert loop(repeats=3) == 3
    assert 0 < loop(tokens=9000) < 500
    assert 0 < loop(usd="0.1") < 500
    before = len(provider.requests)

    def agent(level):
        with safellm.run("agent", depth=4 if level == 1 else None):
            ask(client, text=str(level))
            agent(level + 1)

    with pytest.raises(openai.RateLimitError, match="inside one another"):
        agent(1)
    assert len(provider.requests) - before == 4


def test_a_run_says_what_it_used_and_counts_for_outer_runs(make):
    """Settled calls count by their charge; a call in an inner run counts for both."""
    client = make()
    with safellm.run("outer", calls=3) as outer:
        with safellm.run("inner", calls=2) as inner:
            made = ask(client)
            assert inner.used.tokens == made.usage.total_tokens
            ask(client)
            refused(client)
        ask(client)
        assert (outer.used.calls, inner.used.calls) == (3, 2)
        assert outer.used.usd > inner.used.usd > 0
        refused(client)
    ask(client)


def test_the_policy_bounds_every_run(make):
    """A program can ask for less than `budget.run` says, not for more."""
    client = make(**{"budget.run.calls": 2})
    with safellm.run("job", calls=100):
        ask(client)
        ask(client)
        refused(client)


def test_prices_of_the_policy_come_first(make, usage):
    """A model that no list knows has the price that the policy gives, or its provider's dearest, or none."""
    money = {"usd": 5, "window": "total"}
    assert "No price" in str(refused(make(money), model="my-model"))
    own = {"prices": {"my-model": {"input": 1_000_000, "output": 1_000_000, "request": 1}}}
    assert "asked at most" in str(refused(make(money, **own), model="my-model"))
    made = ask(make({"name": "big", "usd": 10**6, "window": "total"}, **own), model="my-model", max_tokens=100)
    [row] = [one for one in usage() if one.model == "my-model"]
    assert row.micro_usd == 1_000_000 * (made.usage.total_tokens + 1)
    ask(make({"name": "d", "usd": 5, "window": "total"}, **{"budget.unknown_price": "dearest"}), model="other-model")
    [row] = [one for one in usage() if one.model == "other-model"]
    assert row.micro_usd > 0
    assert row.unpriced_requests == 0


def test_observing_counts_what_would_be_refused(make, provider, usage, records):
    """In observe mode nothing is refused, and the accounts go on beyond their limits."""
    client = make({"requests": 1, "window": "total"}, mode="observe")
    for _ in range(3):
        ask(client)
    assert sum(one.requests for one in usage()) == 3
    intents = [one for one in records() if one["event.name"] == "call.intent"]
    assert ["budget.exceeded"] in [one.get("safellm.would_refuse") for one in intents]
