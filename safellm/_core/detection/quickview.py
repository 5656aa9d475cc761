"""The canonical view of a text as the engine reads it, in one pass over the text.

Nearly every text is clean, and all that the engine needs of it are bytes: the text itself isn't folded until something is found.
The bytes are those of `engine.view_bytes` over the canonical text. What can't be told run by run (look-alike letters beside Latin
ones, and the few characters of Latin-1 that are left out or become several) is marked with `SPECIAL`, a control character;
`SPECIAL_PATTERN` finds it and all other controls, and then `canonicalise` does the whole work.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
from typing import Any, cast

from safellm._core.detection.canonical import Run, fold
from safellm._core.detection.confusables import LOOK_ALIKES
from safellm._core.detection.engine import view_bytes
from safellm._core.detection.pages import SPECIAL, WHOLE_PAGES, Pages

SPECIAL_PATTERN = r"[\x00-\x08\x0e-\x1f\x7f]"  # control characters but white space: never in a canonical view
_HANDLER = "safellm.detection.quick"  # name of the codec error handler
_CASED, _OTHER = 0xC0, 0xA1  # Latin-1 bytes that the table below leaves as a cased letter and as another character
_REMEMBERED, _LONGEST = 8_192, 32  # runs of characters beyond Latin-1 that are kept, and their length
_SHORT = 6  # characters of a run that is read one by one
# Runs of a text that are read one by one: so many, and one more for so many characters. A new one counts as several.
_FEW, _PER_RUN, _NEW = 16, 64, 8
_PASSING = bytes.maketrans(b"\xff\xfe", bytes([_CASED, _OTHER]))
_ALNUM_FOLDS = frozenset(chr(code) for code in range(256) if fold(chr(code)).isascii() and fold(chr(code)).isalnum())


def _folded(character: str) -> bytes:
    return view_bytes(fold(character))


# Also of ASCII: only its control characters are special, and stay as they are.
_WESTERN = bytes(
    [
        *range(128),
        *(folded[0] if len(folded := _folded(chr(code))) == 1 else SPECIAL for code in range(128, 256)),
    ]
)
_STAYING = bytes(code for code in range(256) if fold(chr(code)) == chr(code))
_ODD = bytes(code in _STAYING for code in range(256))
_alike = set(LOOK_ALIKES)  # look-alikes, and what was seen to become one


class _Codes(dict[str, bytes]):
    """The bytes for each character beyond Latin-1, as `_WESTERN` reads them."""

    def __missing__(self, character: str) -> bytes:
        if len(self) >= _REMEMBERED:
            self.clear()
        folded = fold(character)
        if not _LOOK_ALIKES.isdisjoint(folded):
            _alike.add(character)
        if folded != character:
            _changing.add(character)
        self[character] = data = _folded(character).translate(_PASSING)
        return data


_LOOK_ALIKES = frozenset(LOOK_ALIKES)
_of_character = _Codes()
# Characters that were met and don't stay as they are, or are look-alikes; never forgotten, Unicode has few thousand.
_changing = set(LOOK_ALIKES)
# By run: its bytes; with whether it holds look-alike letters, if it does or anything in it changes.
_of_run: dict[str, bytes | tuple[bytes, bool]] = {}


class Runs(str):
    """A text that remembers, when it is encoded, those of its runs of characters beyond Latin-1 that are folded or look alike."""

    __slots__ = ("left", "runs")
    runs: list[Run]
    left: int  # what may still be spent on them


class _ManyRunsError(Exception):
    """A text has too many runs to read them one by one."""


def quick_view(text: str) -> bytes:
    """Return the bytes of a text's canonical view, or bytes in which `SPECIAL_PATTERN` matches."""
    return read(text)[0]


def read(text: str) -> tuple[bytes, list[Run], bytes]:
    """Return the bytes of `quick_view`, the runs beyond Latin-1 that are folded or look alike, and the text in Latin-1.

    Of ASCII, and of texts with very many runs, nothing but the bytes. What else isn't Latin-1 is in the last part as something that
    isn't folded.
    """
    if text.isascii():
        return text.encode("ascii"), [], b""
    noted = Runs(text)
    runs: list[Run] = []
    noted.runs = runs
    noted.left = _FEW + len(text) // _PER_RUN
    try:
        raw = noted.encode("latin-1", _HANDLER)
    except _ManyRunsError:
        return _pages.read(text) or bytes([SPECIAL]), [], b""
    return raw.translate(_WESTERN), runs, raw


def folded_of(raw: bytes) -> str:
    """Return the characters among those of Latin-1 that the canonical view folds."""
    return "".join(map(chr, set(raw.translate(None, _STAYING)))) if 0 in raw.translate(_ODD) else ""


def _encode_run(error: UnicodeEncodeError) -> tuple[bytes, int]:
    text: Runs = error.object  # type: ignore[assignment] # nothing else is encoded with this handler
    start, end = error.start, error.end
    run = text[start:end]
    known = _of_run.get(run)
    text.left -= 1
    if text.left < 0:
        raise _ManyRunsError
    if known.__class__ is bytes:
        return known, end
    if known is None:
        text.left -= _NEW
        if end - start > _SHORT and (paged := _by_pages(run, start, text.runs)) is not None:
            return paged, end
        known = _read(run)
        if known.__class__ is bytes:
            return known, end
    data, alike = cast(tuple[bytes, bool], known)
    text.runs.append((start, run, alike))
    if alike and (text[start - 1 : start] in _ALNUM_FOLDS or text[end : end + 1] in _ALNUM_FOLDS):
        return bytes([SPECIAL]), end
    return data, end


def _read(run: str) -> bytes | tuple[bytes, bool]:
    data = b"".join(map(_of_character.__getitem__, run))
    alike, changes = not _alike.isdisjoint(run), not _changing.isdisjoint(run)
    if alike and not _ALNUM.isdisjoint(data):
        data = bytes([SPECIAL])
    read = (data, alike) if alike or changes else data
    if len(run) <= _LONGEST:
        if len(_of_run) >= _REMEMBERED:
            _of_run.clear()
        _of_run[run] = read
    return read


def _by_pages(run: str, start: int, runs: list[Run]) -> bytes | None:
    """Return the bytes of a run of which most characters are ideographs or syllables that stay as they are; None for others.

    Those of its other characters that are folded are noted as runs.
    """
    pages = run.encode("utf-16-le", "surrogatepass")[1::2].translate(_PAGES)
    rest = pages.count(0)
    if len(pages) != len(run) or rest * 3 > len(run):
        return None
    if not rest:
        return pages
    data = bytearray(pages)
    at = pages.find(0)
    noted: list[Run] = []
    while at >= 0:
        one = run[at]
        folded = _of_character[one]
        if len(folded) != 1 or one in _alike or folded[0] in _ALNUM:
            return None
        data[at] = folded[0]
        if one in _changing:
            noted.append((start + at, one, False))
        at = pages.find(0, at + 1)
    runs += noted
    return bytes(data)


# By the high byte of a character: what its low bytes all read as, or 0.
_PAGES = bytes(_OTHER if page in WHOLE_PAGES else 0 for page in range(256))
_ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def new_pages() -> Pages:
    """Return tables that have met no character yet; a process needs them once."""
    return Pages(_WESTERN, lambda character: (_folded(character), fold(character)))


_pages = new_pages()
codecs.register_error(_HANDLER, cast(Any, _encode_run))  # called for encoding only
