"""Gemini's websocket protocols: live sessions and live music.

Messages of both sides have one key that says what they are. An answer is what the model says until its turn is complete, or until
it calls a tool: then the program's `toolResponse` is the next call. What is held to a budget in tokens or money is refused here: no
message bounds the length of one answer.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safellm._core.adapter import Billing, Ceiling, Delta, EventView, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent
from safellm_google_genai.adapter import ADAPTER
from safellm_google_genai.stream import GeminiStreamReader
from safellm_google_genai.table import TABLE, both

Channel = tuple[str | int, ...]

_LIVE = replace(
    TABLE,
    kinds={
        **TABLE.kinds,
        **dict.fromkeys(both(("functionCalls.args",)), Kind.ARGUMENTS),
        **dict.fromkeys(both(("audioChunks.data",)), Kind.DATA),
    },
    free_keys=TABLE.free_keys | frozenset(both(("functionResponses.response",))),
)
_KNOWN = {
    "setup": "setup", "clientContent": "clientContent", "client_content": "clientContent", "toolResponse": "toolResponse",
    "tool_response": "toolResponse", "realtimeInput": "realtimeInput", "realtime_input": "realtimeInput",
    "contextUpdate": "contextUpdate", "context_update": "contextUpdate", "playbackControl": "playbackControl",
    "playback_control": "playbackControl", "musicGenerationConfig": "musicGenerationConfig",
    "music_generation_config": "musicGenerationConfig",
}  # fmt: skip
_SETTINGS = frozenset({"setup", "contextUpdate", "musicGenerationConfig"})
_TRANSCRIPTS = ("inputTranscription", "outputTranscription", "interimInputTranscription")
_MARKS = frozenset({"turnComplete", "generationComplete", "interrupted", "waitingForInput", "interactionStatus"})
_ANSWERS = frozenset({"serverContent", "toolCall"})


@dataclass(slots=True)
class LiveReader(GeminiStreamReader):
    """Reads the messages of one answer, or those that belong to none."""

    def view(self, event: Any) -> EventView:
        """Return how to read a message: pieces of what the model says and thinks, and of what it heard."""
        content = event.get("serverContent") if isinstance(event, dict) else None
        if not isinstance(content, dict):
            return EventView(closes=((),)) if isinstance(event, dict) and "toolCall" in event else EventView()
        turn = content.get("modelTurn")
        deltas: list[Delta] = []
        for part in _list(turn.get("parts")) if isinstance(turn, dict) else ():
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                form = "thought" if part.get("thought") else "text"
                deltas.append(Delta(container=part, key="text", channel=("turn", form), kind=Kind.TEXT))
        closes: list[Channel] = []
        for name in _TRANSCRIPTS:
            said = content.get(name)
            if isinstance(said, dict) and isinstance(said.get("text"), str):
                deltas.append(Delta(container=said, key="text", channel=(name,), kind=Kind.TEXT))
            if isinstance(said, dict) and said.get("finished"):
                closes.append((name,))
        if content.get("turnComplete") or content.get("interrupted"):
            closes.append(())
        elif content.get("generationComplete"):
            closes.append(("turn",))
        return EventView(deltas=tuple(deltas), closes=tuple(closes))

    def carry(self, event: Any, delta: Delta, text: str) -> Any:  # noqa: ARG002 - nothing else of it is repeated
        """Return a message that carries nothing but `text`."""
        name, *form = delta.channel
        if name != "turn":
            return {"serverContent": {str(name): {"text": text}}}
        part = {"text": text, **({"thought": True} if form == ["thought"] else {})}
        return {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}

    def cut(self, last: Any, texts: Mapping[Channel, str], tokens: int) -> None:  # noqa: ARG002 - others say it
        """Return None: no message says that an answer ended because of a budget."""
        return


@dataclass(slots=True, kw_only=True)
class LiveDialect:
    """A live session, or live music: one conversation for each connection.

    Attributes:
        name: What it is called in the trail.
        model: As the session's setup names it.
    """

    path: str
    name: str = "live"
    model: str = ""
    keeps: bool = True
    table: Table = field(default_factory=lambda: _LIVE)

    @property
    def connecting(self) -> Route:
        """The endpoint that opening the connection stands for."""
        return self._route("connect", Billing.FREE)

    @property
    def unasked(self) -> Sent:
        """What an answer stands for that the provider began by itself, after a turn of speech."""
        return Sent(route=self._route("answer", Billing.OTHER), path=self.path, asks=True)

    def _route(self, name: str, billing: Billing, *, known: bool = True, model: str = "") -> Route:
        return Route(
            method="POST", template=f"/{self.name} {name}", operation=f"{self.name} {name}", billing=billing,
            model=model or self.model, streams=True, known=known,
        )  # fmt: skip

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what a message of the program is."""
        kinds = {_KNOWN.get(key, "unknown") for key in event}
        kind = kinds.pop() if len(kinds) == 1 else "unknown"
        if kind in _SETTINGS:
            route = self._route(kind, Billing.FREE, model=_model(event))
            return Sent(route=route, path=self.path)
        if kind == "clientContent" and not _completes(event) and self.name == "live":
            return Sent(route=self._route(kind, Billing.FREE), path=self.path)
        known = kind != "unknown"
        asks = self.name == "live" and kind in ("clientContent", "toolResponse")
        return Sent(
            route=self._route(kind, Billing.OTHER, known=known),
            path=self.path,
            asks=asks,
            repeats=kind == "realtimeInput" and not _has_text(event),
        )

    def said(self, event: Mapping[str, Any]) -> None:
        """Note the session's model."""
        self.model = _model(event) or self.model

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what a message of the provider is."""
        if self.name != "live" or _ANSWERS.isdisjoint(event):
            return Got(lane="") if "usageMetadata" in event else Got()
        content = event.get("serverContent")
        over = isinstance(content, dict) and bool(content.get("turnComplete"))
        # Transcripts of what was heard belong to the turn that follows: a text must stay in one stream.
        begins = "toolCall" in event or (isinstance(content, dict) and not content.keys() <= _MARKS)
        return Got(lane="", begins=begins, ends=over or "toolCall" in event)

    def calls(self, event: Mapping[str, Any]) -> JSON:
        """Return an event's tool calls as a chunk of `generateContent` holds them."""
        asked, content = event.get("toolCall"), event.get("serverContent")
        turn = content.get("modelTurn") if isinstance(content, dict) else None
        parts = [one for one in _list(turn.get("parts")) if isinstance(one, dict)] if isinstance(turn, dict) else []
        found = [one["functionCall"] for one in parts if "functionCall" in one]
        found += _list(asked.get("functionCalls")) if isinstance(asked, dict) else []
        if not found:
            return None
        made: list[JSON] = [{"functionCall": one} for one in found]
        return {"candidates": [{"index": 0, "content": {"role": "model", "parts": made}, "finishReason": "STOP"}]}

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - the same everywhere
        """Return None: no message bounds one answer."""
        return None

    def structured(self, body: JSON) -> bool:  # noqa: ARG002 - answers are speech or prose
        """Return that the answer's text isn't JSON."""
        return False

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what a message says of the answer."""
        if not isinstance(answer, dict):
            return
        if isinstance(answer.get("usageMetadata"), dict):
            ADAPTER.observe({"usageMetadata": answer["usageMetadata"]}, seen)
        content = answer.get("serverContent")
        if isinstance(content, dict) and content.get("turnComplete"):
            reason = content.get("turnCompleteReason")
            seen.finish_reasons.append(reason if isinstance(reason, str) else "turn_complete")
        elif "toolCall" in answer:
            seen.finish_reasons.append("tool_call")

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader for one answer, or for the messages that belong to none."""
        return LiveReader()


def live_dialect(path: str, query: str) -> LiveDialect:  # noqa: ARG001 - the path says it
    """Return the protocol at a path."""
    return LiveDialect(path=path, name="live music" if path.endswith("BidiGenerateMusic") else "live")


def _model(event: Mapping[str, Any]) -> str:
    setup = event.get("setup")
    model = setup.get("model") if isinstance(setup, dict) else None
    return model.rpartition("models/")[2] if isinstance(model, str) else ""


def _completes(event: Mapping[str, Any]) -> bool:
    content = event.get("clientContent", event.get("client_content"))
    return isinstance(content, dict) and bool(content.get("turnComplete", content.get("turn_complete")))


def _has_text(event: Mapping[str, Any]) -> bool:
    given = event.get("realtimeInput", event.get("realtime_input"))
    return isinstance(given, dict) and "text" in given


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
