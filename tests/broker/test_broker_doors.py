"""Raw HTTP of a program under `safellm.install()` goes through the broker: with a grant in the place of the key."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json

import httpx
import pytest

import safellm
from safellm._core.origin import parse_origin
from safellm.auto import gate
from safellm.auto.targets import dialect_named

MAIL = "alice@example.com"


def with_aiohttp(url, **said):
    aiohttp = pytest.importorskip("aiohttp", minversion="3.13")

    async def go():
        async with aiohttp.ClientSession() as session, session.post(url, **said) as answer:
            return answer.status, await answer.read()

    return asyncio.run(go())


def with_urllib3(url, **said):
    urllib3 = pytest.importorskip("urllib3", minversion="2")
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", url, **said)
        return answer.status, answer.data


def with_httpx(url, **said):
    with httpx.Client() as client:
        answer = client.post(url, **said)
        return answer.status_code, answer.content


@pytest.mark.parametrize("post", [with_aiohttp, with_urllib3, with_httpx], ids=lambda one: one.__name__)
def test_raw_http_goes_through_the_broker(post, broker, broker_grant, broker_records, provider, monkeypatch):
    """Whole and streamed: the broker decides, puts the key in and records; no connection to it is left open."""
    grant = broker_grant().text()
    monkeypatch.setenv("OPENAI_API_KEY", grant)
    said = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"mail {MAIL}"}]}
    safellm.install()
    try:
        gate.STATE.learnt[parse_origin(provider.origin)] = dialect_named("openai")
        url, headers = provider.base_url + "/chat/completions", {"authorization": f"Bearer {grant}"}
        status, data = post(url, json=said, headers=headers)
        assert (status, json.loads(data)["choices"][0]["message"]["content"]) == (200, f'You wrote: "mail {MAIL}"')
        status, data = post(url, json={**said, "stream": True}, headers=headers)
        assert status == 200
        assert data.endswith(b"data: [DONE]\n\n")
        status, data = post(url, json={**said, "model": "gpt-4o"}, headers={"authorization": "Bearer another"})
        assert status == 403
    finally:
        safellm.uninstall()
    assert len(provider.requests) == 2
    assert all(MAIL.encode() not in one.body and one.headers["authorization"] != grant for one in provider.requests)
    assert len(broker_records("call.outcome")) == 2
