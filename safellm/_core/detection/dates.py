"""Dates of birth: a date with a word for birth in front of it, over it or behind it, or in a list of names that is about ages."""

# ruff: noqa: RUF001 - words of many scripts
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.context import Spans, is_letter_or_digit
from safellm._core.detection.tables import label_above
from safellm._core.detection.words import label_before

_BIRTH = "DATE_OF_BIRTH"
# Words for birth that stand behind a date.
_BEHIND = (
    "geboren", "doğumlu", "doğumluyum", "dogumlu", "dogumluyum", "született", "szuletett", "г.р", "г. р", "года рождения",
    "року народження", "出生", "生まれ", "生れ", "생", "년생", "년 출생", "출생", "生",
)  # fmt: skip
_BORN = "生"
_DATE_SIGNS = "日일"  # day; a date may end in it
_WORDS_BEHIND = 20  # characters behind a date in which such a word stands
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
    if label is not None and label.type == _BIRTH and label.is_direct:
        return ((start, end),)
    above = label_above(text, start, end) if label is None or label.type != _BIRTH else None
    if above is not None and above.type == _BIRTH:
        return ((start, end),)
    return ((start, end, 0.7),) if _is_in_list_of_people(text, start) else ()


@cache
def _behind() -> tuple[str, ...]:
    return tuple(canonicalise(word).text.lower() for word in _BEHIND)  # as checks see them


def birth_date_before(text: str, start: int, end: int) -> Spans:
    """Accept a date with a word for birth behind it: "am 12.05.1980 geboren". What is found is the date alone."""
    stop = end
    while stop > start and not (text[stop - 1].isdigit() or text[stop - 1] in _DATE_SIGNS):
        stop -= 1
    if text[max(0, start - 1) : start].isdigit():
        return ()
    behind = text[stop : stop + _WORDS_BEHIND].lstrip().lower()
    if behind[:1] == _BORN and behind[1:2].isalpha() and not behind.startswith(("生まれ", "生れ")):  # made, not born
        return ()
    holds = any(
        behind.startswith(word) and not is_letter_or_digit(behind[len(word) : len(word) + 1]) for word in _behind()
    )
    return ((start, stop),) if holds else ()


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
