"""Holds the events of tool calls in a stream until all calls of the answer are judged; text goes on flowing past them.

Where neither policy nor program says anything of tools, calls of declared ones flow as they come. Elsewhere an answer's calls come
all, or none if one is refused, as without streaming: from the first call on, events wait for the end of the answer, in their order.
Only pieces of texts that began before pass. A refusal is raised with the next bytes, or at the end: what came before reaches the
program, whatever the chunks were.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

from safellm._core import jsontext
from safellm._core.tools.gate import Gate
from safellm._core.tools.shapes import walk
from safellm._core.tools.streamed import EventCalls, StreamCalls
from safellm.errors import Refused

_DONE = b"[DONE]"
_BLANK_LINES = (b"\n\n", b"\r\n\r\n")
_LONGEST_WORD = 32  # bytes; more than any of the words of `_may_say` has


class Events(Protocol):
    """How the data of an event is found."""

    def data_of(self, event: bytes) -> bytes | None:
        """Return the event's data."""
        ...


@dataclass(slots=True, kw_only=True)
class Hold:
    """Stands between a treated stream and the program."""

    gate: Gate
    framing: Events
    max_depth: int
    _calls: StreamCalls = field(default_factory=StreamCalls)
    _held: list[bytes] = field(default_factory=list)
    _places: set[Hashable] = field(default_factory=set)  # what the held events belong to
    _tail: bytes = b""
    _near: bool = False
    _binds: bool = False  # a call came that has to be judged

    def may_judge(self, data: bytes) -> bool:
        """Return whether these bytes, the next ones of the stream, may complete a call; asked for each of them in turn."""
        begins = not self._tail or self._tail.endswith(_BLANK_LINES)
        said = _may_say(data if begins else self._tail + data)
        self._near = said or not self.is_idle or (self._near and not begins)
        self._tail = data[-_LONGEST_WORD:]
        return self._near

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way, and none was refused."""
        return not (self._held or self._calls.open or self.gate.refused is not None)

    def has_nothing(self, events: list[bytes]) -> bool:
        """Return whether these events say nothing of calls: the usual, fast case."""
        for raw in events:  # noqa: SIM110 - a stream has hundreds of events, and a generator would double the time
            if _may_say(raw):
                return False
        return True

    def pass_on(self, events: list[bytes]) -> list[bytes]:
        """Return the events that the program may have by now.

        Raises:
            Refused: a call may not be made; what came before it was returned already.
        """
        if self.gate.refused is not None:
            raise self.gate.refused
        out: list[bytes] = []
        try:
            for raw in events:
                self._one(raw, out)
        except Refused as error:
            if not out:
                raise
            self.gate.refused = error
        return out

    def finish(self) -> list[bytes]:
        """Return what is held: the stream is over.

        Raises:
            Refused: a call may not be made.
        """
        if self.gate.refused is not None:
            raise self.gate.refused
        for call in self._calls.close():
            self.gate.judge(call)
        return self._release()

    def _one(self, raw: bytes, out: list[bytes]) -> None:
        if not self._held and not self._calls.open and not _may_say(raw):
            out.append(raw)
            return
        data = self.framing.data_of(raw)
        if data is None or not data.strip():
            out.append(raw)  # a comment that keeps the connection alive
            return
        if data.strip() == _DONE:
            out += [*self.finish(), raw]
            return
        said = self._calls.read(jsontext.loads(data, max_depth=self.max_depth))
        self.gate.untrusted |= said.others
        for call in (*said.ended, *said.whole):
            self.gate.judge(call)
        waits = said.holds or said.whole or said.ended or self._calls.open or self._held
        if not waits or self.gate.policy.observes:
            out.append(raw)
        elif self._is_free(said):
            out += [*self._release(), raw]
        else:
            self._hold(raw, said, out)
        if said.final:
            out += self._release()

    def _is_free(self, said: EventCalls) -> bool:
        """Return whether every call up to here passes by its name, and each name is whole: its arguments have begun."""
        under_way = self._calls.open.values()
        named = [*(one.name for one in under_way if one.has_begun), *(one.name for one in (*said.ended, *said.whole))]
        self._binds = self._binds or not all(self.gate.is_free(name) for name in named)
        return not self._binds and all(one.has_begun for one in under_way)

    def _hold(self, raw: bytes, said: EventCalls, out: list[bytes]) -> None:
        if said.flows and not said.holds and self._places.isdisjoint(said.places):
            out.append(raw)
            return
        self._held.append(raw)
        self._places.update(said.places)

    def _release(self) -> list[bytes]:
        held, self._held = self._held, []
        self._places.clear()
        return held


def _may_say(raw: bytes) -> bool:
    """Return whether an event may say something of a call, or of a tool that the provider ran: has one of the words for it."""
    return (
        b"_call" in raw
        or b"Call" in raw
        or b"_use" in raw
        or b"_result" in raw
        or b"groundingMetadata" in raw
        or b"ContextMetadata" in raw
        or b"\\u" in raw  # an escape could hide any of them
    )


def whole(value: Any, gate: Gate) -> None:
    """Judge the calls of an answer that isn't streamed, in their order.

    Raises:
        Refused: one of them may not be made.
    """
    for call in walk(value):
        if call is None:
            gate.untrusted = True
        else:
            gate.judge(call)


def lines(data: bytes, gate: Gate, *, max_depth: int) -> None:
    """Judge the calls in JSON lines, as results of batches are; a line that is no JSON has none.

    Raises:
        Refused: one of them may not be made.
    """
    for line in data.split(b"\n"):
        if not _may_say(line):
            continue
        try:
            value = jsontext.loads(line, max_depth=max_depth)
        except jsontext.Malformed:
            continue
        whole(value, gate)
