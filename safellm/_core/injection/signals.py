"""The signals: named signs of an order in a text, RE2 patterns over the normalised text.

They say in an audit record *what* looked like an attack, and lift texts of kinds that the model never met. Patterns are written
from what such attacks have to say: that earlier orders don't count, that someone else speaks now, what is to be told, what is to
be sent where. English ones stand in `data/signals.toml`, other languages in `data/phrases.toml`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
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


class _Table:
    """All patterns with the signals they stand for, and by word those that it opens."""

    def __init__(self) -> None:
        self.patterns: list[tuple[str, Search]] = []
        self.opened: dict[str, list[int]] = {}
        self.openers: frozenset[str] = frozenset()

    def add(self, name: str, pattern: str, openers: AbstractSet[str]) -> None:
        for word in openers:
            self.opened.setdefault(word, []).append(len(self.patterns))
        # The engine reads bytes: literals go in as the bytes of their UTF-8.
        self.patterns.append((name, search_of(pattern.encode().decode("latin-1"))))


@cache
def _table() -> _Table:
    table = _Table()
    english = tomllib.loads((_DATA / "signals.toml").read_text("utf-8"))
    parts = english.pop("parts")
    for name, signal in english.items():
        pattern = "|".join(signal["patterns"])
        for part, text in parts.items():
            pattern = pattern.replace(f"@{part}@", text)
        table.add(name, pattern, set(signal["openers"].split()))
    for phrases in tomllib.loads((_DATA / "phrases.toml").read_text("utf-8")).values():
        _add_language(table, phrases)
    table.openers = frozenset(table.opened)
    return table


def _add_language(table: _Table, phrases: Mapping[str, Any]) -> None:
    last = bool(phrases.get("verb_last"))
    for name, verbs, things in _PAIRS:
        first, second = (things, verbs) if last else (verbs, things)
        table.add(
            name, f"{_any(phrases[first])}[^\\n.]{{0,{_APART}}}{_any(phrases[second])}", _first_words(phrases[verbs])
        )
    table.add(_FREE, _any(phrases["free"]), _first_words(phrases["free"]))


def _first_words(phrases: Sequence[str]) -> set[str]:
    return {tokens(normal(phrase))[1] for phrase in phrases}


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
    numbers = {number for word in table.openers.intersection(words) for number in table.opened[word]}
    if not numbers:
        return set()
    data = text.encode("utf-8", "surrogatepass")
    found: set[str] = set()
    for number in sorted(numbers):
        name, pattern = table.patterns[number]
        if name not in found and pattern(data, 0, len(data))[0] != NOWHERE:
            found.add(name)
    return found


@cache
def names() -> tuple[str, ...]:
    """Return the names of all signals."""
    return tuple(dict.fromkeys(name for name, _ in _table().patterns))
