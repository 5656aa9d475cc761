"""Widens the first line of a secret to the lines that belong to it: of a private key, and of a token that was cut into lines."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

from safellm._core.detection.context import Spans
from safellm._core.detection.secretlike import not_sample

_KEY_REACH = 16_384  # characters; a 16,384-bit RSA key has 12,700
_LEAST_KEY = 20  # characters between the lines; less is the name of a format, not a key
_KEY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \r\n\t:,-\"'"
_JWT_REACH = 8_192  # characters of a token that is followed over the ends of its lines
_JWT_PARTS = 5  # of an encrypted one (RFC 7516 3.1)
_SIGNED = 2  # dots of a signed one (RFC 7515 3.1), which may be whole with them
_LEAST_LINE, _LEAST_REST = 40, 4  # characters of a line that was cut, and of what is left for the last one
# The end of a line in a token, as text, in a quote, or as strings that are joined; and what the next line has of it.
_NEXT_LINE = re.compile(
    r"(?:[\"'][ \t]*[+\\.&]?|\\)?[ \t]*\r?\n[ \t>|]{0,40}[\"']?([A-Za-z0-9_\-.]+)(?=[\"'\s\\,;)\]}`]|\Z)"
)


def whole_jwt(text: str, start: int, end: int) -> Spans:
    """Accept a token (RFC 7519) unless it is a sample, and follow it over the ends of its lines."""
    if not not_sample(text, start, end):
        return ()
    reach, dots = start + _JWT_REACH, text.count(".", start, end)
    line = end - text.rfind("\n", max(0, start - _JWT_REACH), end) - 1
    while line >= _LEAST_LINE and (following := _NEXT_LINE.match(text, end, reach)) is not None:
        part, begin = following[1], following.start(1)
        own = following.end() - text.rfind("\n", end, begin) - 1
        rest = dots >= _SIGNED and (len(part) < _LEAST_REST or part.isalpha() or own > line + 1)
        if rest or own > line + 1 + begin - end or dots + part.count(".") >= _JWT_PARTS:
            break
        dots += part.count(".")
        end = following.end()
        if dots >= _SIGNED and own < line:
            break  # the last one is shorter
        line = own
    return ((start, end),)


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
