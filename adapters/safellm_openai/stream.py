"""How OpenAI's event streams carry text: chat chunks, Responses and agent events, transcripts, completions, assistants."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from safellm._core.adapter import Delta, EventView
from safellm._core.fields import Kind
from safellm_openai.cut import OpenItems, cut_chunks

Channel = tuple[str | int, ...]

# Texts directly in a chat chunk's delta. The last three are what compatible servers add for reasoning models.
_CHAT_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "thinking")

# Events of Responses, agents and transcripts end in ".delta" and ".done"; what stands before names the channel.
_ARGUMENT_EVENTS = {"response.function_call_arguments", "response.mcp_call_arguments"}
_TOOL_INPUT_EVENTS = {
    "response.custom_tool_call_input",
    "response.code_interpreter_call_code",
    "response.shell_call_command",
}
# Assistants: what an event is about, and where the text stands in a part of each type.
_ASSISTANT_DELTAS = {"thread.message.delta": "thread.message", "thread.run.step.delta": "thread.run.step"}
_ASSISTANT_TEXTS: dict[str, tuple[str | None, Kind]] = {
    "text": ("value", Kind.TEXT),
    "refusal": (None, Kind.TEXT),
    "function": ("arguments", Kind.ARGUMENTS),
    "code_interpreter": ("input", Kind.TOOL_INPUT),
}
_DATA_EVENTS = {"response.audio"}
_ITEM_KEYS = ("item_id", "output_index", "content_index", "summary_index", "command_index", "segment_id")


@dataclass(slots=True)
class OpenAIStreamReader:
    """Reads one stream; remembers tool names, which stand only in the first piece of a call.

    Attributes:
        varying: Keys of events whose values count or pad and say nothing.
    """

    varying: ClassVar[tuple[str, ...]] = ("sequence_number", "obfuscation")
    hide_usage: bool = False
    _tools: dict[Channel, str] = field(default_factory=dict)
    _choices: set[int] = field(default_factory=set)  # that have begun and not ended
    _items: OpenItems = field(default_factory=OpenItems)

    def view(self, event: Any) -> EventView:
        """Return how to read an event; an event of unknown form has no deltas and is walked as a whole."""
        if not isinstance(event, dict):
            return EventView()
        kind = event.get("type")
        if isinstance(kind, str) and (kind.startswith("response.") or kind.endswith((".delta", ".done"))):
            return self._typed_event(event, kind)
        if isinstance(event.get("choices"), list):
            return self._chunk(event)
        return self._assistant_event(event)

    def carry(self, event: Any, delta: Delta, text: str) -> Any:
        """Return an event like `event` that carries nothing but `text` on the delta's channel."""
        carrier = copy.deepcopy({key: value for key, value in event.items() if key not in ("choices", "logprobs")})
        if isinstance(event.get("choices"), list):
            carrier["choices"] = [_choice(delta.channel, text)]
            if "usage" in carrier:
                carrier["usage"] = None
        elif event.get("object") in _ASSISTANT_DELTAS:
            carrier["delta"] = _assistant_delta(delta.channel, text)
        elif isinstance(delta.key, str) and isinstance(event.get("delta"), dict):
            carrier["delta"] = {delta.key: text}
        else:
            carrier["delta"] = text
        return carrier

    def cut(self, last: Any, texts: Mapping[Channel, str], tokens: int) -> list[tuple[str, Any]] | None:  # noqa: ARG002 - others say it
        """Return the events that end a stream at its output ceiling; None for transcripts and assistants."""
        if isinstance(last.get("choices"), list):
            return cut_chunks(last, self._choices)
        return self._items.cut(last, texts) if str(last.get("type")).startswith("response.") else None

    def _chunk(self, event: dict[str, Any]) -> EventView:
        deltas: list[Delta] = []
        closes: list[Channel] = []
        for choice in event["choices"]:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index", 0)
            self._choices.add(index)
            delta = choice.get("delta")
            if isinstance(delta, dict):
                deltas.extend(self._chat_delta(delta, index))
            if isinstance(choice.get("text"), str):
                deltas.append(Delta(container=choice, key="text", channel=("choice", index, "text"), kind=Kind.TEXT))
            if choice.get("finish_reason") is not None:
                closes.append(("choice", index))
                self._choices.discard(index)
        # The chunk of usage that the guard asked for; not one that has something to say besides.
        only_usage = not event["choices"] and isinstance(event.get("usage"), dict) and not event.get("moderation")
        drop = self.hide_usage and only_usage
        return EventView(deltas=tuple(deltas), closes=tuple(closes), drop=drop)

    def _chat_delta(self, delta: dict[str, Any], index: int) -> list[Delta]:
        found = [
            Delta(container=delta, key=key, channel=("choice", index, key), kind=Kind.TEXT)
            for key, text in delta.items()
            if isinstance(text, str) and key in _CHAT_TEXTS
        ]
        audio = delta.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
            channel: Channel = ("choice", index, "audio")
            found.append(Delta(container=audio, key="transcript", channel=channel, kind=Kind.TEXT))
        call = delta.get("function_call")
        if isinstance(call, dict):
            found += self._call(call, ("choice", index, "function_call"), "arguments", Kind.ARGUMENTS)
        for call in delta.get("tool_calls") or ():
            if isinstance(call, dict):
                place: Channel = ("choice", index, "tool", call.get("index", 0))
                for key, text_key, kind in (
                    ("function", "arguments", Kind.ARGUMENTS),
                    ("custom", "input", Kind.TOOL_INPUT),
                ):
                    if isinstance(call.get(key), dict):
                        found += self._call(call[key], (*place, key), text_key, kind)
        return found

    def _call(self, call: dict[str, Any], channel: Channel, key: str, kind: Kind) -> list[Delta]:
        name = call.get("name")
        if isinstance(name, str) and name:
            self._tools[channel] = name
        if not isinstance(call.get(key), str):
            return []
        return [Delta(container=call, key=key, channel=channel, kind=kind, tool=self._tools.get(channel))]

    def _typed_event(self, event: dict[str, Any], kind: str) -> EventView:
        if "delta" not in event:
            self._items.note(event, kind)
        if kind == "response.output_item.added":
            item = event.get("item")
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                self._tools["item", str(item.get("id")), event.get("output_index", 0)] = item["name"]
            return EventView()
        if kind in ("response.completed", "response.failed", "response.incomplete"):
            return EventView(closes=((),))
        family, _, last = kind.rpartition(".")
        channel: Channel = (family, *(event.get(key, "") for key in _ITEM_KEYS))
        if last == "done":
            while channel[-1] == "":  # what this event doesn't name, it closes as a whole
                channel = channel[:-1]
            return EventView(closes=(channel,))
        if last != "delta" or family in _DATA_EVENTS:
            return EventView()
        text_kind = (
            Kind.ARGUMENTS
            if family in _ARGUMENT_EVENTS
            else Kind.TOOL_INPUT
            if family in _TOOL_INPUT_EVENTS
            else Kind.TEXT
        )
        holder, keys = (
            (event, ("delta",)) if isinstance(event.get("delta"), str) else (event.get("delta"), ("stdout", "stderr"))
        )
        if not isinstance(holder, dict):
            return EventView()
        deltas = tuple(
            Delta(
                container=holder, key=key, kind=text_kind, tool=self.tool_of(event),
                channel=channel if key == "delta" else (*channel, key),
            )
            for key in keys
            if isinstance(holder.get(key), str)
        )  # fmt: skip
        return EventView(deltas=deltas)

    def tool_of(self, event: Any) -> str | None:
        """Return the tool that a Responses event is about, when an earlier event named it."""
        return self._tools.get(("item", str(event.get("item_id")), event.get("output_index", 0)))

    def _assistant_event(self, event: dict[str, Any]) -> EventView:
        kind, name = event.get("object"), str(event.get("id"))
        if kind in ("thread.message", "thread.run.step"):
            return EventView(closes=((kind, name),))
        inner = event.get("delta")
        if not isinstance(kind, str) or kind not in _ASSISTANT_DELTAS or not isinstance(inner, dict):
            return EventView()
        details = inner.get("step_details")
        parts = inner.get("content") or (details.get("tool_calls") if isinstance(details, dict) else None)
        deltas: list[Delta] = []
        for part in parts if isinstance(parts, list) else ():
            deltas += self._assistant_part(part, (_ASSISTANT_DELTAS[kind], name)) if isinstance(part, dict) else ()
        return EventView(deltas=tuple(deltas))

    def _assistant_part(self, part: dict[str, Any], place: Channel) -> list[Delta]:
        found: list[Delta] = []
        for form, (key, text_kind) in _ASSISTANT_TEXTS.items():
            holder = part if key is None else part.get(form)
            channel: Channel = (*place, part.get("index", 0), form)
            if isinstance(holder, dict) and (key is not None or form in holder):
                found += self._call(holder, channel, key or form, text_kind)
        return found


def _assistant_delta(channel: Channel, text: str) -> dict[str, Any]:
    *_, index, form = channel
    key, _ = _ASSISTANT_TEXTS[str(form)]
    part = {"index": index, "type": form, form: text if key is None else {key: text}}
    if channel[0] == "thread.message":
        return {"content": [part]}
    return {"step_details": {"type": "tool_calls", "tool_calls": [part]}}


def _choice(channel: Channel, text: str) -> dict[str, Any]:
    _, index, what, *rest = channel
    choice: dict[str, Any] = {"index": index, "finish_reason": None, "logprobs": None}
    if what == "text":
        return {**choice, "text": text}
    if what == "tool":
        number, form = rest
        call = {"function": {"arguments": text}} if form == "function" else {"custom": {"input": text}}
        return {**choice, "delta": {"tool_calls": [{"index": number, **call}]}}
    if what == "function_call":
        return {**choice, "delta": {"function_call": {"arguments": text}}}
    if what == "audio":
        return {**choice, "delta": {"audio": {"transcript": text}}}
    return {**choice, "delta": {what: text}}
