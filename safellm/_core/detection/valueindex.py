"""Finds any of very many values at once: a million customer numbers from a file, names, account ids (field masking).

The index keeps no value, only 64-bit hashes keyed by the process, 16 to 24 bytes a value. It is exact but for a collision of
such hashes: with a million values, one wrong find in about ten million million looked-up pieces of text. Nothing that was put in
is missed.

A value is found where no ASCII letter or digit touches an end of it that is one itself: `C-4711` is found in `(C-4711)` and in
`顧客C-4711`, not in `C-47110`. Search runs on the canonical view, so full-width and invisible characters don't hide a value;
other encodings aren't searched (`registered` does that, for some hundreds of secrets).

How: text and values are cut into their runs of ASCII letters and digits. Each value is indexed by its longest run; a text's
distinct runs are looked up in a bit field (Bloom filter, two bits a value), and only runs that are in it lead to hashing whole
candidates. Values without such a run are indexed by their first two characters.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import NoReturn

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import view_bytes
from safellm._core.detection.finding import Finding
from safellm._core.detection.scanner import merge

MIN_LENGTH = 4  # characters; shorter values stand in every text
_RULE = "registered"
_PRIORITY = 100
_BITS = 32  # of the bit field per value: 1 run in 270 is looked up in vain
_ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_RUNS = bytes(code if code in _ALNUM else 0x20 for code in range(256))
_LEAST_RUN = 2  # characters of a run that can stand for its value
_WORD = (1 << 64) - 1
_SPACE = 0x20


class ValueIndex:
    """A frozen index over values of one type; its `repr` shows none of them.

    Args:
        values: Texts of at least four characters; folded as the canonical view does. Read once, not kept.
        type: What its findings are called: upper case letters, digits and underscores.

    Raises:
        ValueError: A value is shorter.
    """

    __slots__ = ("_begins", "_field", "_frames", "_hashes", "_mask", "_size", "longest", "type")

    type: str
    longest: int
    _field: bytearray
    _begins: bytearray
    _frames: dict[int, tuple[tuple[int, int], ...]]
    _hashes: array[int]
    _mask: int
    _size: int

    def __init__(self, values: Iterable[str], *, type: str) -> None:  # noqa: A002 - the finding's own word
        hashes = array("Q")
        keys = array("Q")
        begins = array("Q")
        frames: dict[int, set[tuple[int, int]]] = {}
        for value in values:
            view = canonicalise(value).text
            if len(view) < MIN_LENGTH:
                msg = f"a registered value has fewer than {MIN_LENGTH} characters and would be found everywhere"
                raise ValueError(msg)
            key, offset, size = key_of(view)
            hashes.append(hash(view) & _WORD)
            keys.append(key & _WORD)
            begins.extend(code & _WORD for code in beginnings_of(view))
            frames.setdefault(size, set()).add((offset, len(view)))
        self.type = type
        self._hashes = array("Q", sorted(hashes))
        self._frames = {size: tuple(sorted(found)) for size, found in frames.items()}
        bits = max(10, (len(hashes) * _BITS - 1).bit_length())
        self._field = bytearray(1 << (bits - 3))
        self._mask = (1 << bits) - 1
        self._begins = bytearray(1 << (bits - 3))
        self._size = len(hashes)
        self.longest = max((length for found in frames.values() for _, length in found), default=0)
        for field, codes in ((self._field, keys), (self._begins, begins)):
            for code in codes:
                for bit in (code & self._mask, (code >> 32) & self._mask):
                    field[bit >> 3] |= 1 << (bit & 7)

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return where values stand, ordered and without overlaps, in indexes of `text`."""
        if not self._size:
            return ()
        canonical = canonicalise(text)
        return tuple(
            merge(
                (*canonical.original_span(start, end), _PRIORITY, self.type, _RULE, 1.0)
                for start, end in self.spans(canonical.text)
            )
        )

    def open_from(self, view: str) -> int:
        """Return where in a view a value may have begun that more text could complete or spoil; `len(view)` if nowhere."""
        length = len(view)
        runs = view_bytes(view).translate(_RUNS)
        for at in range(max(0, length - self.longest), length):
            if (runs[at] == _SPACE or at == 0 or runs[at - 1] == _SPACE) and self._may_go_on(view, runs, at):
                return at
        return length

    def _may_go_on(self, view: str, runs: bytes, at: int) -> bool:
        """Return whether all runs that end behind a place are those of one value's beginning."""
        if runs[at] == _SPACE and not self._may_begin(hash(view[at])):
            return False
        end = _run_end(runs, at)
        while 0 < end < len(view):
            if not self._may_begin(hash(view[at:end])):
                return False
            end = _run_end(runs, end)
        return True

    def spans(self, view: str) -> Iterator[tuple[int, int]]:
        """Yield where values stand in a canonical view."""
        runs = view_bytes(view).translate(_RUNS)
        padded = b" " + runs + b" "
        for run in self._held(set(runs.split())):
            if len(run) in self._frames:
                needle = b" " + run + b" "
                at = padded.find(needle)
                while at >= 0:
                    yield from self._whole(view, runs, at, len(run))
                    at = padded.find(needle, at + len(run) + 1)
        if 0 in self._frames and not view.isascii():
            for pair in {first + second for first, second in pairwise(view) if not first.isascii()}:
                if self._may_hold(hash(pair)):
                    at = view.find(pair)
                    while at >= 0:
                        yield from self._whole(view, runs, at, 0)
                        at = view.find(pair, at + 1)

    def _held(self, runs: Collection[bytes]) -> list[bytes]:
        """Return those runs by which a value may be indexed."""
        field, mask = self._field, self._mask  # `_is_in`, without a call for each word of a text
        firsts = [one for one in runs if field[(at := hash(one) & mask) >> 3] >> (at & 7) & 1]
        return [one for one in firsts if self._may_hold(hash(one))]

    def _may_hold(self, key: int) -> bool:
        return self._is_in(self._field, key)

    def _may_begin(self, code: int) -> bool:
        return self._is_in(self._begins, code)

    def _is_in(self, field: bytearray, key: int) -> bool:
        first, second = key & self._mask, (key & _WORD) >> 32 & self._mask
        return bool(field[first >> 3] >> (first & 7) & 1 and field[second >> 3] >> (second & 7) & 1)

    def _is_value(self, code: int) -> bool:
        place = bisect_left(self._hashes, code)
        return place < self._size and self._hashes[place] == code

    def _whole(self, view: str, runs: bytes, at: int, size: int) -> Iterator[tuple[int, int]]:
        for offset, length in self._frames[size]:
            start, end = at - offset, at - offset + length
            if start < 0 or end > len(view) or _is_cut(runs, start) or _is_cut(runs, end):
                continue
            if self._is_value(hash(view[start:end]) & _WORD):
                yield start, end

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"ValueIndex({self._size} values of type {self.type})"

    def __reduce__(self) -> NoReturn:
        msg = "an index can't be pickled: its hashes hold in this process only"
        raise TypeError(msg)


def beginnings_of(view: str) -> Iterator[int]:
    """Yield the hashes of what a value begins with: up to the end of each of its runs, and its first character."""
    yield hash(view[0])
    runs = view_bytes(view).translate(_RUNS) + b" "
    end = _run_end(runs, 0)
    while end > 0:
        yield hash(view[:end])
        end = _run_end(runs, end)


def _run_end(runs: bytes, at: int) -> int:
    """Return where the first run at or behind a place ends, -1 for none; the last byte is a space."""
    while at < len(runs) and runs[at] == _SPACE:
        at += 1
    return runs.find(b" ", at) if at < len(runs) else -1


def key_of(view: str) -> tuple[int, int, int]:
    """Return hash, offset and length of the run (length 0: of the pair of characters) by which a value is indexed."""
    runs = view_bytes(view).translate(_RUNS)
    best = b""
    for run in runs.split():
        if len(run) >= len(best):  # of equally long ones the last: numbers count up at their end
            best = run
    if len(best) >= _LEAST_RUN:
        return hash(best), (b" " + runs + b" ").rfind(b" " + best + b" "), len(best)
    at = next((index for index, letter in enumerate(view[:-1]) if not letter.isascii()), -1)
    if at >= 0:
        return hash(view[at : at + 2]), at, 0
    if best:
        return hash(best), (b" " + runs + b" ").rfind(b" " + best + b" "), len(best)
    msg = "a registered value has neither letters nor digits"
    raise ValueError(msg)


def _is_cut(runs: bytes, border: int) -> bool:
    """Return whether a border lies inside a run."""
    return 0 < border < len(runs) and runs[border - 1] != _SPACE and runs[border] != _SPACE
