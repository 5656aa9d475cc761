"""The linear model: a table of one byte for each slot, which names a weight and a mass in a book of codes.

`margin = sum of weights / sqrt(sum of masses + k) + bias`. A feature's mass says how telling it is, so that harmless words around
an order hardly thin it out. Both sums are carried in one integer, so a text costs one chain of look-ups and one sum.

The file: `MAGIC`, length of a JSON header (4 bytes), the header, the table compressed by zlib. Made by tools/train_injection.py.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from math import sqrt
from operator import itemgetter
from typing import Any

from safellm._core.injection.features import BITS, has_pieces, pieces, rows, slots

MAGIC = b"safellm injection 2\n"
SIZE, STEP = 96, 64  # tokens of a window of a long text, and from one to the next
LONG = SIZE + STEP  # tokens; a text that has more is looked at in windows, too
_SHIFT = 40  # bits below which the sum of weights stands
_HALF = 1 << (_SHIFT - 1)
_REMEMBERED = 50_000  # words whose sums are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Weights, ready to add up.

    Attributes:
        table: The code of each slot.
        codes: For each code, its weight plus its mass shifted.
        header: The file's header: scales, bias, and what the score is made with.
    """

    table: bytes
    codes: tuple[int, ...]
    header: dict[str, Any]
    # What was met of words: what each brings, and its slot. Other threads may read them, so they are only added to, or replaced.
    _met: list[tuple[dict[str, int], dict[str, int]]] = field(
        default_factory=lambda: [({}, {})], init=False, repr=False, compare=False
    )

    def margins(self, text: Sequence[str], distinct: AbstractSet[str]) -> tuple[float, float]:
        """Return the margin of a text, and the highest of its windows; the same where the text is short.

        Args:
            text: Its tokens.
            distinct: Each of them once.
        """
        words, places = self._meet(distinct)
        hashed = rows([*map(places.__getitem__, text)])
        two, three = (self.values(row) for row in hashed)
        single = sum(map(words.__getitem__, distinct))
        total = single + sum(dict(zip(hashed[0], two, strict=True)).values())
        whole = self.margin(total + sum(dict(zip(hashed[1], three, strict=True)).values()))
        if len(text) <= LONG:
            return whole, whole
        return whole, max(
            self.margin(
                sum(map(words.__getitem__, set(text[end - SIZE : end])))
                + sum(two[end - SIZE : end - 1])
                + sum(three[end - SIZE : end - 2])
            )
            for end in range(SIZE, len(text) + STEP, STEP)
        )

    def values(self, hashed: Sequence[int]) -> list[int]:
        """Return weight and mass of each of some features, in one number each."""
        # Slots lie far apart in memory: one call that fetches them all waits for several at a time.
        found = itemgetter(*hashed)(self.table) if len(hashed) > 1 else [self.table[one] for one in hashed]
        return [*map(self.codes.__getitem__, found)]

    def _meet(self, distinct: AbstractSet[str]) -> tuple[dict[str, int], dict[str, int]]:
        """Return what is known of words, among them the given ones: what each brings, and its slot."""
        words, places = self._met[0]
        new = [word for word in distinct if word not in words]
        if not new:
            return words, places
        if len(words) + len(new) > _REMEMBERED:  # texts choose the words
            words, places = self._met[0] = {}, {}
            new = [*distinct]
        hashed = slots(new)
        values = dict(zip(new, self.values(hashed), strict=True))
        long = [word for word in new if has_pieces(word)]
        if long:
            found, ends = pieces(long)
            brought = self.values(found)
            for word, (begin, end) in zip(long, ends, strict=True):
                values[word] += sum(brought[begin:end])
        places.update(zip(new, hashed, strict=True))
        words.update(values)
        return words, places

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
    table = zlib.decompress(data[at + size :])
    if len(table) != 1 << BITS:
        msg = "the injection model's file has another size"
        raise ValueError(msg)
    return Model(table=table, codes=codes, header=header)


@cache
def shipped() -> Model:
    """Return the model of this package."""
    return unpack((resources.files("safellm._core.injection") / "data" / "model.bin").read_bytes())
