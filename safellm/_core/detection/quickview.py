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

from safellm._core.detection.canonical import fold
from safellm._core.detection.confusables import LOOK_ALIKES
from safellm._core.detection.engine import view_bytes

SPECIAL = 0x01
SPECIAL_PATTERN = r"[\x00-\x08\x0e-\x1f\x7f]"  # control characters but white space: never in a canonical view
_HANDLER = "safellm.detection.quick"  # name of the codec error handler
_CASED, _OTHER = 0xC0, 0xA1  # Latin-1 bytes that the table below leaves as a cased letter and as another character
_REMEMBERED, _LONGEST = 8_192, 32  # runs of characters beyond Latin-1 that are kept, and their length
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
_alike = set(LOOK_ALIKES)  # look-alikes, and what was seen to become one


class _Codes(dict[str, bytes]):
    """The bytes for each character beyond Latin-1, as `_WESTERN` reads them."""

    def __missing__(self, character: str) -> bytes:
        if len(self) >= _REMEMBERED:
            self.clear()
        folded = fold(character)
        if not _LOOK_ALIKES.isdisjoint(folded):
            _alike.add(character)
        self[character] = data = _folded(character).translate(_PASSING)
        return data


_LOOK_ALIKES = frozenset(LOOK_ALIKES)
_of_character = _Codes()
# By run: its bytes, and whether it holds look-alike letters.
_of_run: dict[str, tuple[bytes, bool]] = {}


def quick_view(text: str) -> bytes:
    """Return the bytes of a text's canonical view, or bytes in which `SPECIAL_PATTERN` matches."""
    if text.isascii():
        return text.encode("ascii")
    return text.encode("latin-1", _HANDLER).translate(_WESTERN)


def _encode_run(error: UnicodeEncodeError) -> tuple[bytes, int]:
    text, start, end = error.object, error.start, error.end
    run = text[start:end]
    known = _of_run.get(run)
    if known is None:
        known = _read(run)
    if known[1] and (text[start - 1 : start] in _ALNUM_FOLDS or text[end : end + 1] in _ALNUM_FOLDS):
        return bytes([SPECIAL]), end
    return known[0], end


def _read(run: str) -> tuple[bytes, bool]:
    data = b"".join(map(_of_character.__getitem__, run))
    alike = not _alike.isdisjoint(run)
    if alike and not _ALNUM.isdisjoint(data):
        data = bytes([SPECIAL])
    if len(run) <= _LONGEST:
        if len(_of_run) >= _REMEMBERED:
            _of_run.clear()
        _of_run[run] = data, alike
    return data, alike


_ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

codecs.register_error(_HANDLER, cast(Any, _encode_run))  # called for encoding only
