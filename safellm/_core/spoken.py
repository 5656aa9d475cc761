"""A checkpoint in words, to be printed, read aloud or typed: the number of lines, the root hash, and a word that checks both.

Sixteen bits are one word of five letters, consonants and vowels in turn, so that it can be said (the form of proquints:
D. S. Wilkerson, "A Proposal for Proquints: Identifiers that are Readable, Spellable, and Pronounceable", 2009).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import re
from typing import Final

_CONSONANTS: Final = "bdfghjklmnprstvz"
_VOWELS: Final = "aiou"
_WORD: Final = re.compile(f"(?:[{_CONSONANTS}][{_VOWELS}]){{2}}[{_CONSONANTS}]")
_WORDS: Final = 17  # of a root, and the one that checks
_SIZE: Final = re.compile(r"[1-9][0-9]{0,15}")


def to_words(size: int, root: bytes) -> str:
    """Return the words of a checkpoint: how many lines, sixteen words for the root, one to check."""
    data = root + _check(size, root)
    return f"{size} " + " ".join(_word(int.from_bytes(data[at : at + 2], "big")) for at in range(0, len(data), 2))


def from_words(text: str) -> tuple[int, bytes]:
    """Return number of lines and root hash.

    Raises:
        ValueError: a word is wrong; the message says which, counted from 1.
    """
    size_text, *words = text.lower().replace("-", " ").split() or [""]
    if not _SIZE.fullmatch(size_text):
        raise ValueError("the words begin with the number of lines")
    wrong = next((number for number, word in enumerate(words, 1) if not _WORD.fullmatch(word)), None)
    if wrong is not None:
        raise ValueError(f"word {wrong} is none of these words")
    if len(words) != _WORDS:
        raise ValueError(f"there are {len(words)} words, not {_WORDS}")
    data = b"".join(_number(word).to_bytes(2, "big") for word in words)
    size, root = int(size_text), data[:-2]
    if data[-2:] != _check(size, root):
        raise ValueError("a word or the number is wrong: they don't fit together")
    return size, root


def _check(size: int, root: bytes) -> bytes:
    return hashlib.sha256(b"%d\n" % size + root).digest()[:2]


def _word(number: int) -> str:
    return "".join(
        (_CONSONANTS if width == 4 else _VOWELS)[number >> shift & (1 << width) - 1]  # noqa: PLR2004 - bits of a letter
        for shift, width in ((12, 4), (10, 2), (6, 4), (4, 2), (0, 4))
    )


def _number(word: str) -> int:
    number = 0
    for letter in word:
        letters, width = (_CONSONANTS, 4) if letter in _CONSONANTS else (_VOWELS, 2)
        number = number << width | letters.index(letter)
    return number
