"""The events of one streamed answer, treated one by one: what goes in as events comes out as events.

An event that nothing changes is handed on byte for byte. A text that a filter holds back comes with the next piece of the
same text; when the text ends first, it comes in an event of its own before the one that ends it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from safellm._core import jsontext, sse
from safellm._core.adapter import Adapter, Delta, EventView, Seen, StreamReader
from safellm._core.answer import AnswerRules, Channel, may_change
from safellm._core.effects import JSON

_DONE = b"[DONE]"


@dataclass(slots=True)
class _Open:
    """A running text: its filters, and the last event that carried a piece of it."""

    filters: Channel
    event: JSON
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
    splitter: sse.Splitter
    ended: bool = False  # the provider said that nothing more comes
    _open: dict[tuple[str | int, ...], _Open] = field(default_factory=dict)

    def feed(self, data: bytes) -> bytes:
        """Return the bytes to hand on by now."""
        return b"".join([self._event(raw) for raw in self.splitter.feed(data)])

    def finish(self) -> bytes:
        """Return the rest: the stream is over, properly or not."""
        rest = self.splitter.finish()
        # An event that was cut off is dropped: no parser would dispatch it (WHATWG HTML 9.2.6), and it can't be guarded.
        tail = self._event(rest + b"\n\n") if sse.data_of(rest) == _DONE else b""
        return self._close(()) + tail

    def _event(self, raw: bytes) -> bytes:
        data = sse.data_of(raw)
        if data is None or not data.strip():
            return raw
        if data.strip() == _DONE:
            self.ended = True
            return self._close(()) + raw
        event = jsontext.loads(data, max_depth=self.max_depth)
        self.adapter.observe(event, self.seen)
        view = self.reader.view(event)
        self.ended |= () in view.closes
        before = b"".join([self._close(prefix, besides=view) for prefix in view.closes])
        changed = self._pieces(event, raw, view)
        if may_change(data):
            skipped = {(id(delta.container), delta.key) for delta in view.deltas}
            tool = self.reader.tool_of(event)
            if self.rules.document(event, skip=lambda one: (id(one.container), one.key) in skipped, tool=tool):
                changed = True
        if view.drop:
            return before
        return before + (sse.with_data(raw, jsontext.dumps(event)) if changed else raw)

    def _pieces(self, event: JSON, raw: bytes, view: EventView) -> bool:
        changed = False
        for delta in view.deltas:
            text = delta.container[delta.key]
            running = self._open.get(delta.channel)
            if running is None:
                running = self._open[delta.channel] = _Open(
                    self.rules.channel(delta.kind, delta.tool), event, raw, delta
                )
            else:
                running.event, running.raw, running.delta = event, raw, delta
            out = running.filters.feed(text)
            if any(delta.channel[: len(prefix)] == prefix for prefix in view.closes):
                out += running.filters.finish()
                del self._open[delta.channel]
            if out != text:
                delta.container[delta.key] = out
                changed = True
        return changed

    def _close(self, prefix: tuple[str | int, ...], besides: EventView | None = None) -> bytes:
        """Flush the texts that end; those that get a last piece in this very event are flushed with it."""
        last = {delta.channel for delta in besides.deltas} if besides is not None else set()
        ending = [key for key in self._open if key[: len(prefix)] == prefix and key not in last]
        out: list[bytes] = []
        for key in ending:
            running = self._open.pop(key)
            text = running.filters.finish()
            if text:
                carrier = self.reader.carry(running.event, running.delta, text)
                out.append(sse.with_data(running.raw, jsontext.dumps(carrier)))
        return b"".join(out)
