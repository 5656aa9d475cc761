"""Groups of texts that are nearly the same, so that a test never sees what training saw (MinHash; Broder 1997)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from zlib import crc32

_PRIME = (1 << 61) - 1
_HASHES, _BAND = 64, 4
_SHORT, _LONG = 300, 3000  # characters: below, pieces of text count as well as words; beyond, nothing
_ALIKE = 0.4  # Jaccard similarity from which on two texts are one group


def groups(texts: Sequence[str]) -> list[int]:
    """Return the number of each text's group."""
    parent = list(range(len(texts)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    found = [_shingles(text) for text in texts]
    buckets: dict[tuple[int, ...], int] = {}
    for number, shingles in enumerate(found):
        signs = [min((a * one + b) % _PRIME for one in shingles) for a, b in _FACTORS]
        for band in range(0, _HASHES, _BAND):
            other = buckets.setdefault((band, *signs[band : band + _BAND]), number)
            same, all_ = len(found[other] & shingles), len(found[other] | shingles)
            if other != number and same > _ALIKE * all_:
                parent[root(number)] = root(other)
    return [root(number) for number in range(len(texts))]


def folds(texts: Sequence[str], count: int, seed: int = 0) -> list[int]:
    """Return a fold from 0 to count - 1 for each text; those of one group are together, and one seed gives the same folds."""
    members: dict[int, list[str]] = defaultdict(list)
    number = groups(texts)
    for text, group in zip(texts, number, strict=True):
        members[group].append(text)
    fold = {group: _drawn(min(some), seed) % count for group, some in members.items()}
    return [fold[group] for group in number]


def _drawn(text: str, seed: int) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=4, key=b"%d" % seed).digest(), "big")


def _shingles(text: str) -> set[int]:
    plain = re.sub(r"\W+", " ", text.lower())[:_LONG]
    words = plain.split()
    rows = {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
    if len(plain) < _SHORT:
        rows |= {plain[at : at + 8] for at in range(max(1, len(plain) - 8))}
    return {crc32(row.encode("utf-8", "surrogatepass")) for row in rows}


_FACTORS = [(crc32(b"a%d" % number) * 2654435761 + 1, crc32(b"b%d" % number)) for number in range(_HASHES)]
