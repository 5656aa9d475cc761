"""The broker's own way to a provider: as secured as every client's, connections used again, errors told as what they are."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
from typing import Any

import pytest
from egress_support import ANSWER, answer, read_request

from safellm._core.origin import parse_origin
from safellm.broker.direct import direct_transport
from safellm.client import prepare
from safellm.errors import Reason, Refused
from safellm.transports.own import secure_client
from safellm_openai.adapter import ADAPTER

FAMILIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
pytestmark = pytest.mark.usefixtures("home", "nothing_left")


@pytest.fixture(params=FAMILIES)
def module(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def line(module: Any, url: str, **settings: Any) -> Any:
    """Return the transport as the broker makes it."""
    origin = parse_origin(url)
    driver = prepare(ADAPTER, settings, sdk="test").driver(origin, in_code=True, native=lambda error, _: error)
    client = module.AsyncClient(trust_env=False)
    secure_client(module, client, driver)
    return direct_transport(module, client._transport._pool, origin)


async def call(module: Any, way: Any, url: str, *, read: float = 5.0) -> bytes:
    timeout = {"connect": 5.0, "read": read, "write": 5.0, "pool": 5.0}
    request = module.Request("POST", url, content=b'{"a":1}', extensions={"timeout": timeout})
    response = await way.handle_async_request(request)
    try:
        return b"".join([chunk async for chunk in response.stream])
    finally:
        await response.aclose()


def test_a_connection_is_used_again_and_answers_come_whole(module, raw):
    """Of known length, in chunks, and after a provisional answer (RFC 9110, 15.2)."""
    seen: list[list[bytes]] = []

    def serve(connection: socket.socket) -> None:
        seen.append([])
        while request := read_request(connection):
            seen[-1].append(request)
            chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
            connection.sendall([answer(), chunked, early + answer()][len(seen[-1]) - 1])

    url = f"http://127.0.0.1:{raw(serve)}"

    async def run() -> list[bytes]:
        way = line(module, url)
        try:
            return [await call(module, way, f"{url}/v1/x?y=1") for _ in range(3)]
        finally:
            await way.aclose()

    assert asyncio.run(run()) == [ANSWER, b"abcde", ANSWER]
    (requests,) = seen
    assert len(requests) == 3
    assert requests[0].startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert requests[0].endswith(b'\r\n\r\n{"a":1}')
    assert requests[0].lower().count(b"content-length") == 1


def test_a_connection_that_the_server_closed_is_not_used_again(module, raw):
    """It said nothing about it: the next call opens another, and no request is sent twice."""
    seen = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer())

    url = f"http://127.0.0.1:{raw(serve)}"

    async def run() -> None:
        way = line(module, url)
        assert await call(module, way, url) == ANSWER
        (idle,) = way._idle
        assert await idle.stream.read(1, 5.0) == b""  # the server's end has arrived
        assert await call(module, way, url) == ANSWER
        await way.aclose()

    asyncio.run(run())
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", "RemoteProtocolError"),
        (b"this is no HTTP\r\n\r\n", "RemoteProtocolError"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000, "RemoteProtocolError"),
        (None, "ReadTimeout"),
    ],
    ids=["nothing", "garbage", "upgrade", "cut", "bad chunk", "endless head", "stall"],
)
def test_a_broken_answer_is_an_error_of_the_library(module, raw, sent, error):
    """Named as the library names it, so that every shell knows it; the connection is not used again."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        if sent is None:
            raw.over.wait(5)
        else:
            connection.sendall(sent)

    url = f"http://127.0.0.1:{raw(serve)}"

    async def run() -> None:
        way = line(module, url)
        with pytest.raises(getattr(module, error)):
            await call(module, way, url, read=0.3 if sent is None else 5.0)
        assert not way._idle
        await way.aclose()

    asyncio.run(run())


def test_a_call_that_is_left_in_the_middle_takes_its_connection_along(module, raw):
    """What the server still sends must not be the answer to somebody else's call."""

    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            raw.over.wait(5)

    url = f"http://127.0.0.1:{raw(serve)}"

    async def run() -> None:
        way = line(module, url)
        task = asyncio.create_task(call(module, way, url))
        response = await way.handle_async_request(module.Request("GET", url))
        async for chunk in response.stream:
            assert chunk == b"a"
            break
        await response.aclose()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not way._idle
        await way.aclose()

    asyncio.run(run())


def test_e_7_an_address_that_may_not_be_reached_is_refused(module, resolver, connected):
    """The same check as every client's: a name that leads to the metadata service, or to this machine."""

    async def run(address: str) -> Refused:
        resolver.answers["api.openai.com"] = [[address]]
        way = line(module, "https://api.openai.com")
        with pytest.raises(Refused) as caught:
            await call(module, way, "https://api.openai.com")
        return caught.value

    for address in ("169.254.169.254", "127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"):
        assert asyncio.run(run(address)).reason is Reason.EGRESS_ADDRESS
    assert connected == []


def test_e_6_certificates_are_checked_as_everywhere(module, raw, authority):
    """An unknown authority and another name are refused; with the policy's authority the call goes through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain)
    context.set_alpn_protocols(["h2", "http/1.1"])
    spoken = []

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            spoken.append(wrapped.selected_alpn_protocol())
            while read_request(wrapped):
                wrapped.sendall(answer())

    port = raw(serve)

    async def run(host: str, **settings: Any) -> bytes:
        way = line(module, f"https://{host}:{port}", **settings)
        try:
            return await call(module, way, f"https://{host}:{port}/x")
        finally:
            await way.aclose()

    with pytest.raises(module.ConnectError):
        asyncio.run(run("localhost"))
    bundle = {"egress.ca_bundle": str(authority.bundle)}
    assert asyncio.run(run("localhost", **bundle)) == ANSWER
    with pytest.raises(module.ConnectError):
        asyncio.run(run("127.0.0.2", **bundle))
    assert spoken == ["http/1.1"]
