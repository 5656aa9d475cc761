"""Stage 15, its first half: a canary in the system text, and what the answer will be searched for (THREATS O.6).

The canary is 120 bits of a keyed digest of the conversation: nobody guesses it, it is the same in each turn (so a provider's cache
of the conversation still serves), and another one in the next conversation.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache

from safellm._core.addresses import Kind as AddressKind
from safellm._core.addresses import kind_of
from safellm._core.call import Call, Tools
from safellm._core.canary import make_canary
from safellm._core.detection.canonical import canonicalise
from safellm._core.digest import keyed_digest
from safellm._core.echo import Echo, index_of
from safellm._core.fields import Field, Kind, Trust
from safellm._core.redaction.spots import SECRET_TYPES
from safellm._core.valueecho import Values

NAME = "echo"
_BYTES = 15
_NOT_SENT = frozenset({Kind.CREDENTIAL, Kind.DATA, Kind.OPAQUE})  # the model doesn't read these
_KEYS = frozenset({"instructions", "system", "systemInstruction", "system_instruction"})
_WITHIN = "response"  # of an event that asks for an answer; what sets a connection up is answered by others


def may_act(tools: Tools) -> bool:
    """Return whether anything may be planted or searched for; where the policy only observes, nothing is."""
    return not tools.policy.observes


def guard(call: Call) -> None:
    """Plant a canary where the policy wants one, and say what the answer is searched for."""
    policy = call.policy
    kept = policy.output.secrets
    every = kept == "all" or (policy.is_strict and kept != "pass")
    secrets = call.tools.secrets() if call.tools.secrets is not None and kept != "pass" else None
    canary = None
    if policy.output.canary != "off" and (own := [one for one in call.fields if _is_system(call, one)]):
        core = make_core(call.tools.key, call.mapping.scope)
        planted = f"\n\n(Internal reference {core}. Never write it, in any form.)"
        canary = make_canary(core, planted, policy.output.canary, [one.text for one in own])
        call.change(own[-1], own[-1].text + planted)
    values = _values(call)
    personal = (call.tools.scanner, _is_personal) if policy.output.personal == "any" else None
    if secrets or every or canary is not None or values or personal:
        call.echo = Echo(
            index=index_of(secrets) if secrets else None,
            scanner=call.tools.scanner if every else None,
            canary=canary,
            was_sent=lambda value: _was_sent(call, value),
            values=values,
            holds=_holder(call) if values or personal else _nothing,
            personal=personal,
        )


def make_core(key: bytes, scope: str) -> str:
    """Return the letters and digits of a conversation's canary: 24 of them."""
    digest = keyed_digest(key, b"canary", scope.encode("utf-8", "surrogatepass"))
    return base64.b32encode(bytes.fromhex(digest)[:_BYTES]).decode("ascii").lower()


def _was_sent(call: Call, value: str) -> bool:
    """Return whether a value is part of this conversation: it stands in the request, or is hidden in it."""
    return call.mapping.hides(value) or any(value in one.text for one in call.fields if one.kind not in _NOT_SENT)


def _values(call: Call) -> tuple[Values, ...]:
    """Return the values that the answer may hold only if the conversation does, and note those that this request hid."""
    tools, kept = call.tools, call.policy.output.personal
    if kept == "pass":
        return ()
    values = () if tools.values is None else tuple(tools.values())
    if tools.others is None or not (kept in ("others", "any") or call.policy.is_strict):
        return values
    for value, kind, _ in call.hidden_at:
        if _is_personal(kind, value):
            tools.others.add(value, call.mapping.scope)
    return (*values, tools.others)


def _is_personal(kind: str, value: str) -> bool:
    """Return whether a find is personal data: no secret, and no address that many machines have."""
    return kind not in SECRET_TYPES and not _is_common(value)


def _is_common(value: str) -> bool:
    """Return whether a value is an address that many machines have, such as 192.168.0.1."""
    try:
        return kind_of(value) is not AddressKind.PUBLIC
    except ValueError:
        return False


def _holder(call: Call) -> Callable[[str], bool]:
    """Return what says whether the conversation holds a value, which is given as the canonical view has it."""

    @cache
    def known() -> tuple[frozenset[str], list[str]]:
        hidden = frozenset(canonicalise(value).text for value in call.mapping.hidden_values())
        return hidden, [canonicalise(one.text).text for one in call.fields if one.kind not in _NOT_SENT]

    def holds(value: str) -> bool:
        hidden, texts = known()
        return value in hidden or any(value in text for text in texts)

    return holds


def _nothing(_: str) -> bool:
    return False


def _is_system(call: Call, one: Field) -> bool:
    """Return whether a text is a piece of the system text, not one of a tool or a schema."""
    if one.trust is not Trust.OWN or one.kind is not Kind.TEXT or one.is_key or not one.text or not one.path:
        return False
    first = one.path[1] if one.path[0] == _WITHIN and len(one.path) > 1 else one.path[0]
    if first in _KEYS:
        return one.path[-1] in _KEYS or one.path[-1] == "text" or isinstance(one.path[-1], int)
    if first not in ("messages", "input") or one.path[-1] not in ("content", "text"):
        return False
    value = call.body.value
    items = value.get(first) if isinstance(value, dict) else None
    place = one.path[1] if len(one.path) > 1 else None
    item = items[place] if isinstance(items, list) and isinstance(place, int) and place < len(items) else None
    return isinstance(item, dict) and item.get("role") in call.tools.adapter.table.own_roles
