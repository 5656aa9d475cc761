"""The canonical view of a text as the engine reads it, in one pass over the text, where nothing changes its length.

Nearly every text is clean, and all that the engine needs of it are bytes: the text itself isn't folded until something is found.
One byte stands for each character, as in `engine.view_bytes` of the canonical text. What can't be told that way (characters that
are left out or become several, control characters, look-alike letters beside Latin ones) is marked with `SPECIAL`, a control
character; `SPECIAL_PATTERN` finds it, and then `canonicalise` does the whole work.
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
_CODES = {0xFF: _CASED, 0xFE: _OTHER}
_ALNUM_FOLDS = frozenset(chr(code) for code in range(256) if fold(chr(code)).isascii() and fold(chr(code)).isalnum())


def _byte(character: str) -> int:
    folded = fold(character)
    return view_bytes(folded)[0] if len(folded) == 1 else SPECIAL


# Also of ASCII: only its control characters are special, and stay as they are.
_WESTERN = bytes([*range(128), *(_byte(chr(code)) for code in range(128, 256))])


class _Codes(dict[str, int]):
    """The byte for each character beyond Latin-1, as `_WESTERN` reads it."""

    def __missing__(self, character: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        code = _byte(character)
        self[character] = code = _CODES.get(code, code)
        return code


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
        return bytes([SPECIAL]) * len(run), end
    return known[0], end


def _read(run: str) -> tuple[bytes, bool]:
    data = bytes(map(_of_character.__getitem__, run))
    alike = any(fold(character) in LOOK_ALIKES for character in run)
    if alike and any(byte in _ALNUM for byte in data):
        data = bytes([SPECIAL]) * len(run)
    if len(run) <= _LONGEST:
        if len(_of_run) >= _REMEMBERED:
            _of_run.clear()
        _of_run[run] = data, alike
    return data, alike


_ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

codecs.register_error(_HANDLER, cast(Any, _encode_run))  # called for encoding only
