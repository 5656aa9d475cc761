"""Content on its way to be kept, if the policy asks for it: the first bytes of a request or an answer, up to a limit."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.effects import Content
from safellm._core.policy import Audit


class Keeper:
    """Gathers the content of one call.

    Args:
        audit: Says what is kept.

    Attributes:
        full: What the program sees is kept, not what the provider sees.
    """

    __slots__ = ("_most", "_parts", "_room", "_total", "full")

    def __init__(self, audit: Audit) -> None:
        self.full = audit.content == "full"
        self._most = audit.content_bytes
        self._parts: list[bytes] = []
        self._room = self._most
        self._total = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        self._total += len(data)
        if self._room > 0 and data:
            self._parts.append(data[: self._room])
            self._room -= len(data)

    def request(self, data: bytes) -> Content:
        """Return a request as it is kept."""
        return Content(data=data[: self._most], length=len(data))

    def answer(self) -> Content:
        """Return the answer as it is kept."""
        return Content(data=b"".join(self._parts), length=self._total)
