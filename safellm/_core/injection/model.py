"""The linear model: a table of one byte for each slot, which names a weight and a mass in a book of codes.

`margin = sum of weights / sqrt(sum of masses + k) + bias`. A feature's mass says how telling it is, so that harmless words around
an order hardly thin it out. Both sums are carried in one integer, so a text costs one chain of look-ups and one sum.

The file: `MAGIC`, length of a JSON header (4 bytes), the header, the table compressed by zlib. Made by tools/train_injection.py.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import accumulate
from math import sqrt
from operator import add, itemgetter
from typing import Any

from safellm._core.injection.features import link, pieces, rows

MAGIC = b"safellm injection 1\n"
SIZE, STEP = 96, 64  # tokens of a window of a long text, and from one to the next
LONG = SIZE + STEP  # tokens; a text that has more is looked at in windows, too
_SHIFT = 40  # bits below which the sum of weights stands
_HALF = 1 << (_SHIFT - 1)
_REMEMBERED = 50_000  # words whose sums are kept


class _Words(dict[str, int]):
    """What each word brings, worked out when it is first met; bounded, because texts choose the words."""

    __slots__ = ("_values",)

    def __init__(self, values: Callable[[Sequence[int]], list[int]]) -> None:
        super().__init__()
        self._values = values

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[word] = value = sum(self._values(pieces(word)))
        return value


class _Links(dict[str, bytes]):
    """The bytes of each word in a row; the same."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[word] = value = link(word)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Weights, ready to add up.

    Attributes:
        table: The code of each slot; its length is a power of two.
        codes: For each code, its weight plus its mass shifted.
        header: The file's header: scales, bias, and what the score is made with.
    """

    table: bytes
    codes: tuple[int, ...]
    header: dict[str, Any]
    _words: _Words = field(init=False, repr=False, compare=False)
    _links: _Links = field(default_factory=_Links, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_words", _Words(self.values))

    def margins(self, text: Sequence[str]) -> tuple[float, float]:
        """Return the margin of a text, and the highest of its windows; the same where the text is short.

        Args:
            text: Its tokens.
        """
        words = self._words
        hashed = rows(list(map(self._links.__getitem__, text)))
        two, three = (self.values(row) for row in hashed)
        distinct = dict(zip(hashed[0], two, strict=True)), dict(zip(hashed[1], three, strict=True))
        total = sum(map(words.__getitem__, set(text))) + sum(distinct[0].values()) + sum(distinct[1].values())
        whole = self.margin(total)
        if len(text) <= LONG:
            return whole, whole
        # Rows up to a place, so that those of a window are a difference.
        row = list(accumulate(map(add, two, three), initial=0)), two
        return whole, max(self._window(text, end, *row) for end in range(SIZE, len(text) + STEP, STEP))

    def values(self, hashed: Sequence[int]) -> list[int]:
        """Return weight and mass of each of some features, in one number each."""
        codes, mask = self.codes, len(self.table) - 1
        # Slots lie far apart in memory: one call that fetches them all waits for several at a time.
        slots = [one & mask for one in hashed]
        return (
            [codes[code] for code in itemgetter(*slots)(self.table)]
            if len(slots) > 1
            else [codes[self.table[slot]] for slot in slots]
        )

    def _window(self, text: Sequence[str], end: int, sums: Sequence[int], two: Sequence[int]) -> float:
        start, end = end - SIZE, min(end, len(text))
        values = sums[end - 2] - sums[start] + two[end - 2]  # one row of two more than rows of three
        return self.margin(sum(map(self._words.__getitem__, set(text[start:end]))) + values)

    def margin(self, total: int) -> float:
        """Return the margin of summed values."""
        mass = (total + _HALF) >> _SHIFT
        weight = total - (mass << _SHIFT)
        head = self.header
        return float(weight * head["weight"] / sqrt(mass * head["mass"] + head["k"]) + head["bias"])


def pack(table: bytes, codes: Sequence[Sequence[int]], header: dict[str, Any]) -> bytes:
    """Return the file of a model.

    Args:
        table: The code of each slot.
        codes: Weight and mass of each code, as whole numbers.
        header: `weight`, `mass` (their scales), `k`, `bias`, and anything else.
    """
    head = json.dumps({**header, "codes": codes}, sort_keys=True).encode()
    return MAGIC + len(head).to_bytes(4, "big") + head + zlib.compress(table, 9)


def unpack(data: bytes) -> Model:
    """Return the model of a file that `pack` made.

    Raises:
        ValueError: it is none.
    """
    if not data.startswith(MAGIC):
        raise ValueError("the injection model's file is damaged")
    at = len(MAGIC) + 4
    size = int.from_bytes(data[at - 4 : at], "big")
    header = json.loads(data[at : at + size])
    codes = tuple(weight + (mass << _SHIFT) for weight, mass in header.pop("codes"))
    return Model(table=zlib.decompress(data[at + size :]), codes=codes, header=header)


@cache
def shipped() -> Model:
    """Return the model of this package."""
    return unpack((resources.files("safellm._core.injection") / "data" / "model.bin").read_bytes())
