"""What a column is called: the label over a value in a table, as CSV, Markdown and tab-separated text write them.

The first line of the block is the heading, where it has as many columns; a quoted separator moves the columns, and then the wrong
label is read or none. One look costs some searches for line ends, however long the table is.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

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
    label = label_before(text, start)
    return label if label is not None and label.is_direct else label_above(text, start, end) or label


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
    separator = row.rstrip(_QUOTES)[-1:] or text[end : end + 2].lstrip(_QUOTES)[:1]
    if separator not in _SEPARATORS:
        return None
    block = text.rfind("\n\n", max(0, start - _TABLE), line + 1)
    low = block + 2 if block >= 0 else 0
    column = row.count(separator)
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
