"""How Gemini's streams carry text: chunks of `generateContent` answers, and the events of interactions.

A chunk holds the next piece of each candidate's text, in parts like those of a whole answer; nothing is said twice. Thoughts are
parts too, marked as such. A tool's arguments come whole, or (Vertex AI, when asked) as texts by JSON path.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core.adapter import Delta, EventView
from safellm._core.fields import Kind

Channel = tuple[str | int, ...]

# Events of interactions: where the piece stands in the delta, by the delta's type.
_INTERACTION_TEXTS = {"text": ("text",), "thought_summary": ("content", "text"), "arguments_delta": ("arguments",)}
_ENDS = frozenset({"interaction.completed", "interaction.complete", "interaction.requires_action", "error"})
# Which forms are over when a part of another form comes.
_CLOSED_BY = {
    "": (),
    "text": ("thought",),
    "thought": ("text",),
    "call": ("text", "thought"),
    "other": ("text", "thought"),
}
_OUTERMOST = re.compile(r"\$(?:\.([^.\[\]]+)|\[['\"]([^'\"]+)['\"]\])")


@dataclass(slots=True)
class GeminiStreamReader:
    """Reads one stream; remembers tool names, which stand only in the first piece of a call."""

    _tools: dict[Channel, str] = field(default_factory=dict)
    _candidates: set[int] = field(default_factory=set)  # that have begun and not ended
    _spoken: set[Channel] = field(default_factory=set)  # text and thoughts that have begun and not ended

    def view(self, event: Any) -> EventView:
        """Return how to read an event; an event of unknown form has no deltas and is walked as a whole."""
        if not isinstance(event, dict):
            return EventView()
        if isinstance(event.get("candidates"), list):
            return self._chunk(event["candidates"])
        kind = event.get("event_type")
        return self._interaction(event, kind) if isinstance(kind, str) else EventView()

    def tool_of(self, event: Any) -> str | None:
        """Return the tool that an event is about, when an earlier event named it."""
        return self._tools.get(("step", event.get("index", 0))) if isinstance(event, dict) else None

    def carry(self, event: Any, delta: Delta, text: str) -> Any:
        """Return an event like `event` that carries nothing but `text` on the delta's channel."""
        if delta.channel[0] == "step":
            carrier = copy.deepcopy(event)
            holder = carrier["delta"]
            for key in _INTERACTION_TEXTS[holder["type"]][:-1]:
                holder = holder[key]
            holder[delta.key] = text
            return carrier
        _, index, form, *path = delta.channel
        if form == "call":
            name = self._tools.get(delta.channel[:3])
            part: dict[str, Any] = {
                "functionCall": {
                    **({"name": name} if name else {}),
                    "partialArgs": [{"jsonPath": path[0], "stringValue": text, "willContinue": True}],
                    "willContinue": True,
                }
            }
        else:
            part = {"text": text, **({"thought": True} if form == "thought" else {})}
        kept = {key: event[key] for key in ("responseId", "modelVersion") if isinstance(event, dict) and key in event}
        return {"candidates": [{"index": index, "content": {"role": "model", "parts": [part]}}], **kept}

    def cut(self, last: Any, texts: Mapping[Channel, str], tokens: int) -> list[tuple[str, Any]] | None:  # noqa: ARG002 - others say it
        """Return the chunk that ends a stream at its output ceiling; None for interactions."""
        if not isinstance(last.get("candidates"), list):
            return None
        envelope = {key: value for key, value in last.items() if key != "candidates"}
        ends = [
            {"index": index, "content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "MAX_TOKENS"}
            for index in sorted(self._candidates)
        ]
        return [("", {**envelope, "candidates": ends})]

    def _chunk(self, candidates: list[Any]) -> EventView:
        deltas: list[Delta] = []
        closes: list[Channel] = []
        for candidate in candidates:
            if not isinstance(candidate, dict):
                continue
            index = _index(candidate)
            place: Channel = ("candidate", index)
            self._candidates.add(index)
            content = candidate.get("content")
            parts = content.get("parts") if isinstance(content, dict) else None
            last = ""
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    last = _form(part)
                    deltas += self._part(part, last, place)
            # What was thought comes before what is said, and both before a call, held back or not. A chunk that closes nothing is
            # like the one before, but for its text: it needs no parsing.
            for form in _CLOSED_BY[last]:
                if (channel := (*place, form)) in self._spoken:
                    self._spoken.discard(channel)
                    closes.append(channel)
            if candidate.get("finishReason") is not None:
                closes.append(place)
                self._candidates.discard(index)
        return EventView(deltas=tuple(deltas), closes=tuple(dict.fromkeys(closes)))

    def _part(self, part: dict[str, Any], form: str, place: Channel) -> list[Delta]:
        if form == "call":
            return self._partial_arguments(part["functionCall"], (*place, form))
        if form == "other":
            return []
        channel: Channel = (*place, form)
        self._spoken.add(channel)
        return [Delta(container=part, key="text", channel=channel, kind=Kind.TEXT)]

    def _partial_arguments(self, call: dict[str, Any], channel: Channel) -> list[Delta]:
        name = call.get("name")
        if isinstance(name, str) and name:
            self._tools[channel] = name
        pieces = call.get("partialArgs")
        return [
            Delta(
                container=piece, key="stringValue", channel=(*channel, path), kind=Kind.TOOL_INPUT,
                tool=self._tools.get(channel), parameter=_parameter(path),
            )
            for piece in (pieces if isinstance(pieces, list) else ())
            if isinstance(piece, dict) and isinstance(piece.get("stringValue"), str)
            for path in (str(piece.get("jsonPath", "")),)
        ]  # fmt: skip

    def _interaction(self, event: dict[str, Any], kind: str) -> EventView:
        place: Channel = ("step", event.get("index", 0))
        step, delta = event.get("step", event.get("content")), event.get("delta")
        if kind.endswith(".start"):
            name = step.get("name") if isinstance(step, dict) else None
            if isinstance(name, str):
                self._tools[place] = name
            return EventView(closes=(place,))
        if kind.endswith(".stop"):
            return EventView(closes=(place,))
        if kind in _ENDS:
            return EventView(closes=((),))
        form = delta.get("type") if isinstance(delta, dict) else None
        path = _INTERACTION_TEXTS.get(form) if kind.endswith(".delta") and isinstance(form, str) else None
        if path is None:
            return EventView()
        holder = delta
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or not isinstance(holder.get(path[-1]), str):
            return EventView()
        text_kind = Kind.ARGUMENTS if form == "arguments_delta" else Kind.TEXT
        return EventView(
            deltas=(
                Delta(
                    container=holder, key=path[-1], channel=(*place, str(form)), kind=text_kind, tool=self._tools.get(place)
                ),
            )
        )  # fmt: skip


def _form(part: dict[str, Any]) -> str:
    if isinstance(part.get("functionCall"), dict):
        return "call"
    if not isinstance(part.get("text"), str):
        return "other"
    return "thought" if part.get("thought") is True else "text"


def _index(candidate: dict[str, Any]) -> int:
    index = candidate.get("index", 0)
    return index if isinstance(index, int) else 0


def _parameter(path: str) -> str:
    found = _OUTERMOST.match(path)
    return (found[1] or found[2]) if found else ""
