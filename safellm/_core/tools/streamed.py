"""Pieces of calls in the events of a stream: which call an event belongs to, and which calls end with it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from safellm._core.tools.shapes import (
    CLIENT_RUN,
    SeenCall,
    assembled,
    brings_text_of_others,
    call_of,
    calls_in,
    name_of,
)

Key = tuple[Hashable, ...]
_ITEM_CALLS: Final = frozenset({"function_call", "custom_tool_call", *CLIENT_RUN})
# The last two end an answer of a realtime session.
_RESPONSE_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.done", "response.cancelled"}
)
_NO_TEXT: Final = frozenset({"tool_calls", "function_call", "role"})
_PIECES: Final = {"response.function_call_arguments": False, "response.custom_tool_call_input": True}
_INTERACTION_ENDS: Final = frozenset(
    {"interaction.completed", "interaction.complete", "interaction.requires_action", "error"}
)


@dataclass(slots=True, kw_only=True)
class OpenCall:
    """A call whose arguments are under way."""

    name: str = ""
    id: str = ""
    free_form: bool = False
    texts: list[str] = field(default_factory=list)
    whole: Any = None  # arguments that came at once, with the call's beginning
    parts: list[Any] = field(default_factory=list)  # texts by JSON path

    @property
    def has_begun(self) -> bool:
        """Whether its arguments have begun, so that its name is whole."""
        return bool(self.texts) or self.whole is not None or bool(self.parts)

    def add(self, piece: Any) -> None:
        """Take the next piece of its arguments: a text, or all of them at once."""
        if isinstance(piece, str):
            self.texts.append(piece)
        elif piece is not None:
            self.whole = piece

    def seen(self) -> SeenCall:
        """Return the call as it is by now."""
        text = "".join(self.texts)
        arguments: Any = text if text or self.whole is None else self.whole
        if self.parts:
            arguments = assembled(self.parts)
        return SeenCall(name=self.name, arguments=arguments, id=self.id, free_form=self.free_form)


@dataclass(slots=True, kw_only=True)
class EventCalls:
    """What an event says of calls.

    Attributes:
        holds: It carries a piece of a call, or something about one that is open.
        ended: Calls that are complete with it.
        whole: Calls that stand in it as a whole.
        places: What its texts belong to.
        flows: It is a piece of running text and nothing else, or says nothing: it may pass calls that are held.
        others: The provider ran a tool itself.
        final: The answer ends with it: every call in it was judged.
    """

    holds: bool = False
    ended: list[SeenCall] = field(default_factory=list)
    whole: list[SeenCall] = field(default_factory=list)
    places: tuple[Hashable, ...] = ()
    flows: bool = False
    others: bool = False
    final: bool = False


@dataclass(slots=True)
class StreamCalls:
    """Follows the calls of one stream."""

    open: dict[Key, OpenCall] = field(default_factory=dict)

    def read(self, event: Any) -> EventCalls:  # noqa: PLR0911 - one for each dialect
        """Return what an event (parsed JSON) says of calls."""
        if not isinstance(event, dict):
            return EventCalls()
        kind = event.get("type")
        if kind == "response.event" and isinstance(event.get("event"), dict):
            return self.read(event["event"])  # of an answer that a live session handed on
        if isinstance(event.get("choices"), list):
            return self._chunk(event["choices"])
        if isinstance(event.get("candidates"), list):
            return self._candidates(event["candidates"])
        if isinstance(kind, str) and kind.startswith("response."):
            return self._response(event, kind)
        if isinstance(kind, str) and (kind.startswith(("content_block_", "message_")) or kind == "ping"):
            return self._block(event, kind)
        if isinstance(event.get("event_type"), str):
            return self._step(event, event["event_type"])
        if isinstance(event.get("object"), str) and event["object"].startswith("thread."):
            return self._thread(event, event["object"])
        return EventCalls(whole=list(calls_in(event)), others=brings_text_of_others(event))

    def close(self, prefix: Key = ()) -> list[SeenCall]:
        """Return the open calls below a key, and forget them."""
        ended = [key for key in self.open if key[: len(prefix)] == prefix]
        return [self.open.pop(key).seen() for key in ended]

    def _begin(self, key: Key, name: Any, call_id: Any) -> OpenCall:
        """Return the open call of a key, with what this piece says of its name."""
        found = self.open.get(key)
        if found is None:
            found = self.open[key] = OpenCall()
        if isinstance(name, str):
            found.name += name
        if isinstance(call_id, str) and call_id:
            found.id = call_id
        return found

    # -- chat completions -----------------------------------------------------------------------------------------------

    def _chunk(self, choices: list[Any]) -> EventCalls:
        said = EventCalls(flows=len(choices) <= 1)
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            place: Key = ("choice", _index(choice))
            delta = choice.get("delta")
            if isinstance(delta, dict):
                said.holds |= self._delta(delta, place)
                if any(one for name, one in delta.items() if name not in _NO_TEXT):
                    said.places += ((*place, "text"),)
            if isinstance(choice.get("message"), dict):
                said.whole += calls_in(choice["message"])
            if choice.get("finish_reason") is not None:
                said.ended += self.close(place)
                said.flows = False
                said.places += ((*place, "text"),)
        return said

    def _delta(self, delta: dict[str, Any], place: Key) -> bool:
        pieces: list[tuple[Key, Any]] = []
        listed = delta.get("tool_calls")
        for number, one in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(one, dict):
                pieces.append(((*place, "tool", _index(one, number)), one))
        if isinstance(delta.get("function_call"), dict):
            pieces.append(((*place, "function_call"), {"function": delta["function_call"]}))
        for index_key, one in pieces:
            key = self._key_of(index_key, one.get("id"))
            for form, text_key in (("function", "arguments"), ("custom", "input")):
                inner = one.get(form)
                if isinstance(inner, dict):
                    call = self._begin(key, inner.get("name"), one.get("id"))
                    call.free_form |= form == "custom"
                    call.add(inner.get(text_key))
        return bool(pieces)

    def _key_of(self, key: Key, call_id: Any) -> Key:
        """Return the key of a piece's call: some servers give every call the same index, and another id."""
        known = self.open.get(key)
        while known is not None and isinstance(call_id, str) and call_id and known.id and known.id != call_id:
            key = (*key, "next")
            known = self.open.get(key)
        while call_id in (None, "") and (*key, "next") in self.open:
            key = (*key, "next")  # the rest of the one that began last
        return key

    # -- Responses ------------------------------------------------------------------------------------------------------

    def _response(self, event: dict[str, Any], kind: str) -> EventCalls:
        item, index = event.get("item"), _index(event, name="output_index")
        place: Key = ("item", index)
        said = EventCalls(places=(place,), flows=kind.endswith(".delta"))
        if isinstance(item, dict):
            said.others = brings_text_of_others(item)
            if kind == "response.output_item.added" and str(item.get("type")) in _ITEM_CALLS:
                self.open.pop(place, None)
                call = self._begin(place, item.get("name"), item.get("call_id") or item.get("id"))
                call.free_form = item.get("type") == "custom_tool_call"
                said.holds = True
            elif kind == "response.output_item.done":
                said.ended = self._matching(place, list(calls_in(item)))
            return said
        family, _, last = kind.rpartition(".")
        if family in _PIECES:
            said.holds, said.flows = True, False
            if last == "delta" and isinstance(event.get("delta"), str):
                call = self._begin(place, None, None)
                call.free_form |= _PIECES[family]
                call.texts.append(event["delta"])
            elif last == "done":
                self._say_again(place, event.get("input" if _PIECES[family] else "arguments"), said)
            return said
        if kind in _RESPONSE_ENDS:
            whole = event.get("response")
            said.ended, said.final = self.close(), True
            said.whole = list(calls_in(whole.get("output"))) if isinstance(whole, dict) else []
        elif place in self.open:
            said.holds = True
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            said.flows = False
        else:
            said.whole = [] if said.flows else list(calls_in(event))
        return said

    def _say_again(self, place: Key, text: Any, said: EventCalls) -> None:
        """Take the whole that ends the pieces; one that says something else than they did is a call of its own."""
        found = self.open.get(place)
        if found is None or not isinstance(text, str) or text == "".join(found.texts):
            return
        if found.texts:
            seen = found.seen()
            said.whole.append(SeenCall(name=seen.name, arguments=text, id=seen.id, free_form=seen.free_form))
        else:
            found.texts.append(text)

    def _matching(self, place: Key, whole: list[SeenCall]) -> list[SeenCall]:
        """Return the calls of a finished item; pieces that say something else than the whole are a call of their own."""
        found = self.open.pop(place, None)
        if found is None:
            return whole
        pieces = found.seen()
        if not found.texts or any(one.arguments == pieces.arguments for one in whole):
            return whole
        return [
            *whole,
            SeenCall(name=pieces.name, arguments=pieces.arguments, id=pieces.id, free_form=pieces.free_form),
        ]

    # -- Anthropic ------------------------------------------------------------------------------------------------------

    def _block(self, event: dict[str, Any], kind: str) -> EventCalls:  # noqa: PLR0911 - one for each kind
        place: Key = ("block", _index(event))
        if kind == "ping":
            return EventCalls(flows=True)
        if kind == "content_block_start":
            block = event.get("content_block")
            said = EventCalls(places=(place,), others=brings_text_of_others(block))
            if isinstance(block, dict) and block.get("type") == "tool_use":
                said.ended = self.close(place)
                call = self._begin(place, name_of(block), block.get("id"))
                call.whole, said.holds = block.get("input"), True
            return said
        if kind == "content_block_delta":
            running = self.open.get(place)
            if running is None:
                return EventCalls(places=(place,), flows=True)
            delta = event.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("partial_json"), str):
                running.texts.append(delta["partial_json"])
            return EventCalls(places=(place,), holds=True)
        if kind == "content_block_stop":
            return EventCalls(places=(place,), ended=self.close(place))
        if kind == "message_start":
            message = event.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            return EventCalls(whole=list(calls_in(content)))
        return EventCalls(ended=self.close(("block",)), final=kind == "message_stop")

    # -- Gemini ---------------------------------------------------------------------------------------------------------

    def _candidates(self, candidates: list[Any]) -> EventCalls:
        said = EventCalls(flows=len(candidates) <= 1)
        for candidate in candidates:
            if not isinstance(candidate, dict):
                continue
            place: Key = ("candidate", _index(candidate))
            said.places += (place,)
            said.others |= brings_text_of_others(candidate)
            content = candidate.get("content")
            parts = content.get("parts") if isinstance(content, dict) else None
            for part in parts if isinstance(parts, list) else ():
                self._part(part, place, said)
            if candidate.get("finishReason", candidate.get("finish_reason")) is not None:
                said.ended += self.close(place)
                said.flows = False
        return said

    def _part(self, part: Any, place: Key, said: EventCalls) -> None:
        inner = part.get("functionCall", part.get("function_call")) if isinstance(part, dict) else None
        if not isinstance(inner, dict):
            said.flows &= isinstance(part, dict) and isinstance(part.get("text"), str)
            return
        said.flows = False
        continues = inner.get("willContinue", inner.get("will_continue")) is True
        key: Key = (*place, "call")
        if not continues and key not in self.open:
            found = call_of(part)
            said.whole += [found] if found is not None else []
            return
        call = self._begin(key, inner.get("name") if key not in self.open else None, inner.get("id"))
        pieces = inner.get("partialArgs", inner.get("partial_args"))
        call.parts += pieces if isinstance(pieces, list) else []
        if inner.get("args") is not None:
            call.whole = inner["args"]
        said.holds = True
        if not continues:
            said.ended += self.close(key)

    def _step(self, event: dict[str, Any], kind: str) -> EventCalls:
        place: Key = ("step", _index(event))
        step, delta = event.get("step", event.get("content")), event.get("delta")
        said = EventCalls(places=(place,))
        if kind.endswith(".start") and isinstance(step, dict):
            said.others = brings_text_of_others(step)
            if step.get("type") == "function_call":
                call = self._begin(place, step.get("name"), step.get("id"))
                call.whole, said.holds = step.get("arguments"), True
        elif kind.endswith(".delta") and isinstance(delta, dict):
            said.flows = place not in self.open
            if delta.get("type") == "arguments_delta" and isinstance(delta.get("arguments"), str):
                self._begin(place, None, None).texts.append(delta["arguments"])
                said.holds, said.flows = True, False
            elif delta.get("type") == "function_call":
                said.whole, said.flows = list(calls_in(delta)), False
        elif kind.endswith(".stop"):
            said.ended = self.close(place)
        elif kind in _INTERACTION_ENDS:
            said.ended, said.final = self.close(), True
            said.whole = list(calls_in({name: one for name, one in event.items() if name != "event_type"}))
        return said

    # -- assistants -----------------------------------------------------------------------------------------------------

    def _thread(self, event: dict[str, Any], kind: str) -> EventCalls:
        if kind == "thread.run.step.delta":
            delta = event.get("delta")
            details = delta.get("step_details") if isinstance(delta, dict) else None
            listed = details.get("tool_calls") if isinstance(details, dict) else None
            said = EventCalls()
            for one in listed if isinstance(listed, list) else ():
                inner = one.get("function") if isinstance(one, dict) else None
                if isinstance(inner, dict):
                    call = self._begin(("run", str(event.get("id")), _index(one)), inner.get("name"), one.get("id"))
                    call.texts.append(str(inner.get("arguments") or ""))
                    said.holds = True
            return said
        if kind == "thread.run.step" and event.get("status") == "in_progress":
            return EventCalls()
        flows = kind == "thread.message.delta"
        ended = [] if flows or kind.startswith("thread.message") else self.close(("run",))
        return EventCalls(
            ended=ended,
            whole=[] if flows else list(calls_in(event)),
            flows=flows,
            places=(("message", str(event.get("id"))),),
        )


def _index(value: dict[str, Any], default: int = 0, *, name: str = "index") -> Hashable:
    """Return a number that tells calls apart; what a server sends in its place has to be comparable only."""
    index = value.get(name, default)
    return index if isinstance(index, (int, str)) else repr(index)
