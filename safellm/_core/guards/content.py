"""Stage 3: content that can't be searched follows the policy and is recorded (THREATS R.9); documents are opened and searched.

What is found in a PDF or an office file can't be hidden in there: the file is refused, or passes and the findings are counted
(`content.documents`). A file that can't be opened is content that can't be searched.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

from safellm._core.call import Call, Tools
from safellm._core.documents import Unreadable, texts_of
from safellm._core.policy import Action
from safellm._core.redaction.hide import action_for, rank_of
from safellm._core.redaction.spots import SECRET_TYPES, find_spots
from safellm.errors import Reason, Refused

NAME = "content"
_REMEDY = "Send its text instead, take the values out of the file, or set content.documents in the policy."


def may_act(tools: Tools) -> bool:
    """Return whether anything that can't be searched, or any document, could be refused or counted."""
    policy = tools.policy
    return policy.is_strict or policy.content.binary == "deny" or policy.content.documents != "pass"


def guard(call: Call) -> None:
    """Refuse images, audio and other binary content where the policy says so, and documents that hold what must not leave.

    Raises:
        Refused: `content.denied`.
    """
    size = call.body.binary_bytes
    if not size:
        return
    if call.policy.content.binary == "deny":
        raise Refused(
            f"The request holds {size} bytes that can't be searched (image, audio or file)",
            guard=NAME,
            reason=Reason.CONTENT_DENIED,
            remedy="Send text, or set content.binary = 'pass' in the policy.",
        )
    chosen = "refuse" if call.policy.is_strict else call.policy.content.documents
    if chosen != "pass":
        for data in call.body.documents():
            _search(call, data, refuses_all=chosen == "refuse")


def _search(call: Call, data: bytes, *, refuses_all: bool) -> None:
    try:
        texts = texts_of(data)
    except Unreadable as error:
        if refuses_all:
            raise Refused(
                f"A document in the request can't be searched: {error}",
                guard=NAME,
                reason=Reason.CONTENT_DENIED,
                remedy=_REMEDY,
            ) from None
        return
    found = Counter(kind for text in texts or () for kind in _kinds(call, text))
    call.findings.update(found)
    refused = sorted(
        kind for kind in found if refuses_all or kind in SECRET_TYPES or _action(call, kind) is Action.BLOCK
    )
    if refused:
        raise Refused(
            f"A document in the request holds {', '.join(refused)}, and nothing can be hidden inside a file",
            guard=NAME,
            reason=Reason.CONTENT_DENIED,
            remedy=_REMEDY,
        )


def _kinds(call: Call, text: str) -> list[str]:
    """Return the types of what a text holds that the policy hides."""
    hiding = call.policy.hiding
    spots = find_spots(
        text,
        scanner=call.tools.scanner if call.policy.redaction.enabled else None,
        registered=call.tools.registered or None,
        marks=None,
        own=call.tools.own,
        rank=rank_of(hiding),
    )
    return [spot.finding.type for spot in spots if action_for(hiding, spot) is not Action.ALLOW]


def _action(call: Call, kind: str) -> Action:
    hiding = call.policy.hiding
    return hiding.types.get(kind, hiding.default)
