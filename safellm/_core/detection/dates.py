"""Dates of birth: a date with a word for birth in front of it, or behind a name in a list that is about ages."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.detection.context import Spans
from safellm._core.detection.words import label_before

_LIST = 600  # characters before a date in which the words over its list may stand
_AGES = (
    "older than",
    "younger than",
    "years old",
    "over the age",
    "under the age",
    "birthday",
    "date of birth",
    "dates of birth",
    "born",
)
_NAME = 2, 5  # words of a name in a list
_LONGEST_NAME = 60  # characters
_PACKED = 8  # digits of a date without separators


def birth_date(text: str, start: int, end: int) -> Spans:
    """Accept a date whose nearest label is a word for birth."""
    value = text[start:end]
    if text[max(0, start - 1) : start].isdigit() or text[end : end + 1].isdigit():
        return ()
    if value.isdigit() and (len(value) != _PACKED or not ("19" <= value[:2] <= "20" or "19" <= value[4:6] <= "20")):
        return ()
    label = label_before(text, start)
    if label is not None and label.type == "DATE_OF_BIRTH" and label.is_direct:
        return ((start, end),)
    return ((start, end, 0.7),) if _is_in_list_of_people(text, start) else ()


def _is_in_list_of_people(text: str, start: int) -> bool:
    """Return whether the line before a date is a name alone, in a list that words about ages stand over."""
    before = text[max(0, start - _LIST) : start]
    above, newline, line = before.rpartition("\n")
    name = line.rstrip(" \t-:,;|(").lstrip(" \t-*•|0123456789.")
    words = name.split()
    if not newline or name == line or len(name) > _LONGEST_NAME or not _NAME[0] <= len(words) <= _NAME[1]:
        return False
    if not all(
        word[0].isupper() and word.replace("-", "").replace("'", "").replace(".", "").isalpha() for word in words
    ):
        return False
    lower = above.lower()
    return any(word in lower for word in _AGES)
