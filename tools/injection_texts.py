"""Texts of our own for training: attacks made from a grammar, the documents they hide in, and harmless texts with the same words.

Nothing is taken from anywhere. Every document that an attack is put into is given once without it, so that the model learns the
attack and not the document; and what people write about instructions, prompts, roles and passwords in good faith is given too.
"""

# ruff: noqa: S311 - texts are drawn at random for training
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

# Orders in other languages, the same as the signals know.
_PHRASES = tomllib.loads((resources.files("safellm._core.injection") / "data" / "phrases.toml").read_text("utf-8"))

_SLOTS: dict[str, list[str]] = {
    name: texts
    for group in tomllib.loads((Path(__file__).parent / "injection_texts.toml").read_text("utf-8")).values()
    for name, texts in group.items()
}


_WORDS = [word for texts in _SLOTS.values() for text in texts for word in re.findall(r"[a-z]{3,}", text)]
_JUNK = [
    *(" " * 4),
    "",
    "](",
    ".](",
    '\\"',
    "[",
    " !",
    "**",
    "--",
    ":(",
    "!--",
    "\\",
    "([",
    "];",
    " $[",
    "[[",
    ")+",
    ".\\",
    "@[",
]


class Maker:
    """Draws texts; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def attack(self) -> str:
        """Return an order as an attacker writes it."""
        if self._draw.random() < 0.3:  # noqa: PLR2004 - share of other languages
            return self._foreign()
        return self._styled(self._fill("{attack}"))

    def pair(self) -> tuple[str, str]:
        """Return a document with an order in it, and the document alone."""
        carrier = self._fill("{carrier}", keep_x=True)
        order = self._foreign() if self._draw.random() < 0.2 else self._fill("{order}")  # noqa: PLR2004
        return carrier.replace("{X}", self._styled(order)), re.sub(r"[ \t]*\{X\}", "", carrier)

    def honest(self) -> str:
        """Return a harmless text with words that attacks have."""
        return self._styled(self._fill("{honest}"))

    def held(self) -> str:
        """Return a document with a harmless sentence at the place where an order could be."""
        return self._fill("{carrier}", keep_x=True).replace("{X}", self._fill("{honest}"))

    def _foreign(self) -> str:
        draw = self._draw
        phrases = _PHRASES[draw.choice(sorted(_PHRASES))]
        parts = [
            lambda: self._joined(phrases, "ignore", "before"),
            lambda: self._joined(phrases, "show", "hidden"),
            lambda: draw.choice(phrases["free"]),
            lambda: f'{draw.choice(phrases["say"])} "{self._fill("{word}")}"',
        ]
        first = draw.choice(parts[:3])()
        if draw.random() < 0.4:  # noqa: PLR2004
            return self._styled(first)
        return self._styled(first + draw.choice([". ", ", ", "; ", " & ", "\n"]) + draw.choice(parts)())

    def _joined(self, phrases: dict[str, Any], verb: str, thing: str) -> str:
        two = [self._draw.choice(phrases[verb]), self._draw.choice(phrases[thing])]
        return ("" if phrases.get("joined") else " ").join(two[::-1] if phrases.get("verb_last") else two)

    def _fill(self, text: str, *, keep_x: bool = False) -> str:
        for _ in range(60):
            found = re.search(r"(?<!\{)\{([a-zA-Z_0-9]+)\}(?!\})", text.replace("{X}", "\0X\0") if keep_x else text)
            if found is None:
                break
            name = found[1]
            source = text.replace("{X}", "\0X\0") if keep_x else text
            text = (
                source[: found.start()]
                + (self._gibberish() if name == "gibberish" else self._draw.choice(_SLOTS[name]))
                + source[found.end() :]
            )
            text = text.replace("\0X\0", "{X}")
        return text.replace("{{", "{").replace("}}", "}")

    def _gibberish(self) -> str:
        """Return a suffix as optimisers find them: pieces of words and marks without sense."""
        draw = self._draw
        out: list[str] = []
        for _ in range(draw.randint(8, 20)):
            word = draw.choice(_WORDS)
            word = word[: draw.randint(2, len(word))]
            out += [draw.choice([word, word, word.title(), word.upper()]), draw.choice(_JUNK)]
        return "".join(out)

    def _styled(self, text: str) -> str:
        roll = self._draw.random()
        text = re.sub(r"  +", " ", text).strip()
        if roll < 0.15:  # noqa: PLR2004 - shares of styles
            return text.upper()
        if roll < 0.55:  # noqa: PLR2004
            text = text[:1].upper() + text[1:]
        return text if text[-1:] in ".!?\"'>" else text + self._draw.choice(["", "", ".", "!", "."])


def made(seed: int, count: int) -> Iterator[tuple[str, int, str]]:
    """Yield (text, label, family): as many attacks as harmless texts.

    Args:
        seed: Draws are the same for the same one.
        count: Of each of the four families.
    """
    maker = Maker(seed)
    for _ in range(count):
        yield maker.attack(), 1, "made_attack"
        yield maker.honest(), 0, "made_honest"
        with_order, alone = maker.pair()
        yield with_order, 1, "made_order"
        yield (alone if maker._draw.random() < 0.6 else maker.held()), 0, "made_carrier"  # noqa: PLR2004, SLF001
