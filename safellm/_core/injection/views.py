"""The texts that a text may be read as: its canonical form, and what it says in another encoding.

A model reads base64, letters with spaces between them or text written backwards nearly as well as plain text, so an order in such
a form is an order. A form is tried only where a linear-time pattern finds its marks; decoded text is read like any other, to a
depth of two. Nothing of this is ever sent or shown.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain
from urllib.parse import unquote

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.confusables import LOOK_ALIKES
from safellm._core.detection.engine import search_of

_DEPTH = 2
_MOST = 64_000  # characters of decoded text in all
_LEAST = 8  # characters of decoded text that say anything
_LONGEST_CHARACTER = 4  # bytes of UTF-8
_READABLE = 0.85  # share of letters, digits, blanks and common marks in decoded text that is worth reading
_LEET_SHARE = 12  # one word in so many with digits for letters makes a text one that is written so
_ENOUGH = 2  # words of a language, written backwards or in rot13, that make a text one that is written so
_AROUND = 300  # characters around letters that stand apart
_MARKS = frozenset(" .,;:!?'\"-\n()<>/#*_[]{}=")

# Repetitions of one class, or of groups that begin with a different character than they go on with: `re` is linear on them.
_BASE64 = r"[A-Za-z0-9+/_\-]{20,}"
_HEX = re.compile(r"[0-9A-Fa-fx\\ :,\n]{20,}")
_BITS = re.compile(r"(?:[01]{8}[ ,]?){6,}")
_ESCAPE = re.compile(r"\\u\{?([0-9A-Fa-f]{4,6})\}?|\\x([0-9A-Fa-f]{2})|\\([0-7]{3})")
_SPACED = re.compile(r"(?<!\w)\w(?:[ .\-_*|/,~][^\W_](?!\w)|  +[^\W_](?!\w)){5,}")
_MIXED = re.compile(r"[^\W\d_][013457@$|!€+]+[^\W\d_]|(?<!\w)[013457@$|!€][^\W\d_]{2,}|[^\W\d_]{2,}[013457@$€|](?!\w)")
_LEET_WORD = re.compile(r"[\w@$|!€+]+")
_LEET = str.maketrans("013456789@$|!€+", "oieasgtbgasliet")
_TAGS = re.compile(r"[\U000e0020-\U000e007e]{4,}")
_SELECTORS = re.compile(r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_QUOTES = (
    ("\u2018", "'"),
    ("\u2019", "'"),
    ("\u201c", '"'),
    ("\u201d", '"'),
    ("\u201e", '"'),
    ("\u00ab", '"'),
    ("\u00bb", '"'),
)
_TAG_BASE, _SELECTOR_BASE, _MORE_SELECTORS = 0xE0000, 0xFE00, 0xE0100
_ALIKE = str.maketrans(dict(LOOK_ALIKES))
_BACKWARDS = frozenset(
    ["eht", "dna", "uoy", "ruoy", "lla", "ton", "siht", "era", "htiw", "morf", "erongi", "snoitcurtsni", "suoiverp", "tpmorp",
     "metsys", "laever", "draegersid", "tegrof", "selur", "drowssap"]
)  # fmt: skip
_ROT13 = frozenset(codecs.encode(word[::-1], "rot13") for word in _BACKWARDS)


def normal(text: str) -> str:
    """Return the canonical form in lower case: compatibility forms folded, nothing hidden, look-alikes in Latin words ASCII."""
    plain = canonicalise(text).text
    if not plain.isascii():
        for mark, written in _QUOTES:  # a few replacements are faster than one table
            plain = plain.replace(mark, written)
    return plain.lower()


def decoded(text: str, words: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Yield (form, text) for everything that a text says in another encoding.

    Args:
        text: As it came.
        words: Its words in lower case.
    """
    left = _MOST
    row = [(text, words, 1)]
    while row:
        now, known, depth = row.pop()
        for form, plain in _forms(now, known):
            if len(plain) < _LEAST or plain == now:
                continue
            yield form, plain[:left]
            left -= len(plain)
            if left <= 0:
                return
            if depth < _DEPTH and form in _INNER:
                row.append((plain, set(plain.lower().split()), depth + 1))


def _forms(text: str, words: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    data = text.encode("utf-8", "surrogatepass")
    tables = [] if text.isascii() else [_HIDDEN]
    tables.append(_LONG)  # apart from the others: nearly every page holds so long a name or address
    if _holds(_ANY, data):
        tables.append(_WRITTEN)
    for form, gate, decode in chain.from_iterable(tables):
        if _holds(gate, data):
            yield form, decode(text)
    least = max(2, len(words) // _LEET_SHARE)
    if _holds(_LEET_MARK, data, least // 2) and len(set(_MIXED.findall(text))) > least:
        yield "leet", _LEET_WORD.sub(_unleet, text)
    if len(_BACKWARDS & words) >= _ENOUGH:
        yield "reversed", text[::-1]
    if len(_ROT13 & words) >= _ENOUGH:
        yield "rot13", codecs.encode(text, "rot13")


def _holds(gate: str, data: bytes, least: int = 1) -> bool:
    """Return whether a gate, which matches no empty text, matches so many times."""
    search = search_of(gate)
    at = 0
    for _ in range(least):
        start, at = search(data, at, len(data))[0]
        if start < 0:
            return False
    return True


def _all(pattern: re.Pattern[str], decode: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(filter(None, map(decode, pattern.findall(text))))


def _each(pattern: str, decode: Callable[[str], str]) -> Callable[[str], str]:
    """Return the same for a pattern of RE2 that matches ASCII, which is faster where most of a text is no run."""

    def decode_all(text: str) -> str:
        data, search, at = text.encode("utf-8", "surrogatepass"), search_of(pattern), 0
        found: list[str] = []
        while True:
            start, at = search(data, at, len(data))[0]
            if start < 0:
                return "\n".join(filter(None, found))
            found.append(decode(data[start:at].decode("ascii")))

    return decode_all


def _untag(run: str) -> str:
    return "".join(chr(ord(one) - _TAG_BASE) for one in run)


def _unselect(run: str) -> str:
    codes = map(ord, run)
    return _readable(
        bytes(one - _SELECTOR_BASE if one < _MORE_SELECTORS else one - _MORE_SELECTORS + 16 for one in codes)
    )


def _look_alikes(text: str) -> str:
    folded = text.translate(_ALIKE)
    return folded if sum(map(str.isascii, folded)) > _READABLE * len(folded) else ""


def _readable(data: bytes) -> str:
    """Return bytes as text, or nothing where they are none."""
    try:  # most runs are none, and most of them show it soon; the end may be cut
        data[:-_LONGEST_CHARACTER].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 2 * _LONGEST_CHARACTER:
            return ""
    text = data.decode("utf-8", "replace")
    if len(text) < _LEAST or "\ufffd" in text[:-1]:
        return ""
    return text if sum(one.isalnum() or one in _MARKS for one in text) >= _READABLE * len(text) else ""


def _unbase64(run: str) -> str:
    raw = run.replace("-", "+").replace("_", "/")
    raw = raw[:-1] if len(raw) % 4 == 1 else raw
    try:
        return _readable(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _unhex(run: str) -> str:
    digits = re.sub(r"[^0-9A-Fa-f]", "", run.replace("0x", ""))
    whole = (digits[at:][: len(digits[at:]) & ~1] for at in (0, 1))
    return next(filter(None, (_readable(bytes.fromhex(one)) for one in whole)), "")


def _unbits(run: str) -> str:
    bits = run.replace(" ", "").replace(",", "")
    return _readable(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)))


def _unescape(match: re.Match[str]) -> str:
    code = int(match[3], 8) if match[3] else int(match[1] or match[2], 16)
    return chr(code) if code <= sys.maxunicode else match[0]


def _join(match: re.Match[str]) -> str:
    run, mark = match[0], match[0][1]
    if mark != " ":
        return " ".join(part.replace(mark, "") for part in run.split(" "))
    return " ".join(part.replace(" ", "") for part in re.split("  +", run)) if "  " in run else run.replace(" ", "")


def _unspaced(text: str) -> str:
    """Return what letters with marks between them say, with the text around them: of a long text the rest was read already."""
    out: list[str] = []
    done = -1
    for match in _SPACED.finditer(text):
        if match.end() <= done:
            continue
        begin = max(text.rfind(" ", 0, max(match.start() - _AROUND, 0)) + 1, done, 0)
        done = text.find(" ", match.end() + _AROUND)
        done = len(text) if done < 0 else done
        out.append(_SPACED.sub(_join, text[begin:done]))
    return "\n".join(out)


def _unleet(match: re.Match[str]) -> str:
    word = match[0]
    return word.translate(_LEET) if any(map(str.isalpha, word)) else word


# Form, marks of it in RE2's syntax over UTF-8, decoder.
_HIDDEN: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("tags", r"\xf3\xa0[\x80\x81].\xf3\xa0", _all(_TAGS, _untag)),
    ("selectors", r"(?:\xef\xb8|\xf3\xa0).", _all(_SELECTORS, _unselect)),
    ("homoglyphs", r"[\xc4\xc8\xc9\xce-\xd3\xd5\xd6][\x80-\xbf]", _look_alikes),
)
# The same.
_WRITTEN: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("hex", r"(?:[0-9A-Fa-f]{2}[ :,]?(?:0x|\\x)?){10}", _all(_HEX, _unhex)),
    ("binary", r"(?:[01]{8}[ ,]?){6}", _all(_BITS, _unbits)),
    ("percent", r"(?:%[0-9A-Fa-f]{2}[^%]{0,30}){3}", lambda text: unquote(text, errors="replace")),
    ("entities", r"&#[0-9xX]", html.unescape),
    ("escapes", r"\\u|\\x[0-9A-Fa-f]{2}|\\[0-7]{3}", lambda text: _ESCAPE.sub(_unescape, text)),
    ("spaced", r"(?:[0-9A-Za-z\x80-\xff] ?[ .\-_*|/,~]){5}", _unspaced),
)
_LEET_MARK = r"[A-Za-z][013457@$|!+][A-Za-z]|[013457@$|!][A-Za-z]{2}"
_ANY = "|".join(gate for _, gate, _ in _WRITTEN)
_LONG: tuple[tuple[str, str, Callable[[str], str]], ...] = (("base64", _BASE64, _each(_BASE64, _unbase64)),)
_INNER = frozenset(
    {"tags", "selectors", "base64", "hex", "binary", "percent", "entities", "escapes"}
)  # may hold another one
