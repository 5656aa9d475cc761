"""A call has an end: slow drips in head and body, streamed or not, sync and async (E.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import time

import anyio
import pytest
from egress_support import answer, read_request

import openai
import safellm

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


SECONDS = 0.4  # less than a policy can say, so that the tests are quick


def hurried(client):
    """Give a guarded client a short limit."""
    driver = client._transport.safellm_driver
    limits = driver.tools.policy.limits.model_copy(update={"response_seconds": SECONDS})
    policy = driver.tools.policy.model_copy(update={"limits": limits})
    driver.tools = dataclasses.replace(driver.tools, policy=policy)
    return client


@pytest.fixture
def drip(raw):
    """A server that sends one byte now and then, after an opening; every read of the client is answered in time."""

    def start(opening):
        def serve(connection):
            read_request(connection)
            connection.sendall(opening)
            while not raw.over.wait(0.05):
                connection.sendall(b" ")

        return raw(serve)

    return start


CASES = {
    "head": b"HTTP/1.1 200 OK\r\nx-slow: ",
    "body": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n",
    "error": b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n",
}


@pytest.mark.parametrize("case", CASES)
def test_e_9_slow_drip_ends(way, drip, case, records):
    """The whole call has a limit, whatever each single read takes; the refusal says which setting."""
    url = f"http://127.0.0.1:{drip(CASES[case])}"
    client = hurried(way.client(url))
    begun = time.monotonic()
    response = way.post(client, f"{url}/v1/chat/completions")
    assert time.monotonic() - begun < 15
    error = response.json()["error"]
    assert error["code"] == "shape.limit"
    assert "limits.response_seconds" in error["message"]
    assert [one["reason"] for one in records()[1:] if "reason" in one] == ["shape.limit"]


def test_e_9_slow_stream_ends(way, drip, records):
    """The same for a stream that is being read: the SDK's own kind of error."""
    url = f"http://127.0.0.1:{drip(STREAM + b'data: ')}"
    client = hurried(way.client(url))
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    begun = time.monotonic()

    async def read():
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            async for _ in response.aiter_bytes():
                pass

    with pytest.raises(openai.BadRequestError) as caught:
        if way.is_async:
            way.run(read())
        else:
            with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                for _ in response.iter_bytes():
                    pass
    assert isinstance(caught.value, safellm.Refused)
    assert caught.value.reason == "shape.limit"
    assert time.monotonic() - begun < 15
    assert [one.get("reason") for one in records()] == [None, "shape.limit"]


def test_e_9_program_s_own_client_has_the_limit_too(way, drip):
    """A client that the program made: the body ends at its time there as well."""
    url = f"http://127.0.0.1:{drip(CASES['body'])}"
    http = (way.module.AsyncClient if way.is_async else way.module.Client)()
    client = hurried(way.client(url, own=False, http=http))
    assert way.post(client, f"{url}/v1/chat/completions").json()["error"]["code"] == "shape.limit"


def test_e_9_read_without_timeout_gets_the_limit(way, raw):
    """`timeout=None` waits for ever; under the guard it waits for the limit."""

    def serve(connection):
        read_request(connection)
        raw.over.wait(20)

    url = f"http://127.0.0.1:{raw(serve)}"
    client = hurried(way.client(url))
    response = way.post(client, f"{url}/v1/chat/completions", timeout=None)
    assert response.json()["error"]["code"] == "shape.limit"


def test_e_9_a_call_s_limit_is_not_the_next_one_s(way, raw, home):
    """A connection that was open longer than the limit still serves: the limit belongs to the call."""

    def serve(connection):
        for _ in range(2):
            read_request(connection)
            connection.sendall(answer())

    url = f"http://127.0.0.1:{raw(serve)}/v1/chat/completions"
    client = hurried(way.client(url.removesuffix("/v1/chat/completions")))

    async def both():
        first = await client.post(url, json={})
        await anyio.sleep(SECONDS + 0.1)
        return [first, await client.post(url, json={})]

    if way.is_async:
        answers = way.run(both())
    else:
        answers = [client.post(url, json={})]
        time.sleep(SECONDS + 0.1)
        answers.append(client.post(url, json={}))
    assert [one.status_code for one in answers] == [200, 200]
    lines = [json.loads(line) for file in (home / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert [one["event.name"] for one in lines] == ["call.intent", "call.outcome"] * 2
