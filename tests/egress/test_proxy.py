"""Proxies: https through CONNECT only; in strict mode the policy's own and no other (E.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

import pytest
from egress_support import answer, read_request

from safellm.testing.canary import make_canary, sweep


class Proxy:
    """Tunnels every CONNECT to one port of this machine, and keeps what it could read."""

    def __init__(self, raw, port=None):
        self.readable: list[bytes] = []
        self.port = port
        self._over = raw.over
        self.url = f"http://127.0.0.1:{raw(self._serve)}"

    def _serve(self, connection):
        head = read_request(connection)
        self.readable.append(head)
        if not head.startswith(b"CONNECT ") or self.port is None:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.port)) as upstream:
            upstream.setblocking(False)
            connection.setblocking(False)
            import select

            while not self._over.is_set():
                ready, _, _ = select.select([connection, upstream], [], [], 0.2)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    self.readable.append(data)
                    (upstream if one is connection else connection).sendall(data)


@pytest.fixture
def proxied(raw, foreign):
    """A TLS server behind a proxy; return (proxy, requests that the server got)."""
    port, seen = foreign
    return Proxy(raw, port), seen


@pytest.mark.parametrize("how", ["policy", "policy, strict", "HTTPS_PROXY"])
def test_e_8_proxy_sees_host_and_port_never_key_or_prompt(way, proxied, authority, monkeypatch, how):
    """The call arrives through the tunnel, and the proxy could read the name of the host and nothing else."""
    proxy, seen = proxied
    secret = make_canary()
    settings = {"egress.ca_bundle": str(authority.bundle)}
    if how == "HTTPS_PROXY":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    else:
        settings["egress.proxy"] = proxy.url
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # not asked
    if how.endswith("strict"):
        settings |= {"mode": "strict", "egress.origins": ["https://llm.example"]}
    client = way.client("https://llm.example", in_code=not how.endswith("strict"), **settings)
    headers = {"authorization": f"Bearer {secret}"}
    response = way.post(client, "https://llm.example/v1/chat/completions", headers=headers, json={"input": secret})
    assert response.status_code == 200
    assert secret.encode() in seen[0]
    assert proxy.readable[0].startswith(b"CONNECT llm.example:443 HTTP/1.1\r\n")
    assert sweep(secret, texts=proxy.readable) == []


@pytest.mark.parametrize("how", ["HTTP_PROXY", "ALL_PROXY", "policy"])
def test_e_8_plain_http_through_a_proxy_is_refused(way, raw, monkeypatch, how):
    """Even where the policy allows plain http: the proxy would read key and prompt. Nothing reaches it."""
    proxy = Proxy(raw)
    settings = {"egress.allow_http": True}
    if how == "policy":
        settings["egress.proxy"] = proxy.url
    else:
        monkeypatch.setenv(how, proxy.url)
    response = way.post(way.client("http://llm.example", **settings), "http://llm.example/v1/chat/completions")
    assert response.json()["error"]["code"] == "egress.plaintext"
    assert proxy.readable == []


@pytest.mark.parametrize("how", ["HTTP_PROXY", "policy"])
def test_e_8_calls_to_this_machine_go_past_the_proxy(way, raw, monkeypatch, how):
    """A model server on this machine is reached directly: the proxy's own machine is another one."""
    proxy, seen = Proxy(raw), []
    port = raw(lambda connection: (seen.append(read_request(connection)), connection.sendall(answer())))
    if how == "HTTP_PROXY":
        monkeypatch.setenv(how, proxy.url)
    settings = {"egress.proxy": proxy.url} if how == "policy" else {}
    url = f"http://127.0.0.1:{port}"
    assert way.post(way.client(url, **settings), f"{url}/v1/chat/completions").status_code == 200
    assert len(seen) == 1
    assert proxy.readable == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_e_8_strict_mode_asks_no_proxy_of_the_environment(way, raw, resolver, connected, monkeypatch, variable):
    """A variable names a proxy; the connection is begun to the provider's own address."""
    proxy = Proxy(raw)
    monkeypatch.setenv(variable, proxy.url)
    resolver.answers["api.openai.com"] = [["104.18.6.192"]]
    client = way.client(in_code=False, mode="strict")
    with pytest.raises(way.module.ConnectError):
        way.post(client, "https://api.openai.com/v1/chat/completions")
    assert connected == [("104.18.6.192", 443)]
    assert proxy.readable == []


@pytest.mark.parametrize(
    "proxy", ["proxy.example:3128", "socks5://p", "http://user:geheim@p:1", "http://p:1/path", "http://p?x"]
)
def test_unusable_proxy_is_an_error_of_the_policy(proxy, home):
    """A proxy is an origin: no path, no password that `policy show` would print."""
    import safellm
    from safellm.stores.settings import load_policy

    with pytest.raises(safellm.ConfigurationError) as caught:
        load_policy(environ={"SAFELLM_HOME": str(home)}, overrides={"egress.proxy": proxy})
    assert "egress.proxy" in str(caught.value)
    assert "geheim" not in str(caught.value)
