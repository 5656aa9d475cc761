"""Hidden values by conversation, in memory: stable within one, unlinkable across (THREATS R.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from safellm._core.placeholder import Mapping

_MOST = 4096  # conversations kept; the oldest unused one is forgotten, its placeholders are then left as they are

_named: ContextVar[str | None] = ContextVar("safellm_conversation", default=None)


@contextmanager
def conversation(name: str) -> Iterator[None]:
    """Name the conversation of the calls made inside, in this task or thread.

    Without it, calls belong together when they begin with the same user text, or when the request names the previous answer.

    Args:
        name: Any text that is the same for the same conversation, such as a session id.
    """
    token = _named.set(name)
    try:
        yield
    finally:
        _named.reset(token)


class Conversations:
    """Finds the mapping that a request belongs to. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mappings: OrderedDict[str, Mapping] = OrderedDict()

    def open(self, known_as: str | None, began_with: str | None) -> Mapping:
        """Return the mapping of a conversation, new or known.

        Args:
            known_as: The provider's name for it (a previous answer's id, a thread), or None.
            began_with: The user text that it began with, or None.
        """
        name = _named.get()
        if name is not None:
            return self._get(f"named:{name}")
        if known_as is not None:
            return self._get(f"id:{known_as}")
        # The request brings its whole history along, so nothing is kept for it: values of one user can't come back to another
        # who began with the same words. Placeholders are the same for both; the provider sees the same text twice anyway.
        digest = hashlib.sha256((began_with or "").encode("utf-8", "surrogatepass")).hexdigest()
        return Mapping(f"text:{digest}")

    def remember(self, known_as: str, mapping: Mapping) -> None:
        """Note that the provider will call this conversation by another name from now on."""
        with self._lock:
            self._mappings[f"id:{known_as}"] = mapping
            self._trim()

    def _get(self, key: str) -> Mapping:
        with self._lock:
            mapping = self._mappings.get(key)
            if mapping is None:
                mapping = self._mappings[key] = Mapping(key)
                self._trim()
            else:
                self._mappings.move_to_end(key)
        return mapping

    def _trim(self) -> None:
        while len(self._mappings) > _MOST:
            self._mappings.popitem(last=False)
