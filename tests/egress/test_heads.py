"""Heads of requests that were read before are read as if they were new."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
import requests
from requests.adapters import BaseAdapter

import openai
import safellm
from safellm._core.origin import parse_origin
from safellm.client import prepare
from safellm.testing import LoopbackProvider
from safellm.transports.driver import Driver
from safellm.transports.heads import Heads, read_head
from safellm.transports.http import guard_client
from safellm.transports.requests import guard_session
from safellm_openai.adapter import ADAPTER

URL = "http://127.0.0.1:9/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "headers", "body", "shares"),
    [
        (URL, {}, b"{}", True),
        (URL, {}, b"[1, 2, 3]", True),
        (URL, {"x-user": "other"}, b"{}", False),
        (URL, {"content-length": "7"}, b"{}", True),
        (URL + "?key=x", {}, b"{}", False),
        ("http://127.0.0.1:8/v1/chat/completions", {}, b"{}", False),
    ],
)
def test_head_is_the_same_read_anew_or_known(url: str, headers: dict[str, str], body: bytes, shares: bool) -> None:
    """Only what differs in its length shares what was found out; everything that is checked is the request's own."""
    heads = Heads()
    first = httpx2.Request("POST", URL, content=b"{}")
    known = heads.read(first, first.headers._list)
    again = httpx2.Request("POST", url, content=body, headers=headers)
    head = heads.read(again, again.headers._list)
    assert head == read_head(again)
    assert head.header("content-length") == again.headers["content-length"]
    assert (head.known is known.known) == shares


@pytest.mark.parametrize("behind", [False, True])
def test_a_header_of_another_value_is_read_anew(behind: bool) -> None:
    """Whether it stands before the length or behind it."""

    def request(value: str) -> httpx2.Request:
        made = httpx2.Request("POST", URL, content=b"{}", headers={} if behind else {"x-user": value})
        if behind:
            made.headers["x-user"] = value
        return made

    heads = Heads()
    first, again = request("one"), request("two")
    known = heads.read(first, first.headers._list)
    head = heads.read(again, again.headers._list)
    assert head.header("x-user") == "two"
    assert head.known is not known.known


def test_head_with_another_extension_is_read_anew() -> None:
    """An extension can change where a request goes."""
    heads = Heads()
    first = httpx2.Request("POST", URL, content=b"{}")
    known = heads.read(first, first.headers._list)
    again = httpx2.Request("POST", URL, content=b"{}", extensions={"target": b"/other"})
    assert heads.read(again, again.headers._list).extensions != known.extensions


def test_what_is_sent_is_the_same_remembered_or_new() -> None:
    """Heads of one client's streams, whose beginnings are remembered, against those of a client that makes one call."""
    asked: list[tuple[str, dict[str, str]]] = [
        ("a", {}), ("b" * 300, {}), ("c", {"x-own": "1"}), ("d", {}), ("e", {"x-own": "2"}), ("f", {"x-own": "2"}),
    ]  # fmt: skip

    def ask(client: openai.OpenAI, text: str, headers: dict[str, str]) -> None:
        message: Any = {"role": "user", "content": text}
        for _ in client.chat.completions.create(model="gpt-4o", messages=[message], stream=True, extra_headers=headers):
            pass

    with LoopbackProvider() as provider:
        with safellm.OpenAI(base_url=provider.base_url, api_key="x") as client:
            for text, headers in asked:
                ask(client, text, headers)
        together = [request.head for request in provider.requests]
        for text, headers in asked:
            with safellm.OpenAI(base_url=provider.base_url, api_key="x") as client:
                ask(client, text, headers)
        alone = [request.head for request in provider.requests[len(asked) :]]
    assert together == alone
    assert all(len(request.body) == int(request.headers["content-length"]) for request in provider.requests)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("changed", ["", "b" * 20 + "@example.com"])
def test_a_request_that_changes_while_it_is_decided_about_is_sent_as_it_was_checked(
    kind: str, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person may have to be asked: what the program does to its request meanwhile is neither sent nor remembered."""
    sent: list[tuple[str | None, ...]] = []
    begin = Driver.begin
    held: list[httpx2.Request] = []

    def deciding(driver: Driver, *given: Any, **named: Any) -> Any:
        decided = begin(driver, *given, **named)
        for request in held:
            request.headers["x-own"] = "two"
            request.headers["x-more"] = "three"
            request.url = request.url.copy_with(path="/v1/other")
            request.method = "PUT"
            request.extensions["sni_hostname"] = "other.example"
        return decided

    def answer(request: httpx2.Request) -> httpx2.Response:
        own, more = request.headers.get("x-own"), request.headers.get("x-more")
        sent.append((own, more, request.method, request.url.path, request.extensions.get("sni_hostname")))
        return httpx2.Response(200, json={})

    async def answer_async(request: httpx2.Request) -> httpx2.Response:
        return answer(request)

    driver = prepare(ADAPTER, None, sdk="test").driver(parse_origin(URL), in_code=True, native=None)
    client: Any = (
        httpx2.AsyncClient(transport=httpx2.MockTransport(answer_async))
        if kind == "async"
        else httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    guard_client(client, driver)
    monkeypatch.setattr(Driver, "begin", deciding)
    asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"hello {changed}"}]}

    def build(value: str) -> httpx2.Request:
        made: httpx2.Request = client.build_request("POST", URL, json=asked, headers={"x-own": value})
        return made

    async def run() -> None:
        for value, changes in (("one", True), ("one", False), ("two", False), ("one", True), ("one", False)):
            request = build(value)
            held[:] = [request] if changes else []
            response = client.send(request)
            assert (await response if kind == "async" else response).status_code == 200
        await client.aclose() if kind == "async" else client.close()

    asyncio.run(run())
    assert [own for own, *_ in sent] == ["one", "one", "two", "one", "one"]
    assert {tuple(rest) for _, *rest in sent} == {(None, "POST", "/v1/chat/completions", None)}


def test_a_request_of_requests_that_changes_while_it_is_decided_about_is_sent_as_it_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same of the library `requests`."""
    sent: list[tuple[str | None, ...]] = []
    begin = Driver.begin

    class Adapter(BaseAdapter):
        def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
            sent.append((request.method, request.url, request.headers.get("x-own")))
            raise requests.ConnectionError

        def close(self) -> None:
            """Nothing is open."""

    def deciding(driver: Driver, *given: Any, **named: Any) -> Any:
        decided = begin(driver, *given, **named)
        asked.method, asked.url = "PUT", "http://127.0.0.1:9/v1/other"
        asked.headers["x-own"] = "two"
        return decided

    driver = prepare(ADAPTER, None, sdk="test").driver(parse_origin(URL), in_code=True, native=None)
    monkeypatch.setattr(Driver, "begin", deciding)
    with guard_session(requests.Session(), driver) as session:
        session.mount("http://", Adapter())
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
        asked = session.prepare_request(requests.Request("POST", URL, json=body, headers={"x-own": "one"}))
        with pytest.raises(requests.ConnectionError):
            session.send(asked)
    assert sent == [("POST", URL, "one")]
