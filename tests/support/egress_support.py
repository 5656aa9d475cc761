"""Bytes on a socket: read one request, write one answer."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket


def read_request(connection: socket.socket) -> bytes:
    """Return the exact bytes of one request with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            break
        data += more
        body += more
    return data


ANSWER = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"hi"}}]}'
)


def answer(body: bytes = ANSWER) -> bytes:
    """Return a whole HTTP answer."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
