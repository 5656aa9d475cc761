"""Names of tools that a person, or a model, would take for another one's (THREATS A.1)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from safellm._core.detection.confusables import LOOK_ALIKES
from safellm._core.hidden import clean

_SAME = str.maketrans(
    {"0": "o", "1": "l", "i": "l", "|": "l", "5": "s", "_": "", "-": "", ".": "", " ": "", "/": "", ":": ""}
)
_SHORTEST = 5  # characters of a name in which one letter more or less is no other word


def skeleton(name: str) -> str:
    """Return what is left of a name when all that looks alike is made the same (after UTS 39 4, with separators dropped)."""
    text = unicodedata.normalize("NFKC", clean(name))
    text = "".join(LOOK_ALIKES.get(letter, letter) for letter in text)
    text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return text.casefold().translate(_SAME).replace("rn", "m").replace("vv", "w")


def same_looking(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two different names that look the same, or None."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(skeleton(name), name)
        if other != name:
            return other, name
    return None


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that another one comes within one typing slip of, or looks like; None where there is none.

    A slip is one letter more, less or other, or two neighbours exchanged (Damerau-Levenshtein 1).
    """
    own = skeleton(name)
    for other in known:
        if other == name:
            continue
        theirs = skeleton(other)
        if own == theirs or (min(len(own), len(theirs)) >= _SHORTEST and _one_slip(own, theirs)):
            return other
    return None


def _one_slip(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[2:] == b[2:] and a[:2] == b[1::-1])
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[1:] == shorter


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands twice, or None."""
    ordered = sorted(names)
    return next((one for one, other in pairwise(ordered) if one == other), None)
