"""The quick view of texts in other scripts: a table for each page of Unicode, instead of a look at each run (`quickview`).

A character's number is its plane, its page in the plane, and its place on the page: a byte each in UTF-32, and most texts need but
the first plane, UTF-16. Places are read by the page's table: whole texts at once, as numbers that are masked and joined, some
nanoseconds a character in any language. Tables are filled when characters are met, so nothing is worked out for those that no
text has.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from functools import cache

from safellm._core.detection.confusables import LOOK_ALIKES
from safellm._core.detection.engine import compile_pattern

SPECIAL = 0x01
_UNKNOWN, _LEFT_OUT, _DOTS, _ALIKE = 0x00, 0x02, 0x03, 0x04  # a character that wasn't met, and what becomes no one byte
_OTHER, _CASED = 0xFE, 0xFF
_BLANKS = frozenset(b"\t\n\v\f\r")
_MOST_PAGES = 24  # of one plane in one text
# Ideographs (CJK, extension A and unified) and Hangul: all that is on these pages of the first plane stays as it is.
WHOLE_PAGES = frozenset({*range(0x34, 0xA0), *range(0xAC, 0xD7)})
_READ_WHOLE = bytes(_OTHER if page in WHOLE_PAGES else 0 for page in range(256))
_TABLELESS = bytes(sorted({0, *WHOLE_PAGES}))
_LAST = bytes(_CASED if code == _ALIKE else code for code in range(256))
_TOUCHING = r"[A-Za-z0-9]\x04|\x04[A-Za-z0-9]"  # a look-alike in what could be a word of Latin letters
_ELLIPSIS = "..."


class Pages:
    """The tables of the pages. Threads may share it: what one of them loses of another's work is worked out again.

    Args:
        western: What characters of Latin-1 are read as, `SPECIAL` where they become several or none.
        view: What a character is read as: the engine's bytes, and the folded character.
    """

    __slots__ = ("_tables", "_view")

    def __init__(self, western: bytes, view: Callable[[str], tuple[bytes, str]]) -> None:
        self._view = view
        # Controls are special, whatever stands for one here.
        first = bytes(SPECIAL if code < 0x20 and code not in _BLANKS else code for code in western)  # noqa: PLR2004
        self._tables = {0: first}

    def read(self, text: str) -> bytes | None:
        """Return the bytes of a text's canonical view, or bytes in which a control stands; None for a text with too many pages."""
        data = self._first_look(text)
        if data is not None and _UNKNOWN in data:
            self._meet(set(text))
            data = self._first_look(text)
        if data is None:
            return None
        if _DOTS in data:
            data = data.replace(bytes([_DOTS]), _ELLIPSIS.encode())
        if _LEFT_OUT in data or _ALIKE in data:
            data = data.translate(None, bytes([_LEFT_OUT]))
            if _ALIKE in data and compile_pattern(_TOUCHING).search(data) is not None:
                return bytes([SPECIAL])
            data = data.translate(_LAST)
        return data

    def _first_look(self, text: str) -> bytes | None:
        size = len(text)
        data = text.encode("utf-16-le", "surrogatepass")
        if len(data) == 2 * size:
            joined = self._plane(0, data[::2], data[1::2])
            return None if joined is None else joined.to_bytes(size, "little")
        data = text.encode("utf-32-le", "surrogatepass")
        low, high, planes = data[::4], data[1::4], data[2::4]
        every = 0
        for plane in _distinct(planes):
            mask = int.from_bytes(planes.translate(_mask(plane)), "little")
            own = int.from_bytes(high, "little") & mask
            joined = self._plane(plane, low, own.to_bytes(size, "little"))
            if joined is None:
                return None
            every |= joined & mask
        return every.to_bytes(size, "little")

    def _plane(self, plane: int, low: bytes, high: bytes) -> int | None:
        """Return what the tables of one plane make of a text, as a number of as many bytes."""
        pages = _distinct(high.translate(None, b"" if plane else _TABLELESS))
        if len(pages) > _MOST_PAGES:
            return None
        every = 0 if plane else int.from_bytes(high.translate(_READ_WHOLE), "little")
        for page in pages if plane else [0, *pages]:
            table = self._tables.get(plane * 256 + page)
            if table is not None:
                read = int.from_bytes(low.translate(table), "little")
                every |= read & int.from_bytes(high.translate(_mask(page)), "little")
        return every

    def _meet(self, characters: set[str]) -> None:
        """Fill the tables for characters that aren't in them."""
        tables: dict[int, bytearray] = {}
        for one in characters:
            page, place = divmod(ord(one), 256)
            if page and page not in WHOLE_PAGES:
                if page not in tables:
                    tables[page] = bytearray(self._tables.get(page, bytes(256)))
                if tables[page][place] == _UNKNOWN:
                    tables[page][place] = self._code(one)
        self._tables.update({page: bytes(table) for page, table in tables.items()})

    def _code(self, character: str) -> int:
        if character in LOOK_ALIKES:
            return _ALIKE
        data, folded = self._view(character)
        if not data:
            return _LEFT_OUT
        if len(data) == 1 and folded not in LOOK_ALIKES:
            return data[0]
        return _DOTS if folded == _ELLIPSIS else SPECIAL


def _distinct(some: bytes) -> list[int]:
    """Return the distinct values of some bytes; up to one more than are read."""
    found: list[int] = []
    while some and len(found) <= _MOST_PAGES:
        found.append(some[0])
        some = some.translate(None, some[:1])
    return found


@cache
def _mask(byte: int) -> bytes:
    """Return the table that makes one byte 255 and all others 0."""
    return bytes(0xFF if other == byte else 0 for other in range(256))
