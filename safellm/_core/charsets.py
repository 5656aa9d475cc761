"""In which encoding readers see the text of an answer, so that what was made harmless is what they read.

JSON and events are UTF-8, but a reader of `response.text` goes by what the answer calls itself, and readers of JSON accept
UTF-16 and UTF-32 as well (RFC 4627 3): one text could say two things. An answer in an encoding in which ASCII isn't ASCII is
withheld; none of the providers sends any. Files that are downloaded are left alone.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
import re

from safellm._core.decoding import Undecodable

_DECLARED = re.compile(r"charset[^=;,]{0,8}=\s*[\"']?([^\s\"';,]*)", re.IGNORECASE)
_UTF_8 = frozenset({"utf-8", "utf-8-sig", "ascii"})
# In these each byte below 128 that stands alone is ASCII.
_EXTENDED = re.compile(
    r"iso8859-[0-9]{1,2}|cp125[0-8]|koi8-[rtu]|mac-[a-z]+|gbk|gb2312|gb18030|big5|big5hkscs|shift_jis|cp93[26]|cp9[45][09]|"
    r"euc_(?:jp|kr)|tis-620"
)
_MARK = b"\xef\xbb\xbf"
_WIDE = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_LEAST = 8  # bytes of a text in UTF-16 that could hold a link or a tag


def codec_of(content_type: str) -> str:
    """Return the codec that a reader of an answer's text takes, by its Content-Type.

    Raises:
        Undecodable: one in which ASCII isn't ASCII.
    """
    if "harset" not in content_type and "HARSET" not in content_type:
        return "utf-8"
    chosen = "utf-8"
    for name in _DECLARED.findall(content_type):
        try:
            found = codecs.lookup(name).name
        except (LookupError, ValueError):  # readers take UTF-8 then
            continue
        if found not in _UTF_8:
            if _EXTENDED.fullmatch(found) is None:
                raise Undecodable("an encoding of text that isn't read here")
            chosen = found
    return chosen


def without_mark(data: bytes) -> bytes:
    """Return an answer without the byte order mark of UTF-8, which some readers skip and others don't.

    Raises:
        Undecodable: it is UTF-16 or UTF-32.
    """
    if data.startswith(_MARK):
        return data[len(_MARK) :]
    if b"\0" not in data[:4] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return data
    if any(_is_text(data, encoding) for encoding in _wide(data)):
        raise Undecodable("an encoding of text that isn't read here")
    return data


def _wide(data: bytes) -> tuple[str, ...]:
    marked = next((encoding for mark, encoding in _WIDE if data.startswith(mark)), "")
    return (marked,) if marked else ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return len(data) >= _LEAST and "\0" not in text
