"""The signals: named signs of an order in a text, RE2 patterns over the normalised text.

They say in an audit record *what* looked like an attack, and lift texts of kinds that the model never met. Patterns are written
from what such attacks have to say: that earlier orders don't count, that someone else speaks now, what is to be told, what is to
be sent where. English ones stand in `data/signals.toml`, other languages in `data/phrases.toml`.

A walk over the text costs most, and nearly all texts have no signal: English patterns are tried several in one walk, those of
another language where the text has its words.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from safellm._core.detection.engine import NOWHERE, Search, search_of
from safellm._core.injection.features import tokens
from safellm._core.injection.views import normal

_DATA = resources.files("safellm._core.injection") / "data"
_FREE = "persona"
_PAIRS = (("override", "ignore", "before"), ("prompt_leak", "show", "hidden"))  # signal, keys of its two halves
_APART = 40  # bytes between the halves of an order in another language
_LONG_GAP = re.compile(r"\{0,\d{2,}\}")  # a gate doesn't count so far: its automaton stays small
_LATIN = re.compile(r"[\x20-\u024f\u1e00-\u1eff]*")  # of a script whose words stand apart, with nothing joined to them
_ALONE = 3  # tokens of a phrase of one word: with its borders

_Pattern = tuple[str, Search]  # with its signal


@dataclass(slots=True)
class _Table:
    """All patterns.

    Attributes:
        english: In groups, each with the search that finds whether any of its patterns is there.
        others: Those of other languages.
        needs: For each of these a bit for each half of it.
        serves: By word, the patterns and the half that it may stand in.
        words: All of them.
    """

    english: list[tuple[Search, list[_Pattern]]] = field(default_factory=list)
    others: list[_Pattern] = field(default_factory=list)
    needs: list[int] = field(default_factory=list)
    serves: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    words: frozenset[str] = frozenset()

    def add(self, name: str, pattern: str, *halves: Iterable[str]) -> None:
        """Add a pattern of another language.

        Args:
            name: Of its signal.
            pattern: Over bytes.
            halves: Phrases, of which a match has one of each.
        """
        for bit, phrases in enumerate(halves):
            for word in map(_telling, phrases):
                self.serves[word].append((len(self.others), 1 << bit))
        self.needs.append((1 << len(halves)) - 1)
        self.others.append((name, _search(pattern)))


@cache
def _table() -> _Table:
    table = _Table()
    english = tomllib.loads((_DATA / "signals.toml").read_text("utf-8"))
    for group in english["together"]:
        patterns = {name: _filled("|".join(english[name]["patterns"]), english["parts"]) for name in group}
        gate = _LONG_GAP.sub("*", "|".join(patterns.values()))
        table.english.append((_search(gate), [(name, _search(one)) for name, one in patterns.items()]))
    for phrases in tomllib.loads((_DATA / "phrases.toml").read_text("utf-8")).values():
        _add_language(table, phrases)
    table.words = frozenset(table.serves)
    return table


def _filled(text: str, parts: Mapping[str, str]) -> str:
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _search(pattern: str) -> Search:
    """Return the search of a pattern; the engine reads bytes, so literals go in as the bytes of their UTF-8."""
    return search_of(pattern.encode().decode("latin-1"))


def _add_language(table: _Table, phrases: Mapping[str, Any]) -> None:
    last = bool(phrases.get("verb_last"))
    for name, verbs, things in _PAIRS:
        first, second = (things, verbs) if last else (verbs, things)
        pattern = f"{_any(phrases[first])}[^\\n.]{{0,{_APART}}}{_any(phrases[second])}"
        apart = all(map(_LATIN.fullmatch, phrases[things]))
        table.add(name, pattern, *([phrases[verbs], phrases[things]] if apart else [phrases[verbs]]))
    table.add(_FREE, _any(phrases["free"]), phrases["free"])


def _telling(phrase: str) -> str:
    """Return the longest word of a phrase that surely stands alone: its first, or one inside of it."""
    words = tokens(normal(phrase))
    return max(words[1:-2] if len(words) > _ALONE else words[1:-1], key=len)


def _any(phrases: Sequence[str]) -> str:
    return f"(?:{'|'.join(map(_literal, phrases))})"


def _literal(phrase: str) -> str:
    return "".join(f"\\{one}" if one.isascii() and not one.isalnum() else one for one in normal(phrase))


def signals(text: str, words: AbstractSet[str]) -> set[str]:
    """Return the names of the signals in a text.

    Args:
        text: Normalised.
        words: Its tokens.
    """
    table = _table()
    data = text.encode("utf-8", "surrogatepass")
    found = {
        name
        for gate, patterns in table.english
        if gate(data, 0, len(data))[0] != NOWHERE
        for name, pattern in patterns
        if pattern(data, 0, len(data))[0] != NOWHERE
    }
    served: dict[int, int] = defaultdict(int)
    for word in table.words.intersection(words):
        for number, half in table.serves[word]:
            served[number] |= half
    for number, halves in served.items():
        name, pattern = table.others[number]
        if halves == table.needs[number] and name not in found and pattern(data, 0, len(data))[0] != NOWHERE:
            found.add(name)
    return found


@cache
def names() -> tuple[str, ...]:
    """Return the names of all signals."""
    english = [name for _, patterns in _table().english for name, _ in patterns]
    return tuple(dict.fromkeys([*english, *(name for name, _ in _table().others)]))
