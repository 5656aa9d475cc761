"""Text files inside requests: read in their own encoding, searched in all their texts, written back with all else byte for byte.

* UTF-8 and UTF-16, with or without a byte order mark (RFC 2781). Bytes that are neither but mostly ASCII (Latin-1, a character
  that was cut in two) are text as well: what isn't ASCII in them is kept byte for byte.
* JSON, JSON lines and notebooks: each string literal and each number is a text of its own, so that escapes hide nothing, and
  only literals that change are written anew: spaces, order, number forms and escapes of the others stay.
* Everything else (CSV, Markdown, source code) is one text.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from safellm._core import jsontext
from safellm._core.effects import JSON
from safellm._core.fields import Field, Kind, Trust

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_SAMPLE = 4096  # bytes that are looked at to tell UTF-16 without a mark
_MOSTLY = 0.4  # share of zero bytes in one half of the byte pairs: Latin, Greek and Cyrillic texts have more
_TOKEN = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?[0-9][0-9.eE+\-]*|[\[\]{},:\n]')
_LEAST = 9  # digits of a number that is searched
_CONTROLS = bytes([*range(9), 11, *range(14, 27), *range(28, 32), 127])  # none of these stands in a text
_FEW = 256  # a text has at most one of them in so many bytes; of random bytes one in nine is one
# Share of bytes that aren't UTF-8: texts of Latin alphabets have half of it, sound and pictures two thirds.
_FOREIGN = 0.3
_BASE64 = re.compile(r'"[A-Za-z0-9+/=\s\\]{64,}"')


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and how it stood in bytes."""

    text: str
    encoding: str
    mark: bytes
    errors: str = "strict"

    def encode(self, text: str) -> bytes:
        """Return another text in the same encoding."""
        return self.mark + text.encode(self.encoding, self.errors)


def decode(data: bytes) -> Decoded | None:
    """Return the text of a file, or None when its bytes are none that this module reads; `encode` gives the same bytes back."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, mark)
    encoding = _encoding(data)
    found = _decoded(data, encoding, b"") if encoding else None
    return _mostly_ascii(data) if found is None else found


def looks_like_text(data: bytes) -> bool:
    """Return whether bytes are the beginning of a text, whatever they are called. They may end inside a character."""
    return decode(data) is not None or any(decode(data[:-cut]) is not None for cut in (1, 2, 3))


@dataclass(slots=True)
class FileBody:
    """One text file as a body: see `safellm._core.bodies.Body`."""

    decoded: Decoded
    pieces: _Pieces
    slots: list[_Slot]
    value: JSON = None
    binary_bytes: int = 0

    def documents(self) -> Iterator[bytes]:
        """Yield nothing."""
        return iter(())

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        for slot in self.slots:
            yield Field(
                container=self.pieces,
                key=slot.index,
                text=slot.text,
                kind=slot.kind,
                trust=Trust.UNTRUSTED,
                path=slot.path,
                is_key=False,
            )

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        return self.decoded.encode("".join(self.pieces))


def read_file(data: bytes, *, max_depth: int) -> FileBody | None:
    """Return a text file's texts, or None when it is no text."""
    decoded = decode(data)
    if decoded is None:
        return None
    text = decoded.text
    if text.lstrip()[:1] in ("{", "[") and _is_json(text, max_depth):
        pieces, slots = _literals(text)
        binary = sum(len(slot.text) * 3 // 4 for slot in slots if slot.kind is Kind.DATA)
        return FileBody(decoded, pieces, slots, binary_bytes=binary)
    return FileBody(decoded, _Pieces([text]), [_Slot(0, text, (), Kind.TEXT)])


@dataclass(frozen=True, slots=True)
class _Slot:
    index: int
    text: str
    path: tuple[str | int, ...]
    kind: Kind


@dataclass(slots=True)
class _Level:
    """Where the reader is: in an object or a list, after which key or element."""

    is_list: bool
    key: str | int
    wants_key: bool


class _Pieces(list[str]):
    """The file in pieces; writing to one that is a JSON literal writes a JSON string."""

    literals: frozenset[int] = frozenset()

    def __setitem__(self, index: object, text: object) -> None:
        if not isinstance(index, int) or not isinstance(text, str):
            raise TypeError
        if index in self.literals:
            text = json.dumps(text, ensure_ascii=self[index].isascii() or _is_broken(text))
        list.__setitem__(self, index, text)


def _is_broken(text: str) -> bool:
    """Return whether there is half of a surrogate pair in a text, which only an escape can write."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _literals(text: str) -> tuple[_Pieces, list[_Slot]]:
    pieces, slots, literals = _Pieces(), list[_Slot](), set[int]()
    levels: list[_Level] = []
    position = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        first = token[0]
        if first in "{[":
            levels.append(_Level(first == "[", 0 if first == "[" else "", first == "{"))
        elif first in "}]":
            levels.pop()
        elif first == ",":
            _advance(levels)
        elif first == '"' or len(token) >= _LEAST:
            level = levels[-1] if levels else None
            is_key = level is not None and level.wants_key and first == '"'
            value = json.loads(token) if first == '"' else token
            if level is not None and is_key:
                level.key, level.wants_key = value, False
            path = () if is_key else tuple(one.key for one in levels)  # a name has no place that a policy could mean
            kind = Kind.DATA if _is_image(path, token) else Kind.TEXT
            pieces += (text[position : match.start()], token)
            literals.add(len(pieces) - 1)
            slots.append(_Slot(len(pieces) - 1, value, path, kind))
            position = match.end()
    pieces.append(text[position:])
    pieces.literals = frozenset(literals)
    return pieces, slots


def _advance(levels: list[_Level]) -> None:
    if levels and isinstance(levels[-1].key, int):
        levels[-1].key += 1
    elif levels:
        levels[-1].wants_key = True


def _is_image(path: tuple[str | int, ...], token: str) -> bool:
    return any(isinstance(part, str) and part.startswith("image/") for part in path[-2:]) and bool(
        _BASE64.fullmatch(token)
    )


def _is_json(text: str, max_depth: int) -> bool:
    """Return whether a text is JSON, or JSON lines."""
    try:
        jsontext.loads(text.encode("utf-8", "surrogatepass"), max_depth=max_depth)
    except jsontext.Malformed:
        pass
    else:
        return True
    try:
        for line in text.split("\n"):
            if line.strip():
                jsontext.loads(line.encode("utf-8", "surrogatepass"), max_depth=max_depth)
    except jsontext.Malformed:
        return False
    return True


def _decoded(data: bytes, encoding: str, mark: bytes) -> Decoded | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return Decoded(text, encoding, mark) if text.encode(encoding) == data else None


def _mostly_ascii(data: bytes) -> Decoded | None:
    """Return a text of which no encoding is known: every byte that isn't UTF-8 stands for itself (PEP 383)."""
    if _has_controls(data[:_SAMPLE]) or _has_controls(data):
        return None
    text = data.decode("utf-8", "surrogateescape")
    foreign = len(data) - len(text.encode("utf-8", "ignore"))
    if foreign > len(data) * _FOREIGN:
        return None
    return Decoded(text, "utf-8", b"", "surrogateescape")


def _has_controls(data: bytes) -> bool:
    return (len(data) - len(data.translate(None, _CONTROLS))) * _FEW > len(data)


def _encoding(data: bytes) -> str:
    sample = data[:_SAMPLE]
    if b"\0" not in sample:
        return "utf-8"
    pairs = len(sample) // 2
    if len(data) % 2 or not pairs:
        return ""
    even, odd = sample[: 2 * pairs : 2].count(0) / pairs, sample[1 : 2 * pairs : 2].count(0) / pairs
    encoding = "utf-16-le" if odd > _MOSTLY and even == 0 else "utf-16-be" if even > _MOSTLY and odd == 0 else ""
    # Quiet sound has such bytes as well, but no text has controls.
    shown = sample[: 2 * pairs].decode(encoding, "replace") if encoding else "\0"
    return encoding if all(letter >= " " or letter in "\t\n\f\r" for letter in shown) else ""
