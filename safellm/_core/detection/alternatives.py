r"""Patterns taken apart at their alternatives: `(?i:pass|kenn)wort` is `(?i:pass)wort` and `(?i:kenn)wort`.

Hyperscan searches some hundred patterns that begin with letters all at once, but walks through one pattern of some hundred
alternatives with short beginnings state by state, which takes five times as long. Only what is understood is taken apart: the parts
together match what the pattern matches.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

_MANY = 32  # parts from which on it pays
_LEAST = 4  # alternatives of a group that are taken apart; a few letters are quicker left together
_REPEATS = frozenset("*+?{")
_GROUPS = ("(?:", "(?i:")


def take_apart(pattern: str) -> list[str]:
    """Return the parts of a pattern (RE2 syntax), or the pattern alone if they are few."""
    parts = _expand(pattern)
    return parts if len(parts) >= _MANY else [pattern]


def _expand(pattern: str) -> list[str]:
    return [part for one in _alternatives(pattern) for part in _of_group(one)]


def _of_group(one: str) -> list[str]:
    """Return the parts of a pattern without alternatives of its own: by its first group that has some."""
    for start, end in _groups(one):
        head = next((head for head in _GROUPS if one.startswith(head, start)), "")
        before, after = one[:start], one[end + 1 :]
        if not head or after[:1] in _REPEATS:
            continue
        inner = _expand(one[start + len(head) : end])
        if not before and not after:
            return [_grouped(head, part) for part in inner]
        if len(inner) >= _LEAST:
            return [f"{before}{_grouped(head, part)}{after}" for part in inner]
    return [one]


def _grouped(head: str, part: str) -> str:
    return f"{head}{part})"


def _alternatives(pattern: str) -> Iterator[str]:
    begin = 0
    for at in _top(pattern):
        if pattern[at] == "|":
            yield pattern[begin:at]
            begin = at + 1
    yield pattern[begin:]


def _groups(pattern: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the brackets of the outermost groups."""
    start = -1
    for at in _top(pattern):
        if pattern[at] == "(":
            start = at
        elif pattern[at] == ")":
            yield start, at


def _top(pattern: str) -> Iterator[int]:
    """Yield the places of what stands in no group, class or escape, and of the brackets of outermost groups."""
    depth = at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 2
            continue
        if character == "[":
            at = _class_end(pattern, at)
            continue
        depth -= character == ")"
        if depth == 0:
            yield at
        depth += character == "("
        at += 1


def _class_end(pattern: str, start: int) -> int:
    """Return the place behind a class."""
    at = start + 1 + (pattern[start + 1 : start + 2] == "^")
    at += pattern[at : at + 1] == "]"
    while pattern[at : at + 1] not in {"]", ""}:
        if pattern.startswith("[:", at):
            at = pattern.index(":]", at) + 2
        else:
            at += 2 if pattern[at] == "\\" else 1
    return at + 1
