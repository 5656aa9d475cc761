"""The calls of one connection whose answers are awaited or under way, and which of them an event answers."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from safellm._core.exchange import Exchange, Form
from safellm._core.placeholder import Mapping
from safellm._core.sockets import Got
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver


@dataclass(slots=True, kw_only=True)
class SocketCall:
    """A call whose answer is awaited or under way.

    Attributes:
        feed: Takes the events of its answer.
        asked: The program's own name for the event that asked.
        named: The answer's name, once it has begun.
        form: How the answer is read, once it has begun.
    """

    exchange: Exchange
    driver: Driver
    feed: Callable[[bytes], bytes]
    deadline: Deadline
    asked: str = ""
    named: str = ""
    form: Form | None = None


class Lanes:
    """Calls in the order in which they were asked; those of one lane are answered in it. For several threads."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[SocketCall]] = {}
        self._named: dict[str, SocketCall] = {}
        self._lock = threading.Lock()

    def add(self, call: SocketCall, lane: str) -> None:
        """Note a call; one that has a name already is under way."""
        with self._lock:
            self._lanes.setdefault(lane, deque()).append(call)
            if call.named:
                self._named[call.named] = call

    def find(self, got: Got) -> SocketCall | None:
        """Return the call that an event answers, or None."""
        with self._lock:
            if got.answer:
                found = self._named.get(got.answer)
                if found is not None or not got.begins:
                    return found
                waiting = [one for one in self._lanes.get(got.lane or "", ()) if not one.named]
                if not waiting:
                    return None
                waiting[0].named = got.answer
                self._named[got.answer] = waiting[0]
                return waiting[0]
            lane = [] if got.lane is None else list(self._lanes.get(got.lane, ()))
            if not got.error:
                return next(iter(lane), None)
            if got.lane is None:  # an error that doesn't say of which kind the call was
                lane = [one for calls in self._lanes.values() for one in calls]
            about = [one for one in lane if one.asked == got.asked] if got.asked else lane
            return next((one for one in about if not one.named), None)

    def joined(self, answer: str) -> Mapping | None:
        """Return the hidden values of the call whose answer has this id, for more input of it; None where there is none."""
        with self._lock:
            calls = [call for lane in self._lanes.values() for call in lane]
        return next((found for call in calls if (found := call.exchange.taken_in(answer)) is not None), None)

    def forget(self, call: SocketCall) -> None:
        """Forget a call that is over."""
        with self._lock:
            for lane in [name for name, calls in self._lanes.items() if call in calls]:
                self._lanes[lane].remove(call)
                if not self._lanes[lane]:
                    del self._lanes[lane]
            self._named.pop(call.named, None)

    def take_all(self) -> list[SocketCall]:
        """Return all calls, and forget them."""
        with self._lock:
            calls = [call for lane in self._lanes.values() for call in lane]
            self._lanes.clear()
            self._named.clear()
        return calls

    def soonest(self) -> Deadline | None:
        """Return the deadline that passes first, or None where no answer is awaited."""
        with self._lock:
            found = [call.deadline for lane in self._lanes.values() for call in lane]
        return min(found, key=lambda one: one.at, default=None)
