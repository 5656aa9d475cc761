"""OpenAI's Realtime translations over websockets: speech goes in, speech and transcripts come out, unasked."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import parse_qs

from safellm._core.adapter import Billing, Ceiling, EventView, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm._core.sockets import Got, Sent, SocketDialect
from safellm_openai.live import is_live, live_dialect
from safellm_openai.realtime import realtime_dialect
from safellm_openai.sockets import responses_dialect
from safellm_openai.stream import OpenAIStreamReader
from safellm_openai.table import TABLE

_AUDIO_OUT = "session.output_audio.delta"
_FREE = frozenset({"session.update", "session.close"})
_APPEND = "session.input_audio_buffer.append"
_TABLE = replace(
    TABLE,
    kinds={**TABLE.kinds, ".audio": Kind.DATA, "event_id": Kind.IDENTIFIER},
    typed={_AUDIO_OUT: {"delta": Kind.DATA}},
)


@dataclass(slots=True)
class TranslationReader(OpenAIStreamReader):
    """Reads all events of a connection: transcripts run on until the session is closed."""

    varying: ClassVar[tuple[str, ...]] = ("event_id", "elapsed_ms")

    def view(self, event: Any) -> EventView:
        """Return how to read an event."""
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "session.closed":
            return EventView(closes=((),))
        return EventView() if kind == _AUDIO_OUT else OpenAIStreamReader.view(self, event)

    def cut(self, last: Any, texts: Mapping[Any, str], tokens: int) -> None:  # noqa: ARG002 - there are no calls
        """Return None: nothing of it is a call that a budget could end."""
        return


@dataclass(slots=True, kw_only=True)
class TranslationDialect:
    """A translation: everything that comes belongs to the connection, and no usage is told.

    Attributes:
        model: As the address names it.
    """

    path: str
    model: str = ""
    keeps: bool = True
    declared: JSON = None
    unasked: Sent | None = None
    table: Table = field(default_factory=lambda: _TABLE)

    @property
    def connecting(self) -> Route:
        """The endpoint that opening the connection stands for."""
        return self._route("connect", Billing.FREE)

    def _route(self, name: str, billing: Billing, *, known: bool = True) -> Route:
        return Route(
            method="POST", template=f"/realtime/translations {name}", operation=f"translation {name}", billing=billing,
            model=self.model, streams=True, known=known,
        )  # fmt: skip

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        kind = str(event.get("type"))
        if kind == _APPEND:
            remedy = "A translation tells no usage: limit requests instead, or use another client for it."
            return Sent(route=self._route("audio", Billing.OTHER), path=self.path, repeats=True, remedy=remedy)
        known = kind in _FREE
        billing = Billing.FREE if known else Billing.OTHER
        return Sent(route=self._route(kind if known else "unknown", billing, known=known), path=self.path)

    def said(self, event: Mapping[str, Any]) -> None:
        """Note nothing: no event changes what the others are."""

    def got(self, event: Mapping[str, Any]) -> Got:  # noqa: ARG002 - all alike
        """Return that an event belongs to no call."""
        return Got()

    def weight(self, event: Mapping[str, Any], size: int) -> int:  # noqa: ARG002 - there are no calls
        """Return the size."""
        return size

    def calls(self, event: Mapping[str, Any]) -> JSON:  # noqa: ARG002 - there are none
        """Return None: a translation calls no tools."""
        return None

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:  # noqa: ARG002 - there are no calls
        """Return None: nothing bounds it."""
        return None

    def structured(self, body: JSON) -> bool:  # noqa: ARG002 - it is prose
        """Return that no text is JSON."""
        return False

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note nothing: no usage is told."""

    def stream_reader(self, route: Route) -> StreamReader:  # noqa: ARG002 - there is one kind
        """Return a reader of the connection's events."""
        return TranslationReader()


def translation_dialect(path: str, query: str) -> TranslationDialect:
    """Return the protocol of a translation."""
    return TranslationDialect(path=path, model=parse_qs(query).get("model", [""])[0])


def dialect_at(path: str) -> Callable[[str, str], SocketDialect] | None:
    """Return what makes the protocol of connections at a path; None where there is no guard for them."""
    if is_live(path):
        return live_dialect
    known: dict[str, Callable[[str, str], SocketDialect]] = {
        "/responses": responses_dialect, "/realtime": realtime_dialect, "/realtime/translations": translation_dialect,
    }  # fmt: skip
    return next((dialect for end, dialect in known.items() if path.endswith(end)), None)
