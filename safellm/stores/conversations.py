"""Hidden values by conversation: stable within one, unlinkable across, kept over restarts when asked (THREATS R.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from safellm._core.placeholder import Mapping
from safellm._core.redaction.memory import Memory
from safellm.stores.marked import MarksOf

if TYPE_CHECKING:
    from safellm.stores.mappings import MappingStore

_MOST = 4096  # conversations kept; the oldest unused one is forgotten, its placeholders are then left as they are

_UNNAMED = MarksOf(None)

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


def current_conversation() -> str | None:
    """Return the name that `conversation` gave, in this task or thread."""
    return _named.get()


class Conversations:
    """Finds the memory that a request belongs to. Safe to share between threads.

    Args:
        store: Keeps named conversations over restarts; None for none.
    """

    def __init__(self, store: MappingStore | None = None) -> None:
        self._lock = threading.Lock()
        self._memories: OrderedDict[str, Memory] = OrderedDict()
        self._store = store
        self._kept: dict[str, int] = {}  # sizes of what the store has
        self._here = threading.local()  # what this thread opened last: a request is decided in one thread

    def open(self, known_as: str | None, began_with: str | None) -> Memory:
        """Return the memory of a conversation, new or known.

        Args:
            known_as: The provider's name for it (a previous answer's id, a thread), or None.
            began_with: The user text that it began with, or None.

        Raises:
            GuardFailure: What the store has can't be read, or was changed.
        """
        name = _named.get()
        self._here.key = None
        if name is not None or known_as is not None:
            key = f"named:{name}" if name is not None else f"id:{known_as}"
            self._here.key = key
            return self._get(key, name)
        # The request brings its whole history along, so nothing is kept for it: values of one user can't come back to another
        # who began with the same words. Placeholders are the same for both; the provider sees the same text twice anyway.
        return Memory(partial(_scope_of, began_with or ""), marks=_UNNAMED)

    def remember(self, known_as: str, mapping: Mapping) -> None:
        """Note that the provider will call this conversation by another name from now on.

        Raises:
            GuardFailure: The store can't keep it.
        """
        if not isinstance(mapping, Memory):
            return
        key = f"id:{known_as}"
        with self._lock:
            self._memories[key] = mapping
            self._trim()
        self._save(key, mapping)

    def keep(self) -> None:
        """Have the store keep what this thread opened last, if it has grown since.

        Raises:
            GuardFailure: The store can't.
        """
        key = getattr(self._here, "key", None)
        memory = self._memories.get(key) if key is not None else None
        if key is not None and memory is not None:
            self._save(key, memory)

    def _save(self, key: str, memory: Memory) -> None:
        if self._store is not None and memory.size > self._kept.get(key, 0):
            self._store.save(key, memory)
            self._kept[key] = memory.size

    def _get(self, key: str, name: str | None) -> Memory:
        with self._lock:
            memory = self._memories.get(key)
            if memory is not None:
                self._memories.move_to_end(key)
                return memory
        memory = Memory(key, marks=MarksOf(name))
        if self._store is not None:
            self._store.load(key, memory)
        with self._lock:
            memory = self._memories.setdefault(key, memory)
            self._kept.setdefault(key, memory.size)
            self._trim()
        return memory

    def _trim(self) -> None:
        while len(self._memories) > _MOST:
            key, _ = self._memories.popitem(last=False)
            self._kept.pop(key, None)


def _scope_of(began_with: str) -> str:
    return f"text:{hashlib.sha256(began_with.encode('utf-8', 'surrogatepass')).hexdigest()}"
