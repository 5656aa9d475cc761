"""What was found in texts that were searched before: a chat sends its history again on every turn.

Kept are digests and findings, never a text. A text that comes for the first time costs a look at a number; from its second
time on it is known by its SHA-256. The number, Python's own hash, decides only whether that digest is worth its time.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from safellm._core.detection.finding import Finding

_MOST: Final = 4096  # texts in each of two generations: some hundred bytes each
_MOST_ONCE: Final = 32768  # hashes of texts that came once
_MOST_FINDINGS: Final = 64  # in one text that is kept


class SeenTexts:
    """A scanner, and a finder of registered values, that remembers what it found. Threads may share it.

    Args:
        search: What finds; the same text must always give the same findings.
    """

    __slots__ = ("_known", "_older", "_once", "_search")

    def __init__(self, search: Callable[[str], tuple[Finding, ...]]) -> None:
        self._search = search
        self._once: dict[int, None] = {}
        self._known: dict[bytes, tuple[Finding, ...]] = {}
        self._older: dict[bytes, tuple[Finding, ...]] = {}

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return what is in a text.

        Raises:
            GuardFailure: The search broke; that isn't remembered.
        """
        number = hash(text)
        if number not in self._once:
            if len(self._once) >= _MOST_ONCE:
                self._once.clear()
            found = self._search(text)
            self._once[number] = None
            return found
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(key)
        if known is not None:
            return known
        known = self._older.get(key)
        found = self._search(text) if known is None else known
        if len(found) <= _MOST_FINDINGS:
            if len(self._known) >= _MOST:
                self._older, self._known = self._known, {}
            self._known[key] = found
        return found

    find = scan
