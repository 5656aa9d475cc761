"""Marks around text of others: `⟦untrusted web page lusab-babad-…⟧text⟦end lusab-babad-…⟧`.

A mark is plain text, so it survives f-strings, templates and JSON, and nothing has to be remembered. Its name is made of the text
with a key that the text's author doesn't have: 80 bits, so that text can't end its own mark. A made-up mark only makes more text
untrusted. Names are written so that they can be spoken (five words of consonants and vowels), so no detector takes them for a key.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass

OPEN, _CLOSE = "\u27e6", "\u27e7"  # mathematical white square brackets: rare, and visible
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_WORD = f"[{_CONSONANTS}][{_VOWELS}][{_CONSONANTS}][{_VOWELS}][{_CONSONANTS}]"
_NAME = f"{_WORD}(?:-{_WORD}){{4}}"
_START = re.compile(f"{OPEN}untrusted(?: ([^{OPEN}{_CLOSE}\\n]{{1,64}}?))? ({_NAME}){_CLOSE}")
_ANY = re.compile(f"{OPEN}(?=untrusted[ {_CLOSE}]|end )")
_NOT_SOURCE = re.compile(f"[^\\w .:/-]|[{OPEN}{_CLOSE}]")
_LONGEST_SOURCE = 64


def wrap(text: str, source: str, key: bytes) -> str:
    """Return a text between marks."""
    source = _NOT_SOURCE.sub("_", source)[:_LONGEST_SOURCE].strip()
    name = _spoken(hmac.new(key, f"{source}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:10])
    return f"{OPEN}untrusted {source + ' ' if source else ''}{name}{_CLOSE}{text}{OPEN}end {name}{_CLOSE}"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: between marks (with a source, which may be empty, and the mark's name), or outside of them (None)."""

    text: str
    source: str | None
    name: str = ""


def pieces(text: str) -> list[Piece]:
    """Return the parts of a text; marks that stand inside marked text are made text themselves."""
    if OPEN not in text:
        return [Piece(text, None)]
    found: list[Piece] = []
    at = 0
    for match in _START.finditer(text):
        if match.start() < at:
            continue
        end = text.find(f"{OPEN}end {match[2]}{_CLOSE}", match.end())
        if end < 0:
            continue
        found += [
            Piece(text[at : match.start()], None),
            Piece(unmark(text[match.end() : end]), match[1] or "", match[2]),
        ]
        at = end + len(f"{OPEN}end {match[2]}{_CLOSE}")
    return [one for one in [*found, Piece(text[at:], None)] if one.text or one.source is not None]


def fence(piece: Piece, text: str, why: str) -> str:
    """Return what the model reads of a marked part: a fence that says what it is, the text, and the fence's end."""
    source = f" {piece.source}" if piece.source else ""
    return f"{OPEN}untrusted{source} {piece.name}: {why}{_CLOSE}\n{text}\n{OPEN}end {piece.name}{_CLOSE}"


def marked_sources(text: str) -> Iterator[str]:
    """Yield the source of each marked part of a text."""
    if OPEN in text:
        yield from (one.source for one in pieces(text) if one.source is not None)


def unmark(text: str) -> str:
    """Return a text in which nothing looks like a mark any more."""
    return _ANY.sub("[", text) if OPEN in text else text


def _spoken(data: bytes) -> str:
    words = []
    for number in (int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)):
        parts = (
            _CONSONANTS[number >> 12],
            _VOWELS[number >> 10 & 3],
            _CONSONANTS[number >> 6 & 15],
            _VOWELS[number >> 4 & 3],
        )
        words.append("".join(parts) + _CONSONANTS[number & 15])
    return "-".join(words)
