"""The time that one call may take from its sending to the end of its answer: slow drips end (THREATS E.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from contextvars import ContextVar

from safellm._core.policy import Policy
from safellm.errors import Reason, Refused


class Deadline:
    """The end of one call's time, by the monotonic clock."""

    __slots__ = ("at", "seconds")

    def __init__(self, policy: Policy) -> None:
        self.seconds: float = policy.limits.response_seconds
        self.at = time.monotonic() + self.seconds

    @classmethod
    def within(cls, seconds: float) -> Deadline:
        """Return the end of a time that no policy sets."""
        made = cls.__new__(cls)
        made.seconds, made.at = seconds, time.monotonic() + seconds
        return made

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            Refused: `shape.limit`, when there are none.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> Refused:
        """Return what is said when the time is up."""
        return Refused(
            f"The answer took longer than the limit of {self.seconds} seconds",
            guard="answer",
            reason=Reason.SHAPE_LIMIT,
            remedy="Ask again; if such answers are expected, raise limits.response_seconds in the policy.",
            status=400,
            sent=True,
        )


# Of the call that this thread works for; where a connection reads, it knows nothing of calls.
CURRENT: ContextVar[Deadline | None] = ContextVar("safellm_deadline", default=None)


def remaining(timeout: float | None) -> float | None:
    """Return a timeout that is cut to the time of the call, in seconds.

    Raises:
        Refused: the time of the call is up.
    """
    deadline = CURRENT.get()
    if deadline is None:
        return timeout
    left = deadline.at - time.monotonic()
    if left <= 0:
        raise deadline.passed()
    return left if timeout is None or left < timeout else timeout
