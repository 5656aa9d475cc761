"""What happens to each finding: a placeholder, a surrogate, a note, a refusal, or nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safellm._core.detection.finding import Finding
from safellm._core.placeholder import LOOK_ALIKE_TYPE, Mapping
from safellm._core.policy import STRICTNESS, Action, Redaction
from safellm._core.redaction.memory import Memory
from safellm._core.redaction.spots import Spot
from safellm._core.redaction.surrogate import make_surrogate, written_otherwise
from safellm._core.textrules import DETECTED
from safellm.errors import Reason, Refused

GUARD = "redaction"
_MOST_TRIES = 64  # surrogates that are tried before the value gets a placeholder instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One finding and what was done: `text[start:end]` of the new text stands in its place."""

    finding: Finding
    action: Action
    start: int
    end: int


def action_for(redaction: Redaction, spot: Spot) -> Action:
    """Return what the policy does with a finding.

    What the program marked is hidden unless its own type is allowed by name: a loose default was not said about it.
    """
    kind = spot.finding.type
    if kind == LOOK_ALIKE_TYPE:
        return Action.MASK
    action = redaction.types.get(kind, redaction.default)
    return Action.MASK if spot.is_mark and action is Action.ALLOW and kind not in redaction.types else action


def rank_of(redaction: Redaction) -> Callable[[str], int]:
    """Return how strictly a type is dealt with; higher is stricter."""
    return lambda kind: STRICTNESS.index(redaction.types.get(kind, redaction.default))


def hide(  # noqa: PLR0913 - everything that one replacement needs
    text: str,
    spots: Sequence[Spot],
    *,
    redaction: Redaction,
    mapping: Mapping,
    key: bytes,
    is_taken: Callable[[str], bool],
    where: str = "its text",
) -> tuple[str, list[Change]]:
    """Return the text as it may leave, and what was done.

    Args:
        text: The text that the spots belong to.
        spots: Ordered, without overlaps.
        redaction: The policy.
        mapping: Where hidden values are remembered.
        key: Of placeholders and surrogates.
        is_taken: Says of a surrogate whether it stands in any text already: it would come back as something else.
        where: For the error: the place of the text.

    Raises:
        Refused: `redaction.blocked`: a type that the policy blocks.
    """
    out: list[str] = []
    changes: list[Change] = []
    position = length = 0
    for spot in spots:
        finding = spot.finding
        action = action_for(redaction, spot)
        if action is Action.BLOCK:
            raise blocked(finding.type, where)
        before = text[position : finding.start]
        new = _replacement(spot, action, text, mapping, key, is_taken)
        changes.append(
            Change(
                finding=finding, action=action, start=length + len(before), end=length + len(before) + len(new)
            )
        )  # fmt: skip
        out += (before, new)
        length += len(before) + len(new)
        position = finding.end
    out.append(text[position:])
    return "".join(out), changes


def _replacement(  # noqa: PLR0913 - the inside of `hide`
    spot: Spot, action: Action, text: str, mapping: Mapping, key: bytes, is_taken: Callable[[str], bool]
) -> str:
    finding = spot.finding
    if action is Action.ALLOW:
        return spot.value
    if action is Action.REMOVE:
        return f"[{finding.type} removed]"
    if action is Action.SURROGATE and isinstance(mapping, Memory):
        if mapping.value_of_fake(text[finding.start : finding.end]) is not None:
            return text[finding.start : finding.end]  # one of this conversation: a tool got it and sends it back
        # Inside a longer word or number it would not be known again.
        alone = not (
            text[max(0, finding.start - 1) : finding.start].isalnum() or text[finding.end : finding.end + 1].isalnum()
        )
        fake = _surrogate(finding.type, spot.value, mapping, key, is_taken) if alone else None
        if fake is not None:
            return fake
    return mapping.hide(key, finding.type, spot.value)


def _surrogate(kind: str, value: str, memory: Memory, key: bytes, is_taken: Callable[[str], bool]) -> str | None:
    known = memory.fake_of(kind, value)
    if known is not None:
        return known
    for attempt in range(_MOST_TRIES):
        fake = make_surrogate(key, memory.scope, kind, value, attempt)
        if fake is None:
            return None
        if fake != value and not is_taken(fake):
            aliases = [alias for alias in written_otherwise(kind, fake) if alias != value and not is_taken(alias)]
            if memory.remember_fake(kind, value, fake, aliases):
                return fake
    return None


def blocked(kind: str, where: str) -> Refused:
    """Return the error of a type that the policy blocks."""
    return Refused(
        f"The request holds a value of type {kind} in {where}",
        guard=GUARD,
        reason=Reason.REDACTION_BLOCKED,
        remedy=f"Take it out, or change redaction.types.{kind} in the policy"
        + (", and the action of its rule." if kind not in DETECTED else "."),
        status=400,
    )
