"""Guards of one's own (`plugins` in the policy): each sees the texts of a request, and of the answer if it asks for that.

They run before redaction, so what they change or put in is searched as well, and none of it leaves unguarded.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar

from safellm._core.call import Call
from safellm._core.effects import JSON
from safellm._core.fields import Field, Kind, Table, Trust, read
from safellm._core.plugged import SETTINGS, AnswerView, Plugged, RequestView, Text, wants_answers
from safellm.errors import Reason, Refused

NAME = "plugins"
# A guard may ask a model through a guarded client of its own: about that call no guard is asked, or it would never end.
_asking: ContextVar[bool] = ContextVar("safellm_plugin_asking", default=False)


def guard(call: Call) -> None:
    """Ask the guards about a request, one after the other; each sees what those before it changed.

    Raises:
        Refused: one of them refused, or broke.
    """
    guards = call.tools.guards
    if not guards or _asking.get():
        return
    if call.head.grows and wants_answers(guards):
        raise Refused(
            "A guard of the policy looks at whole answers, and the answers of this connection can't be held",
            guard=NAME,
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy="Use calls over HTTP, or take the guard out of `plugins` in the policy.",
        )
    fields = [one for one in call.fields if _is_text(one)]
    for plugged in guards:
        view = RequestView(
            provider=call.tools.adapter.provider,
            operation=call.route.operation,
            model=call.model,
            streams=call.streams,
            texts=_texts(fields, call.body.value, "user"),
        )
        for index, text in _ask(plugged, view).items():
            if text != fields[index].text:
                call.change(fields[index], text)


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
        if said and not call.policy.observes:
            new.update(said)
            texts = tuple(
                Text(text=said.get(index, one.text), role=one.role, own=one.own, place=one.place)
                for index, one in enumerate(texts)
            )
    return new


def _ask(plugged: Plugged, view: RequestView | AnswerView) -> Mapping[int, str]:
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
