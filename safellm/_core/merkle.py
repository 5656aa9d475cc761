"""The root hash of a growing list of records (RFC 6962, 2.1), kept as the few subtree hashes that later records need.

A root stands for every record and its place: two lists with one root are equal. A checkpoint signs it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

_LEAF, _NODE = b"\0", b"\1"


@dataclass(slots=True)
class Tree:
    """A list of `size` records.

    Attributes:
        size: How many records there are.
        peaks: Root hashes of the complete subtrees that make up the list, the largest first: one for each bit of `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def add(self, record: bytes) -> None:
        """Append a record."""
        self.add_leaf(leaf_hash(record))

    def add_leaf(self, hashed: bytes) -> None:
        """Append a record by its leaf hash."""
        peaks, size = list(self.peaks), self.size
        while size & 1:  # two subtrees of one size become one of twice the size
            hashed = _node(peaks.pop(), hashed)
            size >>= 1
        self.peaks = (*peaks, hashed)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash, 32 bytes."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        *rest, root = self.peaks
        for peak in reversed(rest):
            root = _node(peak, root)
        return root

    def copy(self) -> Tree:
        """Return a tree that grows on its own."""
        return Tree(self.size, self.peaks)


def leaf_hash(record: bytes) -> bytes:
    """Return the hash that stands for one record."""
    return hashlib.sha256(_LEAF + record).digest()


def root_of(records: Iterable[bytes]) -> bytes:
    """Return the root hash of a whole list."""
    tree = Tree()
    for record in records:
        tree.add(record)
    return tree.root()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
