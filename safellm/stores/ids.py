"""Names that nothing else has: random bytes, asked of the system for many at a time."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import Final

BYTES: Final = 16
_AT_ONCE: Final = 64  # names for which the system is asked once: a call into it costs as much as all of them
_SPARE: list[bytes] = []


def random_name() -> bytes:
    """Return 16 random bytes. Threads may call it at the same time; after a fork the child draws its own."""
    try:
        return _SPARE.pop()
    except IndexError:
        drawn = os.urandom(BYTES * _AT_ONCE)
        _SPARE.extend([drawn[start : start + BYTES] for start in range(BYTES, len(drawn), BYTES)])
        return drawn[:BYTES]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SPARE.clear)
