"""Messages of a websocket as the core reads them, what becomes of them, and what is said of those that it can't read."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from safellm._core import jsontext, sse
from safellm._core.policy import Limits
from safellm.errors import Reason, Refused

_Result = TypeVar("_Result")
Steps: TypeAlias = "Generator[Callable[[], Any], Any, _Result]"


@dataclass(slots=True, kw_only=True)
class Ready:
    """A message that may be sent.

    Attributes:
        data: Its text or bytes.
        finish: Settles and records; returns what remains to be done where that has to wait. None where an answer is awaited.
        failed: Told that it could not be sent.
    """

    data: str | bytes
    finish: Callable[[], Callable[[], Any] | None] | None
    failed: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Received:
    """What becomes of a message.

    Attributes:
        messages: For the program.
        close: The connection is to be closed now.
        failed: What the program is told after that.
    """

    messages: list[bytes] = field(default_factory=list)
    close: bool = False
    failed: Exception | None = None


def framed(data: bytes) -> bytes:
    """Return a message as the server-sent event that the core reads. Line ends stand only between tokens of JSON."""
    if b"\n" not in data and b"\r" not in data:
        return b"data: " + data + b"\n\n"
    return b"".join(b"data: " + line + b"\n" for line in data.splitlines()) + b"\n"


def events_of(out: bytes, given: bytes, data: bytes, limit: int) -> list[bytes]:
    """Return the messages that the core's events are; the very one that came where nothing changed."""
    if not out:
        return []
    if out == given:
        return [data]
    found = (sse.data_of(one) for one in sse.Splitter(limit_bytes=limit + len(out)).feed(out))
    return [one for one in found if one is not None]


def read(data: bytes, limits: Limits, *, sent: bool) -> dict[str, Any]:
    """Return the event that a message is.

    Args:
        data: The message.
        limits: Of the policy.
        sent: By the provider; else by the program.

    Raises:
        Refused: it is too large, or no JSON object.
    """
    limit = limits.event_bytes if sent else limits.request_bytes
    if len(data) > limit:
        raise unreadable(Reason.SHAPE_LIMIT, f"has {len(data)} bytes", sent=sent)
    try:
        value = jsontext.loads(data, max_depth=limits.json_depth)
    except jsontext.Malformed as error:
        raise unreadable(Reason.SHAPE_MALFORMED, f"can't be read: {error}", sent=sent) from None
    if not isinstance(value, dict):
        raise unreadable(Reason.SHAPE_MALFORMED, "is no JSON object", sent=sent)
    return value


def unreadable(reason: Reason, what: str, *, sent: bool) -> Refused:
    """Return the refusal of a message that no guard can read."""
    return Refused(
        f"The {'provider' if sent else 'program'}'s message {what}",
        guard="shape",
        reason=reason,
        remedy="Messages of this connection are JSON objects within the limits of the policy.",
        status=400,
        sent=sent,
    )


def grant_ended(problem: str) -> Refused:
    """Return the refusal of a connection whose grant holds no longer."""
    return Refused(
        problem, guard="grant", reason=Reason.GRANT_INVALID, remedy="Ask for a new grant: safellm grant new."
    )
