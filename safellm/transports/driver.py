"""Carries out the effects that an exchange asks for: ledger, trail, clock. One for each client, shared by all shells.

Ledger and trail may block. A shell on an event loop asks with `wait=False`: usually nothing has to be waited for, and no thread
is needed. Otherwise it gets `Pending`, and has a thread `resume` it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from safellm._core.call import Bounds, RequestHead, Tools
from safellm._core.effects import JSON, Count, Decision, Effect, Pause, Record, Reserve, Settle, Watch
from safellm._core.exchange import Exchange
from safellm._core.injection.entered import may_hold
from safellm._core.secret import Secret
from safellm._core.standing import Standing
from safellm._version import __version__
from safellm.errors import GuardFailure, Reason, Refused
from safellm.stores import accounts, warned
from safellm.stores.content.kept import Contents
from safellm.stores.conversations import Conversations
from safellm.stores.grants import HeldGrant
from safellm.stores.ids import random_name
from safellm.stores.journal.interface import Journal
from safellm.stores.labels import current_labels
from safellm.stores.ledger.interface import Ledger
from safellm.stores.runs import current_run
from safellm.stores.scopes import current_scopes
from safellm.stores.tools import TOOLBOX
from safellm.stores.waiting import Busy
from safellm.transports.broker_address import BrokerAddress
from safellm.transports.heads import Heads

_SECOND_NS = 1_000_000_000
_LONG = 1 << 13  # bytes of a body in which text of others is scored at once; that is slower than the search
_LARGE = 1 << 18  # bytes of a body that are searched in a thread, so that other tasks go on; about a millisecond
_WAITING: dict[str, bool] = {}
_AT_ONCE = {"wait": False}
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that has to wait for ledger or trail: `effect` is the next one, and nothing of it was done."""

    effects: Generator[Effect, Any, Any]
    effect: Effect | None


@dataclass(slots=True, kw_only=True)
class Driver:
    """The world of one guarded client.

    Attributes:
        tools: Policy, adapter and engines.
        bounds: Where the client may send; grows when code binds another origin.
        credentials: Managed keys by the placeholder that the SDK holds instead of them.
        native: Makes the SDK's own error from a refusal and a response that stands for it.
        grant: The credential of its calls, where it is no key.
        broker: Where its calls go instead of being decided here.
        contents: Keeps the content of calls, if the policy asks for it.
        heads: Reads the heads of its requests.
        raises: A refusal is raised by the transport; else it is answered, and the SDK makes the error.
    """

    tools: Tools
    bounds: Bounds
    ledger: Ledger
    journal: Journal
    conversations: Conversations
    credentials: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    native: Callable[[Refused, Any], Exception] | None = None
    raises: bool = False
    grant: HeldGrant | None = None
    broker: BrokerAddress | None = None
    contents: Contents | None = None
    heads: Heads = field(default_factory=Heads, repr=False)
    now_ns: Callable[[], int] = time.time_ns

    @overload
    def begin(self, head: RequestHead, body: bytes, *, answers: bool = False) -> tuple[Exchange, Decision]: ...

    @overload
    def begin(
        self, head: RequestHead, body: bytes, *, wait: bool, answers: bool = False
    ) -> tuple[Exchange, Decision | Pending]: ...

    def begin(
        self, head: RequestHead, body: bytes, *, wait: bool = True, answers: bool = False
    ) -> tuple[Exchange, Decision | Pending]:
        """Decide about a request.

        Args:
            head: The request.
            body: Its body.
            wait: Block on ledger and trail; else the decision may be `Pending`.
            answers: The shell heeds `Forward.local`.
        """
        budget = self.tools.policy.budget
        exchange = Exchange(
            tools=self.tools,
            bounds=self.bounds,
            conversation=self.conversations.open,
            remember=self.conversations.remember,
            call_id=_new_id(),
            standing=self.standing(),
            labels=current_labels(budget.labels, uid=None if self.grant is None else self.grant.uid),
            breaker=current_run(budget.run),
            toolbox=TOOLBOX,
            answers_at_s=self.now_ns() // _SECOND_NS if answers and self.tools.guards else None,
        )
        effects = exchange.begin(head, body)
        if not wait and (self.tools.waits or self._remembers or self._is_long(body)):
            return exchange, Pending(effects, None)
        return exchange, self._run(effects, wait=wait)

    @property
    def _remembers(self) -> bool:
        """Whether conversations are kept on the disk, which takes its time."""
        return self.tools.policy.redaction.remember == "encrypted"

    def _is_long(self, body: bytes) -> bool:
        """Return whether the guards of a request work so long that other tasks shall go on meanwhile."""
        if len(body) <= _LONG:
            return False
        scored = self.tools.policy.untrusted.score
        return len(body) > _LARGE or scored == "all" or (scored == "untrusted" and may_hold(body))

    def standing(self) -> Standing | None:
        """Return the grant and the scopes of a call that begins now, or None where there is neither."""
        held, scopes = self.grant, current_scopes()
        if held is None and not scopes:
            return None
        own_uid = os.getuid() if hasattr(os, "getuid") else None
        return Standing(
            grant=None if held is None else held.grant,
            scopes=scopes,
            key="" if held is None else held.key,
            now_s=self.now_ns() // _SECOND_NS,
            uid=own_uid if held is None or held.uid is None else held.uid,
            problem="" if held is None else held.problem(),
        )

    def feeder(self, exchange: Exchange) -> Callable[[bytes], bytes]:
        """Return what takes the bytes of a stream: a revoked grant cuts it at the next of them (THREATS K.10)."""
        held = self.grant
        if held is None:
            return exchange.feed

        def feed(data: bytes) -> bytes:
            problem = held.problem()
            if problem:
                error = Refused(
                    problem,
                    guard="grant",
                    reason=Reason.GRANT_INVALID,
                    remedy="Ask for a new grant: safellm grant new.",
                    sent=True,
                )
                exchange.cut(error)
                raise error
            return exchange.feed(data)

        return feed

    def finish(self, exchange: Exchange, *, wait: bool = True) -> Pending | None:
        """Settle and record a call whose answer is whole.

        Raises:
            Refused: what happened could not be settled or recorded.
        """
        if not wait and (exchange.tells or self._remembers):
            return Pending(exchange.finish(), None)
        return self._run(exchange.finish(), wait=wait)

    def resume(self, pending: Pending) -> Any:
        """Go on where `begin` or `finish` would have had to wait, and return what they would have. Blocks."""
        return self._run(pending.effects, pending.effect)

    def abandon(self, exchange: Exchange, *, failure: str, sent: bool = True) -> None:
        """Settle and record a call that ended early; nothing to do if it is over already. Blocks.

        An error of ledger or trail is not raised: the trail has the intent, and the error under way is the one to tell.
        """
        with suppress(Refused):
            self._run(exchange.finish(failure=failure, sent=sent))

    def deny(self, error: Refused) -> None:
        """Record a refusal of a request whose head can't be read: there is no call to speak of."""
        fields: dict[str, JSON] = {"decision": "deny", "reason": str(error.reason), "safellm.guard": error.guard}
        with suppress(Refused):  # it is refused already, and the first reason is the one to tell
            self._do(Record(event="policy.deny", fields=fields), wait=True)

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

    def inject(self, items: list[tuple[bytes, bytes, bytes]]) -> bool:
        """Put managed keys in place of their placeholders; return whether there was any.

        Args:
            items: Headers: name, name in lower case, value; changed in place.
        """
        injected = False
        for placeholder, secret in self.credentials.items():
            wanted = placeholder.encode("ascii")
            for index, (name, lower, value) in enumerate(items):
                if wanted in value:
                    items[index] = (name, lower, value.replace(wanted, secret.reveal().encode("utf-8")))
                    injected = True
        return injected

    def _run(
        self, effects: Generator[Effect, Any, _Result], effect: Effect | None = None, *, wait: bool = True
    ) -> _Result | Any:
        try:
            if effect is None:
                effect = next(effects)
            while True:
                try:
                    answer = self._do(effect, wait=wait)
                except Busy:
                    if wait:  # it was allowed to wait, and didn't: a defect of the store
                        raise
                    return Pending(effects, effect)
                except Refused as error:
                    effect = effects.throw(error)
                except Exception as error:  # noqa: BLE001 - a broken store stops the call (P8)
                    effect = effects.throw(_store_broke(effect, error))
                else:
                    effect = effects.send(answer)
        except StopIteration as done:
            return done.value

    def _do(self, effect: Effect, *, wait: bool) -> Any:  # noqa: PLR0911 - one for each effect
        now = self.now_ns()
        how = _WAITING if wait else _AT_ONCE
        if isinstance(effect, Record):
            fields = {**effect.fields, "policy.digest": self.tools.policy_digest, "safellm.version": __version__}
            if effect.content is not None and self.contents is not None:
                if not wait:
                    raise Busy
                fields |= self.contents.keep(effect.event, fields, effect.content, at_ns=now)
            return self._recorded(effect, self.journal.append(effect.event, fields, time_ns=now, **how))
        if isinstance(effect, Reserve):
            self.conversations.keep()  # what can't be put back after a restart isn't sent
            return self.ledger.reserve(effect, now_ns=now, **how)
        if isinstance(effect, Count):
            counter = self.tools.counter
            return None if counter is None else counter.count(effect.encoding, effect.texts, **how)
        if isinstance(effect, Watch):
            if not wait:
                raise Busy
            return warned.tell(self.ledger.balances(effect.limits, now_ns=now))
        if isinstance(effect, Pause):
            return self._pause(effect, now, wait=wait)
        if isinstance(effect, Settle):
            return self.ledger.settle(effect.id, effect.amounts, now_ns=now, model=effect.model, **how)
        return self.ledger.release(effect.id, **how)

    def _recorded(self, effect: Record, done: Any) -> Any:
        """Remember a call that is over, for programs that ask what happened to it."""
        if effect.account is not None:
            accounts.note(effect.account)
        return done

    def _pause(self, pause: Pause, now_ns: int, *, wait: bool) -> int | None:
        """Sleep until a rate has room, a little longer so that callers don't come in step; None if that is too long."""
        length_ns = max(0, pause.until_ns - now_ns)
        if length_ns > pause.most_ns:
            return None
        if not wait:
            raise Busy
        length_ns += int(random.uniform(0.001, 0.01) * _SECOND_NS)  # noqa: S311 - only spreads the waiters
        time.sleep(length_ns / _SECOND_NS)
        return length_ns


def _new_id() -> str:
    """Return a random UUID (RFC 9562 5.4) as text, at a third of the cost of `uuid.uuid4`."""
    digits = random_name().hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _store_broke(effect: Effect, error: Exception) -> GuardFailure:
    audit = isinstance(effect, Record)
    return GuardFailure(
        f"The {'audit trail' if audit else 'ledger'} broke ({type(error).__name__})",
        guard="audit" if audit else "budget",
        reason=Reason.AUDIT_UNAVAILABLE if audit else Reason.BUDGET_UNAVAILABLE,
        remedy="Run `safellm doctor` to see what is wrong with it.",
    )
