"""What the sync and the asyncio connection do alike: the steps around one message, refusals as the SDK's own errors."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from safellm._core import withheld
from safellm.errors import Refused
from safellm.transports.driver import Driver
from safellm.transports.websocket import Session
from safellm.transports.websocket_library import as_wanted, text_or_bytes
from safellm.transports.websocket_messages import Ready, Received, Steps

# A connection that waits for nothing sees in this time that another thread asked for something.
LOOK_AGAIN_SECONDS = 1.0


class Planned(Protocol):
    """What a connection is made from, whatever the library."""

    session: Session
    driver: Driver

    def refused(self, error: Refused) -> Exception:
        """Return a refusal as the SDK's own error."""


class Guarded:
    """One guarded connection, whatever moves its messages.

    Args:
        plan: What it is made from.
    """

    def __init__(self, plan: Planned) -> None:
        self.plan, self.session = plan, plan.session
        self._ready: deque[tuple[bytes, bool]] = deque()

    @property
    def is_ready(self) -> bool:
        """Whether there is a message for the program."""
        return bool(self._ready)

    def next(self, *, decode: bool | None) -> str | bytes:
        """Return the next message as `recv` was asked for it."""
        data, text = self._ready.popleft()
        return as_wanted(data, text=text, decode=decode)

    def sending(self, message: object) -> Steps[Ready]:
        """Decide about a message of the program.

        Raises:
            Exception: it isn't sent; the SDK's own error.
        """
        failed: Refused
        try:
            return (yield from self.session.send(text_or_bytes(message, self.plan.driver)))
        except Refused as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - a message whose guard broke isn't sent (P8)
            failed = withheld.broken("the guard of a websocket", error)
        raise self.plan.refused(failed)

    def sent(self, finish: Callable[[], Callable[[], Any] | None]) -> Steps[None]:
        """Settle and record a message that awaits no answer.

        Raises:
            Exception: that failed; the SDK's own error.
        """
        try:
            rest = finish()
            if rest is not None:
                yield rest
        except Refused as error:
            failed = error
        else:
            return
        raise self.plan.refused(failed)

    def taking(self, message: str | bytes) -> Steps[Received]:
        """Treat a message of the provider; one that is withheld ends the connection."""
        try:
            found = yield from self.session.receive(message)
        except Refused as error:
            refused = error
        except Exception as error:  # noqa: BLE001 - an unguarded message must not reach the program
            if self.session.ended:
                return Received()  # closed meanwhile by another thread; the library says so next
            refused = withheld.broken("the guard of a websocket", error, sent=True)
        else:
            self._ready += [(one, isinstance(message, str)) for one in found.messages]
            return found
        return (yield from self._ended(refused))

    def patience(self, timeout: float | None = None) -> float:
        """Return how long to wait for the next message before `late` is asked, in seconds."""
        left = self.session.left()
        return min(one for one in (LOOK_AGAIN_SECONDS, left, timeout) if one is not None)

    def late(self) -> Steps[Received]:
        """Return what becomes of the connection when nothing came: it ends where an answer has taken too long."""
        late = self.session.late()
        return (yield from self._ended(late)) if late is not None else Received()

    def _ended(self, refused: Refused) -> Steps[Received]:
        yield partial(self.session.abandon, "refused")
        return Received(close=True, failed=self.plan.refused(refused))
