"""What all test servers promise: nothing stays behind, every byte is kept, and the sink sees every touch."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import ssl
import threading

import pytest

import openai
from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest
from safellm.testing.provider import LoopbackProvider
from safellm.testing.sink import Sink


class Plain(LoopbackServer):
    """Answers every request with its own body."""

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Send the body back."""
        connection.send_answer(Answer(body=request.body), head_only=request.method == "HEAD")
        return True


def talk(server: LoopbackServer, *pieces: bytes) -> bytes:
    """Send raw bytes on one connection, say that no more come, and return everything that came back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def server_threads(port: int) -> list[str]:
    """Return the names of the threads of the server on a port."""
    return [thread.name for thread in threading.enumerate() if thread.name.endswith(f"-{port}")]


def test_threads_and_port_are_gone_after_close() -> None:
    """Leaving the block ends every thread, also of idle connections, and nothing listens any more."""
    with LoopbackProvider() as provider:
        port = provider.port
        idle = socket.create_connection(("127.0.0.1", port))
        client = openai.OpenAI(base_url=provider.base_url, api_key="k")
        client.models.list()
        assert provider.connection_count == 2
        assert len(server_threads(port)) == 3
    assert server_threads(port) == []
    assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    idle.close()
    client.close()
    provider.close()


def test_two_servers_share_nothing() -> None:
    """Each server has its own port, script and record."""
    with LoopbackProvider() as one, LoopbackProvider() as two:
        one.reply_with("one")
        for server, text in ((one, "one"), (two, 'You wrote: "x"')):
            with openai.OpenAI(base_url=server.base_url, api_key="k") as client:
                made = client.responses.create(model="m", input="x")
                assert made.output_text == text
        assert one.port != two.port
        assert (len(one.requests), len(two.requests)) == (1, 1)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_requests_are_read_however_they_are_cut(size: int) -> None:
    """Keep-alive, content-length and chunked bodies are understood for any cut of the bytes."""
    raw = (
        b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 3\r\n\r\nabc"
        b"POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n"
        b"HEAD /g HTTP/1.1\r\n\r\n"
    )
    with Plain() as server:
        back = talk(server, *(raw[at : at + size] for at in range(0, len(raw), size)))
        assert server.received == (raw,)
    assert back.count(b"HTTP/1.1 200 OK") == 3
    assert back.index(b"abc") < back.index(b"def")
    first, second, third = server.requests
    assert (first.path, first.query, first.headers["x-two"], first.body) == ("/a", "b=c", "1, 2", b"abc")
    assert [name for name, _ in first.raw_headers] == ["Host", "X-Two", "x-two", "Content-Length"]
    assert first.head + first.body == raw[: len(first.head) + 3]
    assert (second.body, third.method) == (b"def", "HEAD")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 not http\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nab",
    ],
)
def test_bytes_of_broken_requests_are_kept(raw: bytes) -> None:
    """What never became a request is not in `requests`, but in `received`."""
    with Plain() as server:
        talk(server, raw)
        assert server.received == (raw,)
        assert server.requests == []


def test_dropping_cut_is_a_loud_error() -> None:
    """`write_chunks` may cut, not change: a rule that drops bytes fails the test that uses it."""
    failures: list[str] = []
    failed = threading.Event()

    def note(args: threading.ExceptHookArgs) -> None:
        failures.append(str(args.exc_value))
        failed.set()

    previous, threading.excepthook = threading.excepthook, note
    try:
        with LoopbackProvider(write_chunks=lambda body: [body[:-1]]) as provider:
            with openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as client:
                with pytest.raises(openai.APIConnectionError):
                    client.models.list()
            assert failed.wait(10)  # the server's thread says so a moment after the client saw the end
    finally:
        threading.excepthook = previous
    assert len(failures) == 1
    assert "may cut" in failures[0]


def test_untouched_sink_passes() -> None:
    """A sink that nobody met says nothing."""
    with Sink() as sink:
        sink.assert_untouched()
        sink.assert_untouched()


def test_sink_counts_a_bare_connection() -> None:
    """A connection without a byte is a touch, even when it is gone again and was not accepted yet."""
    with Sink() as sink:
        socket.create_connection(("127.0.0.1", sink.port)).close()
        with pytest.raises(AssertionError, match=r"1 connection\(s\), 0 bytes, 0 request"):
            sink.assert_untouched()


def test_sink_counts_a_tls_greeting() -> None:
    """A TLS client that fails is a touch too, and its bytes are kept."""
    with Sink() as sink:
        context = ssl.create_default_context()
        with socket.create_connection(("127.0.0.1", sink.port), timeout=5) as sock:
            sock.settimeout(0.3)
            with pytest.raises(OSError):
                context.wrap_socket(sock, server_hostname="localhost")
        assert sink.connection_count == 1
        with pytest.raises(AssertionError):
            sink.assert_untouched()


def test_sink_names_what_came_but_no_value() -> None:
    """The failure tells method, path and header names; never the key or the prompt."""
    key, prompt = "key-" + "k" * 20, "prompt-" + "p" * 20
    with Sink() as sink:
        with openai.OpenAI(base_url=sink.url, api_key=key) as client:
            with pytest.raises(openai.PermissionDeniedError):
                client.responses.create(model="m", input=prompt)
        with pytest.raises(AssertionError, match="POST /v1/responses with .*authorization") as raised:
            sink.assert_untouched()
        assert key not in str(raised.value)
        assert prompt not in str(raised.value)
        assert prompt.encode() in sink.received[0]
