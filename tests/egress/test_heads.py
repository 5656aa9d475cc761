"""Heads of requests that were read before are read as if they were new."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

import openai
import safellm
from safellm.testing import LoopbackProvider
from safellm.transports.heads import Heads, read_head

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
