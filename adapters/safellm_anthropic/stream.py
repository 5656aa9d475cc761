"""How Anthropic's event streams carry text: content blocks that start, grow by deltas, and stop."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core.adapter import Delta, EventView
from safellm._core.fields import Kind

# Deltas that are a piece of running text: where it stands, and what it is. Thinking and signatures pass as they are (see
# `table.py`); a citation comes whole.
_TEXTS = {"text_delta": ("text", Kind.TEXT), "input_json_delta": ("partial_json", Kind.ARGUMENTS)}
_LAST = frozenset({"message_stop", "error"})


@dataclass(slots=True)
class AnthropicStreamReader:
    """Reads one stream; remembers tool names, which stand only at the start of a block."""

    _tools: dict[Any, str] = field(default_factory=dict)
    _blocks: set[int] = field(default_factory=set)  # that have begun and not stopped

    def view(self, event: Any) -> EventView:
        """Return how to read an event; an event of unknown form has no deltas and is walked as a whole."""
        if not isinstance(event, dict):
            return EventView()
        kind, place = event.get("type"), ("block", _index(event))
        if kind == "content_block_start":
            block = event.get("content_block")
            name = block.get("name") if isinstance(block, dict) else None
            self._tools.pop(place, None)
            self._blocks.add(_index(event))
            if isinstance(name, str):
                self._tools[place] = name
            return EventView(closes=(place,))
        if kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            return self._delta(event["delta"], place)
        if kind == "content_block_stop":
            self._blocks.discard(_index(event))
            return EventView(closes=(place,))
        if kind == "completion" and isinstance(event.get("completion"), str):  # the legacy text completions
            delta = Delta(container=event, key="completion", channel=("completion",), kind=Kind.TEXT)
            return EventView(deltas=(delta,), closes=((),) if event.get("stop_reason") else ())
        return EventView(closes=((),)) if kind in _LAST else EventView()

    def tool_of(self, event: Any) -> str | None:
        """Return the tool that an event is about, when an earlier event named it."""
        return self._tools.get(("block", _index(event))) if isinstance(event, dict) else None

    def carry(self, event: Any, delta: Delta, text: str) -> Any:
        """Return an event like `event` that carries nothing but `text` on the delta's channel."""
        if delta.channel == ("completion",):
            return {**event, "completion": text, "stop_reason": None}
        return {**event, "delta": {"type": event["delta"]["type"], delta.key: text}}

    def cut(self, last: Any, texts: Mapping[tuple[str | int, ...], str], tokens: int) -> list[tuple[str, Any]] | None:  # noqa: ARG002
        """Return the events that end a stream at its output ceiling."""
        if last.get("type") == "completion":
            return [("completion", {**last, "completion": "", "stop_reason": "max_tokens"})]
        stops: list[dict[str, Any]] = [{"type": "content_block_stop", "index": index} for index in sorted(self._blocks)]
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        end: dict[str, Any] = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}}
        return [(str(event["type"]), event) for event in (*stops, end, {"type": "message_stop"})]

    def _delta(self, delta: dict[str, Any], place: tuple[str | int, ...]) -> EventView:
        key, kind = _TEXTS.get(str(delta.get("type")), ("", Kind.TEXT))
        if not isinstance(delta.get(key), str):
            return EventView()
        return EventView(
            deltas=(Delta(container=delta, key=key, channel=(*place, key), kind=kind, tool=self._tools.get(place)),)
        )


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0
