"""What ledgers count, as rows of numbers: how it is added up, and how names are kept."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TypeAlias

from safellm._core.effects import Amounts

UsageKey: TypeAlias = tuple[str, str, str, str]  # day, provider, model, operation
_LABEL_CHARACTERS = 128  # longer names of models and operations are cut; a response can name any


def nothing_added() -> list[int]:
    """Return the numbers that `count` takes, all zero."""
    return [0, 0, 0, 0, 0]


def add_amounts(totals: list[int], before: Amounts | None, after: Amounts) -> None:
    """Add to `totals` what `after` has over `before`, which was counted already."""
    totals[0] += after.requests
    totals[1] += after.input_tokens
    totals[2] += after.output_tokens
    totals[3] += after.micro_usd or 0
    totals[4] += _unpriced(after)
    if before is not None:
        totals[0] -= before.requests
        totals[1] -= before.input_tokens
        totals[2] -= before.output_tokens
        totals[3] -= before.micro_usd or 0
        totals[4] -= _unpriced(before)


def label(text: str) -> str:
    """Return a name as the store keeps it."""
    if text.isascii() and len(text) <= _LABEL_CHARACTERS and text.isprintable():
        return text
    # A response may name a model with half a surrogate pair or a zero byte, which not every store can keep.
    cut = text[:_LABEL_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else "\ufffd" for character in cut)


def _unpriced(amounts: Amounts) -> int:
    return amounts.requests if amounts.micro_usd is None else 0
