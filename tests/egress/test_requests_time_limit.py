"""The shell for `requests` keeps the same time limits as the one for httpx (E.9), and waits no longer than its program."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import requests
from egress_support import read_request
from urllib3.util import Timeout

from safellm._core.origin import parse_origin
from safellm.client import prepare
from safellm.transports.requests import guard_session
from safellm_openai.adapter import ADAPTER

SECONDS = 0.4  # less than a policy can say, so that the tests are quick
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CASES = {
    "silent": b"",
    "body": HEAD + b"content-length: 100000\r\n\r\n",
    "stopped": HEAD + b"content-length: 100000\r\n\r\n{",
    "chunked": HEAD + b"transfer-encoding: chunked\r\n\r\n",
}
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def _clean(home, nothing_left):
    """Every test has a folder of its own and leaves nothing behind."""


def session_for(url, **policy):
    """Return a guarded session and its driver."""
    driver = prepare(ADAPTER, policy or None, sdk="test").driver(parse_origin(url), in_code=True, native=None)
    return guard_session(requests.Session(), driver), driver


def hurry(driver):
    """Give a driver a short limit."""
    limits = driver.tools.policy.limits.model_copy(update={"response_seconds": SECONDS})
    policy = driver.tools.policy.model_copy(update={"limits": limits})
    driver.tools = dataclasses.replace(driver.tools, policy=policy)


@pytest.mark.parametrize("timeout", [None, 30, (5, 30)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_e_9_the_call_has_an_end(raw, case, timeout, records):
    """Whatever each single read takes, and whether or not the program gave a timeout: the refusal says which setting."""

    def serve(connection):
        read_request(connection)
        connection.sendall(CASES[case])
        while not raw.over.wait(0.05):
            if case in ("body", "chunked"):
                connection.sendall(b" " if case == "body" else b"1\r\n \r\n")

    url = f"http://127.0.0.1:{raw(serve)}"
    session, driver = session_for(url)
    hurry(driver)
    with session:
        error = session.post(f"{url}/v1/chat/completions", json=CHAT, timeout=timeout).json()["error"]
    assert error["code"] == "shape.limit"
    assert "limits.response_seconds" in error["message"]
    assert [one["reason"] for one in records()[1:] if "reason" in one] == ["shape.limit"]


def test_a_program_s_own_timeout_is_its_own_error(raw):
    """Shorter than the limit of the policy, it is told as ever."""

    def serve(connection):
        read_request(connection)
        raw.over.wait(20)

    url = f"http://127.0.0.1:{raw(serve)}"
    session, _ = session_for(url)
    with session, pytest.raises(requests.exceptions.ReadTimeout):
        session.post(f"{url}/v1/chat/completions", json=CHAT, timeout=Timeout(connect=5, read=0.2))


@pytest.mark.parametrize("timeout", [0.001, (5, 0.001), Timeout(connect=5, read=0.001)], ids=["one", "pair", "object"])
def test_a_rate_is_waited_for_as_long_as_the_program_waits(provider, timeout):
    """A limit that makes calls wait holds no call longer than its program would wait for an answer."""
    limit = {"window": "minute", "requests": 1, "rate": True, "action": "wait", "wait_s": 120}
    session, _ = session_for(provider.origin, **{"budget.limits": [limit]})
    with session:
        assert session.post(f"{provider.base_url}/chat/completions", json=CHAT).status_code == 200
        late = session.post(f"{provider.base_url}/chat/completions", json=CHAT, timeout=timeout)
    assert late.status_code == 429
    assert late.json()["error"]["code"] == "budget.exceeded"
