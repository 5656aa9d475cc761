"""OpenAI's Responses over websockets."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from safellm._core.adapter import Billing, Ceiling, Route, Seen, StreamReader
from safellm._core.effects import JSON
from safellm._core.fields import Table
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
# More input of an answer under way, such as results of the tools that its agents wait for.
_INJECTING = Route(
    method="POST", template="/responses response.inject", operation="responses response.inject", billing=Billing.OTHER
)
_NOT_HELD = (
    "What is injected was not held when its call began: limit requests instead, or send it with response.create."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesDialect:
    """Responses over a websocket, beta's too: `response.create` is the body of `POST /responses`, and is answered by its stream."""

    keeps: bool = False
    table: Table = TABLE
    connecting: Route = _CONNECTING
    path: str = "/responses"

    @property
    def declared(self) -> JSON:
        """None: each call says its own."""
        return None

    @property
    def unasked(self) -> Sent | None:
        """None: an answer without a call is guarded as a message of the connection."""
        return None

    def sent(self, event: Mapping[str, Any]) -> Sent:
        """Return what an event of the program is."""
        if event.get("type") == "response.inject":
            answer = event.get("response_id")
            return Sent(
                route=_INJECTING, path=self.path, joins=answer if isinstance(answer, str) else "", remedy=_NOT_HELD
            )
        if event.get("type") != "response.create":
            # Steering has the provider answer again by itself: no event of the program stands for that answer.
            raise _unguarded(event, "responses")
        lane = event.get("stream_id")
        return Sent(
            route=replace(ADAPTER.route("POST", "/responses"), streams=True),
            path=self.path,
            asks=True,
            lane=lane if isinstance(lane, str) else "",
            grows=isinstance(event.get("multi_agent"), dict),
        )

    def said(self, event: Mapping[str, Any]) -> None:
        """Note nothing: each call says all of itself."""

    def got(self, event: Mapping[str, Any]) -> Got:
        """Return what an event of the provider is."""
        lane, kind, status = event.get("stream_id"), event.get("type"), event.get("status")
        error = 0
        if kind == "error":
            error = status if isinstance(status, int) and _LEAST <= status <= _MOST else _ERROR
        return Got(lane=lane if isinstance(lane, str) else "", ends=str(kind) in _ENDS or bool(error), error=error)

    def weight(self, event: Mapping[str, Any], size: int) -> int:  # noqa: ARG002 - nothing is kept
        """Return the size: each call says all of itself."""
        return size

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
    kind = str(event.get("type"))
    known = kind if kind in _NAMED else "unknown"
    return Refused(
        f"The event {known!r} of {what} websockets can't be guarded yet",
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy="Use events that docs/websockets.md lists, or HTTP.",
    )


_NAMED = frozenset({"response.steer"})


def responses_dialect(path: str, query: str) -> ResponsesDialect:  # noqa: ARG001 - the same everywhere
    """Return the protocol of a Responses connection."""
    return ResponsesDialect(path=path)
