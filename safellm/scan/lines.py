"""Lines and columns of places in a text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bisect import bisect_right


class Lines:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._begins = [0]
        at = text.find("\n")
        while at >= 0:
            self._begins.append(at + 1)
            at = text.find("\n", at + 1)

    def place(self, index: int) -> tuple[int, int]:
        """Return line and column of a character, from 1."""
        line = bisect_right(self._begins, index)
        return line, index - self._begins[line - 1] + 1
