"""What a column is called: the label over a value in a table, as CSV, Markdown and tab-separated text write them.

The first line of the block is the heading, where it has as many columns; a quoted separator moves the columns, and then the wrong
label is read or none. One look costs some searches for line ends, however long the table is.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import cast

from safellm._core.detection.context import Text, remember
from safellm._core.detection.words import Label, label_before

_ROW = 400  # characters of a row before a value
_TABLE = 3_000  # characters above a row; the heading of a longer table is looked for where the text begins
_HEADING = 600  # characters of a heading
_INTRODUCED = 3  # lines of them: a fence or a sentence may stand over the heading
_NAME = 40  # characters of a column's name
_SEPARATORS = frozenset(",;|\t")
_CODE = frozenset("=<>{}[]\\$@%+~^")  # signs that no column's name has
_QUOTES = " \"'`*\r"


def label_of(text: str, start: int, end: int) -> Label | None:
    """Return what a value is called: the label right before it, else that of its column, else one further before it, or None."""
    if isinstance(text, Text) and (start, end) in text.called:
        return cast("Label | None", text.called[start, end])
    label = label_before(text, start)
    if label is None or not label.is_direct:
        label = label_above(text, start, end) or label
    if isinstance(text, Text):
        remember(text.called, (start, end), label)
    return label


def label_above(text: str, start: int, end: int) -> Label | None:
    """Return the label in the heading of the column in which a value stands, or None.

    Args:
        text: The canonical text.
        start: Where the value begins.
        end: Where it ends.
    """
    line = text.rfind("\n", max(0, start - _ROW), start)
    if line < 0:
        return None
    row = text[line + 1 : start]
    separator = row[-1:]
    if separator not in _SEPARATORS:
        separator = row.rstrip(_QUOTES)[-1:] or text[end : end + 2].lstrip(_QUOTES)[:1]
    if separator not in _SEPARATORS:
        return None
    low, column = _begin_of_block(text, start, line), row.count(separator)
    if not isinstance(text, Text) or line - low <= _INTRODUCED * (_HEADING + 1):
        return _label_of_column(text, low, line, separator, column)
    key = low, separator, column  # so far below, the line makes no difference
    if key in text.headings:
        return cast("Label | None", text.headings[key])
    label = _label_of_column(text, low, line, separator, column)
    remember(text.headings, key, label)
    return label


def _label_of_column(text: str, low: int, line: int, separator: str, column: int) -> Label | None:
    """Return the label in the heading of a column, or None.

    Args:
        text: The canonical text.
        low: Where the block begins.
        line: Where the line of the value begins; the heading ends before.
        separator: What parts the columns.
        column: How many columns stand before.
    """
    for _ in range(_INTRODUCED):
        high = text.find("\n", low, low + _HEADING)
        if high < 0 or high > line:
            return None
        names = text[low:high].split(separator, column + 1)
        if len(names) > max(column, 1):
            name = names[column].strip(_QUOTES)
            if not 1 < len(name) <= _NAME or any(sign.isdigit() or sign in _CODE for sign in name):
                return None
            return label_before(f"{name} ", len(name) + 1)
        low = high + 1
    return None


def _begin_of_block(text: str, start: int, line: int) -> int:
    """Return where the block of a line begins, as far as it is near; else where the text does."""
    known, block = text.row if isinstance(text, Text) else (-1, -1)
    if known == line:
        return block + 2 if block >= max(0, start - _TABLE) else 0
    if 0 <= known < line < known + _TABLE:  # only what stands between is new
        block = max(block, text.rfind("\n\n", known, line + 1))
    else:
        block = text.rfind("\n\n", max(0, line - _TABLE), line + 1)
    if isinstance(text, Text):
        text.row = line, block
    return block + 2 if block >= max(0, start - _TABLE) else 0
