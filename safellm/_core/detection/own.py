"""Finds what the policy's own rules name: words and patterns (`[[rules]]`), by RE2, in time linear in the text.

A rule is searched in the text as it is and in its canonical view, so full-width letters and invisible characters hide nothing;
other encodings aren't searched (`registered` does that for secrets).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.finding import Finding

_MEMORY: Final = 32 << 20  # bytes of a pattern at most
# Scripts without capitals are often written without spaces, so their letters may touch a word.
_BARE: Final = r"[^\p{Lu}\p{Ll}\p{Lt}\pN]"
_LEAD, _TAIL = f"(?:^|{_BARE})", f"(?:{_BARE}|$)"


class Rule(Protocol):
    """What a rule says; `safellm._core.textrules.TextRule` is one."""

    @property
    def words(self) -> tuple[str, ...]:
        """Texts to be found."""
        ...

    @property
    def pattern(self) -> str | None:
        """Or a pattern."""
        ...

    @property
    def kind(self) -> str:
        """The type of what is found."""
        ...

    @property
    def rule_id(self) -> str:
        """What findings say found them."""
        ...

    @property
    def ignore_case(self) -> bool:
        """Whether capitals and small letters are alike."""
        ...

    @property
    def whole_words(self) -> bool:
        """Whether a word counts only where no letter or digit touches it."""
        ...


@dataclass(frozen=True, slots=True)
class _Search:
    """One compiled pattern; `step` says where the search goes on."""

    compiled: Any
    kind: str
    rule: str

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Return the spans of what is found, in bytes of UTF-8."""
        position = 0
        while (match := self.compiled.search(data, position)) is not None:
            group = next((index for index, text in enumerate(match.groups(), start=1) if text is not None), 0)
            start, end = match.span(group)
            if start < end:
                yield start, end
            # The letter behind a word may be the one before the next word, so it is looked at again.
            position = max(end, position + 1) if start < end else _next(data, max(match.end(), position))
            if position > len(data):
                return


class OwnRules:
    """Finds what rules name. Frozen; threads may share it.

    Args:
        rules: Words and patterns.

    Raises:
        ValueError: RE2 rejects one.
    """

    __slots__ = ("_searches",)

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._searches = tuple(search for rule in rules for search in _searches(rule))

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return where rules find something, in indexes of `text`; two rules may find the same."""
        if not self._searches or not text:
            return ()
        found = list(self._found(text))
        canonical = canonicalise(text)
        if canonical.text != text:
            for start, end, kind, rule in self._found(canonical.text):
                found.append((*canonical.original_span(start, end), kind, rule))
        return tuple(
            Finding(type=kind, rule=rule, start=start, end=end) for start, end, kind, rule in sorted(set(found))
        )

    def _found(self, text: str) -> Iterator[tuple[int, int, str, str]]:
        # A lone surrogate is written as three bytes that no pattern fits, and read back as what it was.
        is_ascii = text.isascii()
        data = text.encode("ascii") if is_ascii else text.encode("utf-8", "surrogatepass")
        for search in self._searches:
            read = place = 0  # bytes and characters that were counted
            for start, end in search.spans(data):
                if is_ascii:
                    yield start, end, search.kind, search.rule
                    continue
                if start < read:
                    read = place = 0
                first = place + _length(data[read:start])
                last = first + _length(data[start:end])
                yield first, last, search.kind, search.rule
                read, place = end, last


def check_pattern(pattern: str) -> None:
    """Say what is wrong with a pattern.

    Raises:
        ValueError: RE2 rejects it, or it matches the empty text, which stands everywhere.
    """
    compiled = _compile(pattern, ignore_case=False)
    if compiled.search(b"") is not None:
        msg = "the pattern matches the empty text, so it would match everywhere"
        raise ValueError(msg)


def _searches(rule: Rule) -> Iterator[_Search]:
    if rule.pattern is not None:
        yield _Search(_compile(rule.pattern, ignore_case=rule.ignore_case), rule.kind, rule.rule_id)
        return
    for lead, tail, words in _by_edges(rule.words, whole=rule.whole_words):
        # Longer ones first: RE2 takes the first alternative that fits.
        alternatives = "|".join(_literal(word) for word in sorted(words, key=len, reverse=True))
        compiled = _compile(f"{lead}({alternatives}){tail}", ignore_case=rule.ignore_case)
        yield _Search(compiled, rule.kind, rule.rule_id)


def _by_edges(words: Sequence[str], *, whole: bool) -> Iterator[tuple[str, str, list[str]]]:
    """Return words by what may not touch them: an edge that is no letter or digit (`C++`) may be touched."""
    groups: dict[tuple[str, str], list[str]] = {}
    for word in words:
        for form in dict.fromkeys((word, canonicalise(word).text.strip())):
            if form:
                edges = (_LEAD if whole and _is_cased(form[0]) else "", _TAIL if whole and _is_cased(form[-1]) else "")
                groups.setdefault(edges, []).append(form)
    yield from ((lead, tail, forms) for (lead, tail), forms in groups.items())


def _is_cased(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category in ("Lu", "Ll", "Lt") or category.startswith("N")


def _literal(word: str) -> str:
    return r"\s+".join(_escaped(part) for part in word.split())


def _escaped(text: str) -> str:
    return "".join(f"\\x{{{ord(letter):x}}}" if not letter.isalnum() else letter for letter in text)


def _compile(pattern: str, *, ignore_case: bool) -> Any:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = _MEMORY
    if r"\C" in pattern.replace(r"\\", ""):
        msg = r"the pattern holds \C, which can cut a character in two"
        raise ValueError(msg)
    try:
        return re2.compile(pattern.encode("utf-8"), options)
    except UnicodeEncodeError:
        msg = "the pattern holds half a character"
    except re2.error as error:
        # What RE2 quotes of the pattern is left out: it may be a value that stands in the wrong place.
        said = error.args[0] if error.args else b""
        why = (said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)).partition(":")[0]
        msg = f"the pattern is none of RE2's ({why}); look-around and back references aren't in it"
    raise ValueError(msg)


def _length(data: bytes) -> int:
    return len(data.decode("utf-8", "surrogatepass"))


def _next(data: bytes, position: int) -> int:
    """Return the beginning of the next character."""
    position += 1
    while position < len(data) and data[position] & 0xC0 == 0x80:  # noqa: PLR2004 - inside a character (RFC 3629 3)
        position += 1
    return position
