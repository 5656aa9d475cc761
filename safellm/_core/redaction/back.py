r"""Finding in an answer what stands for a hidden value: placeholders as written, placeholders as models mangle them, surrogates.

What names a value are the sixteen digits of its placeholder, 80 bits that nobody can guess. So the rest may be damaged: other
case, an escaped underscore (`X-CREDIT\_CARD-...`), a space or bold marks at a hyphen, another kind of hyphen, a type word that was
translated or lost, a lost `X-`. The digits themselves must be right, but for case and the letters that Crockford's base32 reads as
digits (O, I, L): with a wrong digit it could be another value, and it stays (THREATS R.3).

`find` and `open_end` agree: what `open_end` lets go, `find` would not have joined with anything that follows.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from safellm._core.placeholder import PATTERN, TYPE_NAME, Mapping, has_prefix, open_end
from safellm._core.redaction.memory import DIGITS, Memory

CONTEXT = 2048  # characters before a placeholder that decide its position

_DASH = "-\u2010\u2011\u2012\u2013\u2014\u2212_"
_SEPARATOR = rf"\*{{0,2}} ?\\?[{_DASH}] ?\*{{0,2}}"
_PART_OF_SEPARATOR = rf"\*{{0,2}} ?\\?(?:[{_DASH}] ?\*{{0,2}})?"
_WORD = r"[^\W\d_](?:\\_|\w){0,31}"
_WORDS = 3  # of a type at most: US-SSN, numero-de-carte
_ANY_DIGITS = r"[0-9A-Za-z]{16}"
_DIGITS = r"[0-9A-HJKMNP-TV-Z]{16}"
_X = r"(?:X|(?<![0-9A-Za-z])x)"
# Whole; the X lost; everything but the digits lost. The last two in upper case only: prose has no such words.
_MANGLED = re.compile(
    rf"(?:{_X}{_SEPARATOR}(?:{_WORD}{_SEPARATOR}){{0,{_WORDS}}}?({_ANY_DIGITS})"
    rf"|(?<![0-9A-Za-z])(?:{TYPE_NAME}-){{0,{_WORDS}}}?({_DIGITS}))(?![0-9A-Za-z])"
)
_CROCKFORD = str.maketrans("ILO", "110")
# The same, broken off at the end of the text.
_OPEN = re.compile(
    rf"{_X}(?:{_PART_OF_SEPARATOR}|{_SEPARATOR}(?:{_WORD}{_SEPARATOR}){{0,{_WORDS}}}?"
    rf"(?:[0-9A-Za-z]{{0,16}}|{_WORD}\\?|{_WORD}{_PART_OF_SEPARATOR}|{_ANY_DIGITS}))\Z"
    rf"|(?<![0-9A-Za-z])(?:{TYPE_NAME}-){{0,{_WORDS}}}?(?:{TYPE_NAME}-?|[0-9][0-9A-Z]{{0,15}})?\Z"
)
_LAST = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-")  # of the beginning of a placeholder that lost its X
MAX_LENGTH = 1 + 8 + _WORDS * (32 + 8) + 32 + 8  # of a mangled placeholder: more than any match


@dataclass(frozen=True, slots=True)
class Found:
    """Something that stands for a value, or looks as if it did: then `value` is None."""

    start: int
    end: int
    value: str | None = field(repr=False)


def find(mapping: Mapping, text: str, *, previous: str = "", tolerant: bool = True) -> list[Found]:
    """Return what stands for a hidden value, and what has exactly the form of a placeholder but is unknown; ordered.

    Args:
        mapping: The conversation's values.
        text: A piece of an answer.
        previous: The character before it, or an empty text.
        tolerant: Accept mangled placeholders. Not inside JSON: a backslash belongs to the JSON there.
    """
    found = list(_placeholders(mapping, text, previous, tolerant=tolerant)) if len(text) >= DIGITS else []
    if isinstance(mapping, Memory) and mapping.has_fakes:
        taken = [(one.start, one.end) for one in found]
        found += (
            Found(start, end, value)
            for start, end, value in mapping.find_fakes(text, previous)
            if not any(start < high and low < end for low, high in taken)
        )
        found.sort(key=lambda one: one.start)
    return found


def put_back(
    memory: Memory, text: str, *, allowed: Callable[[str, str], bool], tolerant: bool = True
) -> tuple[str, int, int]:
    """Return a whole text with its values, how many positions kept their placeholder, and how many are unknown.

    Args:
        memory: The conversation's values.
        text: What holds the placeholders. What comes back is not searched again (THREATS R.4).
        allowed: Asked with the text before and after, whether a value may come back there.
        tolerant: As in `find`.
    """
    out: list[str] = []
    position = kept = unknown = 0
    for found in find(memory, text, tolerant=tolerant):
        out.append(text[position : found.start])
        position = found.end
        written = text[found.start : found.end]
        value = found.value
        if value is None and memory.marks is not None:
            marked = memory.marks.marked(written)
            value = None if marked is None else marked[1]
        if value is None:
            unknown += 1
        elif not allowed(text[max(0, found.start - CONTEXT) : found.start], text[found.end : found.end + 2]):
            kept += 1
        else:
            written = value
        out.append(written)
    out.append(text[position:])
    return "".join(out), kept, unknown


def may_hold(mapping: Mapping, text: str) -> bool:
    """Return whether `find` could find anything, quickly."""
    if has_prefix(text):
        return True
    if isinstance(mapping, Memory) and mapping.has_fakes:
        return True
    return len(mapping) > 0 and _HINT.search(text) is not None


_HINT = re.compile(rf"[Xx](?:[ *\\{_DASH}]|\Z)|{_DIGITS}")


def open_from(mapping: Mapping, text: str, *, previous: str = "", tolerant: bool = True) -> int:
    """Return where in `text` something may have begun that more text could complete or spoil; `len(text)` if nowhere."""
    if not isinstance(mapping, Memory):
        return open_end(text)
    first = len(text)
    if not tolerant:
        first = open_end(text)
    elif text[-1:] in _LAST or "X" in text or "x" in text:  # nearly all of prose ends otherwise
        begin = max(0, first - MAX_LENGTH)
        opened = _OPEN.search(text, begin) if begin or not previous else _OPEN.search(previous + text, 1)
        if opened is not None:
            first = opened.start() if begin or not previous else opened.start() - 1
    return min(first, mapping.open_fake(text, previous)) if mapping.has_fakes else first


def _placeholders(mapping: Mapping, text: str, previous: str, *, tolerant: bool) -> Iterator[Found]:
    if not (tolerant and isinstance(mapping, Memory)):
        if has_prefix(text):
            for true in PATTERN.finditer(text):
                yield Found(true.start(), true.end(), mapping.value_of(true[0]))
        return
    known = mapping.by_digits()
    whole, position = previous + text, len(previous)
    while (match := _MANGLED.search(whole, position)) is not None:
        digits = (match[1] or match[2]).upper().translate(_CROCKFORD)
        value = known.get(digits)
        exact = PATTERN.search(match[0])  # what is written right takes nothing else with it
        if value is None and exact is None:
            position = match.start() + 1  # a word of sixteen letters, in which a true placeholder may begin
            continue
        start = match.start() + (exact.start() if exact is not None else 0)
        yield Found(start - len(previous), match.end() - len(previous), value)
        position = match.end()
