"""What the linear model sees of a text: its words, the pieces of its words, and words in a row, each hashed to a slot of a table.

What a word and its pieces bring is looked up at once when the word was met before, and words in a row are hashed by going on from
the hash of the word before, so the work per token is a handful of C calls. Every feature counts once for each distinct word or row:
a text can't push its own score down by repeating harmless words, nor up by repeating one.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import repeat
from zlib import crc32

# One token: a letter of a script without spaces (Thai, Kana, Han), a word, a number, a mark, an empty line. Single classes: linear.
_TOKEN = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+|\d+|[^\w\s]|_+|\n\n"
)
_ASCII_TOKEN = re.compile(r"[a-z]++|[^a-z0-9_\s]|[0-9]++|_++|\n\n")  # the same for lower-case ASCII
_BORDER = "\x02"  # stands before the first and after the last token of a text
_LONGEST = 24  # characters of a word that are read
_SMALLEST, _LARGEST = 3, 5  # characters of a piece of a word
_MOST_DIGITS = 6


def tokens(normal: str) -> list[str]:
    """Return the tokens of a normalised text, between borders."""
    pattern = _ASCII_TOKEN if normal.isascii() else _TOKEN
    return [_BORDER, *pattern.findall(normal), _BORDER]


def pieces(token: str) -> list[int]:
    """Return the hashes of a token: itself and, of a word, its pieces with its borders."""
    if token.isdecimal():
        return [crc32(b"#%d" % min(len(token), _MOST_DIGITS))]
    word = f"<{token[:_LONGEST]}>"
    data = word.encode("utf-8", "surrogatepass")
    found = [crc32(data)]
    for size in range(_SMALLEST, min(_LARGEST, len(word) - 1) + 1):
        begins = range(len(word) - size + 1)
        if len(data) == len(word):  # a byte a character
            parts = [data[at : at + size] for at in begins]
        else:
            parts = [word[at : at + size].encode("utf-8", "surrogatepass") for at in begins]
        found += map(crc32, parts, repeat(size))
    return found


def link(token: str) -> bytes:
    """Return the bytes of a token in a row."""
    return token[:_LONGEST].encode("utf-8", "surrogatepass") + b" "


def rows(links: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Return the hashes of two tokens in a row, and of three; each begins at its place."""
    two = list(map(crc32, links[1:], map(crc32, links)))
    return two, list(map(crc32, links[2:], two))


def whole(text: Sequence[str]) -> Iterator[int]:
    """Yield the hashes of a text's features, each word and each row once: the plain form of what `model` adds up."""
    for token in set(text):
        yield from pieces(token)
    for row in rows([link(token) for token in text]):
        yield from set(row)


def window(text: Sequence[str], start: int, end: int) -> Iterator[int]:
    """Yield the same for a window of a text; rows aren't counted once there, because in a window few stand twice."""
    for token in set(text[start:end]):
        yield from pieces(token)
    two, three = rows([link(token) for token in text[start:end]])
    yield from two
    yield from three
