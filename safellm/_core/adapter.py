"""What an adapter is: tables and a few pure functions that tell the core how one provider speaks. No method is wrapped."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Protocol

from safellm._core.effects import JSON
from safellm._core.fields import Kind, Table
from safellm._core.origin import Origin
from safellm.errors import Refused


class Billing(Enum):
    """How a call costs money."""

    FREE = "free"  # lists, reads, deletions
    TOKENS = "tokens"  # by input and output tokens, with usage in the answer
    OTHER = "other"  # images, audio, batches: no bound is known before the call


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """How an endpoint takes files as they are. Names of headers, in lower case; empty where there is none.

    Attributes:
        command: Says "upload" when the body is a file's bytes, "finalize" with the last of them; empty: it always is all of it.
        offset: Where in the file the bytes begin.
        length: Announces the file's length.
        media: Announces the file's media type.
        names: Hold names that the program gave.
    """

    command: str = ""
    offset: str = ""
    length: str = ""
    media: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint."""

    method: str
    template: str  # "/chat/completions", "/files/{file_id}"
    operation: str  # OpenTelemetry operation name, or "post /files"
    billing: Billing
    known: bool = True
    binary: bool = False  # the answer is a download: handed on as it comes
    upload: Upload | None = None  # the body may be a file's own bytes
    model: str = ""  # where the path names the model
    streams: bool = False  # where the path asks for a stream
    accounts: tuple[str, ...] = ()  # dotted keys of the body: whose account this is about, such as who is invited


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How a request bounds its output: the first of `keys` that is present counts; `inject` is set when none is."""

    keys: tuple[str, ...]
    inject: str
    multipliers: tuple[str, ...] = ()  # "n", "best_of": the ceiling is per choice
    within: tuple[str, ...] = ()  # names of the object of the body that holds all of these; empty: the body itself
    fixed: int | None = None  # the session that the call belongs to bounds every answer by this; the call itself can't

    def place(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the object that holds the ceiling, or None when the body has no such object."""
        if not self.within:
            return body
        found = (body.get(name) for name in self.within)
        return next((one for one in found if isinstance(one, dict)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSeen:
    """What a provider says that a call used; `None` where it says nothing."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None  # those of them that are kept for an hour and cost more
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None  # of either side; they cost more than text

    def at_least(self, other: UsageSeen | None) -> UsageSeen:
        """Return the larger of both, number by number."""
        if other is None:
            return self
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        return UsageSeen(
            **{name: max((x for x in pair if x is not None), default=None) for name, pair in pairs.items()}
        )


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was learnt from the answer so far."""

    usage: UsageSeen | None = None
    model: str | None = None
    id: str | None = None
    finish_reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of text inside a stream event: `container[key]`, a part of `channel`."""

    container: Any
    key: Any
    channel: tuple[str | int, ...]
    kind: Kind
    tool: str | None = None
    parameter: str | None = None  # of a tool whose arguments come as one text for each parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """How a stream event is to be read.

    Attributes:
        deltas: Pieces of running texts.
        closes: Channels that end with this event, each named by the beginning of its key.
        drop: The event is there because the guard asked for it; the program doesn't get it.
    """

    deltas: tuple[Delta, ...] = ()
    closes: tuple[tuple[str | int, ...], ...] = ()
    drop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """An answer that no provider gave, as its bytes would have come."""

    content_type: str
    body: bytes = field(repr=False)


class StreamReader(Protocol):
    """Reads the events of one stream, in order."""

    def view(self, event: Any) -> EventView:
        """Return how to read an event (parsed JSON)."""
        ...

    def tool_of(self, event: Any) -> str | None:
        """Return the tool that an event with a whole text is about, when an earlier event named it."""
        ...

    def carry(self, event: Any, delta: Delta, text: str) -> JSON:
        """Return an event like `event` that carries nothing but `text` on the delta's channel."""
        ...

    def cut(self, last: Any, texts: Mapping[tuple[str | int, ...], str], tokens: int) -> list[tuple[str, JSON]] | None:
        """Return how the provider would end the stream if its output ceiling were reached now.

        Args:
            last: The last event (parsed JSON).
            texts: What came on each channel, as the provider sent it.
            tokens: How many that are, about.

        Returns:
            Events: their name (empty: none) and data; None when this kind of stream has no such end.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How an endpoint is told to keep nothing of a request. Keys are dotted paths in the body.

    Attributes:
        force: Keys that are set, whatever the program says.
        drop: Keys that are taken out: they are there to be kept, or say who somebody is.
        pseudonyms: Keys that name a person.
        keeping: Keys with which the provider keeps something all the same, and the values that do so; None: any value but null,
            false and an empty one.
        tools: Tools of the provider's that keep something: types, or the keys under which a tool stands.
    """

    force: Mapping[str, JSON] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    pseudonyms: tuple[str, ...] = ()
    keeping: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    tools: frozenset[str] = frozenset()


class Adapter(Protocol):
    """One provider's dialect."""

    name: str
    provider: str  # OpenTelemetry provider name
    key_variable: str
    origins: tuple[Origin, ...]
    table: Table

    def route(self, method: str, path: str) -> Route:
        """Return the endpoint; one that isn't in the table has `known=False`."""
        ...

    def provider_of(self, origin: Origin) -> str:
        """Return the provider's name at this origin, as OpenTelemetry writes it."""
        ...

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:
        """Return how this endpoint bounds its output, or None when it generates no text."""
        ...

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:
        """Change a streamed request so that its usage will be told; return whether it was changed."""
        ...

    def structured(self, body: JSON) -> bool:
        """Return whether the request asks for an answer that is JSON."""
        ...

    def conversation(self, body: JSON, path: str) -> tuple[str | None, str | None]:
        """Return (name that the provider knows this conversation by, text it began with); None where unknown."""
        ...

    def keeps_conversation(self, route: Route) -> bool:
        """Return whether a later request may name this call's answer instead of sending the history again."""
        ...

    def retention(self, route: Route) -> Retention | None:
        """Return how this endpoint is told to keep nothing; None for one that is there to keep, or isn't known."""
        ...

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note usage, model, id and finish reasons of an answer or of one stream event."""
        ...

    def stream_reader(self, route: Route, *, hide_usage: bool) -> StreamReader:
        """Return a reader for one stream."""
        ...

    def local_answer(self, head: str, body: JSON, text: str, *, name: str, now_s: int) -> LocalAnswer | None:
        """Return how the provider would answer with one text that cost nothing; None where a text alone is no answer.

        Args:
            head: Method and path of the request, with its query: `POST /v1/messages?beta=true`.
            body: Of the request.
            text: Of the answer.
            name: Unique name for it.
            now_s: Unix time in seconds.
        """
        ...

    def refusal_body(self, error: Refused) -> bytes:
        """Return an error body in the provider's own shape."""
        ...
