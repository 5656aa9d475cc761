"""Encoded runs: text that is written in percent, entity, escape, hex or base64 form, or with a space after every character.

A rule with `decode` finds where such a run may be; the decoder widens it to the whole run and returns its plain text, which is
scanned in its place. A finding inside covers the whole encoded run, because a part of it can't be replaced.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import html
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

Run = tuple[int, int, str]  # start, end, plain text

BUDGET = 200_000  # characters of plain text per scan, over all runs and levels
_LONGEST = 4_000  # characters by which a run is widened on either side
_BEFORE, _AFTER = 64, 32  # characters around a run that say what it is
_LEAST_PLAIN = 6  # characters; less holds nothing
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_HEX = frozenset("0123456789abcdefABCDEF")
_URL_PART = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%._~+-")
_ENTITY_PART = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&#;._%+-@")
_ESCAPE_PART = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789\\{}._%+-@")
_READABLE = 0.9  # share of printable characters in decoded text that is worth a look


def surroundings(text: str, run: Run) -> tuple[str, str]:
    """Return the text before and after a run that is scanned with its plain text, so that labels count."""
    return text[max(0, run[0] - _BEFORE) : run[0]], text[run[1] : run[1] + _AFTER]


def _widen(text: str, start: int, end: int, allowed: frozenset[str]) -> tuple[int, int]:
    lowest, highest = max(0, start - _LONGEST), min(len(text), end + _LONGEST)
    while start > lowest and text[start - 1] in allowed:
        start -= 1
    while end < highest and text[end] in allowed:
        end += 1
    return start, end


def _run(start: int, end: int, plain: str) -> Run | None:
    if len(plain) < _LEAST_PLAIN or plain.count("\ufffd") > (1 - _READABLE) * len(plain):
        return None
    shown = sum(map(str.isprintable, plain)) + sum(map(plain.count, "\n\r\t")) - plain.count("\ufffd")
    if shown < _READABLE * len(plain):
        return None
    return start, end, plain


def percent(text: str, start: int, end: int) -> Run | None:
    """Decode a run of percent escapes (RFC 3986) with the characters of a word around them."""
    start, end = _widen(text, start, end, _URL_PART)
    return _run(start, end, unquote(text[start:end], errors="replace"))


def entities(text: str, start: int, end: int) -> Run | None:
    """Decode HTML character references with the characters of a word around them."""
    start, end = _widen(text, start, end, _ENTITY_PART)
    return _run(start, end, html.unescape(text[start:end]))


def escapes(text: str, start: int, end: int) -> Run | None:
    r"""Decode backslash escapes: \x41, \u0041, \u{41}, \U00000041."""
    start, end = _widen(text, start, end, _ESCAPE_PART)
    plain: list[str] = []
    rest = text[start:end]
    while rest:
        before, slash, rest = rest.partition("\\")
        plain.append(before)
        if not slash:
            break
        kind, size = rest[:1], {"x": 2, "u": 4, "U": 8}.get(rest[:1], 0)
        braced = rest[1:].partition("}") if kind == "u" and rest[1:2] == "{" else None
        digits = braced[0][1:] if braced else rest[1 : 1 + size]
        if (
            size
            and digits
            and set(digits) <= _HEX
            and int(digits, 16) <= sys.maxunicode
            and (braced or len(digits) == size)
        ):
            plain.append(chr(int(digits, 16)))
            rest = braced[2] if braced else rest[1 + size :]
        else:
            plain.append(slash)
    return _run(start, end, "".join(plain))


def hexadecimal(text: str, start: int, end: int) -> Run | None:
    """Decode pairs of hex digits, also with a space, a colon or 0x between them."""
    raw = text[start:end].replace("0x", "")
    digits = "".join(character for character in raw if character in _HEX)
    return _run(start, end, bytes.fromhex(digits[: len(digits) & ~1]).decode("utf-8", errors="replace"))


def base64_text(text: str, start: int, end: int) -> Run | None:
    """Decode base64 or base64url (RFC 4648) from the first character of its run, padding or not.

    A run may begin with letters that only stand before it, so all four alignments are tried.
    """
    start, end = _widen(text, start, end, _BASE64)
    raw = text[start:end].replace("-", "+").replace("_", "/")
    while end < len(text) and text[end] == "=" and end - start < _LONGEST:
        end += 1
    for shift in range(4):
        body = raw[shift:]
        body = body[:-1] if len(body) % 4 == 1 else body
        try:
            data = base64.b64decode(body + "=" * (-len(body) % 4))
        except (binascii.Error, ValueError):
            continue
        if (run := _run(start, end, data.decode("utf-8", errors="replace"))) is not None:
            return run
    return None


def spaced(text: str, start: int, end: int) -> Run | None:
    """Join characters that stand one by one: "4 1 1 1"."""
    mark = text[start + 1]
    return start, end, text[start:end].replace(mark, "")


def spelled_digits(text: str, start: int, end: int) -> Run | None:
    """Join digits that are written as English words."""
    words = text[start:end].lower().replace("-", " ").split()
    return start, end, "".join(_DIGIT_WORDS.get(word, word) for word in words)


_DIGIT_WORDS = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "dash": "-",
}  # fmt: skip

DECODERS: Mapping[str, Callable[[str, int, int], Run | None]] = MappingProxyType({
    "percent": percent, "entities": entities, "escapes": escapes, "hex": hexadecimal, "base64": base64_text, "spaced": spaced,
    "spelled_digits": spelled_digits,
})  # fmt: skip
