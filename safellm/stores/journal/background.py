"""Events on their way to slow or foreign receivers: a bounded queue and a thread, so that no call waits and none fails.

What doesn't fit into the queue is lost to that receiver, and told once; the trail has it. When the interpreter ends, what is left
is delivered for at most `PATIENCE_S`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from safellm._core.effects import JSON
from safellm._core.record import rfc3339
from safellm.stores.behind import Behind
from safellm.stores.journal.events import tell

MOST: Final = 10_000
PATIENCE_S: Final = 2.0
_DELAY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Posted:
    """One event in the queue; `extra` is what the sink noted when it happened."""

    event: str
    fields: Mapping[str, JSON]
    time_ns: int
    extra: Any = None


class Background:
    """Delivers events in a thread, in order.

    Args:
        deliver: Takes the next events, one or more; what it raises costs these events and is told once.
        name: Of the receiver, for messages.
        batch: How many events it takes at once.
        most: How many may wait.
    """

    def __init__(self, deliver: Callable[[list[Posted]], None], *, name: str, batch: int = 1, most: int = MOST) -> None:
        self._deliver = deliver
        self._name = name
        self._batch = batch
        self._most = most
        self._queue: deque[Posted] = deque()
        self._told: set[str] = set()
        self._behind = Behind(self._drain, name=f"events-{name}", delay_s=_DELAY_S, patience_s=PATIENCE_S)

    def post(self, one: Posted) -> None:
        """Put an event into the queue; never waits."""
        if len(self._queue) >= self._most:
            self._tell(f"{self._name} is too slow: events are lost to it")
            return
        self._queue.append(one)
        self._behind.soon()

    def _drain(self) -> None:
        while self._queue:
            some = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            try:
                self._deliver(some)
            except Exception as error:  # noqa: BLE001 - foreign code; the trail has the events
                self._tell(f"Events don't reach {self._name} ({type(error).__name__})")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            tell(f"{what}; the audit trail itself is written.")


class Listeners:
    """The functions of this process that asked for events; a sink that listens while there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._functions: dict[object, Background] = {}

    def listens(self, fields: Mapping[str, JSON]) -> bool:  # noqa: ARG002 - the protocol of sinks
        """Return whether anybody asked."""
        return bool(self._functions)

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Put the event into each queue."""
        for background in list(self._functions.values()):
            background.post(Posted(event, fields, time_ns))

    def add(self, function: Callable[[dict[str, JSON]], object]) -> Callable[[], None]:
        """Add a function; the result takes it out again."""

        def deliver(some: list[Posted]) -> None:
            for one in some:
                function({"event.name": one.event, "time": rfc3339(one.time_ns), **one.fields})

        key = object()
        with self._lock:
            self._functions = {**self._functions, key: Background(deliver, name="a function of on_event")}

        def remove() -> None:
            with self._lock:
                self._functions = {other: one for other, one in self._functions.items() if other is not key}

        return remove


LISTENERS: Final = Listeners()


def on_event(function: Callable[[dict[str, JSON]], object]) -> Callable[[], None]:
    """Have a function called with every event of the guarded clients of this process, after it is recorded.

    It runs in a thread of its own, with each event as a dict of its own; what it raises is told once on standard error. Events
    wait in a queue of 10,000.

    Returns:
        A function that ends this.
    """
    return LISTENERS.add(function)
