"""What comes behind the last event of a stream: the end of the answer as HTTP sees it (RFC 9112 7.1), and nothing to read.

SDKs stop at a stream's end mark, so the end of the body stays unread and the connection, which nobody knows to be clean, is closed:
the next call opens another, with TLS anew. Reading that end costs next to nothing, as it came with the mark or comes right behind,
and saves the next call a handshake. What an answer brings behind its last event is dropped, as the SDK does.

Some servers (llama.cpp's) close a connection after each stream without a word; a call that goes out at that moment would be lost.
So after the first stream of a server a little is waited for that; from one that does it, no connection is kept.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from safellm.transports.deadline import CURRENT, Deadline
from safellm.transports.memory import remember

_SECONDS: Final = 0.01  # that the end is waited for, if it isn't there
_TRIAL_SECONDS: Final = 0.02  # after the first stream of a server
_PIECES: Final = 4
_MOST: Final = 64  # servers
_keeps: dict[Any, bool] = {}  # by its address: whether a server keeps connections after streams


def can_be_read(extensions: Mapping[str, Any]) -> bool:
    """Return whether reading a little more of an answer can hurt nobody.

    The connection must be one that keeps to the time of a call (`network`); on one of HTTP/2 a read that is given up breaks the
    calls beside this one.

    Args:
        extensions: Of the response.
    """
    connection: Any = extensions.get("network_stream")
    if extensions.get("http_version") != b"HTTP/1.1" or not hasattr(connection, "came"):
        return False
    return _keeps.get(_server(connection)) is not False


def read_tail(source: Iterator[bytes], connection: Any) -> None:
    """Read an answer to its end if that is there, or nearly."""
    is_whole, server = False, _server(connection)
    token = CURRENT.set(Deadline.within(_SECONDS))
    try:
        with suppress(Exception):  # then the connection is closed, as it would have been
            is_whole = any(next(source, None) is None for _ in range(_PIECES))
    finally:
        CURRENT.reset(token)
    if is_whole:
        if server not in _keeps:
            time.sleep(_TRIAL_SECONDS)
        _note(server, connection)


async def read_tail_async(source: AsyncIterator[bytes], connection: Any) -> None:
    """The same for an async answer."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    is_whole, server = False, _server(connection)
    with anyio.move_on_after(_SECONDS), suppress(Exception):
        for _ in range(_PIECES):
            if await anext(source, None) is None:
                is_whole = True
                break
    if is_whole:
        if server not in _keeps:
            await anyio.sleep(_TRIAL_SECONDS)
        _note(server, connection)


def _server(connection: Any) -> Any:
    """Return the address of the server, or of the proxy, that a connection leads to; None if it is closed."""
    try:
        return connection.get_extra_info("server_addr")
    except (AttributeError, OSError):
        return None


def _note(server: Any, connection: Any) -> None:
    """Remember whether the server keeps a connection behind a stream: it says nothing more, and so doesn't end it."""
    try:
        is_open = not connection.get_extra_info("is_readable")
    except OSError:
        is_open = False
    remember(_keeps, server, is_open, most=_MOST)
