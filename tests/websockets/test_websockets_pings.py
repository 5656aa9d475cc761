"""A provider that pings and pings, and reads nothing: what it is owed takes no memory."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket

import safellm

PING, LAST = b"\x89\x7d" + b"p" * 125, b"\x89\x04last"  # frames of RFC 6455 5.2
PINGS = 10_000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


async def test_r_1_a_flood_of_pings_takes_no_memory(home):
    """While nothing is read, the newest pong waits alone; it is sent when there is room again."""
    begins, reads, got = asyncio.Event(), asyncio.Event(), bytearray()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        writer.write(upgrade + b"sec-websocket-accept: " + accept + b"\r\n\r\n")
        await begins.wait()
        for _ in range(PINGS // 100):
            writer.write(PING * 100)
            await writer.drain()
        writer.write(LAST)
        await reads.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while data := await reader.read(1 << 16):
            got.extend(data)
        writer.close()

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that what is owed doesn't pile up there
    listener.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(serve, sock=listener, limit=1024):
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with safellm.AsyncOpenAI(base_url=address, api_key="k") as client:
            connection = await client.realtime.connect(model="gpt-realtime").enter()
            inner, most = connection._connection, 0
            seen, event = [], inner.process_event
            inner.process_event = lambda frame: (seen.append(frame.data), event(frame))
            sock = inner.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            begins.set()
            async with asyncio.timeout(60):
                while b"last" not in seen[-1:]:
                    await asyncio.sleep(0.01)
                    most = max(most, inner.transport.get_write_buffer_size())
                assert inner._pongs.is_full  # or the test shows nothing
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                reads.set()
                for _ in iter(lambda: inner._pongs.is_full, False):
                    await asyncio.sleep(0.01)
            inner.close_timeout = 0.1  # seconds; this provider says no good-bye
            await connection.close()
    assert most < 131 * PINGS * 0.4
    assert len(got) < 131 * PINGS * 0.9
