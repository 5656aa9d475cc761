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

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from safellm._core.canary import Canary, CanaryEcho
from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.finding import Scanner
from safellm._core.detection.registered import RegisteredSecrets
from safellm._core.fields import Kind
from safellm._core.heldback import HeldBack, Running, Span, is_beginning, merged
from safellm._core.jsonview import JsonView, view_of
from safellm._core.personalecho import PersonalEcho
from safellm._core.valueecho import ValueEcho, Values

SECRET_NOTE = "(SECRET removed)"  # noqa: S105 - what is written in its place
_KINDS = frozenset({Kind.TEXT, Kind.NAME, Kind.ARGUMENTS, Kind.TOOL_INPUT, Kind.URL})
_START = 3  # characters of a form that nearly every place of a text fails at
_CONTEXT = 128  # characters before a word that say what it is
_LEAST_WORD = 12  # characters
# Of a longer word so many characters are read at once, and those at their end again with what follows: no value falls on a cut.
_LONGEST_WORD, _OVERLAP = 8192, 4096
_WORD = re.compile(r"\S+|\s+")


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
    _shortest: int

    def spans(self, text: str, was_sent: Callable[[str], bool]) -> list[Span]:
        """Return where a secret stands that wasn't sent, without overlaps."""
        if len(text) < self._shortest or not self.secrets.may_hold(text):
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
        min((len(form) for form, _ in forms), default=0),
    )


def _holds_escape(text: str | bytes) -> bool:
    """Return whether a text may hold an escape of JSON that stands for another visible character."""
    return (b"\\u" in text or b"\\/" in text) if isinstance(text, bytes) else ("\\u" in text or "\\/" in text)


@dataclass(slots=True, kw_only=True)
class SecretEcho(HeldBack):
    """Takes registered secrets out of one text."""

    index: SecretIndex
    was_sent: Callable[[str], bool]
    is_json: bool = False  # escapes are read, too

    def _open_from(self, text: str) -> int:
        start = self.index.open_from(text)
        if not self.is_json:
            return start
        said = view_of(text)
        return min(start, said.start(self.index.open_from(said.text)))

    def _spans(self, text: str) -> list[Span]:
        spans = self.index.spans(text, self.was_sent)
        if not self.is_json or "\\" not in text:
            return spans
        said = view_of(text)
        there = ((said.start(begin), said.start(end)) for begin, end in self.index.spans(said.text, self.was_sent))
        return merged([*spans, *there])

    def _note(self) -> str:
        return SECRET_NOTE


@dataclass(slots=True, kw_only=True)
class WordEcho(Running):
    """Takes what the detectors call a secret out of one text, by words, each with what stands before it in its line.

    Args:
        scanner: The detectors.
        was_sent: Whether a value stands in the request itself.
        is_json: The text is JSON: escapes are read, too.
    """

    scanner: Scanner
    was_sent: Callable[[str], bool]
    is_json: bool = False
    _before: str = field(default="", repr=False)

    def _run(self, text: str, *, last: bool) -> str:
        out: list[str] = []
        self._rest = ""
        for match in _WORD.finditer(text):
            word = match[0]
            if word.isspace():
                out.append(word)
                self._before = (self._before + word)[-_CONTEXT:]
                continue
            start = 0
            while start < len(word):
                piece = word[start : start + _LONGEST_WORD]
                if not last and match.end() == len(text) and len(piece) < _LONGEST_WORD:
                    self._rest = piece
                    break
                treated, read = self._treated(piece)
                out.append(treated)
                start += read
        return "".join(out)

    def _treated(self, word: str) -> tuple[str, int]:
        """Return what comes out of a word, and how much of it that is: what begins at the end of a long one is left."""
        said = view_of(word) if self.is_json and "\\" in word else None
        read = certain = self._certain(word, said)
        line = self._before.rpartition("\n")[2]
        out: list[str] = []
        position = 0
        for start, end in merged(self._spans(line, word, said)):
            if start >= certain:
                break
            value = word[start:end]
            read = max(read, end)
            if not self.was_sent(value) and (said is None or not self.was_sent(view_of(value).text)):
                out += (word[position:start], SECRET_NOTE)
                position = end
                self.removed += 1
        self._before = (self._before + word[:read])[-_CONTEXT:]
        return "".join((*out, word[position:read])), read

    def _certain(self, word: str, said: JsonView | None) -> int:
        if len(word) < _LONGEST_WORD:
            return len(word)
        place = _LONGEST_WORD - _OVERLAP
        return place if said is None else said.whole(place)

    def _spans(self, line: str, word: str, said: JsonView | None) -> list[Span]:
        if len(word) < _LEAST_WORD or word.isalpha():
            return []
        spans = self._found(line, word)
        if said is not None:
            spans += [(said.start(start), said.start(end)) for start, end in self._found(line, said.text)]
        return spans

    def _found(self, line: str, word: str) -> list[Span]:
        """Return where secrets stand in a word; in its last characters only, if they began before it."""
        begin = len(line)
        return [
            (max(one.start, begin) - begin, one.end - begin)
            for one in self.scanner.scan(line + word)
            if one.type == "SECRET" and one.end > begin
        ]


@dataclass(slots=True, kw_only=True)
class Echo:
    """What the answers of one call are searched for.

    Attributes:
        index: Registered secrets; None where there are none.
        scanner: Detectors, where the policy has answers searched by them.
        canary: Of this conversation.
        was_sent: Whether a value stands in the request itself.
        told: What the answer told of the system text.
        values: Of others: registered ones, and those that other conversations hid.
        holds: Whether the conversation holds one of those.
        personal: Detectors, where the policy wants all personal data out that the conversation doesn't hold, and what of theirs is
            personal.
    """

    index: SecretIndex | None
    scanner: Scanner | None
    canary: Canary | None
    was_sent: Callable[[str], bool]
    told: set[str] = field(default_factory=set)
    values: tuple[Values, ...] = ()
    holds: Callable[[str], bool] = lambda _: False
    personal: tuple[Scanner, Callable[[str, str], bool]] | None = None

    def may_hold(self, text: str | bytes) -> bool:
        """Return whether there is anything to look for in a text, or in the bytes of a JSON text."""
        if self.scanner is not None or self.canary is not None or self.values or self.personal is not None:
            return True
        if self.index is None:
            return False
        escaped = b"\\" in text if isinstance(text, bytes) else "\\" in text
        return self.index.secrets.may_hold(text) or (escaped and _holds_escape(text))

    def filters(self, kind: Kind, *, shown: bool, is_json: bool = False) -> list[Filter]:
        """Return the filters of one text.

        Args:
            kind: Of the text.
            shown: The model wrote it, the provider doesn't just repeat it.
            is_json: The text must stay JSON.
        """
        if kind not in _KINDS:
            return []
        is_json = is_json or kind is Kind.ARGUMENTS
        out: list[Filter] = []
        if self.index is not None:
            out.append(SecretEcho(index=self.index, was_sent=self.was_sent, is_json=is_json))
        if self.scanner is not None and kind is not Kind.URL:
            out.append(WordEcho(scanner=self.scanner, was_sent=self.was_sent, is_json=is_json))
        if shown:
            out += [ValueEcho(values=one, was_sent=self.holds, is_json=is_json) for one in self.values]
        if self.personal is not None and shown and kind is not Kind.URL:
            scanner, is_personal = self.personal
            out.append(
                PersonalEcho(
                    scanner=scanner,
                    is_personal=is_personal,
                    was_sent=lambda value: self.holds(canonicalise(value).text),
                    is_json=is_json,
                )
            )
        if self.canary is not None and shown:
            out.append(CanaryEcho(canary=self.canary, told=self.told, is_json=is_json))
        return out

    def similarity(self) -> int:
        """Return how much of the system text the answer told, in thousandths."""
        total = 0 if self.canary is None else len(self.canary.shingles)
        return 1000 * len(self.told) // total if total else 0
