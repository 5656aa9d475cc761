"""What a number is called: the nearest label before it, in many languages. Windows are bounded, so a look costs little."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import Any, cast

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.context import Text, remember, shape_of_digits
from safellm._core.detection.packaged import package_files
from safellm._core.detection.randomness import has_humps

REACH = 56  # characters before a value in which its label may stand
OTHER = "OTHER"  # names of numbers that identify no person
_GENERAL = frozenset(
    {OTHER, "PHONE", "CREDIT_CARD"}
)  # "reference", "numaram", "card number": the word before says of what
_ABBREVIATION = 3  # letters before a full stop that ends no sentence: "no. 12"
_GAP, _SHORT_GAP = 30, 14  # characters between label and value
_WHOLE = 4  # labels of up to so many letters count only as whole words
_JOINTS = str.maketrans("", "", " _.-")
_HEAD = 4  # letters by which a label's first word is looked up
_APART = str.maketrans(dict.fromkeys((chr(code) for code in range(128) if not chr(code).isalpha()), " "))
# What stands for a label's characters in the pattern; a space may be a joint, or nothing.
_ESCAPES = str.maketrans({" ": "[ _.-]?", **{mark: f"\\{mark}" for mark in string.punctuation}})
_MEMORY = 16 << 20  # bytes for RE2's automaton over some hundred words


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label found before a value.

    Attributes:
        type: Finding type that it names, or `OTHER`.
        between: The text from its end to the value, lower case.
        word: The label itself, lower case.
    """

    type: str
    between: str
    word: str = ""

    @property
    def is_direct(self) -> bool:
        """Whether only a few words without digits stand between label and value, in one sentence."""
        gap = self.between
        if len(gap) > (_GAP if self.type != OTHER else _SHORT_GAP) or gap.count("\n") > 1:
            return False
        if gap == ", " and self.type != OTHER:  # "my passport, X1234567, is"
            return True
        if any(character in ",;|" or character.isdigit() for character in gap) or ") " in gap:
            return False
        ends = gap.lstrip(" .").split(". ")[:-1]
        return all(len(end.rsplit(" ", 1)[-1]) <= _ABBREVIATION for end in ends)


@cache
def load_labels() -> Mapping[str, str]:
    """Return the type of every label, by its letters without spaces and joints; read once per process."""
    if _kept:
        return MappingProxyType(_kept[0][1])
    return MappingProxyType({_squeeze(word): kind for kind, word in label_words()})


# Of labels: the words, their types, and how words begin.
Tables = tuple[Sequence[Sequence[str]], Mapping[str, str], Sequence[str]]
_kept: list[Tables] = []


def label_tables() -> Tables:
    """Return what this module knows about labels, for `keep_label_tables` in a later process."""
    return label_words(), dict(load_labels()), sorted(_heads())


def keep_label_tables(tables: Tables) -> None:
    """Take what `label_tables` returned in an earlier process over the same files, instead of reading them."""
    _kept[:] = [tables]


@cache
def label_words() -> tuple[tuple[str, str], ...]:
    """Return the labels with their types as they are searched; read once per process."""
    if _kept:
        return tuple((kind, word) for kind, word in _kept[0][0])
    import tomllib  # noqa: PLC0415 - needed once

    path = package_files() / "data" / "words" / "labels.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    words = [(kind, form) for kind, some in tables.items() for word in chain(*some.values()) for form in _forms(word)]
    # Of two kinds that share a word the first one keeps it: dict() below takes the last.
    return tuple(reversed(words))


def _forms(word: str) -> tuple[str, ...]:
    """Return a label as the canonical view has it; a long one also as it is typed without accents."""
    if word.isascii():
        return (word.lower(),)
    own = canonicalise(word).text.lower()
    plain = canonicalise(unicodedata.normalize("NFD", word)).text.lower()
    return (own,) if plain == own or len(plain) <= _WHOLE else (own, plain)


@cache
def _pattern(*, is_ascii: bool) -> Any:
    """Return the pattern of all labels, or of those in ASCII: no others stand in ASCII, and it is made in half the time."""
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    if is_ascii:
        options.encoding = re2.Options.Encoding.LATIN1
    words = {word for _, word in label_words() if not is_ascii or word.isascii()}
    ordered = sorted(words, key=lambda word: (-len(word), word))
    # Read backwards, so that the first match is the label nearest to the value.
    joined = "|".join(word[::-1].translate(_ESCAPES) for word in ordered)
    return re2.compile(joined.encode() if is_ascii else joined, options)


def _squeeze(word: str) -> str:
    return word.translate(_JOINTS)


def label_before(text: str, start: int) -> Label | None:
    """Return the nearest label before an index, or None.

    Args:
        text: The canonical text.
        start: Where the value begins.
    """
    if not isinstance(text, Text):
        return _label_before(text, start)
    if start in text.labels:
        return cast("Label | None", text.labels[start])
    window = text[max(0, start - REACH) : start]
    lower = window.lower()
    if lower.isascii() and not lower.islower():
        return None  # as in a table of numbers
    alike = window
    for word in _words_with_digits():
        if word in lower:
            break
    else:  # which digits stand there makes no difference
        alike = shape_of_digits(window)
    if alike in text.windows:
        label = cast("Label | None", text.windows[alike])
    else:
        label = _label_before(alike, len(alike))
        remember(text.windows, alike, label)
    remember(text.labels, start, label)
    return label


@cache
def _words_with_digits() -> tuple[str, ...]:
    words = [part for _, word in label_words() for part in word.split()]
    return tuple({word for word in words if any(map(str.isdigit, word))})


def _label_before(text: str, start: int) -> Label | None:
    window = text[max(0, start - REACH) : start]
    lower = window.lower()
    if lower.isascii() and not _may_hold_label(window, lower):
        return None
    cased = window if len(window) == len(lower) else lower
    # RE2 counts bytes, and is quicker where they are characters.
    backwards = lower[::-1].encode() if lower.isascii() else lower[::-1]
    nearest = _next_label(cased, lower, backwards, 0)
    if nearest is None:
        return None
    low, high = nearest
    label = Label(type=load_labels()[_squeeze(lower[low:high])], between=lower[high:], word=lower[low:high])
    if low < 2:  # noqa: PLR2004 - no room for another label
        return label
    if label.type not in _GENERAL:
        return label
    before = _next_label(cased, lower, backwards, len(lower) - low)
    if before is not None and low - before[1] <= 1:
        kind = load_labels()[_squeeze(lower[before[0] : before[1]])]
        if kind != OTHER:  # "passport reference", "kimlik numaram": the first word says what it is
            return Label(type=kind, between=lower[before[1] :], word=lower[before[0] : before[1]])
    return label


def _next_label(cased: str, lower: str, backwards: str | bytes, position: int) -> tuple[int, int] | None:
    """Return the span of the last label that ends so many characters or more before the end of the window."""
    size = len(lower)
    pattern = _pattern(is_ascii=isinstance(backwards, bytes))
    while (match := pattern.search(backwards, position)) is not None:
        first, last = match.span()
        if _stands_alone(cased, lower, size - last, size - first):
            return size - last, size - first
        position = first + 1
    return None


def _may_hold_label(window: str, lower: str) -> bool:
    """Return whether a word of an ASCII text begins as a label does: a cheap first look."""
    heads = _heads()
    pieces = lower.translate(_APART).split()
    if not heads.isdisjoint([piece[:_HEAD] for piece in pieces]):
        return True
    return has_humps(window)  # labels begin at capitals, too


@cache
def _heads() -> frozenset[str]:
    """Return the first letters of every label, up to `_HEAD` of its first word."""
    if _kept:
        return frozenset(_kept[0][2])
    pieces = (word.translate(_APART).split() for _, word in label_words())
    return frozenset(head[:_HEAD] for words in pieces if words for head in (words[0], "".join(words)))


def _stands_alone(window: str, lower: str, low: int, high: int) -> bool:
    if lower[low].upper() == lower[low]:  # a script without case writes words together
        return True
    is_long, is_hump = high - low > _WHOLE, window[low].isupper() and window[low - 1 : low].islower()
    if low and lower[low - 1].isalnum() and not (is_hump and high - low > 2):  # noqa: PLR2004 - "vehicleVin", "iPhone"
        return False
    after = window[high : high + 1]
    return is_long or not after.isalpha() or (after.isupper() and window[high - 1].islower())
