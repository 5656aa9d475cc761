"""A queue of processes before a store that one may change at a time, for tens of microseconds.

Two locks of the operating system, in two files; both end with their holder. `<name>.lock` is held by whoever is inside.
`<name>.turn` is shared by all who wait: who comes again and again sees after `_TURN_S` that others wait, and waits among them.
Without it a busy process would take the lock again each time within the microseconds in which no waiter is awake; if it gave
way each time, most of the time would go into waking up.

Not first come, first served: who has waited for long looks more often, and so soon gets in. The queue is for speed: what it
protects has to be safe without it. On Windows, whose C library has no shared locks, the first lock alone is used.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Final

from safellm.stores import durable

_TURN_S: Final = 0.000_5
_FIRST_PAUSE_S: Final = 0.000_03
_LONGEST_PAUSE_S: Final = 0.000_25
_LONG_S: Final = 0.001


class Queue:
    """Open files of one process; one thread at a time may use them.

    Raises:
        OSError: the files can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = durable.open_private(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
        try:
            self._turn = durable.open_private(path.with_name(path.name + ".turn"), os.O_RDWR | os.O_CREAT)
        except OSError:
            os.close(self._lock)
            raise
        self._began = 0.0  # when this process's turn did

    def enter(self, *, timeout_s: float) -> bool:
        """Come inside; returns whether that was possible in time."""
        now = time.monotonic()
        if now - self._began < _TURN_S:
            if durable.try_lock(self._lock):
                return True
        elif durable.is_alone(self._turn) and durable.try_lock(self._lock):
            self._began = now
            return True
        came, end, pause = now, now + timeout_s, _FIRST_PAUSE_S
        waits = durable.try_share(self._turn)
        try:
            while True:
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads the waiters
                now = time.monotonic()
                if durable.try_lock(self._lock):
                    self._began = now
                    return True
                if now >= end:
                    return False
                waits = waits or durable.try_share(self._turn)
                # Who has waited for long looks more often than the others, so that nobody's luck is bad for ever.
                pause = _FIRST_PAUSE_S if now - came >= _LONG_S else min(pause * 1.5, _LONGEST_PAUSE_S)
        finally:
            if waits:
                durable.unlock(self._turn)

    def leave(self) -> None:
        """Let the next one in."""
        durable.unlock(self._lock)

    def close(self) -> None:
        """Close the files; whoever was inside has left."""
        os.close(self._lock)
        os.close(self._turn)
