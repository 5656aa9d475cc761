"""Letters of other scripts that look like Latin ones, inside words that are Latin otherwise.

A key or an address with a Cyrillic letter in it reads the same, and whoever reads a leak sees through it. Only words that mix
such letters with ASCII letters or digits, and have no other foreign letters, are folded: Russian and Greek text stays as it is.
Source: pairs of single letters in Unicode's security data (UTS 39) that look alike in common fonts.
"""

# ruff: noqa: RUF001 - look-alikes are what this is about
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from safellm._core.detection.engine import compile_pattern, view_bytes

_PAIRS = (
    ("АВЕЅІЈКМНОРСТУХҮԜаеѕіјорсухһԁԛԝѵɡ", "ABESIJKMHOPCTYXYWaesijopcyxhdqwvg"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοινκυρα", "ABEZHIKMNOPTYXoivkupa"),
    ("օսՕՏհցոıȷɑɩ", "ouOShgnijai"),
)
LOOK_ALIKES: Mapping[str, str] = MappingProxyType({
    source: target for sources, targets in _PAIRS for source, target in zip(sources, targets, strict=True)
})  # fmt: skip
_MIXED = r"[A-Za-z0-9]\xff|\xff[A-Za-z0-9]"
# The same for UTF-8, as a first look: lead bytes of the letters above.
_MIXED_UTF8 = r"[A-Za-z0-9][\xc4\xc8\xc9\xce-\xd3\xd5\xd6]|[\xc4\xc8\xc9\xce-\xd3\xd5\xd6][\x80-\xbf][A-Za-z0-9]"
_LONGEST = 256  # characters of a word on either side; longer ones are no words


def fold_look_alikes(text: str) -> str:
    """Return the text with ASCII letters for the look-alikes in mixed words; its length stays the same."""
    if compile_pattern(_MIXED_UTF8).search(text.encode("utf-8", "surrogatepass")) is None:
        return text
    matches: Any = compile_pattern(_MIXED).finditer(view_bytes(text))
    letters: list[str] | None = None
    done = 0
    for match in matches:
        if match.start() < done:
            continue
        start, done = _word(text, match.start())
        word = text[start:done]
        if all(letter.isascii() or letter in LOOK_ALIKES for letter in word):
            letters = letters or list(text)
            letters[start:done] = [LOOK_ALIKES.get(letter, letter) for letter in word]
    return "".join(letters) if letters else text


def _word(text: str, index: int) -> tuple[int, int]:
    start = end = index
    while start > max(0, index - _LONGEST) and text[start - 1].isalnum():
        start -= 1
    while end < min(len(text), index + _LONGEST) and text[end].isalnum():
        end += 1
    return start, end
