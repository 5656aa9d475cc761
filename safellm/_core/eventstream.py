"""The events of one streamed answer, treated one by one: what goes in as events comes out as events.

An event that nothing changes is handed on byte for byte; one that is like an earlier one but for its text isn't even parsed
(`frames`), its text goes through the same filters. A text that a filter holds back comes with the next piece of the
same text; when the text ends first, it comes in an event of its own before the one that ends it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from safellm._core import jsontext
from safellm._core.adapter import Adapter, Delta, EventView, Seen, StreamReader
from safellm._core.answer import AnswerRules, Channel
from safellm._core.effects import JSON
from safellm._core.frames import Frame, learn
from safellm._core.meter import Meter
from safellm._core.tools.hold import Hold

_MOST_FRAMES = 4  # forms of events that are looked for: choices of one answer, or pieces of text and of arguments
_TRIES = 8  # forms that are learnt without ever being seen again, before it is given up
_END = "[DONE]"
_DONE = _END.encode()


class OutputOver(Exception):
    """A stream has more output than is held, and has no end for that."""


class Framing(Protocol):
    """How a stream is cut into events: server-sent events, or the elements of one JSON array.

    Attributes:
        as_they_are: Events are written one after the other, with nothing between them.
        takes_rest: What stands at the end without an event's end counts as one, if it is whole.
    """

    as_they_are: ClassVar[bool]
    takes_rest: ClassVar[bool]

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are complete by now."""
        ...

    def rest(self) -> bytes:
        """Return what is left when the stream is over."""
        ...

    def data_of(self, event: bytes) -> bytes | None:
        """Return the event's data."""
        ...

    def with_data(self, event: bytes, data: bytes) -> bytes:
        """Return the event with other data."""
        ...

    def compose(self, name: str, data: bytes) -> bytes:
        """Return an event of its own."""
        ...

    def close(self) -> None:
        """Drop what came and is no whole event yet: nothing more is read."""
        ...

    def write(self, events: list[bytes], *, last: bool = False) -> bytes:
        """Return the bytes of the next events."""
        ...


@dataclass(slots=True)
class _Open:
    """A running text: its filters, and the last event that carried a piece of it."""

    filters: Channel
    event: JSON  # None: it wasn't parsed, `raw` says it
    raw: bytes
    delta: Delta


@dataclass(slots=True, kw_only=True)
class EventStream:
    """Treats one stream.

    Raises (from `feed` and `finish`):
        jsontext.Malformed: an event's data is neither JSON nor the end mark.
        sse.TooLong: an event is larger than the limit.
    """

    adapter: Adapter
    reader: StreamReader
    rules: AnswerRules
    seen: Seen
    max_depth: int
    framing: Framing
    meter: Meter | None = None  # None: no limit depends on the output
    hold: Hold | None = None  # keeps tool calls back until they are judged; None: there can be none
    ended: bool = False  # the provider said that nothing more comes
    cut: bool = False  # the stream was ended here: it had more output than is held
    cut_tokens: int = 0  # that came until then, about
    stops: bool = False  # a tool call was refused: nothing more is to be read
    _over: bool = False
    _failed: Exception | None = None  # raised when the program has what came before it
    _open: dict[tuple[str | int, ...], _Open] = field(default_factory=dict)
    _frames: list[Frame] = field(default_factory=list)
    _lesson: tuple[bytes, JSON, Delta] | None = None
    _tries: int = _TRIES

    def feed(self, data: bytes) -> bytes:
        """Return the bytes to hand on by now."""
        if self.cut:
            return b""
        if self._failed is not None:
            raise self._failed
        out: list[bytes] = []
        is_new = False  # some event is of a form that isn't known to be a piece of text and nothing else
        try:
            for raw in self.framing.feed(data):
                known = self._known(raw)
                is_new |= known is None
                out += self._event(raw) if known is None else known
                if self._over:
                    out += self._cut(raw)
                    break
        except Exception as error:
            if not out:
                raise
            # What came before reaches the program, however the bytes were cut; `feed` or `finish` raises it next.
            self._failed, self.stops = error, True
        if self.hold is not None and not (self.hold.is_idle and (not is_new or self.hold.has_nothing(out))):
            return self._passed(out)
        return out[0] if len(out) == 1 and self.framing.as_they_are else self.framing.write(out)

    def _known(self, raw: bytes) -> list[bytes] | None:
        """Treat an event of a form that was learnt; None where it has none of them."""
        if self._lesson is not None:  # from the event before: the first token doesn't wait for it
            self._learn(*self._lesson)
            self._lesson = None
        for frame in self._frames:
            text = frame.text_of(raw)
            if text is not None and (running := self._open.get(frame.delta.channel)) is not None:
                self._tries = _TRIES
                self.seen.model = frame.model
                if self.meter is not None and self.meter.add(frame.delta.channel, text):
                    self._over = True
                treated = running.filters.feed(text)
                running.event, running.raw, running.delta = None, raw, frame.delta
                return [raw if treated == text else frame.with_text(raw, treated)]
        return None

    def _passed(self, events: list[bytes]) -> bytes:
        """Return the bytes of events that the program may have by now."""
        if self.hold is not None:
            events = self.hold.pass_on(events)
            self.stops |= self.hold.gate.refused is not None
        return self.framing.write(events)

    def _cut(self, last: bytes) -> list[bytes]:
        """Return the events with which the provider would end the stream here, treated like its own."""
        meter, self.meter = self.meter, None
        event = jsontext.loads(self.framing.data_of(last) or b"null", max_depth=self.max_depth)
        ending = None if meter is None else self.reader.cut(event, meter.texts(), meter.tokens)
        if meter is None or ending is None:
            raise OutputOver
        self.cut_tokens = meter.tokens
        self.cut = True
        self.framing.close()
        return [
            out
            for name, value in ending
            for out in self._event(self.framing.compose(name, _DONE if value == _END else jsontext.dumps(value)))
        ]

    def finish(self) -> bytes:
        """Return the rest: the stream is over, properly or not."""
        if self._failed is not None:
            raise self._failed
        rest = self.framing.rest()
        # An event that was cut off is dropped: no parser would dispatch it (WHATWG HTML 9.2.6), and it can't be guarded.
        if self.framing.takes_rest:
            events = [out for one in rest.split(b"\n\n") if one for out in self._event(one + b"\n\n")]
            events += self._close(())
        else:
            tail = self._event(rest + b"\n\n") if self.framing.data_of(rest) == _DONE else []
            events = [*self._close(()), *tail]
        if self.hold is not None:
            events = [*self.hold.pass_on(events), *self.hold.finish()]
        return self.framing.write(events, last=True)

    def _event(self, raw: bytes) -> list[bytes]:
        """Treat one event."""
        data = self.framing.data_of(raw)
        if data is None or not data.strip():
            return [raw]
        if data.strip() == _DONE:
            self.ended = True
            return [*self._close(()), raw]
        event = jsontext.loads(data, max_depth=self.max_depth)
        before_it = (self.seen.usage, len(self.seen.finish_reasons))
        self.adapter.observe(event, self.seen)
        view = self.reader.view(event)
        self.ended |= () in view.closes
        before = [out for prefix in view.closes for out in self._close(prefix, besides=view)]
        changed = self._pieces(event, raw, view)
        if self.rules.may_change(data):
            skipped = {(id(delta.container), delta.key) for delta in view.deltas}
            tool = self.reader.tool_of(event)
            if self.rules.document(event, skip=lambda one: (id(one.container), one.key) in skipped, tool=tool):
                changed = True
        if view.drop:
            return before
        if len(view.deltas) != 1 or view.closes or before_it != (self.seen.usage, len(self.seen.finish_reasons)):
            self._frames.clear()  # what such an event says may change how the others are to be read
        elif not changed and view.deltas[0].container[view.deltas[0].key]:
            self._lesson = (raw, event, view.deltas[0])
        before.append(self.framing.with_data(raw, jsontext.dumps(event)) if changed else raw)
        return before

    def _learn(self, raw: bytes, event: JSON, delta: Delta) -> None:
        if self._tries <= 0:
            return
        self._tries -= 1
        varying = getattr(self.reader, "varying", ())
        frame = learn(raw, event, delta, model=self.seen.model, varying=varying, parse=self._parse)
        if frame is not None:
            self._frames = [frame, *self._frames[: _MOST_FRAMES - 1]]

    def _parse(self, raw: bytes) -> JSON:
        return jsontext.loads(self.framing.data_of(raw) or b"", max_depth=self.max_depth)

    def _pieces(self, event: JSON, raw: bytes, view: EventView) -> bool:
        changed = False
        for delta in view.deltas:
            text = delta.container[delta.key]
            running = self._open.get(delta.channel)
            closing = any(delta.channel[: len(prefix)] == prefix for prefix in view.closes)
            if self.meter is not None and not closing:
                self._over |= self.meter.add(delta.channel, text)
            if running is None:
                running = self._open[delta.channel] = _Open(
                    self.rules.channel(delta.kind, delta.tool, delta.parameter), event, raw, delta
                )
            else:
                running.event, running.raw, running.delta = event, raw, delta
            out = running.filters.feed(text)
            if closing:
                out += running.filters.finish()
                del self._open[delta.channel]
            if out != text:
                delta.container[delta.key] = out
                changed = True
        return changed

    def _close(self, prefix: tuple[str | int, ...], besides: EventView | None = None) -> list[bytes]:
        """Flush the texts that end; those that get a last piece in this very event are flushed with it."""
        last = {delta.channel for delta in besides.deltas} if besides is not None else set()
        ending = [key for key in self._open if key[: len(prefix)] == prefix and key not in last]
        out: list[bytes] = []
        for key in ending:
            running = self._open.pop(key)
            text = running.filters.finish()
            if text:
                event = running.event if running.event is not None else self._parse(running.raw)
                carrier = self.reader.carry(event, running.delta, text)
                out.append(self.framing.with_data(running.raw, jsontext.dumps(carrier)))
        return out
