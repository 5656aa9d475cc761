r"""What the characters of a JSON text say: the text without its escapes, and the way back (RFC 8259 7).

`Caf\u00e9`, `a\/b` and `\ud83d\ude00` stand for other characters, and whoever looks for a value must read those. A quotation mark
that isn't escaped ends a string, so it becomes a character that stands in no value.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

EDGE: Final = "\ufffe"  # no character (Unicode 23.7)
_HIGH = r"\\u[dD][89abAB][0-9A-Fa-f]{2}"
_ESCAPE = re.compile(rf"{_HIGH}\\u[dD][c-fC-F][0-9A-Fa-f]{{2}}|\\u[0-9A-Fa-f]{{4}}|\\[^u]", re.DOTALL)
_CUT = re.compile(rf"(?:{_HIGH})?(?:\\(?:u[0-9A-Fa-f]{{0,3}})?)?\Z")
_SINGLE: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONGEST_CUT: Final = 11  # characters: an escape and most of another one


@dataclass(frozen=True, slots=True)
class JsonView:
    """The characters that a JSON text says.

    Attributes:
        text: One character for each character or escape, up to an escape at the end that isn't whole yet.
        cut: Where in the JSON text that one begins; the text's length where there is none.
    """

    text: str
    cut: int
    _starts: Sequence[int] = field(repr=False)  # of each character in the JSON text, and the cut
    _same: bool = field(default=False, repr=False)  # every index is that of the JSON text

    def start(self, index: int) -> int:
        """Return where in the JSON text a character of the view begins; the cut behind the last one."""
        return index if self._same else self._starts[index]

    def whole(self, place: int) -> int:
        """Return the last place of the JSON text, up to the given one, where a character or an escape begins."""
        return place if self._same else self._starts[bisect_right(self._starts, place) - 1]


def view_of(text: str) -> JsonView:
    """Return what a JSON text, or a piece of one that begins at a whole character, says."""
    if "\\" not in text:
        return JsonView(text.replace('"', EDGE), len(text), (), _same=True)
    out: list[str] = []
    starts: list[int] = []
    at = 0
    last = 0  # where the last escape begins that may belong to one that follows
    for escape in _ESCAPE.finditer(text):
        begin, end = escape.span()
        out.append(text[at:begin].replace('"', EDGE))
        starts += range(at, begin)
        out.append(_said(escape[0]))
        starts.append(begin)
        last, at = begin, end
    # A whole escape at the end may be the first half of a pair; of anything else only what is behind it can be cut.
    half = _CUT.match(text, last) if at - last > len("\\n") and last + _LONGEST_CUT >= len(text) else None
    found = half or _CUT.search(text, max(at, len(text) - _LONGEST_CUT))
    cut = found.start() if found is not None else len(text)
    if half is not None:
        out.pop(), starts.pop()
    out.append(text[at:cut].replace('"', EDGE))
    starts += range(at, cut + 1) if cut >= at else [cut]
    return JsonView("".join(out), cut, starts)


def _said(escape: str) -> str:
    if escape[1] != "u":
        return _SINGLE.get(escape[1], escape[1])
    code = int(escape[2:6], 16)
    return (
        chr(code)
        if len(escape) == len("\\u0000")
        else chr(0x10000 + ((code & 0x3FF) << 10) + (int(escape[8:], 16) & 0x3FF))
    )
