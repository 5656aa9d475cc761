"""Guards of one's own (`plugins` in the policy): each sees the texts of a request, and of the answer if it asks for that.

They run before redaction, so what they change or put in is searched as well, and none of it leaves unguarded.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from safellm._core.adapter import LocalAnswer
from safellm._core.call import Call, Tools
from safellm._core.digest import keyed_digest
from safellm._core.effects import JSON
from safellm._core.fields import Field, Kind, Table, Trust, read
from safellm._core.plugged import SETTINGS, Answer, AnswerView, Plugged, RequestView, Text, wants_answers
from safellm.errors import Reason, Refused

NAME = "plugins"
LOCAL: Final = "resp_safellm_"  # how responses are called that no provider knows
_HOW: Final = frozenset({"stream", "stream_options"})  # keys of a body that say how the answer comes
_ENDS: Final = frozenset({"stop", "end_turn", "completed", "STOP"})  # finish reasons of an answer that is whole
# A guard may ask a model through a guarded client of its own: about that call no guard is asked, or it would never end.
_asking: ContextVar[bool] = ContextVar("safellm_plugin_asking", default=False)


def may_act(tools: Tools) -> bool:
    """Return whether there are any."""
    return bool(tools.guards)


def may_show(tools: Tools) -> bool:
    """Return whether any of them is shown what is sent, or told of the answer."""
    return any(one.sees_sending or one.sees_done for one in tools.guards)


def guard(call: Call) -> None:
    """Ask the guards about a request, one after the other; each sees what those before it changed.

    Raises:
        Refused: one of them refused, or broke.
    """
    guards = call.tools.guards
    if _asking.get():
        return
    if call.head.grows and wants_answers(guards):
        raise Refused(
            "A guard of the policy looks at whole answers, and the answers of this connection can't be held",
            guard=NAME,
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy="Use calls over HTTP, or take the guard out of `plugins` in the policy.",
        )
    _refuse_unknown_to_the_provider(call)
    answerable = _make(call, "") is not None
    fields = [one for one in call.fields if _is_text(one)]
    for plugged in guards:
        said = _ask(plugged, _view(call, fields, answerable=answerable))
        if isinstance(said, Answer):
            _answer(call, plugged, said)
            continue
        for index, text in said.items():
            if text != fields[index].text:
                call.change(fields[index], text)


def sending(call: Call) -> None:
    """Show the guards what will be sent; one may answer in the provider's place.

    Raises:
        Refused: one of them refused, or broke.
    """
    guards = [one for one in call.tools.guards if one.sees_sending]
    if not _asking.get():
        fields = [one for one in call.fields if _is_text(one)]
        exact, around = _digests(call, fields)
        answerable = _make(call, "") is not None
        call.viewed = view = _view(call, fields, answerable=answerable, digest=exact, digest_around=around)
        for plugged in guards:
            token = _asking.set(True)
            try:
                said = plugged.ask_sending(view)
            finally:
                _asking.reset(token)
            if said is not None:
                _answer(call, plugged, said)


def done(call: Call, texts: Sequence[str], finish_reasons: Sequence[str]) -> None:
    """Tell the guards of an answer that is over, if it is one plain text of a provider.

    Raises:
        GuardFailure: one of them broke.
    """
    wanted = [one for one in texts if one]
    value = call.body.value
    tools = isinstance(value, dict) and any(value.get(name) for name in ("tools", "functions"))
    if call.local is not None or call.viewed is None or len(wanted) != 1 or tools or call.policy.observes:
        return
    if not call.viewed.answerable or not finish_reasons or not _ENDS.issuperset(finish_reasons):
        return
    view = AnswerView(
        provider=call.tools.adapter.provider,
        operation=call.route.operation,
        model=call.model,
        streams=call.streams,
        texts=(Text(text=wanted[0], role="assistant"),),
        request=call.viewed,
    )
    for plugged in call.tools.guards:
        if plugged.sees_done:
            token = _asking.set(True)
            try:
                plugged.tell_done(view)
            finally:
                _asking.reset(token)


def texts_of(value: JSON, table: Table) -> list[str]:
    """Return the texts of an answer."""
    return [one.text for one in read(value, table).fields if _is_text(one) and one.trust is Trust.UNTRUSTED]


def _answer(call: Call, plugged: Plugged, said: Answer) -> None:
    if call.local is None and not call.policy.observes:  # the first one counts
        call.local, call.answered_by = _make(call, said.text), plugged.id


def _make(call: Call, text: str) -> LocalAnswer | None:
    return None if call.may_answer is None or call.head.grows else call.may_answer(text)


def _refuse_unknown_to_the_provider(call: Call) -> None:
    value = call.body.value
    before = value.get("previous_response_id") if isinstance(value, dict) else None
    if isinstance(before, str) and before.startswith(LOCAL):
        raise Refused(
            "The request goes on from an answer that a guard gave, which the provider doesn't know",
            guard=NAME,
            reason=Reason.PLUGIN_REFUSED,
            remedy="Send the conversation itself instead of previous_response_id.",
            status=400,
        )


def _digests(call: Call, fields: list[Field]) -> tuple[str, str]:
    """Return what names a request: all of it but how the answer comes, with and without the last text of a user."""
    value = call.body.value
    if not isinstance(value, dict):
        return "", ""
    rest = {key: one for key, one in value.items() if key not in _HOW}
    where = [
        call.head.method,
        str(call.head.origin),
        call.head.path.replace(":streamGenerateContent", ":generateContent"),
    ]
    exact = keyed_digest(call.tools.key, b"request", json.dumps([where, rest], sort_keys=True).encode())
    roles = [one.role for one in _texts(fields, value, "user")]
    last = next((one for one, role in zip(reversed(fields), reversed(roles), strict=True) if role == "user"), None)
    if last is None:
        return exact, exact
    text = last.text
    last.put("")
    try:
        around = keyed_digest(call.tools.key, b"around", json.dumps([where, rest], sort_keys=True).encode())
    finally:
        last.put(text)
    return exact, around


def _view(call: Call, fields: list[Field], **more: Any) -> RequestView:
    grant = "" if call.standing is None or call.standing.grant is None else call.standing.grant.id
    return RequestView(
        provider=call.tools.adapter.provider,
        operation=call.route.operation,
        model=call.model,
        streams=call.streams,
        texts=_texts(fields, call.body.value, "user"),
        user="\n".join(one for one in (call.said.get("user", ""), grant) if one),
        **more,
    )


def of_document(call: Call, value: JSON, table: Table) -> bool:
    """Ask the guards about an answer, and change it in place; return whether anything changed.

    Raises:
        Refused: one of them refused, or broke.
    """
    fields = [one for one in read(value, table).fields if _is_text(one) and one.trust is Trust.UNTRUSTED]
    changed = False
    for index, text in _asked(call, _texts(fields, value, "assistant"), streams=False).items():
        if text != fields[index].text:
            fields[index].put(text)
            changed = True
    return changed


def of_text(call: Call, text: str) -> str:
    """Ask the guards about an answer that is plain text, and return it as they leave it."""
    return _asked(call, (Text(text=text, role="assistant"),), streams=False).get(0, text)


def of_stream(call: Call, texts: Iterable[str]) -> None:
    """Ask the guards about the texts of a stream that is over.

    Raises:
        Refused: one of them refused, wants to change something, or broke.
    """
    _asked(call, tuple(Text(text=one, role="assistant") for one in dict.fromkeys(texts) if one), streams=True)


def _asked(call: Call, texts: tuple[Text, ...], *, streams: bool) -> dict[int, str]:
    """Return the texts that are to be changed; nothing is refused or changed where the policy only observes."""
    new: dict[int, str] = {}
    for plugged in call.tools.guards:
        if not plugged.answers or not texts or _asking.get():
            continue
        view = AnswerView(
            provider=call.tools.adapter.provider,
            operation=call.route.operation,
            model=call.model,
            streams=streams,
            texts=texts,
        )
        try:
            said = _ask(plugged, view)
        except Refused:
            if not call.policy.observes:
                raise
            continue
        if said and not isinstance(said, Answer) and not call.policy.observes:
            new.update(said)
            texts = tuple(
                Text(text=said.get(index, one.text), role=one.role, own=one.own, place=one.place)
                for index, one in enumerate(texts)
            )
    return new


def _ask(plugged: Plugged, view: RequestView | AnswerView) -> Mapping[int, str] | Answer:
    token = _asking.set(True)
    try:
        return plugged.ask(view)
    finally:
        _asking.reset(token)


def _is_text(one: Field) -> bool:
    return one.kind is Kind.TEXT and bool(one.text) and not one.is_key and one.key not in SETTINGS


def _texts(fields: list[Field], value: JSON, writer: str) -> tuple[Text, ...]:
    return tuple(
        Text(
            text=one.text,
            role=_role(one, value, "system" if one.trust is Trust.OWN else writer),
            own=one.trust is Trust.OWN,
            place=one.pointer,
        )
        for one in fields
    )


def _role(one: Field, value: JSON, role: str) -> str:
    """Return the role that the nearest object around a text names, or the one that is given."""
    for part in one.path:
        if isinstance(value, dict):
            said = value.get("role")
            role = said if isinstance(said, str) else role
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
    return role
