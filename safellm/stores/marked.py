"""Values that the program marks as sensitive, by the text that stands for them until a guard sees it.

`sensitive(value, "NAME")` gives a mark: a text of a placeholder's form, made with a key of this process. So a prompt that never
meets a guard tells nothing, and nobody can make a mark up (80 bits, THREATS R.3). The guard of a call puts the conversation's own
placeholder in its place, so no provider ever sees a mark.

A mark that is made inside `with safellm.conversation(...)` works in that conversation only: one that leaked, by a log for
instance, is worth nothing in another (R.8). One that is made outside works in all of this process.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from safellm._core.placeholder import make_placeholder

if TYPE_CHECKING:
    from safellm._core.detection.growing import GrowingIndex

# Marks kept in a process; the one that was used longest ago is forgotten, its text is then hidden as it is.
_MOST = 100_000
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_KEY = secrets.token_bytes(32)

_COMMON = 3  # conversations: what so many of them hold is nobody's own

_lock = threading.Lock()
_values: list[GrowingIndex] = []  # one, once a client has asked for it
_unread: deque[tuple[str, str | None]] = deque(maxlen=_MOST)  # marks that are not in it yet
_marks: OrderedDict[str, tuple[str, str, str | None]] = OrderedDict()


def mark(value: str, name: str, conversation: str | None) -> str:
    """Return the text that stands for a value, and remember it.

    Args:
        value: What must not leave. An empty text stays empty.
        name: Its type, such as CUSTOMER_ID.
        conversation: The only conversation in which it may be used; None for any.

    Raises:
        ValueError: the name is not written like a type.
    """
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is not a type; types are written like EMAIL or CUSTOMER_ID"
        raise ValueError(msg)
    if not value:
        return value
    scope = f"mark\x00{conversation!r}"
    made = make_placeholder(_KEY, scope, name, value)
    with _lock:
        _marks[made] = (name, value, conversation)
        _marks.move_to_end(made)
        while len(_marks) > _MOST:
            _marks.popitem(last=False)
        _unread.append((value, conversation))
    return made


def values() -> tuple[GrowingIndex, ...]:
    """Return the values that were marked in this process, to be searched for in answers; empty while there are none."""
    if _unread:
        from safellm._core.detection.growing import GrowingIndex  # noqa: PLC0415 - a mark needs no detector, a client has it

        with _lock:
            if not _values:
                _values.append(GrowingIndex(type="SENSITIVE"))
            while _unread:
                value, conversation = _unread.popleft()
                _values[0].add(value, repr(conversation))
    return tuple(_values)


@cache
def others() -> GrowingIndex:
    """Return the index of what conversations of this process hid, for policies that ask for it."""
    from safellm._core.detection.growing import GrowingIndex  # noqa: PLC0415 - with a client, it is loaded anyway

    return GrowingIndex(type="PERSONAL", common=_COMMON)


@dataclass(frozen=True, slots=True)
class MarksOf:
    """The marks that may be used in one conversation."""

    conversation: str | None

    def marked(self, mark: str) -> tuple[str, str] | None:
        """Return type and value, or None when this is no mark of this conversation."""
        with _lock:
            found = _marks.get(mark)
            if found is None or found[2] not in (None, self.conversation):
                return None
            _marks.move_to_end(mark)
            return found[0], found[1]
