"""Places in JSON bodies, as the policy names them: `messages[*].metadata.customer`, `**.ssn`, `"odd.name"[0]`.

A name, or `"..."` around one with dots or brackets; `*` is any one name, `[2]` a place in a list, `[*]` any of them, `**` any
depth, none included. A path also covers everything below it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

Step: TypeAlias = str | int
Steps: TypeAlias = tuple[Step, ...]

_ANY_NAME, _ANY_INDEX, _ANY_DEPTH = "*", "[*]", "**"
_PART = re.compile(r'(?:\A|(?<=[\s\S])\.)(?:(\*\*)|(\*)|"([^"]+)"|([^."\[\]*]+))|\[(?:(\*)|([0-9]{1,6}))\]')
_NAME = "name:"  # so that a key that is called "*" is a name


@lru_cache(maxsize=256)
def parse_path(text: str) -> Steps:
    """Return the steps of a path.

    Raises:
        ValueError: It isn't one.
    """
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None:
            break
        depth, any_name, quoted, name, any_index, index = found.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(_ANY_DEPTH if depth else _ANY_NAME if any_name else _ANY_INDEX if any_index else "")
            steps[-1] = steps[-1] or _NAME + (quoted or name)
        position = found.end()
    if position < len(text) or not steps:
        msg = f"{text!r} is not a path; paths are written like messages[*].metadata.customer"
        raise ValueError(msg)
    return tuple(steps)


def covers(steps: Steps, path: Sequence[str | int]) -> bool:
    """Return whether a path leads to this place or to something around it.

    Args:
        steps: Of `parse_path`.
        path: Keys and list indexes from the root.
    """
    reached = _close({0}, steps)
    for part in path:
        if len(steps) in reached:
            return True
        reached = _close(
            {at + (steps[at] != _ANY_DEPTH) for at in reached if _fits(steps[at], part)},
            steps,
        )
    return len(steps) in reached


def _close(places: set[int], steps: Steps) -> set[int]:
    """Add what is reached by letting `**` stand for nothing."""
    todo = list(places)
    while todo:
        at = todo.pop()
        if at < len(steps) and steps[at] == _ANY_DEPTH and at + 1 not in places:
            places.add(at + 1)
            todo.append(at + 1)
    return places


def _fits(step: Step, part: str | int) -> bool:
    if step == _ANY_DEPTH:
        return True
    if isinstance(part, int):
        return step in (part, _ANY_INDEX)
    return step in (_NAME + part, _ANY_NAME)
