"""Letters of other scripts that look like Latin ones, inside words that are Latin otherwise.

A key or an address with a Cyrillic letter in it reads the same, and whoever reads a leak sees through it. Only words that mix
such letters with ASCII letters or digits, and have no other foreign letters, are folded: Russian and Greek text stays as it is.
Source: pairs of single letters in Unicode's security data (UTS 39) that look alike in common fonts.
"""

# ruff: noqa: RUF001 - look-alikes are what this is about
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import string
from collections.abc import Mapping
from types import MappingProxyType

from safellm._core.detection.engine import NOWHERE, search_of

_PAIRS = (
    ("АВЕЅІЈКМНОРСТУХҮԜаеѕіјорсухһԁԛԝѵɡ", "ABESIJKMHOPCTYXYWaesijopcyxhdqwvg"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοινκυρα", "ABEZHIKMNOPTYXoivkupa"),
    ("օսՕՏհցոıȷɑɩ", "ouOShgnijai"),
)
LOOK_ALIKES: Mapping[str, str] = MappingProxyType({
    source: target for sources, targets in _PAIRS for source, target in zip(sources, targets, strict=True)
})  # fmt: skip
# An ASCII letter or digit beside a look-alike, in UTF-8.
_ANY = "|".join(sorted(letter.encode().decode("latin-1") for letter in LOOK_ALIKES))
_MIXED = f"[A-Za-z0-9](?:{_ANY})|(?:{_ANY})[A-Za-z0-9]"
_FOLDABLE = frozenset({*LOOK_ALIKES, *string.ascii_letters, *string.digits})
_LONGEST = 256  # characters of a word on either side; longer ones are no words


def fold_look_alikes(text: str) -> str:
    """Return the text with ASCII letters for the look-alikes in mixed words; its length stays the same."""
    data = _utf8(text)
    search = search_of(_MIXED)
    letters: list[str] | None = None
    at = index = 0  # how far the text is read, in bytes and in characters
    while (pair := search(data, at, len(data))[0]) != NOWHERE:
        index += len(data[at : pair[0]].decode("utf-8", "surrogatepass"))
        start, end = _word(text, index)
        word = text[start:end]
        if _FOLDABLE.issuperset(word):
            letters = letters or list(text)
            letters[start:end] = [LOOK_ALIKES.get(letter, letter) for letter in word]
        at, index = pair[0] + len(_utf8(text[index:end])), end
    return "".join(letters) if letters else text


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _word(text: str, index: int) -> tuple[int, int]:
    start = end = index
    while start > max(0, index - _LONGEST) and text[start - 1].isalnum():
        start -= 1
    while end < min(len(text), index + _LONGEST) and text[end].isalnum():
        end += 1
    return start, end
