"""What the linear model sees of a text: its words, the pieces of its words, and words in a row, each hashed to a slot of a table.

Hashes are sums of products, so those of a whole text are worked out at once: a long integer has a lane for each character or word,
shifted copies of it are multiplied and added, and a mask leaves a slot in each lane. That is a handful of C calls, whatever the
text says. Every feature counts once for each distinct word or row: a text can't push its own score down by repeating harmless
words, nor up by repeating one.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from zlib import crc32

BITS = 22  # of a slot
_MASK = (1 << BITS) - 1

# One token: a letter of a script without spaces (Thai, Kana, Han), a word, a number, a mark, an empty line. Single classes: linear.
_TOKEN = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+|\d+|[^\w\s]|_+|\n\n"
)
_ASCII_TOKEN = re.compile(r"[a-z]++|[^a-z0-9_\s]|[0-9]++|_++|\n\n")  # the same for lower-case ASCII
_BORDER = "\x02"  # stands before the first and after the last token of a text
_LONGEST = 24  # characters of a word that are read
_PIECE = 4  # characters of a piece of a word
_SHORTEST = _PIECE - 1  # letters of a word that has pieces: with its borders it is longer than one
_MOST_DIGITS = 6

# Odd numbers below 2**22 by which places of a piece and of a row are told apart. Products of four ASCII characters fit into a lane
# of 32 bits, others into one of 64.
_PLACES = 1, 0x2C1B3D, 0x19A7F5, 0x35E941
_TWO = 0x1F35B1, 0x2E9A87
_THREE = 0x3B42D3, 0x12C64F, 0x271E9D
_NARROW, _WIDE = 4, 8  # bytes of a lane
_LONG_TEXT = 17  # bits of a number of lanes; masks for more are made anew


def tokens(normal: str) -> list[str]:
    """Return the tokens of a normalised text, between borders."""
    pattern = _ASCII_TOKEN if normal.isascii() else _TOKEN
    return [_BORDER, *pattern.findall(normal), _BORDER]


def slots(words: Iterable[str]) -> list[int]:
    """Return the slot of each of some tokens: numbers of one length are the same."""
    # No token holds a space.
    joined = " ".join([f"#{min(len(word), _MOST_DIGITS)}" if word.isdecimal() else word for word in words])
    return [crc32(data) & _MASK for data in joined.encode("utf-8", "surrogatepass").split(b" ")]


def has_pieces(token: str) -> bool:
    """Return whether a token is a word that is long enough to have pieces."""
    return len(token) >= _SHORTEST and token.isalpha()


def pieces(words: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the slots of the pieces of words that have some, with their borders, and where each word's begin and end.

    Between them stand slots of pieces that cross a border; they belong to no word.
    """
    cut = [word[:_LONGEST] for word in words]
    joined = f"<{'><'.join(cut)}>"
    found = _sums(_characters(joined), len(joined), _PLACES, _NARROW if joined.isascii() else _WIDE)
    ends: list[tuple[int, int]] = []
    at = 0
    for word in cut:
        ends.append((at, at + len(word) + 3 - _PIECE))
        at += len(word) + 2
    return found, ends


def rows(found: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the slots of two tokens in a row, and of three, each at the place where it begins.

    Args:
        found: The slots of the tokens.
    """
    lanes = array("Q", found)
    if sys.byteorder == "big":
        lanes.byteswap()
    number = int.from_bytes(lanes.tobytes(), "little")
    return _sums(number, len(found), _TWO, _WIDE)[:-1], _sums(number, len(found), _THREE, _WIDE)[:-2]


def whole(text: Sequence[str]) -> Iterator[int]:
    """Yield the slots of a text's features, each word and each row once: the plain form of what `model` adds up."""
    for token in set(text):
        yield from _plain_pieces(token)
    for row in _plain_rows(text):
        yield from set(row)


def window(text: Sequence[str], start: int, end: int) -> Iterator[int]:
    """Yield the same for a window of a text; rows aren't counted once there, because in a window few stand twice."""
    for token in set(text[start:end]):
        yield from _plain_pieces(token)
    for row in _plain_rows(text[start:end]):
        yield from row


def _plain_pieces(token: str) -> list[int]:
    found = slots([token])
    if has_pieces(token):
        codes = [*map(ord, f"<{token[:_LONGEST]}>")]
        found += [_plain_sum(codes[at:], _PLACES) for at in range(len(codes) + 1 - _PIECE)]
    return found


def _plain_rows(text: Sequence[str]) -> Iterator[list[int]]:
    found = slots(text)
    for places in (_TWO, _THREE):
        yield [_plain_sum(found[at:], places) for at in range(len(found) + 1 - len(places))]


def _plain_sum(values: Sequence[int], places: Sequence[int]) -> int:
    return sum(value * place for value, place in zip(values, places, strict=False)) & _MASK


def _characters(text: str) -> int:
    """Return a text as an integer with a lane for each character: narrow ones for ASCII, else wide ones."""
    data = text.encode("utf-32-le", "surrogatepass")
    if text.isascii():
        return int.from_bytes(data, "little")
    wide = bytearray(len(text) * _WIDE)
    for byte in range(3):
        wide[byte::_WIDE] = data[byte::4]
    return int.from_bytes(wide, "little")


def _sums(lanes: int, count: int, places: Sequence[int], width: int) -> list[int]:
    """Return for each lane the slot of the sum of it and the lanes after it, each times its place's number."""
    total = sum((lanes >> (8 * width * after)) * place for after, place in enumerate(places))
    found = array("I" if width == _NARROW else "Q")
    bits = count.bit_length()
    masks = _masks(width, bits) if bits < _LONG_TEXT else _masks.__wrapped__(width, bits)
    found.frombytes((total & masks).to_bytes(width * count, "little"))
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


@lru_cache(maxsize=16)
def _masks(width: int, bits: int) -> int:
    """Return an integer with a mask in each of at least `2**bits` lanes."""
    return int.from_bytes(_MASK.to_bytes(width, "little") * (1 << bits), "little")
