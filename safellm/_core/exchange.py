r"""One call, sans-IO: bytes of a request in, a decision out; bytes of the answer in, bytes for the program out.

    READY --begin--> FORWARDED --response--> ANSWERING --end--> ANSWERED --finish--> CLOSED
      \--begin--> REFUSED --------------------------------------------------------> CLOSED

`begin` and `finish` are generators: they yield effects (`safellm._core.effects`), are sent the results, and so decide the
order "reserve, record durably, send, settle, record" without doing any of it. Everything between is plain functions.

Fail closed (promise P8): an error in a guard, in the ledger or in the trail ends in `Refuse`; nothing is forwarded.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Mapping as MappingABC
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, TypeAlias

from safellm._core import charsets, jsontext, recording, reserving, uploads, withheld
from safellm._core.account import Account, note_origins, restored_of, urls_of
from safellm._core.adapter import LocalAnswer, Route, Seen
from safellm._core.answer import AnswerRules
from safellm._core.answer_body import Form, event_stream, form_of, is_json, treated_text, treated_value
from safellm._core.billing import billed
from safellm._core.bodies import Body, OpaqueBody
from safellm._core.call import Bounds, Call, RequestHead, Tools
from safellm._core.decoding import Decoder, Undecodable
from safellm._core.digest import Digest, keyed_digest
from safellm._core.effects import (
    Amounts,
    Content,
    Decision,
    Effect,
    Forward,
    Record,
    Refuse,
    Release,
    Settle,
)
from safellm._core.eventstream import EventStream
from safellm._core.guards import egress, grant, plugins
from safellm._core.guards.order import REQUEST, acting
from safellm._core.guards.run import Breaker
from safellm._core.headers import header_fields, sent_headers, shown_headers
from safellm._core.keeping import Keeper
from safellm._core.placeholder import Mapping
from safellm._core.plugged import wants_answers
from safellm._core.request_body import read_request
from safellm._core.standing import Standing
from safellm._core.textfiles import looks_like_text
from safellm._core.tools.gate import Gate, Toolbox
from safellm.errors import ProtocolMisuse, Reason, Refused

__all__ = ["Answer", "Begin", "Exchange", "Finish", "Form", "State"]

Begin: TypeAlias = Generator[Effect, Any, Decision]
Finish: TypeAlias = Generator[Effect, Any, None]

_ERROR = recording.FIRST_ERROR
# Headers that describe the bytes as they were, or the connection they came over.
_STALE = frozenset({"content-length", "content-encoding", "transfer-encoding"})


class State(Enum):
    """Where a call stands."""

    READY = auto()
    REFUSED = auto()
    FORWARDED = auto()
    ANSWERING = auto()
    ANSWERED = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How the answer goes on.

    Attributes:
        form: How its body is treated.
        headers: For the program; without those that may not be true any more. The very ones that were given if all stay.
    """

    form: Form
    headers: tuple[tuple[str, str], ...]


class Exchange:
    """The guarded life of one wire attempt.

    Args:
        tools: Policy, adapter and engines of the client.
        bounds: Where this client may send.
        conversation: Gives the hidden values of a conversation by (name at the provider, text it began with).
        remember: Told under which id the provider will name this conversation from now on.
        call_id: Unique name of this attempt, for ledger and trail.
        standing: The grant and the scopes that the call is made under.
        labels: What the program says of the call.
        breaker: The runs that the call is made in.
        toolbox: Decides about tool calls, where the policy doesn't alone; None: nobody asks about tools.
        answers_at_s: The shell can answer in the provider's place; Unix time in seconds. None: it can't.

    Attributes:
        account: What is known of the call when it is over.
        untouched: The program gets the bytes of a whole answer as they came, so its headers are still true.
        cut_off: The stream was ended here: nothing more is to be read.
        waits: To treat the answer may take waiting for a person or the disk.
    """

    __slots__ = (
        "_answers_at_s", "_bounds", "_breaker", "_call", "_codec", "_collected", "_content_type", "_conversation",
        "_decoder", "_digest_in", "_digest_out", "_error", "_events", "_form", "_headers_stay", "_held", "_keeper",
        "_labels", "_named", "_remember", "_route", "_rules", "_seen", "_standing", "_status", "_texts", "_toolbox",
        "_tools", "_unsettled", "_whole_told", "account", "call_id", "cut_off", "state", "untouched", "waits",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - everything that one call needs
        self,
        *,
        tools: Tools,
        bounds: Bounds,
        conversation: Callable[[str | None, str | None], Mapping],
        remember: Callable[[str, Mapping], None],
        call_id: str,
        standing: Standing | None = None,
        labels: MappingABC[str, str] | None = None,
        breaker: Breaker | None = None,
        toolbox: Toolbox | None = None,
        answers_at_s: int | None = None,
    ) -> None:
        self.state = State.READY
        self.call_id = call_id
        self.account = Account(call_id=call_id)
        self._whole_told = False  # the request brings all of its conversation
        self._tools = tools
        self._bounds = bounds
        self._standing = standing
        self._labels = labels or {}
        self._breaker = breaker
        self._toolbox = toolbox
        self._answers_at_s = answers_at_s
        self._texts: list[str] | None = None  # of a whole answer, for guards that are told of it
        self._conversation = conversation
        self._remember = remember
        self._call: Call | None = None
        self._route: Route | None = None
        self._rules: AnswerRules | None = None
        self._seen = Seen()
        self._form = Form.BYTES
        self._decoder: Decoder
        self._events: EventStream | None = None
        self._collected: list[bytes] = []
        # A stream that guards of whole answers have not seen yet; None: nobody asks.
        self._held: list[bytes] | None = None
        self._content_type, self._codec = "", "utf-8"
        self._status = 0
        self._digest_in = ""
        self._digest_out = Digest(tools.key, b"out")
        self.untouched = self.cut_off = self.waits = False
        self._headers_stay = True
        self._error: Refused | None = None
        # Taken by the one who settles: a stream may be closed while another thread reads it.
        self._unsettled = [call_id]
        self._keeper = None if tools.policy.audit.content == "off" else Keeper(tools.policy.audit)
        self._named: dict[str, str] = {}  # headers that hold names, as they will be sent

    # -- the request ----------------------------------------------------------------------------------------------------

    def begin(self, head: RequestHead, body: bytes) -> Begin:
        """Decide about a request. Yields `Record`, `Reserve`, `Release`; returns `Forward` or `Refuse`."""
        self._expect(State.READY)
        reserved = False
        try:
            call = self._check(head, body)
            if call.local is None:
                yield from reserving.hold(call, self.call_id)
                reserved = True
            else:
                call.amounts = _NOTHING  # nothing is sent, so nothing is held; a run counts it all the same
            self._admit(call)
            if call.limits and call.local is None:
                yield from reserving.tell(call, self.call_id)
            body_out = call.body.encode() if call.changed else None
            fields = recording.intent(call, self._bounds, call_id=self.call_id, digest=self._digest_in)
            self.account.intent = fields
            yield Record(event="call.intent", fields=fields, content=self._content_in(call, body))
        except Refused as error:
            return (yield from self._refuse(head, error, reserved=reserved))
        except Exception as error:  # noqa: BLE001 - whatever breaks in a guard stops the call (P8)
            # `from None` and the type's name only: the frames and the message may hold prompt text.
            failure = withheld.broken("a guard", error)
            return (yield from self._refuse(head, failure, reserved=reserved))
        self.state = State.FORWARDED
        drops = uploads.drops(head, call.route)
        sent = partial(sent_headers, head, self._named, drops, changed=call.changed)
        return Forward(make_headers=sent, body=body_out, own_headers=not (drops or self._named), local=call.local)

    def _answered(self, head: RequestHead, body: Body, text: str) -> LocalAnswer | None:
        name = self.call_id.replace("-", "")
        target = f"{head.method} {head.path}?{head.query}"
        now_s = self._answers_at_s or 0
        return self._tools.adapter.local_answer(target, body.value, text, name=name, now_s=now_s)

    def _content_in(self, call: Call, body: bytes) -> Content | None:
        if self._keeper is None:
            return None
        return self._keeper.request(call.body.encode() if call.changed and not self._keeper.full else body)

    def _check(self, head: RequestHead, body: bytes) -> Call:
        tools = self._tools
        policy = tools.policy
        egress.check(head, self._bounds, policy)
        grant.check_head(head, self._bounds)
        self._route = route = tools.adapter.route(head.method, head.path)
        if not route.known and (policy.is_strict or policy.unknown_endpoints == "deny"):
            raise Refused(
                f"The endpoint {head.method} {head.path} is not known",
                guard="mediation",
                reason=Reason.MEDIATION_UNKNOWN,
                remedy="Use a newer safellm, or set unknown_endpoints = 'walk' in the policy.",
            )
        unreadable: list[str] = []
        try:
            parsed = read_request(tools, head, body, route)
        except Refused as error:
            if not policy.observes or self._standing is not None:
                raise
            parsed, unreadable = OpaqueBody(body), [error.reason]
        name, began_with = tools.adapter.conversation(parsed.value, head.path)
        self._whole_told = name is None
        self._named, names = uploads.header_fields(head, route)
        names += header_fields(head, self._named)
        call = Call(
            tools=tools,
            head=head,
            bounds=self._bounds,
            route=route,
            body=parsed,
            fields=[*parsed.fields(), *names],
            mapping=self._conversation(name, began_with),
            size=len(body) + head.kept_bytes,
            policy=policy,
            call_id=self.call_id,
            would_refuse=unreadable,
            standing=self._standing,
            toolbox=self._toolbox,
        )
        if self._answers_at_s is not None:
            call.may_answer = partial(self._answered, head, parsed)
        self._call = call
        reserving.find_limits(call, self._labels)
        self._digest_in = keyed_digest(tools.key, b"in", body)
        structured = tools.adapter.structured(parsed.value)
        grant.check(call)
        for stage in acting(REQUEST, tools, head):
            try:
                stage.guard(call)
            except Exception as error:  # noqa: BLE001 - whatever breaks in a guard stops the call (P8)
                self._refused_by(stage.name, error, call)
        grant.check_settled(call)
        self._rules = AnswerRules(
            policy=policy,
            mapping=call.mapping if head.grows or len(call.mapping) else None,
            structured=structured,
            table=tools.adapter.table,
            echo=call.echo,
        )
        return call

    def _refused_by(self, name: str, error: Exception, call: Call) -> None:
        """Raise what a guard said or how it broke; where the policy only observes, note it."""
        if isinstance(error, Refused):
            if not call.policy.observes:
                raise error
            call.would_refuse.append(error.reason)
            return
        if not call.policy.observes or call.standing is not None:
            raise withheld.broken(f"the guard {name}", error) from None
        call.would_refuse.append(Reason.GUARD_ERROR)

    def _admit(self, call: Call) -> None:
        """Count the call in the runs around it (THREATS B.9)."""
        if self._breaker is None:
            return
        retried = call.head.header("x-stainless-retry-count") not in ("", "0")
        try:
            self._breaker.admit(self.call_id, call.amounts, None if retried else self._digest_in)
        except Refused as error:
            if not call.policy.observes:
                raise
            call.would_refuse.append(error.reason)

    def _refuse(self, head: RequestHead, error: Refused, *, reserved: bool) -> Generator[Effect, Any, Decision]:
        self.state = State.REFUSED
        self._error = error
        # The call is refused already, and the first reason is the one to tell: what fails here changes nothing. A hold that
        # can't be given back is charged by the next sweep.
        if self._breaker is not None:
            self._breaker.drop(self.call_id)
        if reserved:
            with suppress(Exception):
                yield Release(id=self.call_id)
        if error.reason is not Reason.AUDIT_UNAVAILABLE:
            with suppress(Exception):
                operation = self._route.operation if self._route is not None else head.method.lower()
                model = self._call.model if self._call is not None else ""
                fields = recording.denial(
                    head, error, tools=self._tools, call_id=self.call_id, operation=operation, model=model
                )
                fields.update(recording.credential(self._standing))
                yield Record(event="policy.deny", fields=fields)
        self.state = State.CLOSED
        return Refuse(error=error)

    # -- the answer -----------------------------------------------------------------------------------------------------

    def expect(self) -> None:
        """Make ready what a streamed answer needs, while the provider works on it: its first token waits the less for us.

        Shells call it, if at all, between the request and its answer.

        Raises:
            Refused: the answer couldn't be treated.
        """
        self._expect(State.FORWARDED)
        call, rules, route = self._parts()
        if not call.streams:
            return
        try:
            self._events = event_stream(call, rules, route, self._seen)
            rules.expect_text()
        except Exception as error:  # noqa: BLE001 - an unguarded answer must not reach the program
            raise self._withheld(error) from None

    def response(self, status: int, headers: tuple[tuple[str, str], ...]) -> Answer:
        """Take the head of the answer.

        Raises:
            Refused: the body is in an encoding that can't be undone here.
        """
        self._expect(State.FORWARDED)
        self.state = State.ANSWERING
        try:
            return self._answer_of(status, headers)
        except (Refused, ProtocolMisuse):
            raise
        except Exception as error:  # noqa: BLE001 - an unguarded answer must not reach the program
            raise self._withheld(error) from None

    def _answer_of(self, status: int, headers: tuple[tuple[str, str], ...]) -> Answer:
        policy = self._tools.policy
        named = {name.lower(): value for name, value in headers}
        self._status = status
        self.account.request_id = named.get("x-request-id") or named.get("request-id") or ""
        self._content_type = named.get("content-type", "").partition(";")[0].strip().lower()
        try:
            self._decoder = Decoder(named.get("content-encoding", ""), policy.limits.response_bytes)
            call, rules, route = self._parts()
            self._form = form_of(call, route, self._content_type, status)
            if self._form is not Form.BYTES and not (route.binary and status < _ERROR):
                self._codec = charsets.codec_of(named.get("content-type", ""))
        except Undecodable as error:
            raise self._withheld(withheld.unread(Reason.SHAPE_ENCODING, f"The answer came in {error}")) from None
        if self._form is not Form.EVENTS:
            self._events = None
        elif self._events is None:
            self._events = event_stream(call, rules, route, self._seen)
        gate = self._gate()
        self.waits = gate is not None and gate.may_wait and self._form is not Form.BYTES
        if self._is_asked() and self._form is not Form.BYTES:
            self.waits |= self._tools.waits
            if self._form is Form.EVENTS and self._rules is not None:
                self._held, self._rules.heard = [], []
        if self._form is Form.EVENTS and self._rules is not None and self._rules.heard is None and self._is_told():
            self._rules.heard = []
        if (self._form is not Form.BYTES or self._decoder.changes) and not _STALE.isdisjoint(named):
            headers = tuple([(name, value) for name, value in headers if name.lower() not in _STALE])
        if not policy.observes:
            shown = shown_headers(headers, policy.output)
            headers, self._headers_stay = shown, len(shown) == len(headers)
        return Answer(form=self._form, headers=headers)

    def may_wait_for(self, data: bytes) -> bool:
        """Return whether `feed` with these bytes may take waiting for a person or the disk; asked for each of them in turn."""
        events = self._events
        if not self.waits or events is None or events.hold is None:
            return False
        return self._decoder.changes or events.hold.may_judge(data)

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the answer's body; return the bytes that the program may have by now.

        Raises:
            Refused: the answer is too large or can't be read.
        """
        if self.state is not _ANSWERING:
            self._expect(State.ANSWERING)
        try:
            out = self._decoder.feed(data)
            if self._keeper is not None and not self._keeper.full:
                self._keeper.add(out)
            events = self._events
            if events is not None:
                out = events.feed(out)
                self.cut_off = events.cut or events.stops
                if self._held is not None:
                    self._held.append(out)
                    return b""
            elif self._form is Form.WHOLE:
                self._collected.append(out)
                return b""
        except Exception as error:  # noqa: BLE001 - an unguarded answer must not reach the program
            raise self._withheld(error) from None
        self._digest_out.add(out)
        if self._keeper is not None and self._keeper.full:
            self._keeper.add(out)
        return out

    def cut(self, error: Refused) -> None:
        """Note why the rest of the answer is withheld, for the record: the call may go on no longer."""
        self._error = error

    def end(self, *, complete: bool = True) -> bytes:
        """Take the end of the answer's body; return the rest for the program.

        Args:
            complete: False when the connection broke or the program left: nothing more can be handed on.

        Raises:
            Refused: the answer can't be read.
        """
        self._expect(State.ANSWERING)
        self.state = State.ANSWERED
        if not complete:
            return b""
        try:
            self._decoder.finish()
            out = self._events.finish() if self._events is not None else self._whole()
            if self._held is not None:
                out = self._released(out)
        except Exception as error:  # noqa: BLE001 - an unguarded answer must not reach the program
            raise self._withheld(error) from None
        self._digest_out.add(out)
        if self._keeper is not None and self._keeper.full:
            self._keeper.add(out)
        return out

    def _is_told(self) -> bool:
        """Return whether guards of plug-ins are told of this answer when it is over."""
        call = self._call
        return call is not None and call.viewed is not None and 0 < self._status < _ERROR

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that nothing more comes, and the answer wasn't cut off here."""
        return self._events is not None and self._events.ended and not self.cut_off

    @property
    def tells(self) -> bool:
        """Whether `finish` tells guards of plug-ins that may take their time."""
        return self._tools.waits and self._is_told()

    def _is_asked(self) -> bool:
        """Return whether guards of plug-ins look at this answer; at no error, which is the provider's own word."""
        return bool(self._tools.guards) and self._status < _ERROR and wants_answers(self._tools.guards)

    def _released(self, rest: bytes) -> bytes:
        """Return a stream that was held, if the guards of whole answers let it pass."""
        call, rules, _ = self._parts()
        plugins.of_stream(call, ["".join(pieces) for pieces in rules.heard or ()])
        return b"".join([*(self._held or ()), rest])

    def _whole(self) -> bytes:
        if self._form is not Form.WHOLE:
            return b""
        data = b"".join(self._collected)
        self._collected.clear()
        out = self._treated(data) if data.strip() else data
        self.untouched = out is data and not self._decoder.changes and self._headers_stay
        return out

    def _treated(self, data: bytes) -> bytes:
        call, rules, route = self._parts()
        asked = self._is_asked()
        download = route.binary and self._status < _ERROR
        data = data if download else charsets.without_mark(data)
        try:
            value = jsontext.loads(data, max_depth=self._tools.policy.limits.json_depth)
        except jsontext.Malformed:
            if is_json(self._content_type) and not route.binary:
                raise
            codec = "" if download or not self._is_text(data) else self._codec
            return treated_text(call, rules, data, codec=codec, asked=asked, gate=self._gate())
        self._tools.adapter.observe(value, self._seen)
        out = treated_value(call, rules, data, value, asked=asked, gate=self._gate())
        if self._is_told():
            self._texts = plugins.texts_of(value, self._tools.adapter.table)
        return out

    def _is_text(self, data: bytes) -> bool:
        """Return whether what is no JSON is a text: it says so, or looks so."""
        return self._content_type.startswith("text/") or self._status >= _ERROR or looks_like_text(data)

    def _gate(self) -> Gate | None:
        """Return who judges the tool calls of this answer; nobody for an error."""
        return None if self._call is None or self._status >= _ERROR else self._call.gate

    # -- afterwards -----------------------------------------------------------------------------------------------------

    def taken_in(self, answer: str) -> Mapping | None:
        """Return where this call hides values, for more input of it; None unless its answer has this id.

        What is taken in is text of others (a tool's results), as in a request.
        """
        if self._call is None or self._seen.id != answer:
            return None
        if self._call.gate is not None:
            self._call.gate.untrusted = True
        return self._call.mapping

    def finish(self, *, failure: str | None = None, sent: bool = True) -> Finish:
        """Settle and record. Yields `Release` or `Settle`, then `Record`.

        Args:
            failure: Kind of the error that ended the call early ("timeout", "connection", "closed"), or None.
            sent: False if no byte of the request can have reached the provider.
        """
        if self.state is State.CLOSED:
            return
        self._expect(State.FORWARDED, State.ANSWERING, State.ANSWERED, State.CLOSED)
        try:
            self._unsettled.pop()
        except IndexError:  # somebody else does it, meanwhile
            return
        self.state = State.CLOSED
        call, rules, route = self._parts()
        if failure == "closed" and self._events is not None and self._events.ended:
            failure = None  # programs stop reading at the end mark; the stream was whole
        lost = self._kept(call, route)
        try:
            charged = yield from self._charge(call, sent=sent)
            fields = recording.outcome(
                call, call_id=self.call_id, status=self._status, seen=self._seen, counts=rules.counts, refused=self._error,
                failure=failure, charged=charged, digest=self._digest_out.hex(),
            )  # fmt: skip
            account = self._accounted(call, rules, fields)
            content = None if self._keeper is None else self._keeper.answer()
            yield Record(event="call.outcome", fields=fields, content=content, account=account)
            if failure is None and lost is None:
                self._tell()
        except Refused as error:
            error.sent = sent
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks in a guard is told as that (P8)
            raise withheld.broken("a guard", error, sent=sent) from None
        if lost is not None:
            lost.sent = sent
            raise lost

    def _kept(self, call: Call, route: Route) -> Refused | None:
        """Remember what the conversation's next call needs; return why that failed, which is said in the record as well."""
        try:
            note_origins(call)
            name = self._seen.id
            keeps = call.local is None and self._tools.adapter.keeps_conversation(route)
            if name is not None and len(call.mapping) and keeps:
                self._remember(name, call.mapping)
            if name is not None and call.gate is not None:
                call.gate.keep(name)
        except Exception as error:  # noqa: BLE001 - the call is settled and recorded all the same
            lost = withheld.refusal_of(error)
            self._error = self._error or lost
            return lost
        return None

    def _charge(self, call: Call, *, sent: bool) -> Generator[Effect, Any, Amounts | None]:
        """Settle what the call cost, in ledger and runs; give back what it held if nothing was sent."""
        breaker = self._breaker
        if call.local is not None:  # nothing was held
            if breaker is not None:
                breaker.settle(self.call_id, _NOTHING)
            return None
        if not sent:
            if breaker is not None:
                breaker.drop(self.call_id)
            yield Release(id=self.call_id)
            return None
        cut = self._events is not None and self._events.cut
        bill = billed(call, self._seen, self._status, self._events.cut_tokens if cut and self._events else None)
        if breaker is not None:
            breaker.settle(self.call_id, bill)
        charged: Amounts = yield Settle(id=self.call_id, amounts=bill, model=self._seen.model)
        return charged

    def _tell(self) -> None:
        """Tell guards of plug-ins of the answer, which the program has as a whole."""
        if self._error is None and self._is_told():
            call, rules, _ = self._parts()
            texts = ["".join(one) for one in rules.heard or ()] if self._texts is None else self._texts
            plugins.done(call, texts, self._seen.finish_reasons)

    def _accounted(self, call: Call, rules: AnswerRules, fields: dict[str, Any]) -> Account:
        """Return the account of the call, which is over."""
        account = self.account
        account.outcome = fields
        if self._whole_told:
            account.urls = urls_of([one.text for one in call.fields])
        if rules.counts.came_back:
            account.restored = restored_of(call.mapping, rules.counts.came_back)
        return account

    # -- small ----------------------------------------------------------------------------------------------------------

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise ProtocolMisuse(
                f"the call is {self.state.name.lower()}, expected {' or '.join(s.name.lower() for s in states)}"
            )

    def _parts(self) -> tuple[Call, AnswerRules, Route]:
        if self._call is None or self._rules is None or self._route is None:
            raise ProtocolMisuse("the request was not accepted")
        return self._call, self._rules, self._route

    def _withheld(self, error: Exception) -> Refused:
        """Note why the answer is withheld, and return what the program is told."""
        self._error = withheld.refusal_of(error)
        return self._error


_ANSWERING = State.ANSWERING
_NOTHING = Amounts(micro_usd=0, requests=0)
