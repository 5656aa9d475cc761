"""One guarded websocket connection, whatever library moves its messages: what goes out, what comes in, what is settled.

What may have to wait for ledger or trail is a generator that yields functions; the shell of the library calls them, in a thread
where it runs on an event loop (see `websocket_library`). A message is never sent or handed on before its generator is over.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from safellm._core import jsontext
from safellm._core.adapter import Seen
from safellm._core.answer import AnswerRules
from safellm._core.call import RequestHead
from safellm._core.effects import Decision, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm._core.fields import Kind
from safellm._core.guards.grant import denied
from safellm._core.sockets import Got, Sent, SocketDialect
from safellm._core.tools.shapes import Declared
from safellm.errors import Reason, Refused
from safellm.stores.conversations import current_conversation
from safellm.stores.ids import random_name
from safellm.stores.tools import TOOLBOX
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver, Pending
from safellm.transports.websocket_calls import Lanes, SocketCall
from safellm.transports.websocket_drivers import Drivers, joining
from safellm.transports.websocket_messages import Ready, Received, Steps, events_of, framed, grant_ended, read

_EVENTS = (("content-type", "text/event-stream"),)
_JSON = (("content-type", "application/json"),)
_SSE = "alt=sse"  # how the core is to cut the stream that the events are given to it as
_SWITCHED, _OK = 101, 200


class Session:
    """The guard of one connection. Sending and receiving may happen in two threads.

    Args:
        driver: The client's.
        dialect: The protocol.
        head: The request that opens the connection; its path is the endpoint's.
    """

    def __init__(self, driver: Driver, dialect: SocketDialect, head: RequestHead) -> None:
        self.driver = driver
        self._dialect = dialect
        self._head = replace(head, known={}, grows=dialect.keeps)
        # Its query is the program's, and says nothing of how events are cut.
        self._connecting = replace(dialect.connecting, streams=False)
        self._limits = driver.tools.policy.limits
        self._name = current_conversation() or f"websocket-{secrets.token_hex(16)}" if dialect.keeps else ""
        self._judged = f"j{secrets.token_hex(6)}"  # marks what is for the gate alone; the provider can't know it
        self._drivers = Drivers(driver, dialect, self._name)
        self._lanes = Lanes()
        self._lock = threading.Lock()
        self._around: Exchange | None = None  # the connection itself: gets the events that belong to no answer
        self._kept_bytes = 0
        self._repeated: set[str] = set()
        # Of whichever answer: events about items of the conversation don't say which one they belong to.
        self._declared = Declared() if dialect.keeps else None
        self._told: object = None  # what of the tools is in there

    # -- the connection -------------------------------------------------------------------------------------------------

    def open(self) -> Steps[tuple[tuple[str, str], ...]]:
        """Decide about opening the connection; return the headers to send, with placeholders of managed keys.

        Raises:
            Refused: it may not be opened.
        """
        driver = self._drivers.of(self._connecting, quiet=False)
        standing = driver.standing()
        caveat = None if standing is None else standing.denies_all(str(self._head.origin))
        if standing is not None and (standing.problem or caveat is not None):
            ended = grant_ended(standing.problem) if standing.problem else denied(str(caveat))
            driver.deny(ended)
            raise ended
        # What it is used for, its events say: a grant for one model may open a connection that names none.
        exchange = Exchange(
            tools=driver.tools,
            bounds=driver.bounds,
            conversation=driver.conversations.open,
            remember=driver.conversations.remember,
            call_id=_new_id(),
            toolbox=TOOLBOX,
        )
        decision: Decision = yield partial(
            driver.resume, Pending(exchange.begin(replace(self._head, declared=self._declared), b""), None)
        )
        if isinstance(decision, Refuse):
            raise decision.error
        self._around = exchange
        return tuple(item for item in decision.headers if item[0] != "accept-encoding")

    def opened(self) -> None:
        """Note that the connection stands."""
        if self._around is not None:
            self._around.response(_SWITCHED, _EVENTS)

    def abandon(self, failure: str, *, sent: bool = True) -> None:
        """Settle and record everything that is under way. Blocks; nothing to do the second time."""
        with self._lock:
            around, self._around = self._around, None
        for call in self._lanes.take_all():
            call.driver.abandon(call.exchange, failure=failure)
        if around is not None:
            driver = self._drivers.of(self._connecting, quiet=False)
            # Closing is how every connection ends.
            driver.abandon(around, failure="" if failure == "closed" else failure, sent=sent)

    @property
    def ended(self) -> bool:
        """Whether the connection was given up."""
        return self._around is None

    def left(self) -> float | None:
        """Return the seconds until an answer has taken too long, not less than none; None where no answer is awaited."""
        soonest = self._lanes.soonest()
        return None if soonest is None else max(0.0, soonest.at - time.monotonic())

    def late(self) -> Refused | None:
        """Return what is said when an answer has taken too long; None where none has."""
        soonest = self._lanes.soonest()
        return soonest.passed() if soonest is not None and soonest.at <= time.monotonic() else None

    def said_at_the_end(self, reason: str) -> str:
        """Return the reason that a program gives for closing; nothing, if there is something to hide in it."""
        tools = self.driver.tools
        found = tools.scanner.scan(reason) or (tools.registered is not None and tools.registered.find(reason))
        return "" if reason and found else reason

    def neutralise(self, said: Any) -> None:
        """Make the provider's reason for closing harmless, which errors of the library quote.

        Args:
            said: The library's account of the provider's closing frame; None where there was none.
        """
        if said is not None and said.reason:
            reason, said.reason = said.reason, ""  # nothing is told if that fails
            rules = AnswerRules(
                policy=self.driver.tools.policy, mapping=None, structured=False, table=self._dialect.table
            )
            said.reason = rules.whole(reason, Kind.TEXT, None)

    # -- what the program says ------------------------------------------------------------------------------------------

    def send(self, message: str | bytes) -> Steps[Ready]:
        """Decide about a message of the program.

        Raises:
            Refused: it is not sent.
        """
        data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else bytes(message)
        event = read(data, self._limits, sent=False)
        sent = self._dialect.sent(event)
        with self._lock:
            quiet = sent.repeats and sent.route.template in self._repeated
            kept = self._kept_bytes
        driver = self._drivers.of(sent.route, quiet=quiet)
        joined = self._lanes.joined(sent.joins) if sent.joins else None
        if joined is not None:
            driver = joining(driver, joined)
        exchange, decision = driver.begin(self._head_of(sent, kept), data, wait=False)
        if isinstance(decision, Pending):
            decision = yield partial(driver.resume, decision)
        if isinstance(decision, Refuse):
            raise _advised(decision.error, sent.remedy)
        out: str | bytes = message
        if decision.body is not None:
            out = decision.body.decode("utf-8") if isinstance(message, str) else decision.body
        name = event.get("event_id")
        call = SocketCall(
            exchange=exchange,
            driver=driver,
            feed=driver.feeder(exchange),
            deadline=Deadline(driver.tools.policy),
            asked=name if isinstance(name, str) else "",
        )
        with self._lock:
            self._dialect.said(event)
            if self._declared is not None:
                self._declared.add(event)
            self._kept_bytes += self._dialect.weight(event, len(data)) if self._dialect.keeps else 0
            if sent.repeats:
                self._repeated.add(sent.route.template)
            if sent.asks:
                self._repeated.clear()
                self._lanes.add(call, sent.lane)

        def failed() -> None:
            self._lanes.forget(call)
            driver.abandon(exchange, failure="connection")

        def finish() -> Callable[[], Any] | None:
            exchange.response(_OK, _JSON)
            exchange.end()
            pending = driver.finish(exchange, wait=False)
            return None if pending is None else partial(driver.resume, pending)

        return Ready(data=out, finish=None if sent.asks else finish, failed=failed)

    # -- what the provider says -----------------------------------------------------------------------------------------

    def receive(self, message: str | bytes) -> Steps[Received]:
        """Treat a message of the provider.

        Raises:
            Refused: it is withheld; the connection can't go on.
        """
        data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else bytes(message)
        event = read(data, self._limits, sent=True)
        got = self._dialect.got(event)
        if self._declared is not None and self._dialect.declared is not self._told:
            self._told = self._dialect.declared
            self._declared.add(self._told)
        call = self._lanes.find(got)
        if call is None and got.begins and self._dialect.unasked is not None:
            call = yield from self._unasked(self._dialect.unasked, got)
        if call is None:
            around = partial(self._feed_around, data)
            waits = self._around is not None and self._around.waits
            return Received(messages=(yield around) if waits else around())
        try:
            call.deadline.left()
            if call.form is None:
                status, headers = (got.error, _JSON) if got.error else (_OK, _EVENTS)
                call.form = call.exchange.response(status, headers).form
            # Judging a tool's call may take waiting for a person or the disk.
            feed = partial(self._feed, call, event, data, got)
            out = (yield feed) if call.exchange.waits else feed()
        except Refused:
            self._lanes.forget(call)
            yield partial(call.driver.abandon, call.exchange, failure="refused")
            raise
        cut = call.exchange.cut_off
        if got.ends or cut:
            self._lanes.forget(call)
            if self._dialect.keeps:
                self._keep(event, data)
            pending = call.driver.finish(call.exchange, wait=False)
            if pending is not None:
                yield partial(call.driver.resume, pending)
        return Received(messages=out, close=cut)

    def _feed(self, call: SocketCall, event: Mapping[str, Any], data: bytes, got: Got) -> list[bytes]:
        if call.form is not Form.EVENTS:
            call.feed(data)
            return [call.exchange.end()] if got.ends else []
        calls = self._dialect.calls(event)
        if isinstance(calls, dict):
            # Judged in this form, and handed on in the one that it came in. The gate may hold it back a while.
            call.feed(framed(jsontext.dumps({**calls, self._judged: True})))
        out = events_of(call.feed(given := framed(data)), given, data, self._limits.event_bytes)
        if got.ends or call.exchange.cut_off:
            out += events_of(call.exchange.end(), b"", b"", self._limits.event_bytes)
        return [one for one in out if self._judged.encode() not in one]

    def _feed_around(self, data: bytes) -> list[bytes]:
        if self._around is None or self._around.state is not State.ANSWERING:
            return []  # the connection is closed: nothing is handed on unguarded
        given = framed(data)
        return events_of(self._around.feed(given), given, data, self._limits.event_bytes)

    def _unasked(self, sent: Sent, got: Got) -> Steps[SocketCall]:
        """Begin a call for an answer that the provider began by itself; it is cut off here where it may not be."""
        driver = self._drivers.of(sent.route, quiet=False)
        exchange, decision = driver.begin(self._head_of(sent, self._kept_bytes), b"{}", wait=False)
        if isinstance(decision, Pending):
            decision = yield partial(driver.resume, decision)
        if isinstance(decision, Refuse):
            decision.error.sent = True
            raise decision.error
        call = SocketCall(
            exchange=exchange,
            driver=driver,
            feed=driver.feeder(exchange),
            deadline=Deadline(driver.tools.policy),
            named=got.answer,
        )
        with self._lock:
            self._repeated.clear()
            self._lanes.add(call, got.lane or sent.lane)
        return call

    def _keep(self, event: Mapping[str, Any], data: bytes) -> None:
        """Count an answer: the next call has it as its input."""
        seen = Seen()
        self._dialect.observe(dict(event), seen)
        usage = seen.usage
        told = None if usage is None else usage.output_tokens
        with self._lock:
            self._kept_bytes += len(data) if told is None else told

    # -- small ----------------------------------------------------------------------------------------------------------

    def _declared_for(self, sent: Sent) -> Declared | None:
        tools = self._dialect.declared if sent.asks else None
        if tools is None:
            return None
        declared = Declared()
        declared.add(tools)
        return declared

    def _head_of(self, sent: Sent, kept: int) -> RequestHead:
        # The connection's own headers were searched when it was opened, and aren't sent again.
        return RequestHead(
            method="POST",
            origin=self._head.origin,
            path=sent.path,
            query=_SSE,
            headers=tuple(item for item in self._head.headers if item[0] in _KEY_HEADERS),
            kept_bytes=kept if sent.asks else 0,
            grows=self._dialect.keeps or sent.grows,
            declared=self._declared_for(sent),
            timeout_s=float(self._limits.response_seconds),  # no answer is awaited longer
        )


def _advised(error: Refused, remedy: str) -> Refused:
    if error.reason is not Reason.BUDGET_UNBOUNDED or not remedy:
        return error
    return Refused(error.what, guard=error.guard, reason=error.reason, remedy=remedy, status=error.status)


_KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})


def _new_id() -> str:
    digits = random_name().hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
