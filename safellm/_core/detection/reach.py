r"""How far a match can reach, so that a rule that could match reads only the lines or words in which its gate matched.

A pattern that can't hold a line end finds the same in a line as in the text around it, and one that can't hold a space either finds
the same in a word; one that can hold two line ends at most stays within two lines of any part of it. All are read off the pattern,
cautiously: what isn't understood may hold anything. A gate may end in a border,
`(?:[^...]|\z)`: the one character behind what it is about, in whatever line or word that stands.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum

from safellm._core.detection.engine import search_of

Window = tuple[int, int]


class Reach(IntEnum):
    """What a match never goes beyond."""

    TEXT = 0
    LINE = 1
    WORD = 2
    LINES = 3  # a line and `_FEW_LINES` on either side of it


_ENDS = frozenset(b" \n")  # what parts words and lines; other white space parts nothing here
_SPACE, _NEWLINE = b" ", b"\n"
_BORDER = re.compile(
    r"\(\?:\[\^(?:[^\]\\]|\\.)+\]\|\\z\)(?=\||\)|\Z)"
)  # patterns of rules are read with it, never a text
_FEW_LINES = 2
_ENDLESS = 1_000  # more than `_FEW_LINES`
_COUNTED = re.compile(r"\{(\d+)(,?)(\d*)\}")
_APART = 256  # bytes between two windows that cost less to read than a window costs to open
_HARMLESS = frozenset("bBAzdwStrfv")  # escapes that match none of the two, or no character at all
_KNOWN_ANY = frozenset("sDWnx")  # escapes of one character that may match them


def reach_of(*patterns: str) -> Reach:
    """Return the narrowest reach that holds for all of some patterns (RE2 syntax)."""
    bare = [_BORDER.sub("", pattern) for pattern in patterns]
    held = frozenset[int]().union(*map(_held, bare))
    if _NEWLINE[0] in held:
        return Reach.LINES if all(_line_ends(pattern)[0] <= _FEW_LINES for pattern in bare) else Reach.TEXT
    return Reach.LINE if held else Reach.WORD


def _held(pattern: str) -> frozenset[int]:
    """Return which of space and line feed a match may hold; both where the pattern isn't understood."""
    held: set[int] = set()
    rest = pattern
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "\\":
            members, rest = _escape(rest)
        elif character == "[":
            members, rest = _class(rest)
        elif character == "(" and rest.startswith("?"):
            flags, _, _ = rest[1:].replace(")", ":").partition(":")
            members, rest = (_ENDS if set(flags) - set("im-") else frozenset()), rest[1 + len(flags) :]
        else:
            members = frozenset(b" ") if character in {" ", "."} else _ENDS & {ord(character)}
        held |= members
    return frozenset(held)


def _line_ends(rest: str) -> tuple[int, str]:
    """Return how many line ends a match may hold at most, and what follows the bracket that closes the pattern."""
    most = here = 0
    while rest and rest[0] != ")":
        if rest[0] == "|":
            most, here, rest = max(most, here), 0, rest[1:]
            continue
        ends, rest = _line_ends_of_part(rest)
        times, rest = _times(rest)
        here += ends * times
    return max(most, here), rest[1:]


def _line_ends_of_part(rest: str) -> tuple[int, str]:
    """Return how many line ends the first part of a pattern may hold, and the pattern behind it."""
    character, rest = rest[0], rest[1:]
    if character == "(":
        if not rest.startswith("?"):
            return _line_ends(rest)
        flags, _, _ = rest[1:].replace(")", ":").partition(":")
        known = not set(flags) - set("im-")
        rest = rest[1 + len(flags) :]
        ends, rest = _line_ends(rest[1:]) if rest.startswith(":") else (0, rest[1:])
        return (ends if known else _ENDLESS), rest
    if character == "\\":
        is_clear = rest[:1] in _HARMLESS | _KNOWN_ANY or not rest[:1].isalnum()
        members, rest = _escape(rest)
    elif character == "[":
        members, after = _class(rest)
        is_clear = "[:" not in rest[: len(rest) - len(after)]
        rest = after
    else:
        is_clear, members = True, frozenset(character.encode())
    return _ENDLESS if not is_clear else int(_NEWLINE[0] in members), rest


def _times(rest: str) -> tuple[int, str]:
    """Return how often what stands before a pattern may come at most, and the pattern behind that."""
    times = 1
    if rest[:1] in {"*", "+"}:
        times, rest = _ENDLESS, rest[1:]
    elif rest[:1] == "?":
        rest = rest[1:]
    elif counted := _COUNTED.match(rest):
        times, rest = int(counted[3] or _ENDLESS) if counted[2] else int(counted[1]), rest[counted.end() :]
    return times, rest.removeprefix("?")


def _escape(rest: str) -> tuple[frozenset[int], str]:
    """Return what an escape matches of the two, and the pattern behind it."""
    letter = rest[:1]
    if letter in _HARMLESS:
        return frozenset(), rest[1:]
    if letter == "n":
        return frozenset(_NEWLINE), rest[1:]
    if letter == "x" and len(code := rest[1:3]) == 2 and not code.strip("0123456789abcdefABCDEF"):  # noqa: PLR2004 - two digits
        return _ENDS & {int(code, 16)}, rest[3:]
    if letter.isalnum() or not letter.isascii():
        return _ENDS, rest[1:]
    return _ENDS & set(letter.encode()), rest[1:]


def _class(rest: str) -> tuple[frozenset[int], str]:
    """Return what a class matches of the two, and the pattern behind it."""
    negated = rest.startswith("^")
    rest = rest[negated:]
    members: set[int] = set()
    first = True
    while rest and (first or rest[0] != "]"):
        first = False
        if rest.startswith("[:"):
            return _ENDS, rest.partition("]]")[2]
        low, named, rest = _member(rest)
        if rest[:1] == "-" and rest[1:2] not in {"", "]"}:
            high, more, rest = _member(rest[1:])
            named = {code for code in _ENDS if low <= code <= high} | (named & more)
        members |= named
    return (_ENDS - members if negated else frozenset(members)), rest[1:]


def _member(rest: str) -> tuple[int, set[int], str]:
    """Return the code of a class member, which of the two it matches, and the pattern behind it."""
    if rest[0] != "\\":
        return ord(rest[0]), set(_ENDS & {ord(rest[0])}), rest[1:]
    members, after = _escape(rest[1:])
    code = int(rest[2:4], 16) if rest[1] == "x" and len(rest) - len(after) == 4 else ord(rest[1])  # noqa: PLR2004 - \x41
    return {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11}.get(rest[1], code), set(members), after


def gate_ends(gate: str, data: bytes, reach: Reach) -> Sequence[int]:
    """Return where matches of a gate end, at least one for each line or word that has one.

    Args:
        gate: The filter, RE2 syntax.
        data: The text, one byte per character.
        reach: That of gate and rule. For `Reach.TEXT` nothing is searched: every place counts.
    """
    if reach is Reach.TEXT:
        return ()
    search = search_of(gate)
    ends: list[int] = []
    position = 0
    while (end := search(data, position, len(data))[0][1]) >= 0:
        ends.append(end)
        position = max(_next(data, end, reach), position + 1)
        if position >= len(data):
            break
    return ends


def _next(data: bytes, end: int, reach: Reach) -> int:
    """Return where the line or word ends that holds the character before an index, or ends in it."""
    line = data.find(_NEWLINE, end - 1)
    line = len(data) if line < 0 else line
    if reach is not Reach.WORD:
        return line
    word = data.find(_SPACE, end - 1, line)
    return line if word < 0 else word


def windows(data: bytes, ends: Iterable[int], reach: Reach, ahead: int = 0) -> list[Window]:
    """Return the lines or words that hold the characters before some indexes, or end in them, as few spans that lie apart.

    Spans that are close to each other become one. The result depends on the lines or words alone, not on how many indexes one has.
    Linear: each stretch of the text is searched once.

    Args:
        data: The text.
        ends: Rising.
        reach: Any but `Reach.TEXT`.
        ahead: Characters behind such a line or word whose lines or words count, too.
    """
    if reach is Reach.LINES:
        return joined([_widened(data, *window) for window in windows(data, ends, Reach.LINE, ahead)], ())
    found: list[Window] = []
    low = high = 0
    done = -1  # where the line or word ends that was looked at last
    line = -1  # and its line
    for end in ends:
        last = end - 1
        if last <= done:
            continue
        begin = max(0, done)
        start = data.rfind(_NEWLINE, begin, last) + 1 or begin
        if line < last:
            line = data.find(_NEWLINE, last)
            line = len(data) if line < 0 else line
        done = line
        if reach is Reach.WORD:
            start = data.rfind(_SPACE, start, last) + 1 or start
            word = data.find(_SPACE, last, line)
            done = line if word < 0 else word
        stop = _next(data, min(done + ahead, len(data)) + 1, reach) if ahead else done
        if found and start - high < _APART:
            high = max(high, stop)
            found[-1] = low, high
        else:
            low, high = start, stop
            found.append((low, high))
    return found


def lines_around(data: bytes, ends: Iterable[int], before: int) -> list[Window]:
    """Return the lines that hold the characters before some indexes, and some of the text before them, as whole lines.

    Args:
        data: The text.
        ends: Rising.
        before: So many characters before such a line, its lines to their begin, count, too.
    """
    found: list[Window] = []
    low = high = 0
    for end in ends:
        if end <= high:
            continue
        line = data.rfind(_NEWLINE, high, end - 1) + 1 or high
        start = data.rfind(_NEWLINE, 0, max(0, line - before)) + 1
        stop = data.find(_NEWLINE, end - 1) + 1 or len(data)
        if found and start - high < _APART:
            found[-1] = low, stop
        else:
            low = start
            found.append((low, stop))
        high = stop
    return found


def _widened(data: bytes, low: int, high: int) -> Window:
    for _ in range(_FEW_LINES):
        low = data.rfind(_NEWLINE, 0, max(0, low - 1)) + 1
        line = data.find(_NEWLINE, high + 1)
        high = len(data) if line < 0 else line
    return low, high


def joined(some: Sequence[Window], others: Sequence[Window]) -> list[Window]:
    """Return the windows that cover what either of two rows of windows covers; rising, apart."""
    found: list[Window] = []
    for low, high in sorted([*some, *others]):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found
