"""`with safellm.scope(…)`: a block's calls may do less; scopes only narrow (THREATS K.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

import safellm
from safellm.errors import ConfigurationError, Reason, Refused

HELLO = [{"role": "user", "content": "hello"}]


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": HELLO, **options})


@pytest.fixture
def client(provider):
    """A client with a key of its own: a scope needs no grant."""
    with safellm.OpenAI(base_url=provider.base_url, api_key="own-key", max_retries=0) as made:
        yield made


def reason_of(call: Any) -> Reason | None:
    try:
        call()
    except Refused as error:
        return error.reason
    return None


def test_a_scope_holds_inside_its_block(client, provider):
    """And not after it."""
    with safellm.scope(model="gpt-4o-mini*", operation="chat"):
        assert reason_of(lambda: ask(client)) is Reason.GRANT_DENIED
        assert reason_of(lambda: client.embeddings.create(model="gpt-4o-mini", input="x")) is Reason.GRANT_DENIED
        ask(client, model="gpt-4o-mini-2024")
    ask(client)
    assert [seen.json["model"] for seen in provider.requests] == ["gpt-4o-mini-2024", "gpt-4o"]


def test_scopes_nest_and_only_narrow(client):
    """An inner one can't allow what an outer one denies, nor what the grant does."""
    with safellm.scope(model=["gpt-4o", "gpt-5"], max_tokens=100), safellm.scope(model="gpt-*", max_tokens=1000):
        assert reason_of(lambda: ask(client, max_tokens=101)) is Reason.GRANT_DENIED
        assert reason_of(lambda: ask(client, model="gpt-3")) is Reason.GRANT_DENIED
        assert reason_of(lambda: ask(client)) is None


def test_a_scope_narrows_a_grant(keyed, grant):
    """Both hold."""
    with safellm.OpenAI(base_url=keyed.base_url, api_key=grant(model=["gpt-4o"]).text(), max_retries=0) as one:
        with safellm.scope(model="*", tools=[]):
            assert reason_of(lambda: ask(one, model="gpt-5")) is Reason.GRANT_DENIED
            assert reason_of(lambda: ask(one, functions=[{"name": "f"}])) is Reason.GRANT_DENIED
            assert reason_of(lambda: ask(one)) is None


def test_each_entry_has_an_account_of_its_own(client, provider):
    """What one block spent is not the next one's; nested ones count for both."""
    for _ in range(2):
        with safellm.scope(budget="0.10usd", calls=2):
            ask(client)
            with safellm.scope(calls=1):
                ask(client)
                assert reason_of(lambda: ask(client)) is Reason.BUDGET_EXCEEDED
            assert reason_of(lambda: ask(client)) is Reason.BUDGET_EXCEEDED
    assert len(provider.requests) == 4
    with safellm.scope(budget="0.001usd"):
        assert reason_of(lambda: ask(client)) is Reason.BUDGET_EXCEEDED


def test_a_scope_holds_in_its_tasks_and_not_in_others(provider):
    """Tasks that are started inside inherit it; a sibling that runs at the same time doesn't."""

    async def run() -> list[Reason | None]:
        async with safellm.AsyncOpenAI(base_url=provider.base_url, api_key="own-key", max_retries=0) as one:

            async def call() -> Reason | None:
                try:
                    await ask(one)
                except Refused as error:
                    return error.reason
                return None

            async def inside() -> list[Reason | None]:
                with safellm.scope(model="other"):
                    await asyncio.sleep(0)
                    return [await call(), *await asyncio.gather(call(), call())]

            inner, outer = await asyncio.gather(inside(), call())
            return [*inner, outer]

    assert asyncio.run(run()) == [Reason.GRANT_DENIED] * 3 + [None]


def test_a_thread_takes_a_scope_along_in_a_copy_of_the_context(client):
    """As the documentation says; a bare thread begins without it."""
    seen: dict[str, Reason | None] = {}

    def work(name: str) -> None:
        seen[name] = reason_of(lambda: ask(client))

    with safellm.scope(model="other"):
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work, "copied")),
            threading.Thread(target=work, args=("bare",)),
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert seen == {"copied": Reason.GRANT_DENIED, "bare": None}


@pytest.mark.parametrize("mode", ["observe", "guard"])
def test_a_scope_holds_in_every_mode(provider, mode):
    """It is the program's own word, no finding of a guard."""
    with safellm.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0, safellm={"mode": mode}) as one:
        with safellm.scope(max_tokens=9, calls=1):
            ask(one)
            assert reason_of(lambda: ask(one)) is Reason.BUDGET_EXCEEDED
    assert provider.requests[0].json["max_tokens"] == 9


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"budget": "lots"},
        {"max_tokens": -1},
        {"max_tokens": True},
        {"model": [1]},
        {"expires": "soon"},
        {"origin": "ftp://x"},
    ],
)
def test_a_scope_that_says_nothing_readable_is_an_error(values):
    """Before the block begins."""
    with pytest.raises(ConfigurationError):
        with safellm.scope(**values):
            pytest.fail("the block was entered")


def test_a_grant_is_narrowed_in_code(grant):
    """With the words of a person."""
    made = safellm.read_grant(grant().text())
    assert isinstance(made, safellm.Grant)
    narrower = safellm.read_grant(made.narrow(model="gpt-4o*", budget="0.10usd", calls=3).text())
    assert narrower.caveats[-3:] == (("model", ["gpt-4o*"]), ("budget", {"micro_usd": 100_000}), ("calls", 3))
    assert made.id == narrower.id
    with pytest.raises(ConfigurationError):
        made.narrow(budget="much")
