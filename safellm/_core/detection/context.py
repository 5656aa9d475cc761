"""What stands around a match: glued letters, words before it, versions and decimals. Windows are bounded."""

# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Self, TypeVar

# What holds of a match: none, the same, narrower or wider spans, in indexes of the canonical text; a third part is the confidence,
# a fourth the type, where they aren't the rule's.
Spans = Sequence[tuple[int, int] | tuple[int, int, float] | tuple[int, int, float, str]]
Key = TypeVar("Key")
_DIGITS_ALIKE = bytes.maketrans(b"0123456789", b"9" * 10)
_REMEMBERED = 20_000  # answers about one text
REACH = 48  # characters before a number in which its name may stand
_ALNUM = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_WORD = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GLUE_LEFT, _GLUE_RIGHT = _ALNUM | set("_#$/"), _ALNUM | {"_"}
_TO_SPACE = str.maketrans(dict.fromkeys((chr(code) for code in range(128) if not chr(code).isalnum()), " "))
_HEX = frozenset("0123456789abcdefABCDEF")
_COLOUR = 20  # characters of the longest usual colour sequence
_JOINS = frozenset("-.+*^")
_VERSION_WORDS = frozenset(
    "version versions ver v release releases build firmware rev revision driver upgrade upgraded upgrading downgrade downgraded "
    "update updated bump bumped bumps section oid clause ecma 262 paragraph "
    "python node nodejs java jdk jre openjdk php ruby openssl perl chrome chromium firefox sdk git".split()
)


class Text(str):
    """A text that remembers what was found out about its places: several checks ask the same about one number.

    Attributes:
        labels: By where a value begins, its label, as `words.label_before` answers.
        windows: By the text before a value, its digits all the same, the same label.
        called: By where a value begins and ends, what it is called, as `tables.label_of` answers.
        row: The line that was looked at last, and where its block begins, for `tables`.
        headings: By where a table begins, its separator and a column, the label of the column.
    """

    __slots__ = ("called", "headings", "labels", "row", "windows")

    labels: dict[int, object]
    windows: dict[str, object]
    called: dict[tuple[int, int], object]
    headings: dict[tuple[int, str, int], object]
    row: tuple[int, int]

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.labels, self.windows, self.called, self.headings = {}, {}, {}, {}
        self.row = -1, -1
        return self


def shape_of_digits(text: str) -> str:
    """Return a text with 9 for each digit of ASCII."""
    return text.encode().translate(_DIGITS_ALIKE).decode() if text.isascii() else text


def remember(answers: dict[Key, object], key: Key, answer: object) -> None:
    """Keep an answer, unless there are very many."""
    if len(answers) < _REMEMBERED:
        answers[key] = answer


def is_glued(text: str, start: int, end: int) -> bool:
    """Return whether the number goes on beyond the span, or is part of a word, path or identifier."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before[-1:] == after[:1] == "_" and before[:-1] not in _ALNUM and after[1:] not in _ALNUM:
        return False  # emphasis in Markdown
    if after and (after[0] in _GLUE_RIGHT or (len(after) == 2 and after[0] in _JOINS and after[1].isdigit())):  # noqa: PLR2004
        return True
    if not before or not (
        before[-1] in _GLUE_LEFT or (len(before) == 2 and before[1] in _JOINS and before[0] in _ALNUM)  # noqa: PLR2004
    ):
        return False
    return not is_after_escape(text, start)


def is_after_escape(text: str, start: int) -> bool:
    """Return whether the letter before is the end of an escape (JSON within JSON) or of a terminal's colour sequence."""
    if text[max(0, start - 2) : start] in {"\\n", "\\r", "\\t"}:
        return True
    if text[max(0, start - 6) : max(0, start - 4)] == "\\u" and set(text[start - 4 : start]) <= _HEX:
        return True
    sequence = text[max(0, start - _COLOUR) : start].rpartition("[")
    return (
        text[max(0, start - 1) : start] == "m" and bool(sequence[1]) and not set(sequence[2][:-1]) - set("0123456789;")
    )


def is_letter_or_digit(character: str) -> bool:
    """Return whether a character belongs to a word of ASCII; other scripts stand beside numbers without a space."""
    return character in _ALNUM


def is_in_row(text: str, start: int) -> bool:
    """Return whether the sign before groups of hex digits joins them to another such group: `12:34:` before an address."""
    group = text[max(0, start - 6) : start - 1]
    last = len(group) - len(group.rstrip(_WORD))
    return not last or set(group[len(group) - last :]) <= _HEX


def is_decimal(text: str, start: int, end: int) -> bool:
    """Return whether a decimal point joins the span to more digits."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return (before[1:] == "." and before[0].isdigit()) or (after[:1] == "." and after[1:].isdigit())


def words_of(text: str) -> list[str]:
    return text.lower().translate(_TO_SPACE).split()


def is_version(text: str, start: int) -> bool:
    before = text[max(0, start - REACH) : start].lower()
    if before.rstrip(" \"'").endswith(("==", ">=", "<=", "<", "~=", "^", "~", "@", " v", "(v", "@v")) or before == "v":
        return True
    words = [word for word in words_of(before) if not word.isdigit()]
    if any(word in _VERSION_WORDS or word.endswith("version") for word in words[-2:]):
        return True
    return words[-1:] in (["from"], ["to"]) and not _VERSION_WORDS.isdisjoint(words[-4:])
