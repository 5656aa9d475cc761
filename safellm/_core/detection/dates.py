"""Dates of birth: a date with a word for birth in front of it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.detection.context import Spans
from safellm._core.detection.words import label_before

_PACKED = 8  # digits of a date without separators


def birth_date(text: str, start: int, end: int) -> Spans:
    """Accept a date whose nearest label is a word for birth."""
    value = text[start:end]
    if text[max(0, start - 1) : start].isdigit() or text[end : end + 1].isdigit():
        return ()
    if value.isdigit() and (len(value) != _PACKED or not ("19" <= value[:2] <= "20" or "19" <= value[4:6] <= "20")):
        return ()
    label = label_before(text, start)
    return ((start, end),) if label is not None and label.type == "DATE_OF_BIRTH" and label.is_direct else ()
