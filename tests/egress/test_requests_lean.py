"""`requests` in fewer steps: the same bytes on the wire, the same results and errors as by the libraries' own way."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from safellm._core.policy import Policy
from safellm.transports import requests_lean as lean
from safellm.transports.deadline import Deadline
from safellm.transports.requests_answer import Answer
from safellm.transports.requests_session import QuickSession
from safellm.transports.urllib3_parts import arriving

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
BODY = b'{"a": 1}'


class Script:
    """A server that says what it is told to, one thing for each request, and writes down what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.asked: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/a%20b?x=1|2"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(link,), daemon=True).start()

    def _talk(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.settimeout(5)
            while True:
                data = b""
                while b"\r\n\r\n" not in data:
                    more = link.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, body = data.partition(b"\r\n\r\n")
                wanted = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                while len(body) < wanted:
                    body += link.recv(65536)
                self.asked.append(head + b"\r\n\r\n" + body)
                answer = self._answers.pop(0)
                link.sendall(answer.removesuffix(b"!"))
                if answer.endswith(b"!"):
                    return

    def close(self) -> None:
        self._listening.close()


def prepared(url: str, **headers: Any) -> requests.PreparedRequest:
    made = requests.Request("POST", url, data=BODY, headers={"accept-encoding": "identity", "X-One": "1", **headers})
    return requests.Session().prepare_request(made)


OPTIONS: dict[str, Any] = {"verify": True, "cert": None, "proxies": {}}


def told(adapter: HTTPAdapter, url: str, *, quick: bool, wait: float = 3.0, **headers: Any) -> tuple[Any, ...]:
    """Return all that a program can learn of an answer, or the error."""
    request = prepared(url, **headers)
    try:
        found = lean.send(adapter, request, (wait, wait), OPTIONS) if quick else None
        if quick:
            assert found is not None, "not taken"
        else:
            found = adapter.send(request, stream=True, timeout=(wait, wait), **OPTIONS)
    except requests.RequestException as error:
        return type(error), _words(error)
    pairs = found.pairs if isinstance(found, Answer) else tuple(found.headers.items())
    head = found.status_code, found.reason, found.url, pairs, dict(found.raw.headers.items()), found.cookies.get_dict()
    deadline = Deadline(Policy())
    pieces = found.arriving(deadline) if isinstance(found, Answer) else arriving(found.raw, deadline)
    try:
        return *head, b"".join(pieces)
    except urllib3.exceptions.HTTPError as error:
        return *head, type(error), _words(error)
    finally:
        found.close()


def _last(adapter: HTTPAdapter, url: str) -> Any:
    """Return the connection that was put back last."""
    return adapter.get_connection_with_tls_context(prepared(url), True, proxies={}, cert=None).pool.queue[-1]


def _words(error: BaseException) -> str:
    return str(error).partition("object at 0x")[0].partition("Connection broken")[0]


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-b: 2\r\nx-a: 3\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: k=v; Path=/\r\nset-cookie: l=w\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}!",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}!",
        b"HTTP/1.1 200 OK\r\n\r\nto the end!",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: caf\xe9\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}!",  # cut off
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n!",
        b"nothing of HTTP\r\n\r\n!",
        b"!",  # hangs up
    ],
)
def test_an_idle_connection_tells_the_same_as_the_library(answer: bytes) -> None:
    """Wire bytes, status, headers, cookies, body, errors, and whether the connection is used again."""
    outcomes = []
    for quick in (True, False):
        with closing(Script(OK, answer, OK)) as server, closing(HTTPAdapter()) as adapter:
            url = server.url
            told(adapter, url, quick=False)
            said = told(adapter, url, quick=quick)
            after = told(adapter, url, quick=False)
            assert server.asked[0] == server.asked[1] == server.asked[2]
            outcomes.append(
                (
                    [part.replace(str(server.port), "PORT") if isinstance(part, str) else part for part in said],
                    server.asked[1].replace(str(server.port).encode(), b"PORT"),
                    server.connections,
                    after[0],
                )
            )
    assert outcomes[0] == outcomes[1]


def test_an_answer_that_is_late_is_the_library_s_error() -> None:
    """Before its head, and in its body."""
    for answer in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"):
        outcomes = []
        for quick in (True, False):
            with closing(Script(OK, answer)) as server, closing(HTTPAdapter()) as adapter:
                told(adapter, server.url, quick=False)
                said = told(adapter, server.url, quick=quick, wait=0.05)
                outcomes.append(
                    [part.replace(str(server.port), "PORT") if isinstance(part, str) else part for part in said]
                )
        assert outcomes[0] == outcomes[1]


def test_bytes_behind_an_answer_close_its_connection() -> None:
    """They would be taken for the next one."""
    with closing(Script(OK, OK + b"HTTP/1.1 200 OK", OK)) as server, closing(HTTPAdapter()) as adapter:
        told(adapter, server.url, quick=False)
        assert told(adapter, server.url, quick=True)[-1] == b"{}"
        assert told(adapter, server.url, quick=False)[-1] == b"{}"
        assert server.connections == 2


def test_an_answer_that_is_left_closes_its_connection() -> None:
    """What is left of it would be taken for the next one."""
    with closing(Script(OK, OK.replace(b": 2", b": 9"), OK)) as server, closing(HTTPAdapter()) as adapter:
        told(adapter, server.url, quick=False)
        found = lean.send(adapter, prepared(server.url), (3, 3), OPTIONS)
        assert next(found.arriving(Deadline(Policy()))) == b"{}"
        found.close()
        found.close()
        assert told(adapter, server.url, quick=False)[0] == 200
        assert server.connections == 2


@contextmanager
def _changed(place: Any, name: str, value: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, value)
        yield


def test_what_is_not_plain_is_the_library_s() -> None:
    """A proxy, a certificate, other retries, an adapter of another kind, headers the library adds or refuses, no connection yet."""

    class Other(HTTPAdapter):
        pass

    with closing(Script(*[OK] * 9)) as server, closing(HTTPAdapter()) as adapter, closing(Other()) as other:
        usual = prepared(server.url)
        assert lean.send(adapter, usual, (3, 3), OPTIONS) is None  # nothing is open
        for one in (adapter, other):
            told(one, server.url, quick=False)
        assert lean.send(other, usual, (3, 3), OPTIONS) is None
        for name, value in (("proxies", {"http": server.url}), ("cert", "x"), ("verify", False)):
            assert lean.send(adapter, usual, (3, 3), {**OPTIONS, name: value}) is None
        for header, text in (
            ("Host", "a"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("X", "a\u20ac"),
        ):
            strange = prepared(server.url)
            strange.headers[header] = text
            assert lean.send(adapter, strange, (3, 3), OPTIONS) is None
        bare = prepared(server.url)
        del bare.headers["accept-encoding"]
        assert lean.send(adapter, bare, (3, 3), OPTIONS) is None
        with closing(HTTPAdapter(max_retries=2)) as trying:
            told(trying, server.url, quick=False)
            assert lean.send(trying, usual, (3, 3), OPTIONS) is None
        assert lean.send(adapter, usual, (3, 3), OPTIONS) is not None  # and what is dropped is closed
        assert _last(adapter, server.url).sock is None


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (HTTPAdapter, "send"), (urllib3.HTTPConnectionPool, "urlopen"), (http.client.HTTPConnection, "putrequest"),
        (urllib3.connection.HTTPConnection, "getresponse"),
    ],
)  # fmt: skip
def test_who_replaces_a_method_of_the_libraries_gets_every_request(place: Any, name: str) -> None:
    """As mocks and tracers do."""
    with closing(Script(OK, OK)) as server, closing(HTTPAdapter()) as adapter:
        told(adapter, server.url, quick=False)
        with _changed(place, name, lambda *_, **__: None):
            assert lean.send(adapter, prepared(server.url), (3, 3), OPTIONS) is None


def test_a_connection_that_the_server_closed_is_left_to_the_library() -> None:
    """It opens another one."""
    with closing(Script(OK + b"!", OK)) as server, closing(HTTPAdapter()) as adapter:
        told(adapter, server.url, quick=False)
        link = _last(adapter, server.url)
        while link.is_connected:  # until its end has arrived
            pass
        assert lean.send(adapter, prepared(server.url), (3, 3), OPTIONS) is None
        assert told(adapter, server.url, quick=False)[0] == 200


def test_pools_that_a_program_makes_anew_are_used() -> None:
    """A manager in place of the other one, and settings that change in it: what the library would open is what is taken."""
    with closing(Script(*[OK] * 4)) as server, closing(HTTPAdapter()) as adapter:
        told(adapter, server.url, quick=False)
        told(adapter, server.url, quick=True)
        with closing(_Manager(adapter.poolmanager)):
            adapter.init_poolmanager(1, 1)
            assert lean.send(adapter, prepared(server.url), (3, 3), OPTIONS) is None  # nothing is open there
            told(adapter, server.url, quick=False)
            assert server.connections == 2
        adapter.poolmanager.connection_pool_kw["maxsize"] = 2
        assert lean.send(adapter, prepared(server.url), (3, 3), OPTIONS) is None
        told(adapter, server.url, quick=False)
        assert server.connections == 3


class _Manager:
    """Closes a manager of pools."""

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self.close = manager.clear


class Quick(QuickSession, requests.Session):
    """A session whose preparations are remembered."""


def _asks(session: requests.Session, url: str, **options: Any) -> Any:
    made = session.prepare_request(requests.Request("POST", url, **options))
    own = [made.method, made.url, list(made.headers.items()), made.body, made._body_position, made.hooks]
    return [*own, type(made), type(made._cookies), made._cookies.get_dict(), list(vars(made))]


def test_requests_are_prepared_as_the_library_prepares_them() -> None:
    """Again and again, with other bodies, headers, parameters, settings of the session, cookies and hooks."""
    quick, plain = Quick(), requests.Session()
    url = "https://Host.example:443/a b/%7Eé?x=1#f"
    usual: dict[str, Any] = {"data": "{}", "headers": {"A": "b"}, "params": [("$alt", "json")]}

    def compare(address: str = url, **options: Any) -> None:
        for _ in range(2):
            assert _asks(quick, address, **{**usual, **options}) == _asks(plain, address, **{**usual, **options})

    compare()
    compare(data="é" * 5)
    compare(data=b"\xff" * 5)
    compare(headers={"A": "c"})
    compare(headers={"B": "1", "A": "b"})
    compare(headers={"A": "b", "B": "1"})
    compare(headers={"A": "b", "Content-Length": "9"})
    compare(params=[("$alt", "other")])
    compare(params={"x": "y"})
    compare(params="x=y")
    compare(address="https://user:pass@host.example/")
    compare(json={"a": 1}, data=None)
    compare(data={"a": "b"})
    compare(data="")
    compare(cookies={"c": "d"})
    compare(auth=("user", "pass"))
    compare()
    for one in (quick, plain):
        one.headers["Session"] = "1"
    compare()
    for one in (quick, plain):
        one.hooks["response"].append(print)
    compare()
    for one in (quick, plain):
        one.params = {"p": "1"}
    compare()
    for one in (quick, plain):
        one.params = {}
        one.cookies.set("k", "v")
    compare()
    for one in (quick, plain):
        one.cookies.clear()
        one.auth = ("user", "pass")
    compare()


def test_a_prepared_request_is_nobody_else_s() -> None:
    """What a program changes in one isn't in the next."""
    session = Quick()
    first, second = (
        session.prepare_request(requests.Request("POST", "http://h/", data="a", params=[])) for _ in range(2)
    )
    for one in (first, second):
        one.headers["x"] = "y"
        one.hooks["response"].append(print)
        one._cookies.set("k", "v")
    third = session.prepare_request(requests.Request("POST", "http://h/", data="a", params=[]))
    assert "x" not in third.headers
    assert third.hooks == {"response": []}
    assert len(third._cookies) == 0


def test_a_session_that_changes_while_a_request_is_prepared_is_the_next_one_s(monkeypatch) -> None:
    """A key renewed or a cookie that comes in another thread meanwhile: neither what was, nor what comes, is remembered."""
    session = Quick()
    session.headers["Authorization"] = "old"
    for place, change in (
        ("merge_hooks", lambda: session.headers.update({"Authorization": "new"})),
        ("merge_cookies", lambda: session.cookies.set("k", "v", domain="host.example")),
    ):
        below = getattr(requests.sessions, place)
        asked = requests.Request("POST", f"http://host.example/{place}", data="a", params=[])
        session.headers["Authorization"] = "old"
        with monkeypatch.context() as patch:
            patch.setattr(requests.sessions, place, lambda *given, to=below, do=change: (do(), to(*given))[1])
            session.prepare_request(asked)
        session.cookies.clear()
        for key in (session.headers["Authorization"], "new", "old"):
            session.headers["Authorization"] = key
            for _ in range(2):
                made = session.prepare_request(asked)
                assert made.headers["Authorization"] == key
                assert "cookie" not in made.headers


def test_netrc_counts_as_soon_as_it_is_there(tmp_path, monkeypatch) -> None:
    """The library looks for it at every request."""
    place = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(place))
    session = Quick()
    asked = [
        session.prepare_request(requests.Request("POST", "http://host.example/", data="a", params=[])) for _ in range(2)
    ]
    assert "authorization" not in asked[-1].headers
    place.write_text("machine host.example login me password it\n")
    assert (
        "authorization"
        in session.prepare_request(requests.Request("POST", "http://host.example/", data="a", params=[])).headers
    )


def test_settings_follow_the_environment(monkeypatch) -> None:
    """Proxies, those who go past them, authorities: as the variables are at each request."""
    quick, plain = Quick(), requests.Session()
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)

    def compare(**given: Any) -> Any:
        for _ in range(2):
            found = [
                one.merge_environment_settings(
                    "https://host.example/a", {}, given.get("stream"), given.get("verify"), given.get("cert")
                )
                for one in (quick, plain)
            ]
            assert found[0] == found[1]
            assert type(found[0]["proxies"]) is type(found[1]["proxies"])
        found[0]["proxies"]["https"] = "http://changed.example"  # its caller's own
        return found[1]

    assert compare()["verify"] is True
    monkeypatch.setenv("https_proxy", "http://proxy.example:1")
    assert compare()["proxies"] == {"https": "http://proxy.example:1"}
    monkeypatch.setenv("no_proxy", "host.example")
    assert compare()["proxies"] == {}
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/authorities")
    assert compare()["verify"] == "/etc/authorities"
    assert compare(verify=False, stream=True, cert="c")["verify"] is False
    for one in (quick, plain):
        one.proxies["https"] = "http://own.example"
    compare()
    for one in (quick, plain):
        one.trust_env = False
    assert compare()["verify"] is True
    given = {"https": "http://given.example"}
    assert quick.merge_environment_settings("https://host.example/", given, None, None, None)["proxies"] == given
