"""Stores that are open in this process, one for the same settings: two of them over one file would not know of each other.

A store that somebody uses is found again whatever else was opened since. The last few are kept also when nobody uses them, so that
programs whose clients live for a moment don't open one for each.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
_ALL: weakref.WeakSet[Live[object]] = weakref.WeakSet()


class Live(Generic[_T]):
    """The open stores of one kind. Safe between threads.

    Args:
        kept: How many are kept that nobody uses, those that were asked for last; None keeps all.
    """

    def __init__(self, *, kept: int | None = 8) -> None:
        self._most = kept
        self.renew()
        _ALL.add(self)  # type: ignore[arg-type]  # of any kind

    def get(self, settings: Hashable, open_one: Callable[[], _T]) -> _T:
        """Return the store of these settings, opened if there is none; an error of opening is the caller's, who may ask again."""
        with self._lock:
            found = self._known(settings)
            if found is not None:
                return found
            # Each has a lock of its own: a store that takes long to open keeps nobody from the others.
            opening = self._opening.setdefault(settings, threading.RLock())
        with opening:
            with self._lock:
                found = self._known(settings)
            if found is None:
                found = open_one()
                with self._lock:
                    self._live[settings] = found
                    self._keep(settings, found)
                    self._opening.pop(settings, None)
            return found

    def clear(self) -> None:
        """Forget all: whoever asks next gets a new one. For tests and demonstrations, which begin anew in one process."""
        with self._lock:
            self._live.clear()
            self._kept.clear()

    def renew(self) -> None:
        """Begin with free locks: those of a parent process may be held by a thread that isn't there after a fork."""
        self._lock = threading.Lock()
        self._opening: dict[Hashable, threading.RLock] = {}
        if not hasattr(self, "_live"):
            self._live: weakref.WeakValueDictionary[Hashable, _T] = weakref.WeakValueDictionary()
            self._kept: OrderedDict[Hashable, _T] = OrderedDict()

    def _known(self, settings: Hashable) -> _T | None:
        found = self._kept.get(settings)
        if found is not None:
            self._kept.move_to_end(settings)
            return found
        found = self._live.get(settings)
        if found is not None:
            self._keep(settings, found)
        return found

    def _keep(self, settings: Hashable, store: _T) -> None:
        self._kept[settings] = store
        self._kept.move_to_end(settings)
        while self._most is not None and len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Settled:
    """Settings of plug-ins, as a part of what tells open stores from each other."""

    __slots__ = ("_text", "values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self._text = json.dumps(values, sort_keys=True, default=str)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settled) and other._text == self._text


def _renew_all() -> None:
    for one in list(_ALL):
        one.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
