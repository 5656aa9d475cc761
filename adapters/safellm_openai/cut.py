"""How OpenAI's streams end when the output ceiling is reached: the events that the provider itself would send."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Channel = tuple[str | int, ...]
Event = tuple[str, Any]

DONE = "[DONE]"
_TEXT, _REFUSAL, _ARGUMENTS, _TOOL_INPUT = (
    "response.output_text", "response.refusal", "response.function_call_arguments", "response.custom_tool_call_input",
)  # fmt: skip


def cut_chunks(last: dict[str, Any], choices: Iterable[int]) -> list[Event]:
    """Return the end of a stream of chat chunks or text completions.

    Args:
        last: The last chunk.
        choices: Indexes of the choices that have not ended.
    """
    envelope = {key: value for key, value in last.items() if key not in ("choices", "usage", "obfuscation")}
    legacy = any("text" in one for one in last["choices"] if isinstance(one, dict))
    body: dict[str, Any] = {"text": ""} if legacy else {"delta": {}}
    events: list[Event] = [
        ("", {**envelope, "choices": [{"index": index, **body, "logprobs": None, "finish_reason": "length"}]})
        for index in sorted(choices)
    ]
    return [*events, ("", DONE)]


@dataclass(slots=True)
class OpenItems:
    """What a Responses stream has begun: the response, its items and their parts."""

    response: dict[str, Any] | None = None
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    parts: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    def note(self, event: dict[str, Any], kind: str) -> None:
        """Note an event that begins or ends something."""
        response, item, part = event.get("response"), event.get("item"), event.get("part")
        index = event.get("output_index", 0)
        if kind in ("response.created", "response.in_progress") and isinstance(response, dict):
            self.response = response
        elif kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            self.items[index] = item
            if kind.endswith("done"):
                self.done.add(index)
        elif kind == "response.content_part.added" and isinstance(part, dict):
            self.parts[index, event.get("content_index", 0)] = part

    def cut(self, last: dict[str, Any], texts: Mapping[Channel, str]) -> list[Event] | None:
        """Return the end of the stream, or None when its beginning was not seen.

        Args:
            last: The last event.
            texts: What came on each channel, as the provider sent it.
        """
        if self.response is None:
            return None
        events: list[Event] = []
        for index, item in sorted(self.items.items()):
            if index not in self.done:
                ended = self._end_item(index, item, texts)
                events += ended
                self.items[index] = ended[-1][1]["item"]
        whole = {
            **self.response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [item for _, item in sorted(self.items.items())],
        }
        events.append(("response.incomplete", {"response": whole}))
        number = last.get("sequence_number")
        first = number + 1 if isinstance(number, int) else 0
        return [
            (kind, {"type": kind, "sequence_number": first + place, **value})
            for place, (kind, value) in enumerate(events)
        ]

    def _end_item(self, index: int, item: dict[str, Any], texts: Mapping[Channel, str]) -> list[Event]:
        place = {"item_id": item.get("id"), "output_index": index}
        events: list[Event] = []
        ended = {**item, "status": "incomplete"}
        if item.get("type") == "message":
            content = []
            for (owner, number), part in sorted(self.parts.items()):
                if owner != index:
                    continue
                family, key = (_REFUSAL, "refusal") if part.get("type") == "refusal" else (_TEXT, "text")
                text = _text_of(texts, family, index, number)
                here = {**place, "content_index": number}
                said: dict[str, Any] = {**here, key: text, **({"logprobs": []} if family == _TEXT else {})}
                content.append({**part, key: text})
                events += [(f"{family}.done", said), ("response.content_part.done", {**here, "part": content[-1]})]
            ended["content"] = content
        elif item.get("type") == "function_call":
            ended["arguments"] = _text_of(texts, _ARGUMENTS, index, None)
            said = {**place, "name": item.get("name"), "arguments": ended["arguments"]}
            events.append((f"{_ARGUMENTS}.done", said))
        elif item.get("type") == "custom_tool_call":
            ended["input"] = _text_of(texts, _TOOL_INPUT, index, None)
            events.append((f"{_TOOL_INPUT}.done", {**place, "input": ended["input"]}))
        return [*events, ("response.output_item.done", {"output_index": index, "item": ended})]


def _text_of(texts: Mapping[Channel, str], family: str, index: int, content: int | None) -> str:
    # A channel is the family, the item's id, the indexes of the item and of its part, and more that these have none of.
    for channel, text in texts.items():
        if channel[0] == family and channel[2] == index and (content is None or channel[3] == content):
            return text
    return ""
