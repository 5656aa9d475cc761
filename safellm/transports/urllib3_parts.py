"""What the shells of `requests` and of `urllib3` share: bodies, time limits, and bytes as they arrive."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from urllib3.util import Timeout

from safellm.transports.deadline import Deadline

PIECE = 65_536  # bytes read at once
_CONNECT_AND_READ = 2


def whole_body(body: Any) -> bytes:
    """Return a request's body at once, as both libraries would send it.

    Args:
        body: None, text, bytes, a file, or an iterable of text or bytes; the last two are read to their end.
    """
    if body is None:
        return b""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode("utf-8")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    return b"".join(piece.encode("utf-8") if isinstance(piece, str) else bytes(piece) for piece in body)


def waits(timeout: Any) -> tuple[float | None, float | None]:
    """Return how long is waited for a connection and for each read, in seconds; None for ever.

    Args:
        timeout: As `requests` or `urllib3` takes it.
    """
    if isinstance(timeout, Timeout):
        pair: tuple[Any, Any] = (timeout.connect_timeout, timeout.read_timeout)
    else:
        pair = timeout if isinstance(timeout, tuple) and len(timeout) == _CONNECT_AND_READ else (timeout, timeout)
    first, second = (float(one) if isinstance(one, (int, float)) else None for one in pair)
    return first, second


def within(timeout: Any, left: float) -> tuple[float, float]:
    """Return how long may be waited for a connection and for each read, cut to the time of the call (THREATS E.9)."""
    connect, read = (left if one is None else min(one, left) for one in waits(timeout))
    return connect, read


def arriving(raw: Any, deadline: Deadline) -> Iterator[bytes]:
    """Yield the bytes of an answer of `urllib3` as they arrive, undecoded; no read waits longer than the time of the call.

    Args:
        raw: The answer.
        deadline: Of the call.
    """
    whole = getattr(raw, "chunked", False) or not hasattr(raw, "read1")
    source = raw.stream(PIECE, decode_content=False) if whole else None
    given: float | None = None
    while True:
        # Asked anew each time: after its last bytes the connection is somebody else's.
        line = getattr(getattr(raw, "connection", None), "sock", None)
        if line is not None:
            left = deadline.left()
            given = line.gettimeout() if given is None else given
            line.settimeout(left if given is None else min(given, left))
        piece = raw.read1(PIECE, decode_content=False) if source is None else next(source, b"")
        if not piece:
            return
        yield piece
