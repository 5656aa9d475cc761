"""Strict mode under `safellm.install()`, and in the shell for `requests`: connections are checked there too (E.6, E.7, E.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from egress_support import answer, read_request

import safellm
from safellm.errors import Reason, Refused

FAMILIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
WAYS = [f"{family}-{kind}" for family in FAMILIES for kind in ("sync", "async")] + ["requests"]
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
Post = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def _undone(home: Any, nothing_left: None) -> Iterator[None]:
    yield
    safellm.uninstall()


@pytest.fixture(params=WAYS)
def post(request: pytest.FixtureRequest) -> Post:
    """Return what sends one call, or several over one client, by a library that knows nothing of safellm."""
    name, _, kind = request.param.partition("-")
    module = pytest.importorskip(name)

    def send(url: str, times: int = 1, **options: Any) -> list[Any]:
        if name == "requests":
            with module.Session() as session:
                session.trust_env = True
                session.verify = options.get("verify", True)
                return [session.post(url, json=BODY, timeout=20) for _ in range(times)]
        if kind == "sync":
            with module.Client(timeout=20, **options) as client:
                return [client.post(url, json=BODY) for _ in range(times)]

        async def run() -> list[Any]:
            async with module.AsyncClient(timeout=20, **options) as client:
                return [await client.post(url, json=BODY) for _ in range(times)]

        return asyncio.run(run())

    return send


def install(origin: str, **egress: Any) -> None:
    safellm.install({"mode": "strict", "egress": {"origins": [origin], **egress}})


def test_e_7_a_name_that_leads_elsewhere_is_refused_under_install(post, resolver, connected):
    """To a metadata service or a private network: refused before a connection is opened."""
    install("https://llm.example")
    for address in ("169.254.169.254", "10.1.2.3", "::ffff:10.1.2.3"):
        resolver.answers["llm.example"] = [[address]]
        (response,) = post("https://llm.example/v1/chat/completions")
        assert response.status_code == 403
        assert response.headers["x-safellm-reason"] == "egress.address"
    assert connected == []


def test_e_7_an_answer_that_flips_is_asked_once_under_install(post, resolver, connected, provider):
    """What was checked is what is connected to, and an open connection is used again without asking."""
    origin = f"http://localhost:{provider.port}"
    resolver.answers["localhost"] = [["127.0.0.1"], ["169.254.169.254"]]
    install(origin)
    responses = post(f"{origin}/v1/chat/completions", times=3)
    assert [one.status_code for one in responses] == [200, 200, 200]
    assert resolver.asked == ["localhost"]
    assert connected == [("127.0.0.1", provider.port)]


def test_e_7_other_hosts_of_the_program_are_its_own_business(post, resolver, connected, provider):
    """Calls to no language model go over the program's connections, wherever they lead."""
    install("https://llm.example")
    resolver.answers["intranet.example"] = [["127.0.0.1"]]
    (response,) = post(f"http://intranet.example:{provider.port}/anything")
    assert response.status_code == 404
    assert connected == [("127.0.0.1", provider.port)]


def test_e_8_a_proxy_of_the_environment_is_not_asked_under_install(post, connected, provider, sink, monkeypatch):
    """Strict mode takes the policy's proxy or none."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, sink.url.rstrip("/"))
    origin = f"http://127.0.0.1:{provider.port}"
    install(origin)
    (response,) = post(f"{origin}/v1/chat/completions")
    assert response.status_code == 200
    assert connected == [("127.0.0.1", provider.port)]


def test_e_8_the_policy_s_proxy_gets_connect_only_under_install(post, raw, connected):
    """It learns host and port; what would go through it unencrypted isn't sent at all."""
    seen: list[bytes] = []

    def serve(connection: Any) -> None:
        seen.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")

    port = raw(serve)
    install("https://llm.example", proxy=f"http://127.0.0.1:{port}")
    with pytest.raises(Exception, match="502"):
        post("https://llm.example/v1/chat/completions")
    assert seen
    assert all(one.startswith(b"CONNECT llm.example:443 HTTP/1.") for one in seen)
    assert b"hello" not in b"".join(seen)
    assert set(connected) == {("127.0.0.1", port)}
    seen.clear()
    safellm.uninstall()
    install("http://llm.example", proxy=f"http://127.0.0.1:{port}", allow_http=True)
    (response,) = post("http://llm.example/v1/chat/completions")
    assert response.headers["x-safellm-reason"] == "egress.plaintext"
    assert seen == []


@pytest.fixture
def secure(raw: Any, authority: Any) -> tuple[int, list[bytes]]:
    """A TLS server with an authority that only the test knows."""
    seen: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain)

    def serve(connection: Any) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            seen.append(read_request(wrapped))
            wrapped.sendall(answer())

    return raw(serve), seen


def test_e_6_the_policy_says_which_authorities_count_under_install(post, secure, authority, monkeypatch):
    """Neither the program's `verify=False` nor a bundle of the environment; with the policy's own bundle the call goes through."""
    port, seen = secure
    origin = f"https://localhost:{port}"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    install(origin)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        post(f"{origin}/v1/chat/completions", verify=False)
    assert seen == []
    safellm.uninstall()
    install(origin, ca_bundle=str(authority.bundle))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    (response,) = post(f"{origin}/v1/chat/completions")
    assert response.status_code == 200
    assert len(seen) == 1


@pytest.fixture
def session() -> Iterator[Any]:
    requests = pytest.importorskip("requests")
    with requests.Session() as made:
        yield made


def guarded(session: Any, origin: str, **egress: Any) -> Any:
    from safellm._core.origin import parse_origin
    from safellm.client import prepare
    from safellm.transports.requests import guard_session
    from safellm_openai.adapter import ADAPTER

    setup = prepare(ADAPTER, {"mode": "strict", "egress": {"origins": [origin], **egress}}, sdk="test")
    driver = setup.driver(parse_origin(origin), in_code=True, native=lambda error, _: error)
    driver.raises = True
    return guard_session(session, driver)


def test_e_7_the_shell_for_requests_checks_connections_in_strict_mode(session, resolver, connected, provider):
    """A guarded session, as the older SDK of Google has one, with the adapters that it has and those it gets later."""
    origin = f"http://localhost:{provider.port}"
    resolver.answers["localhost"] = [["127.0.0.1"], ["169.254.169.254"]]
    made = guarded(session, origin)
    assert made.post(f"{origin}/v1/chat/completions", json=BODY).status_code == 200
    made.mount("http://localhost", type(made.adapters["http://"])())
    assert made.post(f"{origin}/v1/chat/completions", json=BODY).status_code == 200
    assert resolver.asked == ["localhost"]
    made.close()
    with pytest.raises(Refused) as caught:
        made.post(f"{origin}/v1/chat/completions", json=BODY)
    assert caught.value.reason is Reason.EGRESS_ADDRESS
    assert len(provider.requests) == 2
