"""TLS of sync connections: one thread reads while another writes, which OpenSSL itself doesn't allow."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from safellm.transports.websocket_tls import SharedContext, SharedTLS

MANY_TICKETS = 50  # comes in right after the handshake, while the first request is written
TRIES = 120  # one in twenty broke with the socket of the standard library


@pytest.fixture
def pair(authority):
    """Return what connects to a server in a thread; it ends with the connection."""
    context, bundle = authority
    context.num_tickets = MANY_TICKETS
    trusted = ssl.create_default_context(cafile=bundle)
    threads: list[threading.Thread] = []

    def connect(serve: Callable[[Any], None], *, name: str = "127.0.0.1", trust: ssl.SSLContext = trusted) -> SharedTLS:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        theirs.settimeout(20)

        def run() -> None:
            with theirs:
                try:
                    with context.wrap_socket(theirs, server_side=True) as made:
                        serve(made)
                except (OSError, ValueError):
                    pass  # the other side left

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        try:
            return SharedContext(trust).wrap_socket(ours, server_hostname=name)
        except BaseException:
            ours.close()
            raise

    yield connect
    for one in threads:
        one.join(20)
        assert not one.is_alive()


def echo(made):
    """Send everything back."""
    while data := made.recv(1 << 16):
        made.sendall(data)


def reading(connection, count):
    """Read in another thread; return it and where the bytes come."""
    found = bytearray()

    def run():
        while len(found) < count and (data := connection.recv(1 << 15)):
            found.extend(data)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_what_comes_in_while_the_first_bytes_go_out_breaks_nothing(pair):
    """Session tickets of the server, which OpenSSL reads while the program writes."""
    for _ in range(TRIES):
        connection = pair(lambda made: made.sendall(made.recv(100)))
        thread, found = reading(connection, 5)
        connection.sendall(b"hello")
        thread.join()
        connection.close()
        assert found == b"hello"


def test_both_ways_at_once(pair):
    """More than any buffer holds, written by two threads; records stay whole and in order."""
    connection = pair(echo)
    size = 1 << 20
    thread, found = reading(connection, 2 * size)
    writers = [
        threading.Thread(target=lambda letter=letter: [connection.sendall(letter * 4096) for _ in range(size // 4096)])
        for letter in (b"a", b"b")
    ]  # fmt: skip
    for one in writers:
        one.start()
    for one in (*writers, thread):
        one.join()
    connection.close()
    assert len(found) == 2 * size
    blocks = {bytes(found[at : at + 4096]) for at in range(0, len(found), 4096)}
    assert blocks == {b"a" * 4096, b"b" * 4096}


@pytest.mark.parametrize("properly", [True, False])
def test_the_end_is_no_bytes(pair, properly):
    """Told by TLS, or a connection that just ends: websockets have an end of their own."""

    def serve(made):
        made.sendall(b"last")
        if properly:
            made.unwrap()

    connection = pair(serve)
    thread, found = reading(connection, 100)
    thread.join()
    assert found == b"last"
    assert connection.recv(10) == b""
    connection.close()


def test_a_reader_that_waits_long_enough_is_told(pair):
    """The timeout is the socket's."""
    go_on = threading.Event()
    connection = pair(lambda made: go_on.wait(20) and None)
    connection.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.recv(10)
    go_on.set()
    connection.close()


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_e_6_a_server_that_is_another_is_not_spoken_to(pair, wrong):
    """As with the standard library's own."""
    options = {"name": "other.example"} if wrong == "name" else {"trust": ssl.create_default_context()}
    with pytest.raises(ssl.SSLCertVerificationError):
        pair(echo, **options)
