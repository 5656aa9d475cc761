"""How the body of an answer is treated: as events, as JSON, as text, or not at all."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from enum import Enum, auto

from safellm._core import jsontext, sse
from safellm._core.adapter import Route, Seen
from safellm._core.answer import AnswerRules
from safellm._core.bodies import is_utf_8
from safellm._core.call import Call
from safellm._core.effects import JSON
from safellm._core.eventstream import EventStream
from safellm._core.guards import plugins
from safellm._core.jsonarray import ArrayFraming
from safellm._core.meter import Meter
from safellm._core.recording import FIRST_ERROR
from safellm._core.tokens import encoding_of
from safellm._core.tools import hold
from safellm._core.tools.gate import Gate


class Form(Enum):
    """How an answer's body is treated."""

    WHOLE = auto()  # JSON or text: collected, treated, handed on at the end
    EVENTS = auto()  # server-sent events: treated one by one
    BYTES = auto()  # everything else: handed on as it comes, counted


def form_of(call: Call, route: Route, content_type: str, status: int) -> Form:
    """Choose by what was asked for: the SDKs read JSON and events whatever the answer calls itself."""
    if content_type == "text/event-stream" and not (route.streams and status >= FIRST_ERROR):
        return Form.EVENTS
    if status < FIRST_ERROR and call.streams and (route.streams or not is_json(content_type)):
        return Form.EVENTS
    readable = is_json(content_type) or content_type.startswith("text/")
    return Form.BYTES if status < FIRST_ERROR and route.binary and not readable else Form.WHOLE


def event_stream(call: Call, rules: AnswerRules, route: Route, seen: Seen) -> EventStream:
    """Return what treats the events of a streamed answer; `seen` learns what they say of it."""
    adapter, limits = call.tools.adapter, call.policy.limits
    # By what was asked for, not by what the answer calls itself: the SDKs that ask for an array read one (E.9).
    only_words = not call.policy.observes
    framing = (
        sse.SSEFraming(limits.event_bytes, only_words=only_words)
        if not route.streams
        else sse.FieldsFraming(limits.event_bytes, only_words=only_words)
        if "alt=sse" in call.head.query
        else ArrayFraming(limit_bytes=limits.event_bytes)
    )
    return EventStream(
        adapter=adapter,
        reader=adapter.stream_reader(route, hide_usage=call.hide_usage),
        rules=rules,
        seen=seen,
        max_depth=limits.json_depth,
        framing=framing,
        meter=_meter(call),
        hold=None if call.gate is None else hold.Hold(gate=call.gate, framing=framing, max_depth=limits.json_depth),
    )


def _meter(call: Call) -> Meter | None:
    counter, held = call.tools.counter, call.amounts.output_tokens
    if counter is None or not call.bounded or call.policy.observes or not held:
        return None
    return Meter(limit=held, encoding=encoding_of(call.model), counter=counter)


def treated_value(  # noqa: PLR0913 - an answer, and who looks at it
    call: Call, rules: AnswerRules, data: bytes, value: JSON, *, asked: bool, gate: Gate | None
) -> bytes:
    """Return the bytes of a JSON answer as the program may have them: the very ones that came, if nothing changes.

    Args:
        call: The request.
        rules: What is done to texts.
        data: The answer.
        value: What was read from it.
        asked: Whether guards of plug-ins look at the answer.
        gate: Judges its tool calls.
    """
    changed = not rules.stays(value) and rules.document(value)
    if asked:
        changed |= plugins.of_document(call, value, call.tools.adapter.table)
    if gate is not None:
        hold.whole(value, gate)
    return jsontext.dumps(value) if changed else data


def treated_text(  # noqa: PLR0913 - an answer, how it is read, and who looks at it
    call: Call, rules: AnswerRules, data: bytes, *, codec: str, asked: bool, gate: Gate | None
) -> bytes:
    """Return something else than JSON where JSON was expected: text is treated as text, and what is no text stays.

    Args:
        call: The request.
        rules: What is done to texts.
        data: The answer.
        codec: How its readers read it: what they can't read is replaced, as they do. Empty: only UTF-8 is text.
        asked: Whether guards of plug-ins look at the answer.
        gate: Judges its tool calls.
    """
    depth, binary = call.policy.limits.json_depth, call.route.binary
    read = data.decode(codec, "replace").encode("utf-8", "replace") if codec else data
    out = rules.lines(read, max_depth=depth, download=binary) if is_utf_8(read) else read
    if asked and is_utf_8(out):
        text = out.decode("utf-8")
        out = out if (new := plugins.of_text(call, text)) == text else new.encode("utf-8")
    if gate is not None:
        hold.lines(out, gate, max_depth=depth)
    return data if out == read else out.decode("utf-8").encode(codec, "replace") if codec else out


def is_json(content_type: str) -> bool:
    """Return whether a media type is JSON (RFC 6839 3.1)."""
    return content_type == "application/json" or content_type.endswith("+json")
