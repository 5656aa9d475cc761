"""OpenAI's Live over websockets: a voice session, its forks and what is attached to it, and the work that it hands on.

The session itself is speech on both sides, billed by the second, and nothing asks for an answer. What it hands on to Responses
or Decisions answers in events inside of its events, with usage in tokens: each such answer is a call of its own, whether the
program asked for it or the session did.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from safellm._core.adapter import Billing, Ceiling, Delta, EventView, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent
from safellm_openai.adapter import ADAPTER
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.table import TABLE

_ERROR = 400
_SESSIONS = "/live/sessions"
_START, _ASKS = "session.start", frozenset({"response.create", "decision.create"})
# Pieces of one long input; the others are few.
_AUDIO = "session.input_audio.append"
_FREE = frozenset(
    {_AUDIO, "session.update", "session.input_audio.mute", "session.input_audio.unmute", "session.output_audio.fixture.play",
     "session.instructions.append", "session.thinking.append", "session.commentary.append", "decision.item.create",
     "decision.item.delete", "response.item.create", "session.close", "transport.dtmf.send"}
)  # fmt: skip
_NESTED, _DECIDED = "response.event", "decision.event"
_SPOKEN = "session.output_audio.delta"
_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})
_BY_THE_SECOND = (
    "A live session is billed by the second, and no event bounds it: limit requests instead, or use another client."
)
_IDENTIFIERS = ("event_id", "client_event_id", "source_event_id", "delegation_id", "trigger_id")
_TABLE = replace(
    TABLE,
    kinds={**TABLE.kinds, **dict.fromkeys(_IDENTIFIERS, Kind.IDENTIFIER), ".audio": Kind.DATA},
    typed={
        _SPOKEN: {"delta": Kind.DATA},
        **{f"response.{name}.delta": {"delta": Kind.DATA} for name in ("audio", "output_audio")},
    },
)


@dataclass(slots=True)
class LiveReader(OpenAIStreamReader):
    """Reads the events of one handed-on answer, or those of the session; its transcripts run on until it is closed."""

    varying: ClassVar[tuple[str, ...]] = ("event_id", "start_ms", "end_ms")

    def view(self, event: Any) -> EventView:
        """Return how to read an event."""
        inner = _inner(event)
        if inner is not None:
            return OpenAIStreamReader.view(self, inner)
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "session.closed":
            return EventView(closes=((),))
        return EventView() if kind == _SPOKEN else OpenAIStreamReader.view(self, event)

    def carry(self, event: Any, delta: Delta, text: str) -> Any:
        """Return an event like `event` that carries nothing but `text` on the delta's channel."""
        inner = _inner(event)
        if inner is None:
            return OpenAIStreamReader.carry(self, event, delta, text)
        return {**event, "event": OpenAIStreamReader.carry(self, inner, delta, text)}

    def tool_of(self, event: Any) -> str | None:
        """Return the tool that an event is about, when an earlier event named it."""
        inner = _inner(event)
        return OpenAIStreamReader.tool_of(self, event if inner is None else inner)

    def cut(self, last: Any, texts: Mapping[Any, str], tokens: int) -> None:  # noqa: ARG002 - others say it
        """Return None: no event says that an answer ended because of a budget."""
        return


@dataclass(slots=True, kw_only=True)
class LiveDialect:
    """A live session: primary connection, fork or sideband, one conversation.

    Attributes:
        path: Of the connection.
        model: As the program or the provider named it.
        declared: The tools of the backend that the session hands work on to: the program's, else those that the provider tells.
    """

    path: str = _SESSIONS
    model: str = ""
    keeps: bool = True
    declared: JSON = None
    table: Table = field(default_factory=lambda: _TABLE)
    _own_tools: bool = False
    _is_own: bool = False
    _is_structured: bool = False

    @property
    def connecting(self) -> Route:
        """The endpoint that opening the connection stands for."""
        return self._route("connect", "connect /live", Billing.FREE)

    @property
    def unasked(self) -> Sent:
        """What an answer stands for that the session asked for by itself."""
        return Sent(route=self._route("answer", "live answer", Billing.OTHER), path=self.path, asks=True)

    def _route(self, name: str, operation: str, billing: Billing, *, known: bool = True) -> Route:
        place = f"{_SESSIONS}/{{session_id}}/fork" if self.path.endswith("/fork") else _SESSIONS
        return Route(
            method="POST", template=f"{place} {name}", operation=operation, billing=billing, model=self.model,
            streams=True, known=known,
        )  # fmt: skip

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        kind = str(event.get("type"))
        if kind == _START:
            return Sent(route=self._route(kind, "live", Billing.OTHER), path=self.path, remedy=_BY_THE_SECOND)
        if kind in _ASKS:
            route = self._route(kind, f"live {kind}", Billing.OTHER)
            return Sent(
                route=route, path=self.path, asks=True, lane=kind.partition(".")[0], remedy=_BY_THE_SECOND
            )  # fmt: skip
        known = kind in _FREE
        name = kind if known else "unknown"
        route = self._route(name, f"live {name}", Billing.FREE if known else Billing.OTHER, known=known)
        return Sent(route=route, path=self.path, repeats=kind == _AUDIO)

    def said(self, event: Mapping[str, Any]) -> None:
        """Note what of the session the program set."""
        if event.get("type") in (_START, "session.update"):
            self._session(event.get("session"), own=True)

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        kind = event.get("type")
        if kind == "error":
            error = event.get("error")
            asked = (error.get("client_event_id") if isinstance(error, dict) else None) or event.get("client_event_id")
            return Got(ends=True, error=_ERROR, asked=asked if isinstance(asked, str) else "")
        if kind in ("session.started", "session.updated"):
            self._session(event.get("session"), own=False)
        if kind == _DECIDED:
            is_asked = event.get("delegation_id") is None and event.get("trigger_id") is None
            return Got(lane="decision" if is_asked else "handed on", begins=True, ends=True)
        inner = _inner(event)
        if inner is None:
            return Got()
        # Only its first and its last event name an answer; one piece of work has one answer at a time.
        work, step = event.get("delegation_id"), str(inner.get("type"))
        begins, ends = step in ("response.created", "response.queued"), step in _ENDS
        return Got(lane="response", answer=f"work {work}", begins=begins or ends, ends=ends)

    def _session(self, session: object, *, own: bool) -> None:
        self._is_own |= own
        if not isinstance(session, dict):
            return
        model = session.get("model")
        if isinstance(model, str) and model:
            self.model = model
        work = session.get("delegation")
        backend = work.get("responses") if isinstance(work, dict) else None
        if not isinstance(backend, dict):
            return
        tools = backend.get("tools")
        # The provider repeats the program's with hidden values in them; only it knows those of a session that was made elsewhere.
        if isinstance(tools, list) and (own or (tools and not self._own_tools)):
            self.declared = {"tools": tools}
            self._own_tools |= own
        # In JSON links stay as they are: the provider's word for it counts only where the program set up nothing itself.
        if "text" in backend and (own or not self._is_own):
            self._is_structured = ADAPTER.structured(backend)

    def weight(self, event: Mapping[str, Any], size: int) -> int:  # noqa: ARG002 - no call is bounded by tokens
        """Return the size."""
        return size

    def calls(self, event: Mapping[str, Any]) -> JSON:  # noqa: ARG002 - the gate knows them
        """Return None: tool calls stand in events of Responses."""
        return None

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - nothing bounds it
        """Return None: no event bounds an answer."""
        return None

    def structured(self, body: JSON) -> bool:  # noqa: ARG002 - the session says it
        """Return whether handed-on work is answered in JSON."""
        return self._is_structured

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an event says of a handed-on answer."""
        if not isinstance(answer, dict):
            return
        inner = answer.get("event")
        if isinstance(inner, dict):
            decision = inner.get("decision")
            ADAPTER.observe(decision if isinstance(decision, dict) else inner, seen)

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader for one answer, or for the events that belong to none."""
        return LiveReader()


def live_dialect(path: str, query: str) -> LiveDialect:  # noqa: ARG001 - says nothing of the session
    """Return the protocol of a live connection."""
    return LiveDialect(path=path)


def is_live(path: str) -> bool:
    """Return whether a path is one of a live session's websockets."""
    around, _, rest = path.rpartition(_SESSIONS)
    parts = rest.split("/")
    return path.endswith(_SESSIONS) or (
        around + _SESSIONS in path and len(parts) == 3 and not parts[0] and parts[2] in ("attach", "fork")  # noqa: PLR2004
    )


def _inner(event: Any) -> dict[str, Any] | None:
    """Return the event of a handed-on answer that an event brings along."""
    inner = event.get("event") if isinstance(event, dict) and event.get("type") == _NESTED else None
    return inner if isinstance(inner, dict) else None
