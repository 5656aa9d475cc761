"""An index of values that grows while it is searched: what this process hid, for answers of other conversations.

It works as `valueindex` does and keeps no value, only hashes keyed by the process. The oldest values are forgotten.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.valueindex import _WORD, MIN_LENGTH, ValueIndex, beginnings_of, key_of

_MOST: Final = 50_000  # values; a few hundred bytes each
_MOST_SCOPES: Final = 8  # conversations that are told apart for one value


class GrowingIndex(ValueIndex):
    """Values of many conversations, with the conversations that each belongs to. Not safe between threads by itself.

    Args:
        type: What its findings are called.
        common: In so many conversations a value is nobody's own any more; 0: however many there are.
    """

    __slots__ = ("_common", "_keys", "_scopes", "_starts")

    def __init__(self, *, type: str, common: int = 0) -> None:  # noqa: A002 - as in ValueIndex
        super().__init__((), type=type)
        self._common = common
        self._scopes: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._keys: set[int] = set()
        self._starts: set[int] = set()

    def add(self, value: str, scope: str) -> None:
        """Remember a value of a conversation; one that is too short to be told from other text is left out."""
        view = canonicalise(value).text
        if len(view) < MIN_LENGTH or not any(one.isalnum() for one in view):
            return
        code, where = hash(view) & _WORD, hash(scope)
        known = self._scopes.get(code, ())
        if where not in known and len(known) < _MOST_SCOPES:
            self._scopes[code] = (*known, where)
        if known:
            self._scopes.move_to_end(code)
            return
        try:
            key, offset, size = key_of(view)
        except ValueError:
            del self._scopes[code]
            return
        self._keys.add(key)
        self._starts.update(beginnings_of(view))
        frames = self._frames.get(size, ())
        if (offset, len(view)) not in frames:
            self._frames[size] = (*frames, (offset, len(view)))
        self.longest = max(self.longest, len(view))
        if len(self._scopes) > _MOST:
            self._scopes.popitem(last=False)
        self._size = len(self._scopes)

    def _held(self, runs: Collection[bytes]) -> list[bytes]:
        keys = self._keys
        return [one for one in runs if hash(one) in keys]

    def _may_hold(self, key: int) -> bool:
        return key in self._keys

    def _may_begin(self, code: int) -> bool:
        return code in self._starts

    def _is_value(self, code: int) -> bool:
        held = len(self._scopes.get(code, ()))
        return held > 0 and not 0 < self._common <= held
