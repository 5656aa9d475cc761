"""The canonical view: what detection reads instead of the text, and the way back to the original's indexes.

* Compatibility forms are folded (NFKC): full-width, circled, ligatures, superscripts. Digits of every script become ASCII digits
  and every dash a hyphen, because numbers are written with them.
* What shows nothing is left out: zero-width and bidirectional characters, soft hyphens, tags, variation selectors, combining
  marks, fillers, C0 and C1 controls, lone surrogates (THREATS R.2).
* Combining marks are left out *before* folding, so no two characters ever compose: the fold goes character by character and
  the offset map is exact. The view is for searching only, so a mark that is lost in it harms nobody.

* Look-alike letters of other scripts become ASCII in words that mix them with ASCII (`confusables`).

The view is never sent anywhere.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from safellm._core.detection.confusables import LOOK_ALIKES, fold_look_alikes
from safellm._core.detection.pages import WHOLE_PAGES

# Whitespace keeps its place: it separates numbers and lines.
_PLAIN = bytes(code for code in range(0x80) if 0x20 <= code < 0x7F or code in b"\t\n\v\f\r")  # noqa: PLR2004 - ASCII
_FOREIGN = frozenset(LOOK_ALIKES)
# Nothing to see, by category: format, surrogate, non-spacing and enclosing marks, control (UAX 44, table 12).
_IGNORED_CATEGORIES = frozenset({"Cf", "Cs", "Mn", "Me", "Cc"})
# Default_Ignorable_Code_Point with other categories: Hangul fillers, and unassigned ones kept for such use (UAX 44).
_IGNORED_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2065")
_UNASSIGNED_IGNORED = range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000)
_REMEMBERED = 20_000  # characters whose folds are kept
_FEW = 128  # up to so many folds a replacement each is faster than a table lookup per character
_LONGEST = 32  # characters of a run whose fold is kept
_MANY = 1_000  # characters of a run that are read by the distinct ones
_LINE_ENDS = {"\x85": "\n", "\u2028": "\n", "\u2029": "\n"}
_EXTRA_DASHES = frozenset("\u2212\u2043\u02d7")  # minus sign, hyphen bullet, modifier minus: not of category Pd


# A run of characters beyond Latin-1: where it begins, what it is, and whether look-alike letters may be in it.
Run = tuple[int, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """A canonical text; `original_span` leads back.

    Attributes:
        text: The folded text, without lone surrogates, so it can always be encoded.
    """

    text: str
    # Sections of the view: section i begins at _starts[i] and comes from _origins[i] on; step 1 or, for an expanded character, 0.
    _starts: tuple[int, ...] = field(default=(), repr=False)
    _origins: tuple[int, ...] = field(default=(), repr=False)
    _steps: tuple[int, ...] = field(default=(), repr=False)

    @property
    def is_original(self) -> bool:
        """Whether every index is that of the original."""
        return not self._starts

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that produced `text[start:end]`, with ignored characters inside it.

        Args:
            start: Index into `text`.
            end: Index into `text`, greater than `start`.
        """
        if not self._starts:
            return start, end
        return self._origin(start), self._origin(end - 1) + 1

    def _origin(self, index: int) -> int:
        section = bisect_right(self._starts, index) - 1
        return self._origins[section] + self._steps[section] * (index - self._starts[section])


def canonicalise(text: str) -> Canonical:
    """Return the canonical view of a text; any `str` is accepted, also one with lone surrogates.

    Cost: a text in ASCII without controls is its own view. Others pay two fast passes and their distinct other characters, and only
    texts whose length changes pay per such character.
    """
    data = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    if not data:
        return Canonical(text=text)
    characters = set(data.decode("utf-8", "surrogatepass"))
    folds = {character: folded for character in characters - _SAME if (folded := fold(character)) != character}
    view = _translate(text, folds) if folds else text
    if not _FOREIGN.isdisjoint(characters):
        view = fold_look_alikes(view)
    if not folds:
        return Canonical(text=view)
    return _mapped(
        view,
        sorted(
            (index, len(folded))
            for character, folded in folds.items()
            if len(folded) != 1
            for index in _places(text, character)
        ),
    )


def fold_text(text: str, runs: Sequence[Run], others: str) -> str:
    """Return the text of `canonicalise`, for a text of which the places are known where anything changes.

    Args:
        text: Any text.
        runs: Its runs of characters beyond Latin-1, rising; those that stay as they are may be left out but for look-alikes.
        others: The characters of Latin-1 in it that are folded.
    """
    return _fold_at(text, runs, _changes(text, runs, others))


def fold_places(text: str, runs: Sequence[Run], others: str) -> Canonical:
    """Return what `canonicalise` does; see `fold_text`."""
    changes = _changes(text, runs, others)
    resized = [
        (start + at, len(fold(one)))
        for start, run, _ in changes
        if not _RESIZED.isdisjoint(run)
        for at, one in enumerate(run)
        if len(fold(one)) != 1
    ]
    return _mapped(_fold_at(text, runs, changes), resized)


def _changes(text: str, runs: Sequence[Run], others: str) -> list[tuple[int, str, str]]:
    places = [(start, run, _fold_run(run)) for start, run, _ in runs]
    if others:
        places += [(index, one, fold(one)) for one in others for index in _places(text, one)]
        places.sort()
    return places


def _fold_at(text: str, runs: Iterable[Run], changes: Iterable[tuple[int, str, str]]) -> str:
    pieces: list[str] = []
    done = 0
    for start, run, folded in changes:
        pieces += (text[done:start], folded)
        done = start + len(run)
    view = "".join((*pieces, text[done:])) if pieces else text
    if all(_FOREIGN.isdisjoint(run) for _, run, may_be in runs if may_be):
        return view
    lines = view.split("\n")  # no word goes beyond its line
    return "\n".join(line if _FOREIGN.isdisjoint(line) else fold_look_alikes(line) for line in lines)


def _fold_run(run: str) -> str:
    """Return what a run of characters becomes in the view, but for its look-alike letters."""
    folded = _folded_runs.get(run)
    if folded is None:
        if len(run) > _MANY:
            changing = {one: folded for one in set(run) if (folded := _FOLDS[one]) != one}
            return _translate(run, changing)
        folded = "".join(map(_FOLDS.__getitem__, run))
        if len(run) <= _LONGEST:
            if len(_folded_runs) >= _REMEMBERED:
                _folded_runs.clear()
            _folded_runs[run] = folded
    return folded


def _mapped(view: str, resized: Sequence[tuple[int, int]]) -> Canonical:
    """Return a view with its way back.

    Args:
        view: The canonical text.
        resized: Indexes of the original's characters that were left out or became several, and how many; rising.
    """
    if not resized:
        return Canonical(text=view)
    starts, origins, steps = [0], [0], [1]
    shift = 0  # index in the view minus index in the original, at the current character
    for index, width in resized:
        position = index + shift
        if width:
            _begin(starts, origins, steps, position, index, 0)
        _begin(starts, origins, steps, position + width, index + 1, 1)
        shift += width - 1
    return Canonical(text=view, _starts=tuple(starts), _origins=tuple(origins), _steps=tuple(steps))


def _translate(text: str, folds: Mapping[str, str]) -> str:
    if len(folds) > _FEW:
        return text.translate(str.maketrans(dict[str, str | int | None](folds)))
    for character, folded in folds.items():  # a fold of a fold is itself, so the order doesn't matter
        text = text.replace(character, folded)
    return text


def _places(text: str, character: str) -> Iterator[int]:
    index = text.find(character)
    while index >= 0:
        yield index
        index = text.find(character, index + 1)


def _begin(starts: list[int], origins: list[int], steps: list[int], start: int, origin: int, step: int) -> None:  # noqa: PLR0913 - three columns
    if starts[-1] == start:  # the section before is empty: ignored characters in a row
        starts.pop(), origins.pop(), steps.pop()
    starts.append(start)
    origins.append(origin)
    steps.append(step)


def fold(character: str) -> str:
    """Return what one character becomes in the view: usually itself, "" if it is ignored."""
    return _FOLDS[character]


class _Folds(dict[str, str]):
    """What characters become, worked out when they are first met; bounded, because texts choose the characters."""

    def __missing__(self, character: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
            _SAME.clear()
        self[character] = folded = _fold(character)
        if folded == character:
            _SAME.add(character)
        if len(folded) != 1:
            _RESIZED.add(character)
        return folded


_FOLDS = _Folds()
_folded_runs: dict[str, str] = {}
_RESIZED: set[str] = (
    set()
)  # characters that were met and are left out or become several; never forgotten, Unicode has few thousand
_SAME: set[str] = set()  # characters that stay as they are: most of every text


def _fold(character: str) -> str:
    if ord(character) >> 8 in WHOLE_PAGES:
        return character
    if character in _LINE_ENDS:
        return _LINE_ENDS[character]
    if _is_ignored(character):
        return ""
    folded = unicodedata.normalize("NFKC", character)
    if folded == character:
        return _fold_simple(character)
    return "".join(_fold_simple(part) for part in folded if not _is_ignored(part))


def _fold_simple(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character in _EXTRA_DASHES:
        return "-"
    return " " if category == "Zs" else character


def _is_ignored(character: str) -> bool:
    if character in "\t\n\v\f\r":
        return False
    if unicodedata.category(character) in _IGNORED_CATEGORIES or character in _IGNORED_LETTERS:
        return True
    code = ord(character)
    return code in _UNASSIGNED_IGNORED[0] or code in _UNASSIGNED_IGNORED[1]
