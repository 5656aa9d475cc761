"""The matching engine: RE2 over one byte per character, and gates that say which rules need to run.

Python's `re` and `regex` backtrack and are never used on a request's text (DESIGN.md 7). A plain RE2 search falls back to RE2's
other engines when its state cache is spent, so a gate can't miss; RE2's `Set` reports that case as "no match", so it isn't used.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from safellm.errors import GuardFailure, Reason

_MEMORY = 16 << 20  # bytes per pattern at most; room for the states of an alternation of some hundred filters
_VIEW = "safellm.detection.view"  # name of the codec error handler
_CASED, _OTHER = 0xFF, 0xFE
_SCRIPTS_WITH_CASE = 0x0590  # Latin, Greek, Cyrillic, Armenian lie below


def view_bytes(text: str) -> bytes:
    """Return one byte per character: ASCII as it is, other letters with case 0xFF, anything else 0xFE.

    So offsets of the engine are indexes of the text, and its automata stay small.
    """
    return text.encode("ascii", _VIEW)


def _encode_rest(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    run = error.object[error.start : error.end]
    codes = bytes(_CASED if ord(letter) < _SCRIPTS_WITH_CASE and letter.isalpha() else _OTHER for letter in run)
    return codes, error.end


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


def engine_failure(what: str) -> GuardFailure:
    """Return the error that stops a call because the engine can't be trusted."""
    return GuardFailure(
        what,
        guard="redaction",
        reason=Reason.GUARD_ERROR,
        remedy="Reinstall safellm and google-re2, and report this if it stays.",
    )


@dataclass(frozen=True, slots=True)
class Gate:
    """A filter that matches wherever one of some rules could, and the gates of the two halves of those rules."""

    pattern: str
    rules: range
    halves: tuple[Gate, ...] = ()

    def is_open(self, data: bytes) -> bool:
        """Return whether one of the rules could match."""
        return compile_pattern(self.pattern).search(data) is not None

    def opened(self, data: bytes) -> Iterator[int]:
        """Yield the numbers of the rules that could match; few open gates cost few passes, not one per rule."""
        return self._opened(data, {})

    def _opened(self, data: bytes, seen: dict[str, bool]) -> Iterator[int]:
        if self.pattern not in seen:  # rules of one kind share a filter
            seen[self.pattern] = self.is_open(data)
        if not seen[self.pattern]:
            return
        if not self.halves:
            yield from self.rules
        for half in self.halves:
            yield from half._opened(data, seen)  # noqa: SLF001 - the same class


def build_gate(filters: Sequence[str], first: int = 0) -> Gate:
    """Return the gate over rules numbered from `first`, one filter each."""
    rules = range(first, first + len(filters))
    distinct = tuple(dict.fromkeys(filters))
    if len(distinct) == 1:
        return Gate(distinct[0], rules)
    middle = len(filters) // 2
    halves = (build_gate(filters[:middle], first), build_gate(filters[middle:], first + middle))
    return Gate("|".join(distinct), rules, halves)
