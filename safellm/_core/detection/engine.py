"""The matching engine: RE2 over one byte per character.

Python's `re` and `regex` backtrack and are never used on a request's text. A plain RE2 search falls back to RE2's
other engines when its state cache is spent, so it can't miss; RE2's `Set` reports that case as "no match", so it isn't used.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import re2

from safellm.errors import GuardFailure, Reason

_MEMORY = 16 << 20  # bytes per pattern at most; room for the states of an alternation of some hundred filters
_VIEW = "safellm.detection.view"  # name of the codec error handler
_CASED, _OTHER = 0xFF, 0xFE
_SCRIPTS_WITH_CASE = 0x0590  # Latin, Greek, Cyrillic, Armenian lie below
_WESTERN = bytes(range(128)) + bytes(_CASED if chr(code).isalpha() else _OTHER for code in range(128, 256))
_FIRST_WITHOUT_CASE = chr(_SCRIPTS_WITH_CASE)
NOWHERE = (-1, -1)  # span of a group that took no part, and of a pattern that matches nowhere

Spans = Sequence[tuple[int, int]]  # of the match, then of each group
Search = Callable[[bytes, int, int], Spans]  # data, where to begin, where to end


def view_bytes(text: str) -> bytes:
    """Return one byte per character: ASCII as it is, other letters with case 0xFF, anything else 0xFE.

    So offsets of the engine are indexes of the text, and its automata stay small.
    """
    if text.isascii():
        return text.encode("ascii")
    return text.encode("latin-1", _VIEW).translate(_WESTERN)


def _encode_rest(error: UnicodeError) -> tuple[bytes, int]:
    """Encode a run of characters beyond Latin-1; bytes that `_WESTERN` leaves or makes what they shall be."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    run = error.object[error.start : error.end]
    if min(run) >= _FIRST_WITHOUT_CASE:
        return b"\x80" * len(run), error.end
    return bytes(_CASED if ord(letter) < _SCRIPTS_WITH_CASE and letter.isalpha() else 0x80 for letter in run), error.end


codecs.register_error(_VIEW, _encode_rest)


@cache
def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Any:
    """Return the compiled pattern; equal ones share one.

    Raises:
        GuardFailure: RE2 rejects it.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern.encode("latin-1"), options)
    except re2.error:
        raise engine_failure("The detection engine rejects a rule") from None


@cache
def search_of(pattern: str, *, ignore_case: bool = False) -> Search:
    """Return the search of a pattern: the spans of the first match and of its groups, `NOWHERE` for what there isn't.

    The binding's own call, where it has it: its match objects take thrice as long, and a text may have many.

    Raises:
        GuardFailure: RE2 rejects the pattern.
    """
    compiled = compile_pattern(pattern, ignore_case=ignore_case)
    try:
        return partial(compiled._regexp.Match, re2._Anchor.UNANCHORED)  # noqa: SLF001 - see above
    except AttributeError:  # another version of the binding
        return public_search(compiled)


def public_search(compiled: Any) -> Search:
    """Return the search of a compiled pattern by the binding's public names."""
    groups = range(compiled.groups + 1)

    def search(data: bytes, low: int, high: int) -> Spans:
        match = compiled.search(data, low, high)
        return [match.span(group) for group in groups] if match else [NOWHERE for _ in groups]

    return search


def engine_failure(what: str) -> GuardFailure:
    """Return the error that stops a call because the engine can't be trusted."""
    return GuardFailure(
        what,
        guard="redaction",
        reason=Reason.GUARD_ERROR,
        remedy="Reinstall safellm and google-re2, and report this if it stays.",
    )
