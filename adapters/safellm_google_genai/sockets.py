"""Gemini's websocket protocols: live sessions and live music.

Messages of both sides have one key that says what they are. An answer is what the model says until its turn is complete, or until
it calls a tool: then the program's `toolResponse` is the next call. What is held to a budget in tokens or money is refused here: no
message bounds the length of one answer.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safellm._core.adapter import Billing, Ceiling, Delta, EventView, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent, SocketDialect, spoken_tokens
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
_PATHS = ("BidiGenerateContent", "BidiGenerateContentConstrained", "BidiGenerateMusic")
# 25 to 32 tokens a second (Google, "Understand and count tokens"), and 16,000 bytes a second at least: less isn't held to a limit.
_TOKEN_BYTES, _LEAST_RATE = 400, 8_000
_PLAIN = frozenset(
    {
        "text",
        "audio",
        "activityStart",
        "activityEnd",
        "activity_start",
        "activity_end",
        "audioStreamEnd",
        "audio_stream_end",
    }
)
_TEXT_PARTS = frozenset({"text", "thought"})
# Settings that have more read or written than the program's messages: transcripts are billed, and context is brought in.
_MORE = frozenset(both(("inputAudioTranscription", "outputAudioTranscription", "proactivity")))
_BOUNDED = (
    "Set max_output_tokens in the session's config; speech needs automatic_activity_detection with disabled = true as well, and no "
    "transcription. Pictures and sessions that are resumed can't be held to it. Or limit requests instead."
)
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
        declared: The tools that it declares.
        ceiling_tokens: What its setup bounds every answer by; None where it doesn't.
        by_itself: The provider begins answers by itself, after a turn of speech or text.
        unknown: Something was sent, or is kept from before, of which nobody knows how many tokens it is.
    """

    path: str
    name: str = "live"
    model: str = ""
    declared: JSON = None
    ceiling_tokens: int | None = None
    by_itself: bool = True
    unknown: bool = False
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
        asks = self.name == "live" and (kind in ("clientContent", "toolResponse") or self._ends_turn(event))
        billing = Billing.OTHER
        if self.name == "live" and self.ceiling_tokens is not None and not self.unknown and not _has_media(event):
            if asks:
                billing = Billing.TOKENS
            elif kind == "realtimeInput" and not self.by_itself:
                billing = Billing.FREE
        return Sent(
            route=self._route(kind, billing, known=known),
            path=self.path,
            asks=asks,
            repeats=kind == "realtimeInput" and not asks and not _has_text(event),
            remedy=_BOUNDED,
        )

    def _ends_turn(self, event: Mapping[str, Any]) -> bool:
        given = _realtime(event)
        return not self.by_itself and ("activityEnd" in given or "activity_end" in given)

    def said(self, event: Mapping[str, Any]) -> None:
        """Note the session's model and tools."""
        self.model = _model(event) or self.model
        setup = event.get("setup")
        if isinstance(setup, dict):
            self.declared = {"tools": setup.get("tools") or []}
            self._bounds(setup)
        self.unknown |= _has_media(event)

    def _bounds(self, setup: dict[str, Any]) -> None:
        config = setup.get("generationConfig", setup.get("generation_config"))
        most = config.get("maxOutputTokens", config.get("max_output_tokens")) if isinstance(config, dict) else None
        self.ceiling_tokens = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
        given = setup.get("realtimeInputConfig", setup.get("realtime_input_config"))
        found = (
            given.get("automaticActivityDetection", given.get("automatic_activity_detection"))
            if isinstance(given, dict)
            else None
        )
        self.by_itself = not (isinstance(found, dict) and found.get("disabled") is True)
        # The turns of a session that is taken up again, and what is written down of speech, stand in no message.
        resumed = setup.get("sessionResumption", setup.get("session_resumption"))
        self.unknown |= isinstance(resumed, dict) and bool(resumed.get("handle"))
        # With a short-lived token the provider may have settings of its own.
        self.unknown |= not _MORE.isdisjoint(setup) or self.path.endswith("Constrained")

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what a message of the provider is."""
        if self.name != "live" or _ANSWERS.isdisjoint(event):
            return Got(lane="") if "usageMetadata" in event else Got()
        content = event.get("serverContent")
        over = isinstance(content, dict) and bool(content.get("turnComplete"))
        # Transcripts of what was heard belong to the turn that follows: a text must stay in one stream.
        begins = "toolCall" in event or (isinstance(content, dict) and not content.keys() <= _MARKS)
        return Got(lane="", begins=begins, ends=over or "toolCall" in event)

    def weight(self, event: Mapping[str, Any], size: int) -> int:
        """Return the most tokens that a message adds: of audio by its length, of all else by its bytes."""
        audio = _realtime(event).get("audio")
        said = audio.get("data") if isinstance(audio, dict) else None
        return size if not isinstance(said, str) else max(0, size - len(said)) + spoken_tokens(said, _TOKEN_BYTES)

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
        """Return what the session's setup bounds each answer by; no message bounds one."""
        return None if self.ceiling_tokens is None else Ceiling(keys=(), inject="", fixed=self.ceiling_tokens)

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


def dialect_at(path: str) -> Callable[[str, str], SocketDialect] | None:
    """Return what makes the protocol of connections at a path; None where there is no guard for them."""
    return live_dialect if path.endswith(_PATHS) else None


def _model(event: Mapping[str, Any]) -> str:
    setup = event.get("setup")
    model = setup.get("model") if isinstance(setup, dict) else None
    return model.rpartition("models/")[2] if isinstance(model, str) else ""


def _completes(event: Mapping[str, Any]) -> bool:
    content = event.get("clientContent", event.get("client_content"))
    return isinstance(content, dict) and bool(content.get("turnComplete", content.get("turn_complete")))


def _realtime(event: Mapping[str, Any]) -> dict[str, Any]:
    given = event.get("realtimeInput", event.get("realtime_input"))
    return given if isinstance(given, dict) else {}


def _has_text(event: Mapping[str, Any]) -> bool:
    return "text" in _realtime(event)


def _is_plain(media: str) -> bool:
    """Return whether audio is of 16-bit samples, and 8,000 of them or more in a second."""
    kind, _, rate = media.replace(" ", "").partition(";rate=")
    return kind == "audio/pcm" and (not rate or (rate.isascii() and rate.isdigit() and int(rate) >= _LEAST_RATE))


def _has_media(event: Mapping[str, Any]) -> bool:
    """Return whether a message brings pictures or files along, or audio in a form whose length says nothing of its tokens."""
    given = _realtime(event)
    if not given.keys() <= _PLAIN:
        return True
    audio = given.get("audio")
    if isinstance(audio, dict) and not _is_plain(str(audio.get("mimeType", audio.get("mime_type", "")))):
        return True
    content = event.get("clientContent", event.get("client_content"))
    turns = _list(content.get("turns")) if isinstance(content, dict) else []
    parts = [part for one in turns if isinstance(one, dict) for part in _list(one.get("parts"))]
    return any(not isinstance(part, dict) or not part.keys() <= _TEXT_PARTS for part in parts)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
