"""One guarded websocket connection, whatever library moves its messages: what goes out, what comes in, what is settled.

What may have to wait for ledger or trail is a generator that yields functions; the shell of the library calls them, in a thread
where it runs on an event loop (see `websocket_library`). A message is never sent or handed on before its generator is over.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from safellm._core import jsontext, sse
from safellm._core.adapter import Billing, Route, Seen
from safellm._core.answer import AnswerRules
from safellm._core.call import RequestHead
from safellm._core.effects import JSON, Amounts, Decision, Refuse
from safellm._core.exchange import Exchange, Form, State
from safellm._core.fields import Kind
from safellm._core.sockets import Got, Sent, SocketAdapter, SocketDialect
from safellm.errors import GuardFailure, Reason, Refused
from safellm.stores.conversations import conversation, current_conversation
from safellm.stores.ids import random_name
from safellm.stores.tools import TOOLBOX
from safellm.transports.deadline import Deadline
from safellm.transports.driver import Driver, Pending

_Result = TypeVar("_Result")
Steps: TypeAlias = "Generator[Callable[[], Any], Any, _Result]"

_EVENTS = (("content-type", "text/event-stream"),)
_JSON = (("content-type", "application/json"),)
_SSE = "alt=sse"  # how the core is to cut the stream that the events are given to it as
_SWITCHED, _OK = 101, 200


@dataclass(slots=True, kw_only=True)
class _Call:
    """A call whose answer is awaited or under way."""

    exchange: Exchange
    driver: Driver
    feed: Callable[[bytes], bytes]
    deadline: Deadline
    asked: str = ""  # the program's own name for the event
    named: str = ""  # the answer's name, once it has begun
    form: Form | None = None


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
    """What becomes of a message: messages for the program, and whether the connection is to be closed now."""

    messages: list[bytes] = field(default_factory=list)
    close: bool = False


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
        self._drivers: dict[tuple[Route, bool], Driver] = {}
        self._lanes: dict[str, deque[_Call]] = {}
        self._named: dict[str, _Call] = {}
        self._lock = threading.Lock()
        self._around: Exchange | None = None  # the connection itself: gets the events that belong to no answer
        self._kept_bytes = 0
        self._repeated: set[str] = set()

    # -- the connection -------------------------------------------------------------------------------------------------

    def open(self) -> Steps[tuple[tuple[str, str], ...]]:
        """Decide about opening the connection; return the headers to send, with placeholders of managed keys.

        Raises:
            Refused: it may not be opened.
        """
        driver = self._driver_of(self._connecting, quiet=False)
        standing = driver.standing()
        if standing is not None and standing.problem:
            ended = _grant_ended(standing.problem)
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
        decision: Decision = yield partial(driver.resume, Pending(exchange.begin(self._head, b""), None))
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
            calls = [call for lane in self._lanes.values() for call in lane]
            self._lanes.clear()
            self._named.clear()
            around, self._around = self._around, None
        for call in calls:
            call.driver.abandon(call.exchange, failure=failure)
        if around is not None:
            driver = self._driver_of(self._connecting, quiet=False)
            # Closing is how every connection ends.
            driver.abandon(around, failure="" if failure == "closed" else failure, sent=sent)

    @property
    def ended(self) -> bool:
        """Whether the connection was given up."""
        return self._around is None

    def said_at_the_end(self, reason: str) -> str:
        """Return the reason that a program gives for closing; nothing, if there is something to hide in it."""
        tools = self.driver.tools
        found = tools.scanner.scan(reason) or (tools.registered is not None and tools.registered.find(reason))
        return "" if reason and found else reason

    def neutralise(self, closed: Any) -> None:
        """Make the provider's reason for closing harmless, which the error of the library quotes."""
        said = getattr(closed, "rcvd", None)
        if said is not None and said.reason:
            rules = AnswerRules(
                policy=self.driver.tools.policy, mapping=None, structured=False, table=self._dialect.table
            )
            said.reason = rules.whole(said.reason, Kind.TEXT, None)

    # -- what the program says ------------------------------------------------------------------------------------------

    def send(self, message: str | bytes) -> Steps[Ready]:
        """Decide about a message of the program.

        Raises:
            Refused: it is not sent.
        """
        data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else bytes(message)
        event = self._read(data, sent=False)
        sent = self._dialect.sent(event)
        with self._lock:
            quiet = sent.repeats and sent.route.template in self._repeated
            kept = self._kept_bytes
        driver = self._driver_of(sent.route, quiet=quiet)
        exchange, decision = driver.begin(self._head_of(sent, kept), data, wait=False)
        if isinstance(decision, Pending):
            decision = yield partial(driver.resume, decision)
        if isinstance(decision, Refuse):
            raise decision.error
        out: str | bytes = message
        if decision.body is not None:
            out = decision.body.decode("utf-8") if isinstance(message, str) else decision.body
        name = event.get("event_id")
        call = _Call(
            exchange=exchange,
            driver=driver,
            feed=driver.feeder(exchange),
            deadline=Deadline(driver.tools.policy),
            asked=name if isinstance(name, str) else "",
        )
        with self._lock:
            self._dialect.said(event)
            self._kept_bytes += len(data) if self._dialect.keeps else 0
            if sent.repeats:
                self._repeated.add(sent.route.template)
            if sent.asks:
                self._repeated.clear()
                self._lanes.setdefault(sent.lane, deque()).append(call)

        def failed() -> None:
            self._forget(call)
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
        event = self._read(data, sent=True)
        got = self._dialect.got(event)
        call = self._find(got)
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
            self._forget(call)
            yield partial(call.driver.abandon, call.exchange, failure="refused")
            raise
        cut = call.exchange.cut_off
        if got.ends or cut:
            self._forget(call)
            if self._dialect.keeps:
                self._keep(event, data)
            pending = call.driver.finish(call.exchange, wait=False)
            if pending is not None:
                yield partial(call.driver.resume, pending)
        return Received(messages=out, close=cut)

    def _feed(self, call: _Call, event: Mapping[str, Any], data: bytes, got: Got) -> list[bytes]:
        if call.form is not Form.EVENTS:
            call.feed(data)
            return [call.exchange.end()] if got.ends else []
        calls = self._dialect.calls(event)
        if isinstance(calls, dict):
            # Judged in this form, and handed on in the one that it came in. The gate may hold it back a while.
            call.feed(_framed(jsontext.dumps({**calls, self._judged: True})))
        out = _events_of(call.feed(framed := _framed(data)), framed, data, self._limits.event_bytes)
        if got.ends or call.exchange.cut_off:
            out += _events_of(call.exchange.end(), b"", b"", self._limits.event_bytes)
        return [one for one in out if self._judged.encode() not in one]

    def _feed_around(self, data: bytes) -> list[bytes]:
        if self._around is None or self._around.state is not State.ANSWERING:
            return []  # the connection is closed: nothing is handed on unguarded
        framed = _framed(data)
        return _events_of(self._around.feed(framed), framed, data, self._limits.event_bytes)

    def _unasked(self, sent: Sent, got: Got) -> Steps[_Call]:
        """Begin a call for an answer that the provider began by itself; it is cut off here where it may not be."""
        driver = self._driver_of(sent.route, quiet=False)
        exchange, decision = driver.begin(self._head_of(sent, self._kept_bytes), b"{}", wait=False)
        if isinstance(decision, Pending):
            decision = yield partial(driver.resume, decision)
        if isinstance(decision, Refuse):
            decision.error.sent = True
            raise decision.error
        call = _Call(
            exchange=exchange,
            driver=driver,
            feed=driver.feeder(exchange),
            deadline=Deadline(driver.tools.policy),
            named=got.answer,
        )
        with self._lock:
            self._repeated.clear()
            self._lanes.setdefault(sent.lane, deque()).append(call)
            if got.answer:
                self._named[got.answer] = call
        return call

    def _find(self, got: Got) -> _Call | None:
        with self._lock:
            if got.answer:
                found = self._named.get(got.answer)
                if found is not None or not got.begins:
                    return found
                waiting = [one for one in self._lanes.get(got.lane or "", ()) if not one.named]
                if not waiting:
                    return None
                waiting[0].named = got.answer
                self._named[got.answer] = waiting[0]
                return waiting[0]
            if got.lane is None:
                return None
            lane = self._lanes.get(got.lane, ())
            if not got.error:
                return next(iter(lane), None)
            about = [one for one in lane if one.asked == got.asked] if got.asked else list(lane)
            return next((one for one in about if not one.named), None)

    def _forget(self, call: _Call) -> None:
        with self._lock:
            for lane in [name for name, calls in self._lanes.items() if call in calls]:
                self._lanes[lane].remove(call)
                if not self._lanes[lane]:
                    del self._lanes[lane]
            self._named.pop(call.named, None)

    def _keep(self, event: Mapping[str, Any], data: bytes) -> None:
        """Count an answer: the next call has it as its input."""
        seen = Seen()
        self._dialect.observe(dict(event), seen)
        usage = seen.usage
        told = None if usage is None else usage.output_tokens
        with self._lock:
            self._kept_bytes += len(data) if told is None else told

    # -- small ----------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes, *, sent: bool) -> dict[str, Any]:
        limit = self._limits.event_bytes if sent else self._limits.request_bytes
        if len(data) > limit:
            raise _unreadable(Reason.SHAPE_LIMIT, f"has {len(data)} bytes", sent=sent)
        try:
            value = jsontext.loads(data, max_depth=self._limits.json_depth)
        except jsontext.Malformed as error:
            raise _unreadable(Reason.SHAPE_MALFORMED, f"can't be read: {error}", sent=sent) from None
        if not isinstance(value, dict):
            raise _unreadable(Reason.SHAPE_MALFORMED, "is no JSON object", sent=sent)
        return value

    def _head_of(self, sent: Sent, kept: int) -> RequestHead:
        # The connection's own headers were searched when it was opened, and aren't sent again.
        return RequestHead(
            method="POST",
            origin=self._head.origin,
            path=sent.path,
            query=_SSE,
            headers=tuple(item for item in self._head.headers if item[0] in _KEY_HEADERS),
            kept_bytes=kept if sent.asks else 0,
            grows=self._dialect.keeps,
        )

    def _driver_of(self, route: Route, *, quiet: bool) -> Driver:
        found = self._drivers.get((route, quiet))
        if found is None:
            driver = self.driver
            adapter = SocketAdapter(
                inner=driver.tools.adapter, dialect=self._dialect, fixed=route, conversation_name=self._name
            )
            # What the provider keeps is bounded by its size: it can't be counted any more.
            counter = None if self._dialect.keeps else driver.tools.counter
            changes: dict[str, Any] = {"tools": replace(driver.tools, adapter=adapter, counter=counter)}
            if self._name:
                changes["conversations"] = _OneConversation(driver.conversations, self._name)
            if quiet or route.billing is Billing.FREE:
                changes["ledger"] = _NO_LEDGER
            if quiet:
                changes["journal"] = _Denials(driver.journal)
            found = self._drivers[route, quiet] = replace(driver, **changes)
        return found


_KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})


class _OneConversation:
    """Gives every call of a connection the same conversation."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner, self._name = inner, name
        self.keep, self.remember = inner.keep, inner.remember

    def open(self, *_: object) -> Any:
        with conversation(self._name):
            return self._inner.open(None, None)


class _NoLedger:
    """Holds and charges nothing: opening a connection, its settings and the pieces of one long input are no calls."""

    def reserve(self, *_: object, **__: object) -> None:
        return None

    def settle(self, _: str, amounts: Amounts | None, **__: object) -> Amounts:
        return amounts or Amounts(requests=0)

    def release(self, *_: object, **__: object) -> None:
        return None

    def balances(self, *_: object, **__: object) -> list[Any]:
        return []


class _Denials:
    """A trail of refusals alone."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def append(self, event: str, fields: Mapping[str, JSON], **options: Any) -> Any:
        return self._inner.append(event, fields, **options) if event == "policy.deny" else None


_NO_LEDGER = _NoLedger()


def _framed(data: bytes) -> bytes:
    """Return a message as the server-sent event that the core reads. Line ends stand only between tokens of JSON."""
    if b"\n" not in data and b"\r" not in data:
        return b"data: " + data + b"\n\n"
    return b"".join(b"data: " + line + b"\n" for line in data.splitlines()) + b"\n"


def _events_of(out: bytes, framed: bytes, data: bytes, limit: int) -> list[bytes]:
    """Return the messages that the core's events are; the very one that came where nothing changed."""
    if not out:
        return []
    if out == framed:
        return [data]
    found = (sse.data_of(one) for one in sse.Splitter(limit_bytes=limit + len(out)).feed(out))
    return [one for one in found if one is not None]


def _unreadable(reason: Reason, what: str, *, sent: bool) -> Refused:
    return Refused(
        f"The {'provider' if sent else 'program'}'s message {what}",
        guard="shape",
        reason=reason,
        remedy="Messages of this connection are JSON objects within the limits of the policy.",
        status=400,
        sent=sent,
    )


def _grant_ended(problem: str) -> Refused:
    return Refused(
        problem, guard="grant", reason=Reason.GRANT_INVALID, remedy="Ask for a new grant: safellm grant new."
    )


def broken(error: Exception, *, sent: bool) -> GuardFailure:
    """Return what is said when the guard of a connection breaks; the type's name only: a message may hold prompt text."""
    return GuardFailure(
        f"The guard of a websocket broke ({type(error).__name__})",
        guard="exchange",
        reason=Reason.GUARD_ERROR,
        remedy="This is a defect of safellm: please report it with the type of error and the endpoint.",
        sent=sent,
    )


def _new_id() -> str:
    digits = random_name().hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
