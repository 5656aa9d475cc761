"""Tells random characters from words, names and versions.

A table of letter pairs decides: how usual a pair is in English words and in names of programs, against chance. Random letters score
as chance does, words far above it; digits and capitals that stand between letters count as well.
"""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - thresholds are explained by the sentence of their function
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from operator import add
from string import ascii_lowercase

# One row per first letter, one digit per second: log2 of the pair's frequency over chance, from 0 (2^-6) to 9 (2^4); chance is 5.4.
# Counted over the documentation and source of Python's standard library, each word once per doubling of its frequency.
_PAIRS = (
    "15662352514767150767444341"  # a
    "75547333752744652664610263"  # b
    "71547327506643831657532030"  # c
    "64458431822544641564632230"  # d
    "63675542303657353776244631"  # e
    "62446732801633742655622040"  # f
    "63438356601646540664642023"  # g
    "82348323703444720546511042"  # h
    "55655550102668651567150405"  # i
    "70448302606333750563803040"  # j
    "63458453702635543475526031"  # k
    "73458322703733740265531061"  # l
    "75358312703453770354511030"  # m
    "62677573614434641367552030"  # n
    "45663442414668560766655311"  # o
    "73447434603723762756523050"  # p
    "44242302331535334553923200"  # q
    "73558451704455740566533150"  # r
    "52637346714544562468633251"  # s
    "73548426702543640765523252"  # t
    "56546540501767460767210201"  # u
    "83209332701243641333243222"  # v
    "73457426711536732764224411"  # w
    "64657534701542570458333543"  # x
    "45556533600667571577345144"  # y
    "63439313700443630444302034"  # z
)
_SCORES = {
    first + second: int(_PAIRS[row * 26 + column])
    for row, first in enumerate(ascii_lowercase)
    for column, second in enumerate(ascii_lowercase)
}
_TURNS = ("dl", "ld", "du", "ud", "lu", "ul")
_WORDLIKE = 5.5  # mean of the table from which letters read as words
_FEW_PAIRS = 5  # fewer pairs say nothing
_WORD_BREAKS = str.maketrans("_-./:@+,", "        ")
_VOWELS = frozenset("aeiouyAEIOUY")
_CLASSES = str.maketrans({
    chr(code): "d" if chr(code).isdigit() else "u" if chr(code).isupper() else "l" if chr(code).islower() else " "
    for code in range(128)
})  # fmt: skip


def entropy(value: str | bytes) -> float:
    """Return the Shannon entropy of a value in bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def wordlikeness(value: str) -> float | None:
    """Return the mean of the pair table over neighbouring letters, 0 to 9; None if there are too few of them."""
    lower = value.lower()
    scores = [score for score in map(_SCORES.get, map(add, lower, lower[1:])) if score is not None]
    return sum(scores) / len(scores) if len(scores) >= _FEW_PAIRS else None


def changes(value: str) -> float:
    """Return how often neighbours are of different classes (digit, capital, small letter), 0 to 1; separators don't count."""
    classes = value.translate(_CLASSES).replace(" ", "")
    return sum(map(classes.count, _TURNS)) / max(1, len(classes) - 1)


def has_humps(text: str) -> bool:
    """Return whether a capital follows a small letter somewhere, as in camelCase."""
    return "lu" in text.translate(_CLASSES)


def humps(text: str) -> Iterator[int]:
    """Yield the indexes of small letters that a capital follows; ASCII letters only."""
    classes = text.translate(_CLASSES)
    at = classes.find("lu")
    while at >= 0:
        yield at
        at = classes.find("lu", at + 2)


def is_random(value: str) -> bool:
    """Return whether a value reads as drawn at random: digits among letters, and letters that follow no language."""
    if not any(map(str.isdigit, value)):
        # Letters alone: capitals must stand where no name has them.
        likeness = wordlikeness(value)
        return likeness is not None and likeness < 4.8 and changes(value) >= 0.3 and len(value) >= 20
    if changes(value) < 0.15 or is_wordy(value):
        return False
    likeness = wordlikeness(value)
    return likeness is None or likeness < _WORDLIKE


def is_wordy(value: str) -> bool:
    """Return whether a value reads as words, an identifier or a version: parts of letters with vowels, or of few digits."""
    parts = value.translate(_WORD_BREAKS).split()
    if not parts:
        return True
    return all(_is_word(part) for part in parts)


def _is_word(part: str) -> bool:
    if part.isdigit():
        return len(part) <= 4  # years, ports
    letters = part.rstrip("0123456789")
    if len(part) - len(letters) > 3:
        return False
    inner = [at for at, character in enumerate(letters) if character.isdigit()]
    if len(inner) == 1 and letters[inner[0]] in "24" and 3 <= inner[0] < len(letters) - 3:
        return _is_word(letters[: inner[0]]) and _is_word(letters[inner[0] + 1 :])  # bytes2human
    if not letters.isalpha():
        return len(part) <= 4  # k8s, i18n, 2x
    if len(letters) <= 4:
        return True
    humps = sum(1 for first, second in pairwise(letters) if first.islower() and second.isupper())
    if humps and len(letters) / (humps + 1) < 5:  # camelCase has long parts, random letters have not
        return False
    vowels = sum(character in _VOWELS for character in letters)
    return len(letters) <= 40 and (0.2 <= vowels / len(letters) <= 0.65 or (wordlikeness(letters) or 0) > 5.8)
