r"""TeX in a reply that KaTeX or MathJax would load something for, or link with: `\includegraphics`, `\href`, styles (THREATS O.2).

Both refuse these without being trusted or with their safe mode off, and pages switch that. What names nothing from elsewhere stays.
A command whose argument isn't there is one that is given another name (`\let\a\href`).

Sources: KaTeX 0.16 "trust" (documentation), MathJax 3.2 extensions html, bbox, textmacros and mmlToken.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Final

from safellm._core.neutral.addresses import Judge

LONGEST: Final = 1024  # characters of a command with its arguments; a longer one is taken for the worst

NAMES: Final = "includegraphics|href|url|style|bbox|mmlToken|csname|html[A-Za-z]*+"
COMMAND = re.compile(rf"\\({NAMES})(?![A-Za-z])")
CUT = re.compile(r"\\[A-Za-z]{0,16}\Z")
_GAP = r"(?:\s|%[^\n]*\n)*+"
_ARGUMENTS = re.compile(rf"{_GAP}(?:\[([^\[\]]*+)\]{_GAP})?(?:\{{([^{{}}]*+)\}})?")
_OPEN = re.compile(rf"{_GAP}(?:\[[^\[\]]*+|(?:\[[^\[\]]*+\]{_GAP})?(?:\{{[^{{}}]*+)?)\Z")
_RENAMED = re.compile(r"\\let\s*\\[A-Za-z@]+\s*=?\s*\Z")
_ALWAYS: Final = frozenset({"csname"})
_RARE: Final = frozenset({"includegraphics", "mmlToken"})  # in no other text than TeX, as is html…
_LOADS = re.compile(r"url|image|import|script|href|src|expression|//|\\|/\*|&", re.IGNORECASE)
_MADE = re.compile(r"\\[A-Za-z]|#[0-9]")  # of other commands, which may give anything
_ESCAPED = re.compile(r"\\([#%&_{}~^ ])")


def is_open(text: str, end: int) -> bool:
    """Return whether only more text can tell what a command's arguments are.

    Args:
        text: The reply, as far as it is known.
        end: Behind the command's name.
    """
    return len(text) - end < LONGEST and _OPEN.match(text, end) is not None


def is_harmful(text: str, found: re.Match[str], judge: Judge, before: str) -> bool:
    """Return whether a command would load something or hide where it leads.

    Args:
        text: The reply.
        found: The command in it, of `COMMAND`.
        judge: Decides about addresses.
        before: What stands before it.
    """
    name = found[1]
    arguments = _ARGUMENTS.match(text, found.end(), found.end() + LONGEST)
    option, first = (arguments[1], arguments[2]) if arguments is not None else (None, None)
    if name in _ALWAYS:
        return True
    if option is None and first is None:
        following = text[found.end() : found.end() + LONGEST].lstrip()[:1]
        if following in ("{", "["):
            return True  # what is in its braces goes on too long, or has braces itself
        is_named = following in ("}", "$", "%") or _RENAMED.search(before[-64:])
        return bool(is_named) or name in _RARE or name.startswith("html")
    if name == "includegraphics":
        return first is None or not _is_beside(first, judge)
    if name in ("href", "url"):
        return first is None or _MADE.search(first) is not None or not judge.may_link(_ESCAPED.sub(r"\1", first), "")
    return _LOADS.search(f"{option or ''} {first or ''}") is not None


def _is_beside(address: str, judge: Judge) -> bool:
    """Return whether a picture is a file beside the document, with or without its ending, or one that may be fetched."""
    beside = re.fullmatch(r"(?!//)[\w.\-/ ]{1,200}", address) is not None
    return judge.pictures and ((beside and not judge.strict) or judge.may_fetch(address))
