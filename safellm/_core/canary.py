"""The canary of a system text: its forms, the search for them, and how much of the text an answer tells (THREATS O.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from safellm._core.detection.registered import written_forms
from safellm._core.heldback import HeldBack, Span, merged
from safellm._core.jsonview import view_of
from safellm.errors import Reason, Refused

CANARY_NOTE = "(removed)"
_GAP = 8  # other characters between two of a canary
_SHINGLE = 24  # letters and digits of system text that hardly stand elsewhere by chance
_OTHER = re.compile(r"[^0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Canary:
    """What was put into the system text of one conversation, to be seen if the model gives that text away.

    Attributes:
        planted: All that was put in.
        action: `mask` or `refuse`.
        patterns: Its forms, with anything between their characters.
        opening: Their beginnings at the end of a text.
        ordered: Letters and digits of its forms, in order.
        shingles: Runs of letters and digits of the system text, in any script.
        shortest: Letters and digits of its shortest form.
        longest: And of its longest one.
    """

    planted: str = field(repr=False)
    action: str
    patterns: tuple[re.Pattern[str], ...] = field(repr=False)
    opening: re.Pattern[str] = field(repr=False)
    ordered: list[str] = field(repr=False)
    shingles: frozenset[str] = field(repr=False)
    shortest: int
    longest: int

    def spans(self, text: str) -> list[Span]:
        """Return where the canary stands in any form."""
        squeezed = squeeze(text) if len(text) >= self.shortest else ""
        if len(squeezed) < self.shortest or not any(form in squeezed for form in self.ordered):
            return []
        return merged(match.span() for pattern in self.patterns for match in pattern.finditer(text))

    def open_from(self, text: str) -> int:
        """Return where a form may have begun that more text could complete; `len(text)` if nowhere."""
        start = max(0, len(text) - self.longest * (_GAP + 1))
        found = self.opening.search(text, start)
        return len(text) if found is None else found.start()


def make_canary(core: str, planted: str, action: str, system: Iterable[str]) -> Canary:
    """Return a canary.

    Args:
        core: Its letters and digits, which nobody can guess.
        planted: What was put into the system text, with the core in it.
        action: What happens when it is seen.
        system: The system text without it.
    """
    written: set[str] = set()
    for one in (core, core.upper(), core[::-1], codecs.encode(core, "rot13")):
        written |= written_forms(one)
    ordered = sorted({squeeze(form) for form in written})
    gap = f"[^0-9A-Za-z]{{0,{_GAP}}}"
    patterns = tuple(re.compile(gap.join(form), re.IGNORECASE | re.ASCII) for form in ordered)
    opening = re.compile(
        rf"(?:{'|'.join(_beginnings(form, gap) for form in ordered)}){gap}\Z", re.IGNORECASE | re.ASCII
    )
    shingles = frozenset(one for text in system for one in _shingles(_letters(text)))
    sizes = [len(form) for form in ordered]
    return Canary(planted, action, patterns, opening, ordered, shingles, min(sizes), max(sizes))


def _beginnings(form: str, gap: str) -> str:
    """Return a pattern of all beginnings of a form but itself: `a(?:b(?:c)?)?`."""
    pattern = ""
    for sign in reversed(form[1:-1]):
        pattern = f"(?:{gap}{sign}{pattern})?"
    return form[0] + pattern


def squeeze(text: str) -> str:
    """Return the ASCII letters and digits of a text, in lower case."""
    return _OTHER.sub("", text).lower()


def _letters(text: str) -> str:
    """Return the letters and digits of a text in any script, without case and accents; that of a text is that of its pieces."""
    if text.isascii():
        return squeeze(text)
    return "".join(one for one in unicodedata.normalize("NFKD", text) if one.isalnum()).casefold()


def _shingles(squeezed: str) -> Iterator[str]:
    return (squeezed[start : start + _SHINGLE] for start in range(len(squeezed) - _SHINGLE + 1))


@dataclass(slots=True, kw_only=True)
class Told:
    """Compares a running text with the system text: as it is, and as its escapes say if it is JSON or holds some.

    Args:
        shingles: Of the system text.
        told: Gathers those that the text has.
    """

    shingles: frozenset[str] = field(repr=False)
    told: set[str] = field(repr=False)
    _tail: str = field(default="", repr=False)
    _said: str | None = field(default=None, repr=False)  # the tail of what the escapes say; None: the same as the tail
    _cut: str = field(default="", repr=False)  # of an escape that isn't whole yet

    def feed(self, text: str) -> None:
        """Compare what comes next."""
        before = self._tail
        self._tail = self._compared(before, text)
        if self._said is None and "\\" not in text:
            return
        raw = self._cut + text
        view = view_of(raw)
        self._said = self._compared(before if self._said is None else self._said, view.text)
        self._cut = raw[view.cut :]
        if self._said == self._tail and not self._cut:
            self._said = None

    def _compared(self, tail: str, text: str) -> str:
        letters = tail + _letters(text)
        self.told.update(self.shingles.intersection(_shingles(letters)))
        return letters[-_SHINGLE + 1 :]


@dataclass(slots=True, kw_only=True)
class CanaryEcho(HeldBack):
    """Takes the canary out of one text, and compares the text with the system text.

    Args:
        canary: What is looked for.
        told: Gathers what the text tells of the system text.
        is_json: The text is JSON: escapes are read, too.
    """

    canary: Canary
    told: set[str]
    is_json: bool = False
    _comparison: Told | None = field(default=None, repr=False)

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        if self.canary.shingles:
            if self._comparison is None:
                self._comparison = Told(shingles=self.canary.shingles, told=self.told)
            self._comparison.feed(text)
        return self._run(self._rest + text, last=False)

    def _open_from(self, text: str) -> int:
        start = self.canary.open_from(text)
        if not self.is_json:
            return start
        said = view_of(text)
        return min(start, said.start(self.canary.open_from(said.text)))

    def _spans(self, text: str) -> list[Span]:
        spans = self.canary.spans(text)
        if not self.is_json or "\\" not in text:
            return spans
        said = view_of(text)
        return merged([*spans, *((said.start(start), said.start(end)) for start, end in self.canary.spans(said.text))])

    def _note(self) -> str:
        if self.canary.action == "refuse":
            raise Refused(
                "The answer gives away the system text: the canary that was put into it stands in the answer",
                guard="echo",
                reason=Reason.OUTPUT_CANARY,
                remedy="Look at what the conversation holds: somebody may have asked the model for its instructions.",
                sent=True,
            )
        return CANARY_NOTE
