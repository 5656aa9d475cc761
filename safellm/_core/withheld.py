"""What a program is told when a request can't be read or its answer can't be handed on; no message quotes either."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core import jsontext, sse
from safellm._core.decoding import TooLarge, Undecodable
from safellm._core.eventstream import OutputOver
from safellm.errors import GuardFailure, Reason, Refused


def refusal_of(error: Exception) -> Refused:
    """Return what the program is told of an answer that can't be handed on because of this error."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, (TooLarge, sse.TooLong)):
        return unread(Reason.SHAPE_LIMIT, "The answer is larger than the limit")
    if isinstance(error, (Undecodable, jsontext.Malformed)):
        return unread(Reason.SHAPE_MALFORMED, f"The answer can't be read: {error}")
    if isinstance(error, OutputOver):
        return Refused(
            "The answer has more output than its budget holds", guard="budget", reason=Reason.BUDGET_EXCEEDED,
            remedy="Ask for a shorter answer; this server doesn't keep to the ceiling of the request.", status=429, sent=True,
        )  # fmt: skip
    return broken("a guard of the answer", error, sent=True)


def unread(reason: Reason, what: str) -> Refused:
    """Return what is said of an answer that can't be read."""
    return Refused(
        what,
        guard="answer",
        reason=reason,
        remedy="Ask again; if it persists, the server is at fault.",
        status=400,
        sent=True,
    )


def shape(reason: Reason, what: str, remedy: str) -> Refused:
    """Return what is said of a request that can't be read."""
    return Refused(what, guard="shape", reason=reason, remedy=remedy, status=400)


def broken(what: str, error: Exception, *, sent: bool = False) -> GuardFailure:
    """Return what is said of a guard that broke; of the error only its type, since its message may hold a prompt."""
    return GuardFailure(
        f"{what[0].upper()}{what[1:]} broke ({type(error).__name__})",
        guard="exchange",
        reason=Reason.GUARD_ERROR,
        remedy="This is a defect of safellm: please report it with the type of error and the endpoint.",
        sent=sent,
    )
