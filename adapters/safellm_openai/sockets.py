"""OpenAI's websocket protocols: Responses and Realtime."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import parse_qs

from safellm._core.adapter import Billing, Ceiling, EventView, Route, Seen, StreamReader, UsageSeen
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent
from safellm.errors import Reason, Refused
from safellm_openai.adapter import ADAPTER
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.table import TABLE

_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete"})
_ERROR = 400
_LEAST, _MOST = 400, 599

_CONNECTING = Route(
    method="GET", template="/responses", operation="connect /responses", billing=Billing.FREE, streams=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesDialect:
    """Responses over a websocket: an event `response.create` is the body of `POST /responses`, and is answered by its stream."""

    keeps: bool = False
    table: Table = TABLE
    connecting: Route = _CONNECTING
    path: str = "/responses"

    @property
    def unasked(self) -> Sent | None:
        """None: an answer without a call is guarded as a message of the connection."""
        return None

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        if event.get("type") != "response.create":
            # Steering has the provider answer again, without a call that could be held to a budget.
            raise _unguarded(event, "responses")
        lane = event.get("stream_id")
        return Sent(
            route=replace(ADAPTER.route("POST", "/responses"), streams=True),
            path=self.path,
            asks=True,
            lane=lane if isinstance(lane, str) else "",
        )

    def said(self, event: Mapping[str, Any]) -> None:
        """Note nothing: each call says all of itself."""

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        lane, kind, status = event.get("stream_id"), event.get("type"), event.get("status")
        error = 0
        if kind == "error":
            error = status if isinstance(status, int) and _LEAST <= status <= _MOST else _ERROR
        return Got(lane=lane if isinstance(lane, str) else "", ends=kind in _ENDS or bool(error), error=error)

    def calls(self, event: Mapping[str, Any]) -> JSON:  # noqa: ARG002 - events are those of HTTP
        """Return None: tool calls are written as over HTTP."""
        return None

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:
        """Return how a call bounds its output."""
        return ADAPTER.ceiling(route, origin)

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        return ADAPTER.structured(body)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an event says of the answer."""
        ADAPTER.observe(answer, seen)

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader for one answer."""
        return OpenAIStreamReader()


def _unguarded(event: Mapping[str, Any], what: str) -> Refused:
    known = event.get("type") if event.get("type") in _NAMED else "unknown"
    return Refused(
        f"The event {known!r} of {what} websockets can't be guarded yet",
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy="Use events that docs/websockets.md lists, or HTTP.",
    )


_NAMED = frozenset({"response.steer", "response.inject"})


def responses_dialect(path: str, query: str) -> ResponsesDialect:  # noqa: ARG001 - the same everywhere
    """Return the protocol of a Responses connection."""
    return ResponsesDialect(path=path)


# -- Realtime -----------------------------------------------------------------------------------------------------------

# Events that ask for nothing and cost nothing by themselves. What they say is input of the answers after them.
_FREE = frozenset(
    {"session.update", "transcription_session.update", "conversation.item.create", "conversation.item.delete",
     "conversation.item.retrieve", "conversation.item.truncate", "input_audio_buffer.clear", "output_audio_buffer.clear",
     "response.cancel"}
)  # fmt: skip
_AUDIO = frozenset({"input_audio_buffer.append", "input_audio_buffer.commit"})
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
        heard: Audio was sent: it isn't priced like text, and how much it is in tokens isn't known.
    """

    path: str = "/realtime"
    model: str = ""
    text_only: bool = False
    heard: bool = False
    keeps: bool = True
    table: Table = field(default_factory=lambda: _REALTIME)

    @property
    def connecting(self) -> Route:
        """The endpoint that opening the connection stands for."""
        return self._route("connect", "connect /realtime", Billing.FREE)

    @property
    def unasked(self) -> Sent:
        """What an answer stands for that the provider began by itself, after a turn of speech."""
        return self._answer(text_only=self.text_only)

    def _route(self, name: str, operation: str, billing: Billing, *, known: bool = True) -> Route:
        return Route(
            method="POST", template=f"/realtime {name}", operation=operation, billing=billing, model=self.model,
            streams=True, known=known,
        )  # fmt: skip

    def _answer(self, *, text_only: bool) -> Sent:
        billing = Billing.TOKENS if text_only and not self.heard else Billing.OTHER
        return Sent(route=self._route("response.create", "realtime", billing), path=self.path, asks=True)

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        kind = event.get("type")
        if kind == "response.create":
            own = _modalities(event.get("response"))
            text_only = self.text_only if own is None else own == ["text"]
            return self._answer(text_only=text_only and not _has_audio(event))
        if kind in _AUDIO:
            route = self._route(str(kind), f"realtime {kind}", Billing.OTHER)
            return Sent(route=route, path=self.path, repeats=True)
        known = kind in _FREE
        name = str(kind) if known else "unknown"
        billing = Billing.FREE if known else Billing.OTHER
        return Sent(route=self._route(name, f"realtime {name}", billing, known=known), path=self.path)

    def said(self, event: Mapping[str, Any]) -> None:
        """Note what of the session the program set, and that speech was sent."""
        if event.get("type") == "session.update":
            self._session(event.get("session"))
        self.heard |= event.get("type") in _AUDIO or _has_audio(event)

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        kind, response = event.get("type"), event.get("response")
        if kind == "error":
            error = event.get("error")
            asked = error.get("event_id") if isinstance(error, dict) else None
            return Got(lane="", ends=True, error=_ERROR, asked=asked if isinstance(asked, str) else "")
        if kind in ("session.created", "session.updated"):
            self._session(event.get("session"))
        name = response.get("id") if isinstance(response, dict) else event.get("response_id")
        if not isinstance(name, str) or not name:
            return Got()
        return Got(lane="", answer=name, begins=kind == "response.created", ends=kind == "response.done")

    def _session(self, session: object) -> None:
        if isinstance(session, dict):
            model, modalities = session.get("model"), _modalities(session)
            if isinstance(model, str) and model:
                self.model = model
            if modalities is not None:
                self.text_only = modalities == ["text"]

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

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader for one answer, or for the events that belong to none."""
        return RealtimeReader()


def realtime_dialect(path: str, query: str) -> RealtimeDialect:
    """Return the protocol of a Realtime connection."""
    model = parse_qs(query).get("model", [""])[0]
    return RealtimeDialect(path=path, model=model)


def _modalities(settings: object) -> list[Any] | None:
    if not isinstance(settings, dict):
        return None
    found = settings.get("output_modalities", settings.get("modalities"))  # the older name
    return found if isinstance(found, list) else None


def _has_audio(event: Mapping[str, Any]) -> bool:
    """Return whether an event brings speech along, in a conversation's item or in the input of one answer."""
    response = event.get("response")
    items = [event.get("item")]
    if isinstance(response, dict) and isinstance(response.get("input"), list):
        items += response["input"]
    parts = [one for item in items if isinstance(item, dict) for one in _list(item.get("content"))]
    return any(isinstance(one, dict) and one.get("type") not in ("input_text", "text", "output_text") for one in parts)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
