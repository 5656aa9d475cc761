"""A URL that passes the guard leads where the guard thinks: what is connected to is what was checked (E.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from typing import Any

import pytest
from egress_support import answer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from safellm.client import prepare
from safellm.transports.http import guard_client
from safellm_openai.adapter import ADAPTER
from safellm_openai.errors import native_error

BOUND = "api.openai.com"
FAMILIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
_PIECES = st.sampled_from(
    [
        "https", "http", "HTTPS", "ftp", "://", ":", "//", "/", "\\", "@", "?", "#", "%", "%40", "%2f", "%00", "%2e", ".", "..",
        "api.openai.com",
        "API.OpenAI.com", "api.openai.com.", "api。openai。com", "api.openai.com", "ⓐpi.openai.com", "api.openaı.com",
        "xn--api-openai-com", "evil.example", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:169.254.169.254]", "0",
        ":443", ":80", ":0", ":65536", ":443@", "user:word@", "\t", "\n", "\r", " ", "\x00", "\u200b", "\u202e", "ß", "K", "･",
        "v1", "chat", ";", "&", "=", "[", "]", "-", "_", "*",
    ]
)  # fmt: skip
URLS = st.one_of(
    st.lists(_PIECES, min_size=1, max_size=9).map("".join),
    st.lists(_PIECES, max_size=6).map(lambda parts: f"https://{''.join(parts)}"),
    st.tuples(st.text(max_size=6), st.text(max_size=6)).map(lambda two: f"https://{two[0]}api.openai.com{two[1]}"),
    st.text(max_size=30),
)


class Recorder:
    """A network backend that connects nowhere and answers every request well; it keeps where it was sent, and the bytes."""

    def __init__(self, core: Any) -> None:
        self.connected: list[tuple[str, int]] = []
        self.tls: list[str | None] = []
        self.sent = b""
        recorder = self

        class Stream(core.NetworkStream):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                self.rest = answer()

            def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
                out, self.rest = self.rest[:max_bytes], self.rest[max_bytes:]
                return out

            def write(self, buffer: bytes, timeout: float | None = None) -> None:
                recorder.sent += buffer

            def close(self) -> None:
                pass

            def start_tls(
                self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
            ) -> Any:
                recorder.tls.append(server_hostname)
                return self

            def get_extra_info(self, info: str) -> Any:
                return None

        class Backend(core.NetworkBackend):  # type: ignore[name-defined, misc]
            def connect_tcp(self, host: str, port: int, *arguments: Any, **named: Any) -> Any:
                recorder.connected.append((host, port))
                return Stream()

        self.backend = Backend()

    def reset(self) -> None:
        self.connected, self.tls, self.sent = [], [], b""


@pytest.fixture(params=FAMILIES)
def spied(request, home):
    """A guarded client bound to one origin, over a network that only records."""
    module = importlib.import_module(request.param)
    recorder = Recorder(importlib.import_module(request.param.replace("httpx", "httpcore")))
    client = module.Client(trust_env=False)
    client._transport._pool._network_backend = recorder.backend
    client._transport._pool._max_keepalive_connections = 0
    from safellm._core.origin import parse_origin

    driver = prepare(ADAPTER, {"audit.mode": "off"}, sdk="test").driver(
        parse_origin(f"https://{BOUND}"), in_code=False, native=native_error
    )
    yield guard_client(client, driver), recorder, module
    client.close()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(url=URLS)
@example("https://api.openai.com/v1/x")
@example("https://api.openai.com@evil.example/")
@example("https://evil.example\\@api.openai.com/")
@example("https://api.openai.com./v1")
@example("https://api。openai。com/")
@example("https://api.openai.com:443/")
@example("https://api.openai.com:80/")
@example("https://api.openai.com\t.evil.example/")
@example("https://api.openai.com%00.evil.example/")
@example("http://api.openai.com/")
def test_e_3_accepted_implies_connected_to_the_bound_host(spied, url):
    """Any URL at all: either nothing is connected, or it is the bound host, port and certificate name, and Host says so."""
    client, recorder, module = spied
    recorder.reset()
    try:
        response = client.post(url, json={"model": "gpt-4o", "messages": []})
    except (module.InvalidURL, module.UnsupportedProtocol, module.LocalProtocolError, ValueError):
        assert recorder.connected == []
        return
    if not recorder.connected:
        assert response.status_code in (400, 403)
        assert response.headers["x-safellm-reason"].startswith(("egress.", "shape."))
        return
    assert recorder.connected == [(BOUND, 443)]
    assert recorder.tls == [BOUND]
    head = recorder.sent.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert [line for line in head if line.startswith(b"host:")] == [b"host: api.openai.com"]


def test_e_3_control_an_ordinary_url_is_accepted(spied):
    """The test above does see calls that pass."""
    client, recorder, _ = spied
    assert client.post(f"https://{BOUND}/v1/chat/completions", json={"model": "m", "messages": []}).status_code == 200
    assert recorder.connected == [(BOUND, 443)]


@pytest.mark.parametrize("family", FAMILIES)
def test_e_3_the_sender_s_parser_decides(home, family):
    """Text with a host in other letters: the guard compares the very bytes that the library will send to."""
    from safellm.errors import Refused
    from safellm.transports.heads import read_head

    module = importlib.import_module(family)
    for url in ("https://api。openai。com/", "https://API.OPENAI.COM/"):
        request = module.Request("POST", url)
        try:
            head = read_head(request)
        except Refused:
            continue
        assert head.origin.host.encode() == request.url.raw_host


def test_e_5_headers_on_the_wire_are_those_that_were_checked(way, raw):
    """Byte for byte at a raw socket: what the program set, in order, doubled ones too; one Host, of the URL; nothing added."""
    from egress_support import read_request

    seen = []
    port = raw(lambda connection: (seen.append(read_request(connection)), connection.sendall(answer())))
    url = f"http://127.0.0.1:{port}"
    client = way.client(url)
    plain = (way.module.AsyncClient if way.is_async else way.module.Client)()
    headers = [(b"x-one", b"1"), (b"X-Two", b"a"), (b"x-two", b"b"), (b"x-bytes", b"caf\xe9")]
    for one in (plain, client):
        request = one.build_request(
            "POST", f"{url}/v1/chat/completions?a=1&a=2", headers=headers, json={"model": "m", "messages": []}
        )
        way.run(one.send(request))
    way.run(plain.aclose() if way.is_async else plain.close())
    without, guarded = seen
    changed = {line for line in without.split(b"\r\n") if line.lower().startswith(b"accept-encoding:")}
    lines = [line for line in without.split(b"\r\n") if line not in changed]
    got = guarded.split(b"\r\n")
    assert [line for line in got if not line.lower().startswith(b"accept-encoding:")] == lines
    assert [line for line in got if line.lower().startswith(b"accept-encoding:")] == [b"accept-encoding: identity"]
    assert sum(line.lower().startswith(b"host:") for line in got) == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "evil.example")],
        [("Host", "HERE"), ("Host", "evil.example")],
        [("host", "evil.example"), ("HOST", "HERE")],
        [("Host", "HERE:1")],
        [("Host", "HERE@evil.example")],
        [("Host", "")],
        [("Host", "HERE"), ("Host", "HERE")],
    ],
)
def test_e_5_host_that_is_not_the_url_s_is_refused(way, sink, headers):
    """Another Host, two of them, none in it: refused, whichever the server would have looked at."""
    here = f"127.0.0.1:{sink.port}"
    client = way.client(sink.url)
    request = way.module.Request(
        "POST",
        f"http://{here}/v1/chat/completions",
        headers=[(name, value.replace("HERE", here)) for name, value in headers],
        json={},
    )
    response = way.run(client.send(request))
    assert response.json()["error"]["code"] == "egress.request"


@pytest.mark.parametrize(
    "extensions",
    [{"target": b"/elsewhere"}, {"sni_hostname": "evil.example"}, {"network_stream": 1}, {"anything": 1}],
)
def test_e_5_unknown_extensions_are_refused(way, sink, extensions):
    """What could change the wire behind the URL's back isn't sent."""
    client = way.client(sink.url)
    request = client.build_request("POST", f"{sink.url}/chat/completions", json={}, extensions=extensions)
    assert way.run(client.send(request)).json()["error"]["code"] == "egress.request"


@pytest.mark.parametrize("query", ["key=x", "a=1&API_KEY=x", "api%5Fkey=x", "a=1;key=x"])
def test_e_5_credential_in_the_query_is_refused(way, sink, query):
    """A URL stands in the logs of every machine on the way."""
    response = way.post(way.client(sink.url), f"{sink.url}/chat/completions?{query}")
    assert response.json()["error"]["code"] == "egress.request"


@pytest.mark.parametrize("name", ["Transfer-Encoding", "Content-Length"])
def test_e_5_body_has_one_length(way, raw, name):
    """A program's own framing headers can't hide a second request in the first."""
    from egress_support import read_request

    seen = []
    port = raw(lambda connection: (seen.append(read_request(connection)), connection.sendall(answer())))
    url = f"http://127.0.0.1:{port}"
    client = way.client(url)
    value = "chunked" if name == "Transfer-Encoding" else "5"
    body = {"model": "m", "messages": [{"role": "user", "content": "mail alice@example.com"}]}
    try:
        response = way.post(client, f"{url}/v1/chat/completions", json=body, headers={name: value})
    except way.module.HTTPError:
        return  # the library itself refuses
    if response.status_code == 200:
        lengths = [
            line for line in seen[0].lower().split(b"\r\n") if line.startswith((b"content-length", b"transfer-"))
        ]
        assert len(lengths) == 1
    assert b"alice@example.com" not in b"".join(seen)
