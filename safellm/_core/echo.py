"""What a model may not give away: secrets that this conversation never held, and the canary of its system text (THREATS O.6).

An answer is searched after it was made harmless and before hidden values come back, so no value that the program hid is touched.
Three filters, each with the property that any cut of a text gives the same text:

* registered secrets, in the forms that `detection.registered` knows; held back is the beginning of such a form;
* what the detectors call a secret, word by word; held back is the word;
* the canary, in those forms and reversed, in rot13, in any case, with anything but letters and digits between its characters.

What is taken out leaves a note without brackets: with them, the text around could become a link or a picture.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from safellm._core.detection.finding import Scanner
from safellm._core.detection.registered import RegisteredSecrets, written_forms
from safellm._core.fields import Kind
from safellm.errors import Reason, Refused

SECRET_NOTE = "(SECRET removed)"  # noqa: S105 - what is written in its place
CANARY_NOTE = "(removed)"
_KINDS = frozenset({Kind.TEXT, Kind.NAME, Kind.ARGUMENTS, Kind.TOOL_INPUT, Kind.URL})
_START = 3  # characters of a form that nearly every place of a text fails at
_GAP = 8  # other characters between two of a canary
_CONTEXT = 128  # characters before a word that say what it is
_LEAST_WORD, _LONGEST_WORD = 12, 4096  # characters
_SHINGLE = 24  # letters and digits of system text that hardly stand elsewhere by chance
_WORD = re.compile(r"\S+|\s+")
_OTHER = re.compile(r"[^0-9A-Za-z]+")
_SPREAD = re.compile(rf"[^0-9A-Za-z]{{{_GAP + 1}}}")

Span = tuple[int, int]


class Filter(Protocol):
    """Treats one running text: `feed` any pieces, then `finish`."""

    removed: int

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        ...

    def finish(self) -> str:
        """Return what was held back."""
        ...


@dataclass(frozen=True, slots=True)
class SecretIndex:
    """The forms of registered secrets, in order."""

    secrets: RegisteredSecrets
    forms: tuple[tuple[str, str], ...] = field(repr=False)  # form, value
    _sorted: list[str] = field(repr=False)
    _starts: frozenset[str] = field(repr=False)
    _longest: int

    def spans(self, text: str, was_sent: Callable[[str], bool]) -> list[Span]:
        """Return where a secret stands that wasn't sent, without overlaps."""
        if not self.secrets.may_hold(text):
            return []
        sent: dict[str, bool] = {}
        found: list[Span] = []
        for form, value in self.forms:
            start = text.find(form)
            while start >= 0:
                if value not in sent:
                    sent[value] = was_sent(value)
                if not sent[value]:
                    found.append((start, start + len(form)))
                start = text.find(form, start + 1)
        return merged(found)

    def open_from(self, text: str) -> int:
        """Return where a form may have begun that more text could complete; `len(text)` if nowhere."""
        length = len(text)
        starts = self._starts
        for start in range(max(0, length - self._longest + 1), length):
            if (length - start < _START or text[start : start + _START] in starts) and is_beginning(
                self._sorted, text[start:]
            ):
                return start
        return length


@lru_cache(maxsize=4)
def index_of(secrets: RegisteredSecrets) -> SecretIndex:
    """Return the index of a set of secrets."""
    forms = tuple(sorted(secrets.forms()))
    return SecretIndex(
        secrets,
        forms,
        sorted({form for form, _ in forms}),
        frozenset(form[:_START] for form, _ in forms),
        max((len(form) for form, _ in forms), default=0),
    )


def is_beginning(ordered: list[str], text: str) -> bool:
    """Return whether a text is the beginning of one of the texts in a sorted list, and not all of it."""
    place = bisect_left(ordered, text)
    if place < len(ordered) and ordered[place] == text:
        place += 1
    return place < len(ordered) and ordered[place].startswith(text)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order; those that overlap become one."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


@dataclass(slots=True)
class _Held:
    """What the filters of known forms share: text is held back from where a form may have begun."""

    removed: int = 0
    _rest: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        return self._run(self._rest + text, last=False)

    def finish(self) -> str:
        """Return what was held back: the text is over."""
        return self._run(self._rest, last=True)

    def _run(self, text: str, *, last: bool) -> str:
        certain = len(text) if last else self._open_from(text)
        out: list[str] = []
        position = 0
        for start, end in self._spans(text):
            if end > certain:
                certain = min(certain, start)
                break
            out += (text[position:start], self._note())
            position = end
            self.removed += 1
        out.append(text[position:certain])
        self._rest = text[certain:]
        return "".join(out)

    def _open_from(self, text: str) -> int:
        raise NotImplementedError

    def _spans(self, text: str) -> list[Span]:
        raise NotImplementedError

    def _note(self) -> str:
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class SecretEcho(_Held):
    """Takes registered secrets out of one text."""

    index: SecretIndex
    was_sent: Callable[[str], bool]

    def _open_from(self, text: str) -> int:
        return self.index.open_from(text)

    def _spans(self, text: str) -> list[Span]:
        return self.index.spans(text, self.was_sent)

    def _note(self) -> str:
        return SECRET_NOTE


@dataclass(slots=True, kw_only=True)
class WordEcho:
    """Takes what the detectors call a secret out of one text, by words, each with what stands before it in its line."""

    scanner: Scanner
    was_sent: Callable[[str], bool]
    removed: int = 0
    _before: str = field(default="", repr=False)
    _rest: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        """Return the words that are over."""
        return self._run(self._rest + text, last=False)

    def finish(self) -> str:
        """Return the last word."""
        return self._run(self._rest, last=True)

    def _run(self, text: str, *, last: bool) -> str:
        out: list[str] = []
        self._rest = ""
        for match in _WORD.finditer(text):
            word = match[0]
            if word.isspace():
                out.append(word)
                self._before = (self._before + word)[-_CONTEXT:]
                continue
            for start in range(0, len(word), _LONGEST_WORD):
                piece = word[start : start + _LONGEST_WORD]
                if not last and match.end() == len(text) and len(piece) < _LONGEST_WORD:
                    self._rest = piece
                    break
                out.append(self._treated(piece))
        return "".join(out)

    def _treated(self, word: str) -> str:
        line = self._before.rpartition("\n")[2]
        self._before = (self._before + word)[-_CONTEXT:]
        if len(word) < _LEAST_WORD or word.isalpha():
            return word
        begin = len(line)
        spans = [
            (max(one.start, begin) - begin, one.end - begin)
            for one in self.scanner.scan(line + word)
            if one.type == "SECRET" and one.end > begin
        ]
        out: list[str] = []
        position = 0
        for start, end in merged(spans):
            if not self.was_sent(word[start:end]):
                out += (word[position:start], SECRET_NOTE)
                position = end
                self.removed += 1
        return "".join((*out, word[position:]))


@dataclass(frozen=True, slots=True)
class Canary:
    """What was put into the system text of one conversation, to be seen if the model gives that text away.

    Attributes:
        planted: All that was put in.
        action: `mask` or `refuse`.
        patterns: Its forms, with anything between their characters.
        ordered: Letters and digits of its forms, in order.
        shingles: Runs of letters and digits of the system text.
        shortest: Letters and digits of its shortest form.
    """

    planted: str = field(repr=False)
    action: str
    patterns: tuple[re.Pattern[str], ...] = field(repr=False)
    ordered: list[str] = field(repr=False)
    shingles: frozenset[str] = field(repr=False)
    shortest: int

    def spans(self, text: str) -> list[Span]:
        """Return where the canary stands in any form."""
        squeezed = squeeze(text) if len(text) >= self.shortest else ""
        if not any(form in squeezed for form in self.ordered):
            return []
        return merged(match.span() for pattern in self.patterns for match in pattern.finditer(text))

    def open_from(self, text: str) -> int:
        """Return where a form may have begun that more text could complete; `len(text)` if nowhere."""
        longest = max(map(len, self.ordered))
        tail = text[-longest * (_GAP + 1) :]
        spread = [match.end() for match in _SPREAD.finditer(tail)]
        cut = spread[-1] if spread else 0
        if spread:  # the run of other characters may go on behind the match
            while cut < len(tail) and not _is_sign(tail[cut]):
                cut += 1
        places = [place for place in range(cut, len(tail)) if _is_sign(tail[place])][-longest:]
        squeezed = "".join([tail[place] for place in places]).lower()
        for index, place in enumerate(places):
            if is_beginning(self.ordered, squeezed[index:]):
                return len(text) - len(tail) + place
        return len(text)


def _is_sign(character: str) -> bool:
    return character.isascii() and character.isalnum()


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
    shingles = frozenset(one for text in system for one in _shingles(squeeze(text)))
    return Canary(planted, action, patterns, ordered, shingles, min(map(len, ordered)))


def squeeze(text: str) -> str:
    """Return the ASCII letters and digits of a text, in lower case."""
    return _OTHER.sub("", text).lower()


def _shingles(squeezed: str) -> Iterator[str]:
    return (squeezed[start : start + _SHINGLE] for start in range(len(squeezed) - _SHINGLE + 1))


@dataclass(slots=True, kw_only=True)
class CanaryEcho(_Held):
    """Takes the canary out of one text, and compares the text with the system text."""

    canary: Canary
    told: set[str]
    _tail: str = field(default="", repr=False)

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        if self.canary.shingles:
            squeezed = self._tail + squeeze(text)
            self.told.update(self.canary.shingles.intersection(_shingles(squeezed)))
            self._tail = squeezed[-_SHINGLE + 1 :]
        return self._run(self._rest + text, last=False)

    def _open_from(self, text: str) -> int:
        return self.canary.open_from(text)

    def _spans(self, text: str) -> list[Span]:
        return self.canary.spans(text)

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


@dataclass(slots=True, kw_only=True)
class Echo:
    """What the answers of one call are searched for.

    Attributes:
        index: Registered secrets; None where there are none.
        scanner: Detectors, where the policy has answers searched by them.
        canary: Of this conversation.
        was_sent: Whether a value stands in the request itself.
        told: What the answer told of the system text.
    """

    index: SecretIndex | None
    scanner: Scanner | None
    canary: Canary | None
    was_sent: Callable[[str], bool]
    told: set[str] = field(default_factory=set)

    def may_hold(self, text: str | bytes) -> bool:
        """Return whether there is anything to look for in a text, or in the bytes of a JSON text."""
        if self.scanner is not None or self.canary is not None:
            return True
        return self.index is not None and self.index.secrets.may_hold(text)

    def filters(self, kind: Kind, *, shown: bool) -> list[Filter]:
        """Return the filters of one text; `shown`: the model wrote it, the provider doesn't just repeat it."""
        if kind not in _KINDS:
            return []
        out: list[Filter] = []
        if self.index is not None:
            out.append(SecretEcho(index=self.index, was_sent=self.was_sent))
        if self.scanner is not None and kind is not Kind.URL:
            out.append(WordEcho(scanner=self.scanner, was_sent=self.was_sent))
        if self.canary is not None and shown:
            out.append(CanaryEcho(canary=self.canary, told=self.told))
        return out

    def similarity(self) -> int:
        """Return how much of the system text the answer told, in thousandths."""
        total = 0 if self.canary is None else len(self.canary.shingles)
        return 1000 * len(self.told) // total if total else 0
