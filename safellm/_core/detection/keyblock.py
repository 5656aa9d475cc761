"""Widens the first line of a private key to the whole block."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.detection.context import Spans

_KEY_REACH = 16_384  # characters; a 16,384-bit RSA key has 12,700
_LEAST_KEY = 20  # characters between the lines; less is the name of a format, not a key
_KEY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \r\n\t:,-\"'"


def whole_key(text: str, start: int, end: int) -> Spans:
    """Widen the first line of a private key to its last line, or to the end of its letters when it is cut off."""
    window = text[end : end + _KEY_REACH]
    dashes = "---- " if text.startswith("---- ", start) else "-----"  # RFC 4716, or RFC 7468
    stop, next_key = window.find(f"{dashes}END"), window.find(f"{dashes}BEGIN")
    if stop >= 0 and not 0 <= next_key < stop:
        close = window.find(dashes.strip(), stop + 8)
        line = close + len(dashes.strip()) if 0 <= close - stop <= 64 else stop + 8  # noqa: PLR2004
        line += 2 * window.startswith("\\n", line)  # the last line's end, escaped, belongs to a key in JSON
        return ((start, end + line),) if stop >= _LEAST_KEY else ()
    window = window[:next_key] if next_key >= 0 else window
    body = window[: len(window) - len(window.lstrip(_KEY_CHARACTERS))].rstrip()
    return ((start, end + len(body)),) if len(body) >= _LEAST_KEY else ()
