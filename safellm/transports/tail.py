"""What comes behind the last event of a stream: the end of the answer as HTTP sees it (RFC 9112 7.1), and nothing to read.

SDKs stop at a stream's end mark, so the end of the body stays unread and the connection, which nobody knows to be clean, is closed:
the next call opens another, with TLS anew. Reading that end costs next to nothing, as it came with the mark or comes right behind,
and saves the next call a handshake. What an answer brings behind its last event is dropped, as the SDK does.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from safellm.transports.deadline import CURRENT, Deadline

_SECONDS: Final = 0.01  # that the end is waited for, if it isn't there
_PIECES: Final = 4


def can_be_read(extensions: Mapping[str, Any]) -> bool:
    """Return whether reading a little more of an answer can hurt nobody.

    The connection must be one that keeps to the time of a call (`network`); on one of HTTP/2 a read that is given up breaks the
    calls beside this one.

    Args:
        extensions: Of the response.
    """
    return extensions.get("http_version") == b"HTTP/1.1" and hasattr(extensions.get("network_stream"), "came")


def read_tail(source: Iterator[bytes]) -> None:
    """Read an answer to its end if that is there, or nearly."""
    token = CURRENT.set(Deadline.within(_SECONDS))
    try:
        with suppress(Exception):  # then the connection is closed, as it would have been
            for _ in range(_PIECES):
                if next(source, None) is None:
                    return
    finally:
        CURRENT.reset(token)


async def read_tail_async(source: AsyncIterator[bytes]) -> None:
    """The same for an async answer."""
    import anyio  # noqa: PLC0415 - sync programs never need it

    with anyio.move_on_after(_SECONDS), suppress(Exception):
        for _ in range(_PIECES):
            if await anext(source, None) is None:
                return
