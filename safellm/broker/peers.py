"""Who is at the other end of a Unix socket: the system says, the peer can't lie (THREATS K.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import socket
import struct


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user at the other end, or None where the system doesn't say; such a peer is nobody's friend.

    Args:
        sock: A connected Unix socket.
    """
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(uid)
    libc = ctypes.CDLL(None, use_errno=True)  # macOS and the BSDs: getpeereid(3)
    if not hasattr(libc, "getpeereid"):
        return None
    user, group = ctypes.c_uint32(), ctypes.c_uint32()
    done = libc.getpeereid(sock.fileno(), ctypes.byref(user), ctypes.byref(group))
    return int(user.value) if done == 0 else None
