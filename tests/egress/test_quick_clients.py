"""Clients of httpx and httpx2 in fewer steps: requests and answers are those of the library, in every particular."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gzip
import importlib
import logging
from typing import Any

import pytest

from safellm.transports.quick import use_quick

FAMILIES = ("httpx2", "httpx")
URL = "http://host.example/v1/a?x=1"


def pair(family: str, kind: str, answer: Any = None, **options: Any) -> tuple[Any, list[Any]]:
    """Return a module and two clients of it, one of them quick."""
    module: Any = importlib.import_module(family)
    options = {"follow_redirects": True, **options}
    made = []
    for quick in (True, False):
        client = getattr(module, kind)(transport=module.MockTransport(answer or (lambda _: None)), **options)
        made.append(use_quick(client, text=True) if quick else client)
    assert type(made[0]) is not type(made[1])
    return module, made


def asked(request: Any) -> list[Any]:
    """Return all that a request is."""
    return [
        list(request.__dict__), request.method, request.url, type(request.url), request.headers._list, type(request.headers),
        request.extensions, type(request.stream), b"".join(request.stream) if hasattr(request.stream, "__iter__") else None,
        request.__dict__.get("_content"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
@pytest.mark.parametrize("family", FAMILIES)
def test_requests_are_built_as_the_library_builds_them(family: str, kind: str) -> None:
    """Again and again, with other bodies, headers, addresses, time limits and parameters, cookies and settings of the client."""
    module, clients = pair(family, kind, headers={"X-Own": "1"}, base_url="http://base.example/b/")
    usual: dict[str, Any] = {"content": b"{}", "headers": {"A": "b", "accept": "c"}, "timeout": 3.0}

    def compare(method: str = "POST", url: Any = URL, **options: Any) -> None:
        for again in range(2):
            body = options.get("content", usual["content"])
            given = {**usual, **options, "content": body + body if again and isinstance(body, bytes) else body}
            results = []
            for client in clients:
                try:
                    results.append(asked(client.build_request(method, url, **given)))
                except (TypeError, ValueError) as error:
                    results.append([type(error), str(error)])
            assert results[0] == results[1]

    compare()
    compare(content="é{}")
    compare(content=b"")
    compare(content=None)
    compare(url=module.URL(URL))
    compare(url="relative/path")
    compare(url=module.URL("http://user:pass@host.example/"))
    compare(method="post")
    compare(method="GET")
    for headers in (
        None, {}, {"A": "c"}, {"B": "1", "A": "b"}, {"A": "b", "B": "1"},
        [("A", "b")], [("A", "b"), ("A", "c")], [["A", "b"]], (("A", "b"),),
        {"A": 1}, {"x-OWN": "2"},
        module.Headers([("A", "1"), ("a", "2")]), module.Headers({"A": b"\xc3\xa9"}), {"Content-Length": "7"}, {"Host": "other"},
        {"Transfer-Encoding": "chunked"}, {"Cookie": "a=b"}, {"content-type": "multipart/form-data; boundary=x"},
    ):  # fmt: skip
        compare(headers=headers)
    for timeout in (None, 1, module.Timeout(4, read=None), (1, 2, 3, 4), "soon", module.USE_CLIENT_DEFAULT):
        compare(timeout=timeout)
    compare(params={"p": "1"})
    compare(params={})
    compare(content=None, json={"a": 1})
    compare(
        content=None, data={"a": "b"}, files={"f": b"x"}, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    compare(extensions={"sni_hostname": "other"})
    compare(cookies={"call": "1"})
    for client in clients:
        client.headers["X-Own"] = "2"
    compare()
    for client in clients:
        client.timeout = 9
    compare(timeout=module.USE_CLIENT_DEFAULT)
    for client in clients:
        client.cookies.set("k", "v", domain="host.example")
        client.cookies.set("no", "v", domain="elsewhere.example")
    compare()
    compare(url="http://third.example/")
    compare(headers={"Cookie": "a=b"})
    for client in clients:
        client.cookies.clear()
        client.params = {"own": "1"}
    compare()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_is_nobody_else_s(family: str) -> None:
    """What a hook or a program changes in one isn't in the next."""
    module, (client, _) = pair(family, "Client")
    for _ in range(3):
        made = client.build_request("POST", URL, content=b"a", headers={"A": "b"}, timeout=1.0)
        assert "x" not in made.headers
        assert made.extensions == {"timeout": module.Timeout(1.0).as_dict()}
        made.headers["x"] = "y"
        made.extensions["timeout"]["read"] = 99
        made.extensions["trace"] = None
        made.url = module.URL("http://changed.example/")


@pytest.mark.parametrize("family", FAMILIES)
def test_headers_that_change_while_a_request_is_built_are_in_the_next(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that another thread renews meanwhile: what was built with the old one isn't remembered as of the new one."""
    _, (client, _) = pair(family, "Client", headers={"Authorization": "old"})
    below = client._merge_cookies

    def meanwhile(cookies: Any) -> Any:
        client.headers["Authorization"] = "new"
        return below(cookies)

    with monkeypatch.context() as patch:
        patch.setattr(client, "_merge_cookies", meanwhile)
        client.build_request("POST", URL, content=b"a", headers={"A": "b"})
    for _ in range(3):
        assert client.build_request("POST", URL, content=b"a", headers={"A": "b"}).headers["Authorization"] == "new"


@pytest.mark.parametrize("family", FAMILIES)
def test_who_replaces_a_method_gets_every_request(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tracers do; and a class with ways of its own keeps them."""
    module, (client, plain) = pair(family, "Client", lambda _: module.Response(200))
    for method in ("build_request", "send", "_send_single_request"):
        seen = []
        with monkeypatch.context() as patch:
            original = getattr(module.Client, method)

            def note(*arguments: Any, of: Any = original, to: Any = seen, **options: Any) -> Any:
                to.append(1)
                return of(*arguments, **options)

            patch.setattr(module.Client, method, note)
            for _ in range(2):
                client.send(client.build_request("POST", URL, content=b"a", headers={}, timeout=1.0))
            assert seen == [1, 1]
            assert type(use_quick(module.Client())) is module.Client

    class Own(module.Client):  # type: ignore[name-defined, misc]  # the module is a parameter
        def build_request(self, *arguments: Any, **options: Any) -> Any:
            return super().build_request(*arguments, **options)

    assert type(use_quick(Own())) is Own
    assert use_quick(client) is client
    assert type(use_quick(plain)) is type(client)


def _answers(module: Any) -> dict[str, Any]:
    def over(request: Any) -> Any:
        raise module.ReadTimeout("late")

    def streamed(data: bytes, **headers: str) -> Any:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda _: module.Response(200, headers=names, stream=module.ByteStream(data))

    def once(request: Any) -> Any:
        if request.url.path == "/v1/a":
            return module.Response(
                307, headers={"location": "/other", "set-cookie": "r=1"}, stream=module.ByteStream(b"x")
            )
        return module.Response(200, stream=module.ByteStream(request.url.path.encode()))

    return {
        "json": streamed(b'{"a": "\xc3\xa9"}', content_type="application/json"),
        "latin": streamed(b"\xe9", content_type="text/plain; charset=latin-1"),
        "unknown": streamed(b"\xe9", content_type="text/plain; charset=unheard-of"),
        "bare": streamed(b"\xe9"),
        "empty": streamed(b""),
        "gzip": streamed(gzip.compress(b"zipped"), content_encoding="gzip"),
        "broken": streamed(b"not zipped", content_encoding="gzip"),
        "cookie": streamed(b"a", set_cookie="k=v"),
        "read": lambda _: module.Response(200, content=b"here"),
        "redirect": once,
        "circle": lambda _: module.Response(302, headers={"location": URL}, stream=module.ByteStream(b"")),
        "nowhere": lambda _: module.Response(302, headers={"location": "ftp://x/"}, stream=module.ByteStream(b"")),
        "late": over,
    }


def _heard(client: Any, run: Any, **options: Any) -> list[Any]:
    """Return all that a program can learn of two answers, or the errors."""
    found: list[Any] = []
    for _ in range(2):
        request = client.build_request("POST", URL, content=b"a", headers={"A": "b"}, timeout=1.0)
        try:
            answer = run(client.send(request, **options))
            if options.get("stream"):
                found.append((answer.is_closed, answer.is_stream_consumed, answer.num_bytes_downloaded))
                run(answer.aread() if hasattr(client, "aclose") else answer.read())
            found.append((
                sorted(answer.__dict__.keys() - {"_elapsed", "_encoding", "_decoder"}), answer.status_code, answer.headers._list,
                answer.content, answer.encoding, answer.text, answer.is_closed, answer.is_stream_consumed,
                answer.num_bytes_downloaded, answer.elapsed.total_seconds() > 0, answer.default_encoding, str(answer.next_request),
                [(one.status_code, one.content) for one in answer.history], answer.url, type(answer.stream),
                answer.extensions, answer.request.headers._list,
            ))  # fmt: skip
        except Exception as error:
            seen = getattr(error, "_request", None)
            found.append((type(error), str(error), None if seen is None else seen.url))
    return [*found, dict(client.cookies), client._state.name]


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_library(family: str, kind: str) -> None:
    """Whole, streamed, encoded, redirected, broken and late ones; with hooks, authentication, a log, and after closing."""
    module = importlib.import_module(family)
    hooked: list[int] = []

    async def hook_async(_: Any) -> None:
        hooked.append(1)

    hook = hook_async if kind == "AsyncClient" else lambda _: hooked.append(1)
    with asyncio.Runner() as runner:

        async def awaited(value: Any) -> Any:
            return await value

        def run(value: Any) -> Any:
            return runner.run(awaited(value)) if hasattr(value, "__await__") else value

        for name, answer in _answers(module).items():
            for settings in (
                {}, {"follow_redirects": False}, {"auth": ("user", "pass")}, {"event_hooks": {"response": [hook]}},
                {"default_encoding": "utf-16"}, {"default_encoding": lambda data: "ascii"}, {"max_redirects": 0},
            ):  # fmt: skip
                for options in ({}, {"stream": True}, {"auth": None}, {"follow_redirects": False}):
                    _, clients = pair(family, kind, answer, **settings)
                    first, second = (_heard(client, run, **options) for client in clients)
                    for one, other in zip(first, second, strict=True):
                        assert one == other, (name, settings, options)
        assert hooked
        _, clients = pair(family, kind, _answers(module)["json"])
        for client in clients:
            run(client.aclose() if kind == "AsyncClient" else client.close())
        first, second = (_heard(client, run) for client in clients)
        assert first == second
        assert first[0][0] is RuntimeError


@pytest.mark.parametrize("family", FAMILIES)
def test_the_log_says_the_same(family: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each request, where somebody wants it."""
    module = importlib.import_module(family)
    with caplog.at_level(logging.INFO, family):
        for client in pair(family, "Client", lambda _: module.Response(200, content=b"a"))[1]:
            client.post(URL, content=b"a")
    first, second = caplog.records
    assert first.getMessage() == second.getMessage()
    assert (first.funcName, first.pathname) == (second.funcName, second.pathname)


@pytest.mark.parametrize("family", FAMILIES)
def test_addresses_of_a_proxy_keep_their_transport(family: str) -> None:
    """Mounts decide as ever."""
    module: Any = importlib.import_module(family)
    here = module.MockTransport(lambda _: module.Response(200, content=b"direct"))
    there = module.MockTransport(lambda _: module.Response(200, content=b"mounted"))
    client = use_quick(module.Client(transport=here, mounts={"http://host.example": there}, follow_redirects=True))
    assert client.post(URL, content=b"a").text == "mounted"
    assert client.post("http://other.example/", content=b"a").text == "direct"
