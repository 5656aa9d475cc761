"""A ledger for many machines through the real SDK and the command line."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Iterator

import pytest
from ledger_engines import EngineMissing, PostgresServer, RedisServer

import openai
import safellm
from safellm.cli import main
from safellm.stores.ledger.choose import LEDGERS, live_ledger
from safellm.stores.places import find_places
from safellm.stores.settings import load_policy

PASSWORD = "hunter" + "2" * 8


@pytest.fixture(scope="module", params=[RedisServer, PostgresServer])
def server(request) -> Iterator[RedisServer | PostgresServer]:
    """One of each for this file."""
    pytest.importorskip("redis")
    pytest.importorskip("psycopg")
    try:
        one = request.param()
    except EngineMissing as missing:
        pytest.skip(f"{missing} is not installed")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def url(server, monkeypatch, home) -> Iterator[str]:
    """The address of an empty ledger, set as a user sets it."""
    name = f"t{secrets.token_hex(6)}"
    url = f"{server.url}{'&' if '?' in server.url else '?'}{'prefix' if isinstance(server, RedisServer) else 'schema'}={name}"
    monkeypatch.setenv("SAFELLM_BUDGET_LEDGER", url)
    yield url
    # The very ledger of the clients, with its connections.
    environ = dict(os.environ)
    live_ledger(load_policy(environ=environ).policy, find_places(environ).state).close()
    LEDGERS.clear()


def test_b_1_sync_and_async_clients_share_one_limit(url, provider, server):
    """Calls of both kinds hold and settle in the shared ledger; together they stay within the limit."""
    limits = {
        "budget.limits": [{"requests": 6, "window": "total"}, {"tokens": 10_000_000, "window": "day", "per": ["team"]}]
    }

    async def tasks():
        async with safellm.AsyncOpenAI(
            base_url=provider.base_url, api_key="x", max_retries=0, safellm=limits
        ) as client:
            return await asyncio.gather(
                *(client.responses.create(model="gpt-4o", input=str(number)) for number in range(5)),
                return_exceptions=True,
            )

    with safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0, safellm=limits) as client:
        for _ in range(3):
            client.responses.create(model="gpt-4o", input="hi")
        done = asyncio.run(tasks())
        assert sum(not isinstance(one, Exception) for one in done) == 3
        with pytest.raises(openai.RateLimitError):
            client.responses.create(model="gpt-4o", input="hi")
    assert len(provider.requests) == 6


def test_budget_and_usage_commands_read_the_shared_ledger(url, provider, home, tmp_path, monkeypatch, capsys):
    """Each account of a limit has its line; `rearm` begins anew."""
    policy = tmp_path / "policy.toml"
    policy.write_text("[[budget.limits]]\nrequests = 5\nwindow = 'total'\nper = ['team', 'model']\n")
    policy.chmod(0o600)
    monkeypatch.setenv("SAFELLM_POLICY", str(policy))
    client = safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0)
    for team in ("red", "red", "blue"):
        with safellm.labels(team=team):
            client.responses.create(model="gpt-4o", input="hi")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["safellm", *words])
        try:
            main()
        except SystemExit as ended:
            assert not ended.code
        return capsys.readouterr().out

    shown = json.loads(run("budget", "--json"))
    assert {one["name"]: one["used"] for one in shown["limits"]} == {
        "default|team=blue|model=gpt-4o": 1,
        "default|team=red|model=gpt-4o": 2,
    }
    assert json.loads(run("usage", "--json"))["requests"] == 3
    assert "new, empty ledger" in run("budget", "rearm", "--yes")
    assert json.loads(run("budget", "--json"))["limits"] == []
    client.close()


def test_an_outage_refuses_and_says_so(home, provider, monkeypatch):
    """Without its ledger no call leaves; the error is the SDK's own, with a remedy and without the password."""
    monkeypatch.setenv("SAFELLM_BUDGET_LEDGER", f"redis://u:{PASSWORD}@127.0.0.1:1/0")
    client = safellm.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0)
    with pytest.raises(openai.APIStatusError, match="can't be reached") as caught:
        client.responses.create(model="gpt-4o", input="hi")
    assert caught.value.reason is safellm.Reason.BUDGET_UNAVAILABLE
    assert PASSWORD not in str(caught.value) + repr(caught.value)
    assert provider.requests == []
    client.close()
    monkeypatch.setenv("SAFELLM_BUDGET_ON_OUTAGE", "fallback")
    monkeypatch.setenv("SAFELLM_BUDGET_FALLBACK_SHARE", "0.5")
    client = safellm.OpenAI(
        base_url=provider.base_url,
        api_key="x",
        max_retries=0,
        safellm={"budget.limits": [{"requests": 4, "window": "day"}]},
    )
    for _ in range(2):
        client.responses.create(model="gpt-4o", input="hi")
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="gpt-4o", input="hi")
    client.close()
    LEDGERS.clear()
