"""Links that give away more than they should: what a signed address allows, and until when.

Sources: Microsoft, "Create an account SAS" and "Create a service SAS" (sp, ss, srt, se); AWS, "Authenticating Requests: Using Query
Parameters" (X-Amz-Expires); Google Cloud, "Signed URLs" (X-Goog-Expires).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time
from calendar import timegm
from typing import Final

_WINDOW: Final = 2048
_URL: Final = re.compile(r"https?://[^\s\"'<>`]{8,2048}")
_PARAMETER: Final = re.compile(r"[?&;](?:amp;)?([A-Za-z0-9-]{1,24})=([^&;\s\"'<>]{1,256})")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_CHANGES: Final = frozenset("wdcaupx")  # write, delete, create, add, update, process, delete version
_RIGHTS: Final = {
    "r": "read", "w": "write", "d": "delete", "l": "list", "a": "add", "c": "create", "u": "update", "p": "process",
    "x": "delete versions",
}  # fmt: skip
_LONG_DAYS: Final = 30


def describe_link(text: str, start: int, end: int) -> tuple[str, bool]:
    """Return what the link around a finding allows, in words, and whether that is far too much; nothing for no link."""
    begin = max(0, start - _WINDOW)
    window = text[begin : end + _WINDOW]
    for found in _URL.finditer(window):
        if found.start() + begin <= start and end <= found.end() + begin + 1:
            return _describe(dict(_PARAMETER.findall(found[0])))
    return "", False


def _describe(parameters: dict[str, str]) -> tuple[str, bool]:
    if "sig" in parameters and "sp" in parameters:
        return _azure(parameters)
    for name in ("X-Amz-Expires", "X-Goog-Expires"):
        seconds = parameters.get(name, "")
        if seconds.isascii() and seconds.isdigit():
            days = int(seconds[:9]) // 86_400
            return f"signed for {days} days" if days else "signed for less than a day", False
    return "", False


def _azure(parameters: dict[str, str]) -> tuple[str, bool]:
    rights = parameters["sp"].lower()
    words = [_RIGHTS[one] for one in _RIGHTS if one in rights]
    whole = "srt" in parameters or "ss" in parameters
    parts = [f"may {', '.join(words)}" if words else "has unknown rights"]
    if whole:
        parts.append("in the whole account")
    left = _days_left(parameters.get("se", ""))
    if left is None:
        parts.append("without an end that can be read")
    elif left < 0:
        parts.append("has ended")
    else:
        parts.append(f"for {left} more days")
    changes = bool(_CHANGES & set(rights)) or "l" in rights or whole
    return "; ".join(parts), changes and (left is None or left > _LONG_DAYS)


def _days_left(text: str) -> int | None:
    found = _DATE.search(text.replace("%2D", "-"))
    if found is None:
        return None
    try:
        end = timegm((int(found[1]), int(found[2]), int(found[3]), 0, 0, 0))
    except (ValueError, OverflowError):
        return None
    return int((end - time.time()) // 86_400)
