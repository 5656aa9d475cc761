"""Stage 7: secrets, personal data and registered values are hidden before a byte leaves (promise P6; THREATS R.1-R.4).

Each finding's type has an action: mask (reversible), remove, block or allow. A text that looks like a placeholder is hidden
like a value, so nothing in the program's own text can be restored into something else. A placeholder of this very conversation
stays: a tool that was given one sends it back in its result, and the model has to recognise it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from urllib.parse import unquote_plus

from safellm._core.call import Call
from safellm._core.detection.finding import Finding
from safellm._core.fields import Field, Kind
from safellm._core.placeholder import LOOK_ALIKE_TYPE, find_placeholders
from safellm._core.policy import Action
from safellm.errors import Reason, Refused

NAME = "redaction"
# Where hiding anything else than a secret would break what the string is for.
_SECRETS_ONLY = frozenset({Kind.URL, Kind.IDENTIFIER})
_UNSEARCHED = frozenset({Kind.DATA, Kind.OPAQUE, Kind.CREDENTIAL})
_SECRET_TYPES = frozenset({"SECRET", "REGISTERED"})


def guard(call: Call) -> None:
    """Hide what must not leave.

    Raises:
        Refused: `redaction.blocked`, when the policy blocks a type that was found.
    """
    _check_target(call)
    if not call.policy.redaction.enabled and call.tools.registered is None:
        return
    fields = [one for one in call.fields if one.text and one.kind not in _UNSEARCHED]
    # Values first: which placeholders belong to this conversation is known only when all of its values are.
    for one in fields:
        if found := _found(call, one):
            _replace(call, one, found)
    for one in fields:
        if look_alikes := _look_alikes(call, one):
            _replace(call, one, look_alikes)


def _found(call: Call, one: Field) -> list[Finding]:
    found: list[Finding] = []
    if call.tools.registered is not None:
        found += call.tools.registered.find(one.text)
    if call.policy.redaction.enabled:
        found += call.tools.scanner.scan(one.text)
    if one.kind in _SECRETS_ONLY:
        found = [finding for finding in found if finding.type in _SECRET_TYPES]
    return _without_overlaps(found)


def _look_alikes(call: Call, one: Field) -> list[Finding]:
    return [
        Finding(type=LOOK_ALIKE_TYPE, rule="placeholder", start=match.start(), end=match.end())
        for match in find_placeholders(one.text)
        if call.mapping.value_of(match[0]) is None
    ]


def _without_overlaps(found: list[Finding]) -> list[Finding]:
    """Join what overlaps into one finding of the first type, so that no part of any of them stays."""
    joined: list[Finding] = []
    for finding in sorted(found, key=lambda item: (item.start, -item.end)):
        if joined and finding.start < joined[-1].end:
            last = joined[-1]
            if finding.end > last.end:
                joined[-1] = Finding(type=last.type, rule=last.rule, start=last.start, end=finding.end)
        else:
            joined.append(finding)
    return joined


def _action(call: Call, finding: Finding) -> Action:
    if finding.type == LOOK_ALIKE_TYPE:
        return Action.MASK
    redaction = call.policy.redaction
    return redaction.types.get(finding.type, redaction.default)


def _replace(call: Call, one: Field, findings: list[Finding]) -> None:
    out: list[str] = []
    position = 0
    for finding in findings:
        action = _action(call, finding)
        if finding.type != LOOK_ALIKE_TYPE:
            call.findings[finding.type] += 1
        if action is Action.ALLOW:
            continue
        if action is Action.BLOCK:
            raise Refused(
                f"The request holds a value of type {finding.type} in {one.pointer or 'its text'}",
                guard=NAME,
                reason=Reason.REDACTION_BLOCKED,
                remedy=f"Take it out, or change redaction.types.{finding.type} in the policy.",
                status=400,
            )
        out.append(one.text[position : finding.start])
        value = one.text[finding.start : finding.end]
        if action is Action.MASK:
            out.append(call.mapping.hide(call.tools.key, finding.type, value))
        else:
            out.append(f"[{finding.type} removed]")
        position = finding.end
    if position:
        out.append(one.text[position:])
        call.change(one, "".join(out))


def _decoded(target: str) -> set[str]:
    """Return the target as it stands and as a server reads it, decoded once and twice."""
    once = unquote_plus(target)
    return {target, once, unquote_plus(once)}


def _holds_secret(call: Call, text: str) -> bool:
    found = list(call.tools.scanner.scan(text)) if call.policy.redaction.enabled else []
    if call.tools.registered is not None:
        found += call.tools.registered.find(text)
    return any(finding.type in _SECRET_TYPES for finding in found)


def _check_target(call: Call) -> None:
    # A path or a query can't be masked: the provider has to understand it. A secret there stops the call (THREATS R.1, E.5).
    target = f"{call.head.path}?{call.head.query}" if call.head.query else call.head.path
    if any(_holds_secret(call, form) for form in _decoded(target)):
        raise Refused(
            "The request's URL holds a secret",
            guard=NAME,
            reason=Reason.REDACTION_BLOCKED,
            remedy="Send credentials in a header, never in the path or the query.",
            status=400,
        )
