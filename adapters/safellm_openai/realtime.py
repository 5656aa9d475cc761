"""OpenAI's Realtime over websockets: one conversation for each connection, in text and speech."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import parse_qs

from safellm._core.adapter import Billing, Ceiling, EventView, Route, Seen, StreamReader, UsageSeen
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent, spoken_tokens
from safellm_openai.adapter import ADAPTER
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.table import TABLE

_ERROR = 400
# Events that ask for nothing and cost nothing by themselves. What they say is input of the answers after them.
_FREE = frozenset(
    {"session.update", "transcription_session.update", "conversation.item.create", "conversation.item.delete",
     "conversation.item.retrieve", "conversation.item.truncate", "input_audio_buffer.clear", "output_audio_buffer.clear",
     "response.cancel"}
)  # fmt: skip
_AUDIO = frozenset({"input_audio_buffer.append", "input_audio_buffer.commit"})
# 10 tokens a second of what a user says, 20 of what the assistant does (OpenAI, "Managing costs" of the Realtime API), and 8,000
# bytes a second at least (G.711).
_TOKEN_BYTES, _ANSWER_TOKEN_BYTES = 800, 400
_SPOKEN_BYTES = {"input_audio": _TOKEN_BYTES}
_TEXTS = frozenset({"input_text", "text", "output_text"})
_SPEECH = frozenset({"input_audio", "audio", "output_audio"})
_BY_ITSELF = (
    "Ask for each answer with response.create: in session.update set turn_detection to null, or its create_response to false, and "
    "no transcription, and wait for session.updated. Or limit requests instead."
)
_TRANSCRIPTS = "conversation.item.input_audio_transcription"
_CEILING = Ceiling(
    keys=("max_output_tokens", "max_response_output_tokens"), inject="max_output_tokens", within=("response",)
)
_REALTIME = replace(
    TABLE,
    kinds={
        **TABLE.kinds,
        ".audio": Kind.DATA,
        "content.audio": Kind.DATA,
        "event_id": Kind.IDENTIFIER,
        "previous_item_id": Kind.IDENTIFIER,
    },
    typed={"response.output_audio.delta": {"delta": Kind.DATA}, "response.audio.delta": {"delta": Kind.DATA}},
)
_OVER = frozenset({"completed", "cancelled", "failed", "incomplete"})


@dataclass(slots=True)
class RealtimeReader(OpenAIStreamReader):
    """Reads the events of one answer, or those that belong to none."""

    varying: ClassVar[tuple[str, ...]] = ("event_id",)

    def view(self, event: Any) -> EventView:
        """Return how to read an event."""
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "response.done":
            return EventView(closes=((),))
        if kind == "response.output_audio.delta":
            return EventView()
        if isinstance(kind, str) and kind.startswith(_TRANSCRIPTS) and not kind.endswith(".delta"):
            return EventView(closes=((_TRANSCRIPTS, event.get("item_id", "")),))
        return OpenAIStreamReader.view(self, event)

    def cut(self, last: Any, texts: Mapping[Any, str], tokens: int) -> None:  # noqa: ARG002 - others say it
        """Return None: no event says that an answer ended because of a budget."""
        return


@dataclass(slots=True, kw_only=True)
class RealtimeDialect:
    """Realtime: one conversation for each connection, answers by `response.create` or when the provider hears the end of a turn.

    Attributes:
        model: As the address or the session names it.
        text_only: Answers of the session are texts. They are speech unless it says so.
        heard: Audio was sent.
        seen: Something was sent that is neither text nor audio: how much it is in tokens isn't known.
        by_itself: The provider begins answers by itself, after a turn of speech; so it does unless it said otherwise.
        transcribes: What is heard is written down by another model, which is billed apart; so it is unless the provider said not.
        declared: The tools of the session: those that the program set, else those that the provider says it has.
    """

    path: str = "/realtime"
    model: str = ""
    text_only: bool = False
    heard: bool = False
    seen: bool = False
    by_itself: bool = True
    transcribes: bool = True
    declared: JSON = None
    keeps: bool = True
    table: Table = field(default_factory=lambda: _REALTIME)
    _own_tools: bool = False

    @property
    def connecting(self) -> Route:
        """The endpoint that opening the connection stands for."""
        return self._route("connect", "connect /realtime", Billing.FREE)

    @property
    def unasked(self) -> Sent:
        """What an answer stands for that the provider began by itself, after a turn of speech."""
        return self._answer(bounded=self.text_only and not self.heard)

    def _route(self, name: str, operation: str, billing: Billing, *, known: bool = True) -> Route:
        return Route(
            method="POST", template=f"/realtime {name}", operation=operation, billing=billing, model=self.model,
            streams=True, known=known,
        )  # fmt: skip

    def _answer(self, *, bounded: bool) -> Sent:
        billing = Billing.TOKENS if bounded and not self.seen else Billing.OTHER
        return Sent(route=self._route("response.create", "realtime", billing), path=self.path, asks=True)

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        kind = str(event.get("type"))
        if kind == "response.create":
            return self._answer(bounded=not _parts(event, _is_unknown))
        if kind in _AUDIO:
            billing = Billing.OTHER if self._is_open else Billing.FREE
            route = self._route(kind, f"realtime {kind}", billing)
            return Sent(route=route, path=self.path, repeats=True, remedy=_BY_ITSELF)
        if kind == "session.update" and self.heard and self._opens(event.get("session")):
            # What was heard already would be written down, or answered.
            route = self._route(kind, "realtime session.update", Billing.OTHER)
            return Sent(route=route, path=self.path, remedy=_BY_ITSELF)
        known = kind in _FREE
        name = kind if known else "unknown"
        spoken = self._is_open and bool(_parts(event, _is_audio))
        billing = Billing.FREE if known and not spoken else Billing.OTHER
        route = self._route(name, f"realtime {name}", billing, known=known)
        return Sent(route=route, path=self.path, remedy=_BY_ITSELF if spoken else "")

    def said(self, event: Mapping[str, Any]) -> None:
        """Note what of the session the program set, and that speech was sent."""
        if event.get("type") == "session.update":
            self._session(event.get("session"))
            self._tools(event.get("session"), own=True)
            # What it switches off counts once the provider says so: it may not take the settings.
            by_itself, transcribes = _hears(event.get("session"))
            self.by_itself |= by_itself is True
            self.transcribes |= transcribes is True
        self.heard |= str(event.get("type")) in _AUDIO or bool(_parts(event, _is_audio))
        self.seen |= bool(_parts(event, _is_unknown))

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        kind, response = event.get("type"), event.get("response")
        if kind == "error":
            error = event.get("error")
            asked = error.get("event_id") if isinstance(error, dict) else None
            return Got(lane="", ends=True, error=_ERROR, asked=asked if isinstance(asked, str) else "")
        if kind in ("session.created", "session.updated"):
            self._session(event.get("session"))
            self._tools(event.get("session"), own=False)
            by_itself, transcribes = _hears(event.get("session"))
            self.by_itself = self.by_itself if by_itself is None else by_itself
            self.transcribes = self.transcribes if transcribes is None else transcribes
        name = response.get("id") if isinstance(response, dict) else event.get("response_id")
        if not isinstance(name, str) or not name:
            return Got()
        return Got(lane="", answer=name, begins=kind == "response.created", ends=kind == "response.done")

    def _tools(self, session: object, *, own: bool) -> None:
        tools = session.get("tools") if isinstance(session, dict) else None
        # The provider repeats the program's with hidden values in them; only it knows those of a session that was made elsewhere.
        if isinstance(tools, list) and (own or (tools and not self._own_tools)):
            self.declared = {"tools": tools} if tools or own else None
            self._own_tools |= own

    def _session(self, session: object) -> None:
        if isinstance(session, dict):
            model, modalities = session.get("model"), _modalities(session)
            if isinstance(model, str) and model:
                self.model = model
            if modalities is not None:
                self.text_only = modalities == ["text"]

    @property
    def _is_open(self) -> bool:
        """Whether what is heard costs something that no event asks for."""
        return self.by_itself or self.transcribes

    def _opens(self, session: object) -> bool:
        return any(one is True for one in _hears(session))

    def weight(self, event: Mapping[str, Any], size: int) -> int:
        """Return the most tokens that an event adds: of audio by its length, of all else by its bytes."""
        pieces = [
            (event.get("audio"), _TOKEN_BYTES),
            *(
                (part.get("audio"), _SPOKEN_BYTES.get(part["type"], _ANSWER_TOKEN_BYTES))
                for part in _parts(event, _is_audio)
            ),
        ]
        said = [(one, a_token) for one, a_token in pieces if isinstance(one, str)]
        return max(0, size - sum(len(one) for one, _ in said)) + sum(spoken_tokens(*one) for one in said)

    def calls(self, event: Mapping[str, Any]) -> JSON:  # noqa: ARG002 - events are those of HTTP
        """Return None: tool calls are written as over HTTP."""
        return None

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - the same everywhere
        """Return how an answer bounds its output."""
        return _CEILING if route.billing is Billing.TOKENS else None

    def structured(self, body: JSON) -> bool:  # noqa: ARG002 - answers are speech or prose
        """Return that the answer's text isn't JSON."""
        return False

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an event says of the answer."""
        if not isinstance(answer, dict) or not isinstance(response := answer.get("response"), dict):
            return
        ADAPTER.observe(answer, seen)
        if response.get("status") in _OVER:
            seen.finish_reasons.append(str(response["status"]))
        usage = response.get("usage")
        details = usage.get("input_token_details") if isinstance(usage, dict) else None
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        if isinstance(cached, int) and seen.usage is not None:
            seen.usage = seen.usage.at_least(UsageSeen(cached_input_tokens=cached))
        spoken = 0
        for name in ("input_token_details", "output_token_details"):
            found = usage.get(name) if isinstance(usage, dict) else None
            count = found.get("audio_tokens") if isinstance(found, dict) else None
            spoken += count if isinstance(count, int) else 0
        if spoken and seen.usage is not None:
            seen.usage = seen.usage.at_least(UsageSeen(audio_tokens=spoken))

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader for one answer, or for the events that belong to none."""
        return RealtimeReader()


def realtime_dialect(path: str, query: str) -> RealtimeDialect:
    """Return the protocol of a Realtime connection."""
    named = parse_qs(query)
    model = named.get("model", named.get("deployment", [""]))[0]  # Azure's name for it
    return RealtimeDialect(path=path, model=model)


def _modalities(settings: object) -> list[Any] | None:
    if not isinstance(settings, dict):
        return None
    found = settings.get("output_modalities", settings.get("modalities"))  # the older name
    return found if isinstance(found, list) else None


def _parts(event: Mapping[str, Any], wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return the parts of a kind that an event brings along, in a conversation's item or in the input of one answer."""
    response = event.get("response")
    items = [event.get("item")]
    if isinstance(response, dict) and isinstance(response.get("input"), list):
        items += response["input"]
    parts = [one for item in items if isinstance(item, dict) for one in _list(item.get("content"))]
    return [one for one in parts if isinstance(one, dict) and wanted(str(one.get("type")))]


def _is_audio(kind: str) -> bool:
    return kind in _SPEECH


def _is_unknown(kind: str) -> bool:
    return kind not in _TEXTS and kind not in _SPEECH


def _hears(session: object) -> tuple[bool | None, bool | None]:
    """Return whether answers begin by themselves, and whether what is heard is written down; None where it isn't said."""
    if not isinstance(session, dict):
        return None, None
    audio = session.get("audio")
    given = audio.get("input") if isinstance(audio, dict) else None
    given = given if isinstance(given, dict) else {}
    by_itself: bool | None = None
    for place, name in ((given, "turn_detection"), (session, "turn_detection")):  # the older place last
        if name in place:
            turns = place[name]
            by_itself = turns is not None and not (
                isinstance(turns, dict) and turns.get("create_response") is False and not turns.get("idle_timeout_ms")
            )
            break
    transcribes: bool | None = True if session.get("type") == "transcription" else None
    for place, name in ((given, "transcription"), (session, "input_audio_transcription")):
        if transcribes is None and name in place:
            transcribes = place[name] is not None
    return by_itself, transcribes


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
