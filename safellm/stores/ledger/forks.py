"""Forks, for stores whose connections must not live through one.

Before a fork each watched store closes its connection; afterwards parent and child open their own when they need it.
Without `os.fork` (Windows) nothing is watched. A fork that C code makes without telling Python isn't seen: a store still has to
compare process ids.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Forkable(Protocol):
    """A store that can be closed for the moment of a fork."""

    def before_fork(self) -> Callable[[], None]:
        """Close, and return what must run after the fork in parent and child."""
        ...


def _run(steps: list[Callable[[], None]]) -> None:
    for step in steps:
        with suppress(Exception):  # the same: each store for itself
            step()


class _Watch:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: list[weakref.ref[Forkable]] = []
        self._after: list[Callable[[], None]] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def add(self, store: Forkable) -> None:
        with self._lock:
            self._stores = [known for known in self._stores if known() is not None]
            self._stores.append(weakref.ref(store))

    def _before(self) -> None:
        self._lock.acquire()
        for known in self._stores:
            store = known()
            if store is not None:
                # One store that can't be closed must not keep the others open; it refuses by itself when it sees the other
                # process id.
                with suppress(Exception):
                    self._after.append(store.before_fork())

    def _in_parent(self) -> None:
        after, self._after = self._after, []
        self._lock.release()
        _run(after)

    def _in_child(self) -> None:
        after, self._after = self._after, []
        self._lock = threading.Lock()
        _run(after)


_WATCH = _Watch()


def watch(store: Forkable) -> None:
    """Close `store` before every fork of this process, for as long as it exists."""
    _WATCH.add(store)
