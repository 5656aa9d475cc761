"""Carries out the effects that an exchange asks for: ledger, trail, clock. One for each client, shared by both shells."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from safellm._core.call import Bounds, RequestHead, Tools
from safellm._core.effects import JSON, Decision, Effect, Record, Release, Reserve, Settle
from safellm._core.exchange import Exchange
from safellm._core.secret import Secret
from safellm._version import __version__
from safellm.errors import GuardFailure, Reason, Refused
from safellm.stores.conversations import Conversations
from safellm.stores.journal.interface import Journal
from safellm.stores.ledger.interface import Ledger

_Result = TypeVar("_Result")


@dataclass(slots=True, kw_only=True)
class Driver:
    """The world of one guarded client.

    Attributes:
        tools: Policy, adapter and engines.
        bounds: Where the client may send; grows when code binds another origin.
        credentials: Managed keys by the placeholder that the SDK holds instead of them.
        native: Makes the SDK's own error from a refusal and a response that stands for it.
    """

    tools: Tools
    bounds: Bounds
    ledger: Ledger
    journal: Journal
    conversations: Conversations
    credentials: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    native: Callable[[Refused, Any], Exception] | None = None
    now_ns: Callable[[], int] = time.time_ns

    def begin(self, head: RequestHead, body: bytes) -> tuple[Exchange, Decision]:
        """Decide about a request. Blocks on ledger and trail."""
        exchange = Exchange(
            tools=self.tools,
            bounds=self.bounds,
            conversation=self.conversations.open,
            remember=self.conversations.remember,
            call_id=str(uuid.uuid4()),
        )
        return exchange, self._run(exchange.begin(head, body))

    def finish(self, exchange: Exchange) -> None:
        """Settle and record a call whose answer is whole. Blocks on ledger and trail.

        Raises:
            Refused: what happened could not be settled or recorded.
        """
        self._run(exchange.finish())

    def abandon(self, exchange: Exchange, *, failure: str, sent: bool = True) -> None:
        """Settle and record a call that ended early; nothing to do if it is over already. Blocks like `finish`.

        An error of ledger or trail is not raised: the trail has the intent, and the error under way is the one to tell.
        """
        with suppress(Refused):
            self._run(exchange.finish(failure=failure, sent=sent))

    def deny(self, error: Refused) -> None:
        """Record a refusal of a request whose head can't be read: there is no call to speak of."""
        fields: dict[str, JSON] = {"decision": "deny", "reason": str(error.reason), "safellm.guard": error.guard}
        with suppress(Refused):  # it is refused already, and the first reason is the one to tell
            self._do(Record(event="policy.deny", fields=fields))

    def with_credentials(self, headers: tuple[tuple[str, str], ...]) -> tuple[list[tuple[str, str]], bool]:
        """Return the headers with managed keys in place of their placeholders, and whether there was any."""
        if not self.credentials:
            return list(headers), False
        injected = False
        out = []
        for name, value in headers:
            for placeholder, secret in self.credentials.items():
                if placeholder in value:
                    value = value.replace(placeholder, secret.reveal())  # noqa: PLW2901 - the copy that is sent
                    injected = True
            out.append((name, value))
        return out, injected

    def _run(self, effects: Generator[Effect, Any, _Result]) -> _Result:
        try:
            effect = next(effects)
            while True:
                try:
                    answer = self._do(effect)
                except Refused as error:
                    effect = effects.throw(error)
                except Exception as error:  # noqa: BLE001 - a broken store stops the call (P8)
                    effect = effects.throw(_store_broke(effect, error))
                else:
                    effect = effects.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # a generator's return value is typed Any here

    def _do(self, effect: Effect) -> Any:
        now = self.now_ns()
        match effect:
            case Reserve():
                return self.ledger.reserve(effect, now_ns=now)
            case Record(event=event, fields=fields):
                fields = {**fields, "policy.digest": self.tools.policy_digest, "safellm.version": __version__}
                return self.journal.append(event, fields, time_ns=now)
            case Settle(id=name, amounts=amounts, model=model):
                return self.ledger.settle(name, amounts, now_ns=now, model=model)
            case Release(id=name):
                return self.ledger.release(name)


def _store_broke(effect: Effect, error: Exception) -> GuardFailure:
    audit = isinstance(effect, Record)
    return GuardFailure(
        f"The {'audit trail' if audit else 'ledger'} broke ({type(error).__name__})",
        guard="audit" if audit else "budget",
        reason=Reason.AUDIT_UNAVAILABLE if audit else Reason.BUDGET_UNAVAILABLE,
        remedy="Run `safellm doctor` to see what is wrong with it.",
    )
