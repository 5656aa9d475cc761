"""TLS that one thread may read while another writes, for the sync half of the shell for the library `websockets`.

The library reads a connection in a thread of its own while the program writes to it. An OpenSSL connection must not be used by
two threads at once, and `ssl.SSLSocket` does so: a session ticket that comes in while the opening request is written breaks the
connection ("internal error", "did not receive a valid HTTP response"). Here bytes wait on the socket outside of a lock, and
OpenSSL works on them inside of it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ssl
import threading
from typing import Any

_PIECE = 1 << 16  # bytes read from the socket at once


class SharedTLS:
    """A TLS connection as the library uses a socket, for one reader and any number of writers.

    Args:
        sock: Connected; its timeout holds for each wait.
        context: Says whom to trust.
        server_hostname: Whom the certificate must name.

    Raises:
        ssl.SSLError: the other side isn't who it should be, or speaks no TLS.
        OSError: the connection broke, or took too long.
    """

    def __init__(self, sock: Any, context: ssl.SSLContext, *, server_hostname: str | None) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._state = threading.Lock()  # of OpenSSL
        self._order = threading.Lock()  # of what is written; taken first
        while not self._shaken():
            self._fill()

    def recv(self, size: int) -> bytes:
        """Return what came next, at most so many bytes; none at the end."""
        while True:
            data: bytes | None = None
            try:
                with self._state:
                    data = self._tls.read(size)
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""  # as `SSLSocket` says it: websockets have an end of their own
            self._flush()  # reading may have to answer: another key is to be used
            if data is not None:
                return data
            self._fill()

    def sendall(self, data: bytes) -> None:
        """Send all of the data."""
        with self._order:
            with self._state:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._tls.write(rest) :]
                ready = self._outgoing.read()
            self._sock.sendall(ready)

    def _shaken(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()  # what went wrong is told as well
        return True

    def _fill(self) -> None:
        data = self._sock.recv(_PIECE)
        with self._state:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        with self._state:
            answers = self._outgoing.pending  # not what another thread is just writing: it may wait for us to read
        if answers:
            with self._order:
                with self._state:
                    ready = self._outgoing.read()
                if ready:
                    self._sock.sendall(ready)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)  # addresses, timeouts, closing


class SharedContext:
    """A TLS context whose `wrap_socket` makes connections of two threads; all else is the context's own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: Any, *, server_hostname: str | None = None) -> SharedTLS:
        """Return the TLS connection on a connected socket."""
        return SharedTLS(sock, self._context, server_hostname=server_hostname)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
