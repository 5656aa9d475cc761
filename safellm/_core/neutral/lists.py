"""Attribute lists in a reply, `![a](a.png){src=…}`: with them Markdown sets any attribute of what stands before (THREATS O.1, O.2).

Python-Markdown (`attr_list`, in `extra`), markdown-it-attrs, Pandoc and kramdown know them, in text and behind an opening fence. A
list is on one line. Where its braces close isn't asked: behind a `{`, attributes that load or run something become text.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Final

from safellm._core.neutral.addresses import Judge
from safellm._core.neutral.tags import PLAIN_STYLE

LONGEST: Final = 600  # characters of a value that is looked at; a longer one is taken for the worst
_EVENTS: Final = (
    "abort|after|animation|aux|before|begin|blur|can|change|click|close|command|content|context|copy|cue|cut|dbl|drag|drop|duration|"
    "emptied|end|error|focus|form|full|got|hash|input|invalid|key|load|lost|message|mouse|offline|online|page|paste|pause|play|"
    "pointer|pop|progress|rate|repeat|reset|resize|scroll|search|security|seek|select|show|slot|stalled|storage|submit|suspend|time|"
    "toggle|touch|transition|unhandled|unload|volume|waiting|webkit|wheel"
)
_NAMES: Final = (
    "style|src|srcset|srcdoc|href|poster|action|formaction|background|data|ping|imagesrcset|lowsrc|dynsrc|"
    rf"on(?:{_EVENTS})[a-z]*"
)
_NAME = re.compile(rf"(?:\A|[^A-Za-z0-9_\-])({_NAMES})\Z", re.IGNORECASE)
_ELSEWHERE = re.compile(r"[:/\\\\&<%]")
_VALUE = re.compile(r"\"([^\"\r\n]*+)(\"?)|'([^'\r\n]*+)('?)|([^\s}]*+)")


def may_hold_json(data: bytes) -> bool:
    """Return whether such an attribute may stand in the bytes of a JSON text, quickly."""
    at = data.find(b"=")
    while at >= 0:
        begin = max(data.rfind(b"\\n", 0, at), data.rfind(b"\\r", 0, at), 0) if data[at - 1 : at].isalpha() else at
        if b"{" in data[begin:at] and name_before(data[max(0, at - 64) : at].decode("latin-1")):
            return True
        at = data.find(b"=", at + 1)
    return False


def name_before(before: str) -> str:
    """Return the attribute that a text ends with, or an empty text."""
    found = _NAME.search(before[-64:])
    return "" if found is None else found[1].lower()


def is_open(text: str, at: int) -> bool:
    """Return whether a value that begins here may go on."""
    found = _VALUE.match(text, at)
    return found is not None and found.end() == len(text) < at + LONGEST and not (found[2] or found[4])


def is_harmful(name: str, text: str, at: int, judge: Judge) -> bool:
    """Return whether an attribute loads or runs something.

    Args:
        name: Of the attribute, in lower case.
        text: The reply.
        at: Where its value begins.
        judge: Decides about addresses.
    """
    found = _VALUE.match(text, at, at + LONGEST)
    value = next((one for one in found.group(1, 3, 5) if one is not None), "") if found is not None else ""
    if found is None or found.end() - at >= LONGEST:
        return True
    if name == "style":
        return PLAIN_STYLE.fullmatch(value) is None
    if name == "src":
        return not judge.may_fetch(value)
    if name == "href":
        return not judge.may_link(value, "")
    return name.startswith("on") or _ELSEWHERE.search(value) is not None
