"""What an adapter says of a websocket protocol: which event of the program is a call, and which events answer it.

A connection carries many calls. An event that asks for an answer is a call of its own (it is decided, reserved, recorded and
settled like a request over HTTP); what else the program sends is guarded as it goes, and is input of the calls after it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from safellm._core.adapter import Adapter, Ceiling, Retention, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Table
from safellm._core.origin import Origin
from safellm.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What an event of the program is.

    Attributes:
        route: The endpoint that it stands for.
        path: That it stands for, as the trail and the grant see it.
        asks: An answer follows, and this event pays for it.
        lane: Where the answer is awaited: calls of one lane are answered in their order.
        repeats: One of very many alike (a piece of audio): only the first since the last call is recorded.
        remedy: What to do where a limit in tokens or money can't hold it; empty: what is said of all such calls.
        joins: The id of an answer under way that it is more input of: its hidden values are that call's; empty: of none.
        grows: More input may join its answer.
    """

    route: Route
    path: str
    asks: bool = False
    lane: str = ""
    repeats: bool = False
    remedy: str = ""
    joins: str = ""
    grows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What an event of the provider is.

    Attributes:
        lane: Whose oldest call it answers; None: it belongs to no call, or, of an error, to whichever the provider says.
        answer: Names the answer where several are under way at once; empty: the lane's oldest.
        begins: The answer begins with it, whether or not the program asked for it.
        ends: The answer is over with it, and the next call of the lane is answered.
        error: It says that the call failed; an HTTP status. 0: it doesn't.
        asked: Of an error: the program's own name for the event that it is about, or an empty text.
    """

    lane: str | None = None
    answer: str = ""
    begins: bool = False
    ends: bool = False
    error: int = 0
    asked: str = ""


class SocketDialect(Protocol):
    """One websocket protocol, for one connection: it may remember what the connection said of itself.

    Attributes:
        keeps: The provider keeps the conversation with the connection: what was said before is input of each call.
        table: How its events are read.
        connecting: The endpoint that opening the connection stands for.
    """

    @property
    def keeps(self) -> bool: ...

    @property
    def table(self) -> Table: ...

    @property
    def connecting(self) -> Route: ...

    @property
    def declared(self) -> JSON:
        """The tools of all its answers, as the body of a request would have them; None where each call says its own."""
        ...

    @property
    def unasked(self) -> Sent | None:
        """What an answer stands for that no event asked for; None where there is no such answer."""
        ...

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        ...

    def said(self, event: Mapping[str, Any]) -> None:
        """Note what an event of the program says of the connection: it passed the guards, and is sent."""
        ...

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        ...

    def weight(self, event: Mapping[str, Any], size: int) -> int:
        """Return the most tokens that an event of the program adds to the input of later calls.

        Args:
            event: The event.
            size: Of the event, in bytes.
        """
        ...

    def calls(self, event: Mapping[str, Any]) -> JSON:
        """Return an event's tool calls as the provider writes them over HTTP, where it writes them in another way; else None.

        The gate of tool calls judges what it is given, and the program gets the event itself.
        """
        ...

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:
        """Return how a call bounds its output."""
        ...

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        ...

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note usage, model, id and finish reasons of an event."""
        ...

    def stream_reader(self, route: Route) -> StreamReader:
        """Return a reader for one answer, or for the events that belong to none."""
        ...


def spoken_tokens(audio: str, token_bytes: int) -> int:
    """Return the most tokens that a piece of recorded speech has.

    Args:
        audio: In base64.
        token_bytes: The fewest bytes of audio that are a token, in all forms that the provider takes.
    """
    return -(-(len(audio) * 3 // 4) // token_bytes) + 1


@dataclass(slots=True, kw_only=True)
class SocketAdapter:
    """An adapter for one kind of event of one connection.

    Args:
        inner: The provider's.
        dialect: Of the connection.
        fixed: The endpoint.
        conversation_name: The connection's own conversation; empty where each call names its own.
    """

    inner: Adapter
    dialect: SocketDialect
    fixed: Route
    conversation_name: str = ""
    name: str = field(init=False)
    provider: str = field(init=False)
    key_variable: str = field(init=False)
    origins: tuple[Origin, ...] = field(init=False)
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.provider, self.key_variable = self.inner.name, self.inner.provider, self.inner.key_variable
        self.origins, self.table = self.inner.origins, self.dialect.table

    def route(self, method: str, path: str) -> Route:  # noqa: ARG002 - it is known already
        """Return the endpoint."""
        return self.fixed

    def provider_of(self, origin: Origin) -> str:
        """Return the provider's name at this origin."""
        return self.inner.provider_of(origin)

    def ceiling(self, route: Route, origin: Origin) -> Ceiling | None:
        """Return how the call bounds its output."""
        return self.dialect.ceiling(route, origin)

    def ask_for_usage(self, route: Route, body: dict[str, Any]) -> bool:  # noqa: ARG002 - every answer tells it
        """Ask for nothing: every answer tells its usage."""
        return False

    def local_answer(self, head: str, body: JSON, text: str, *, name: str, now_s: int) -> None:  # noqa: ARG002 - see below
        """Return None: an event is answered by events that only the provider makes."""
        return

    def structured(self, body: JSON) -> bool:
        """Return whether the answer's text will be JSON."""
        return self.dialect.structured(body)

    def conversation(self, body: JSON, path: str) -> tuple[str | None, str | None]:
        """Return the conversation's name, and the text that it began with."""
        return (self.conversation_name, None) if self.conversation_name else self.inner.conversation(body, path)

    def keeps_conversation(self, route: Route) -> bool:
        """Return whether a later call may name this one's answer."""
        return not self.conversation_name and self.inner.keeps_conversation(route)

    def retention(self, route: Route) -> Retention | None:
        """Return how the provider is told to keep nothing of an event."""
        return self.inner.retention(route)

    def observe(self, answer: JSON, seen: Seen) -> None:
        """Note what an event says of the answer."""
        self.dialect.observe(answer, seen)

    def stream_reader(self, route: Route, *, hide_usage: bool) -> StreamReader:  # noqa: ARG002 - usage is never hidden
        """Return a reader for one answer."""
        return self.dialect.stream_reader(route)

    def refusal_body(self, error: Refused) -> bytes:
        """Return an error body in the provider's own shape."""
        return self.inner.refusal_body(error)
