"""Texts of our own for training: attacks made from a grammar, the documents they hide in, and harmless texts with the same words.

Nothing is taken from anywhere. Every document that an attack is put into is given once without it, so that the model learns the
attack and not the document; and what people write about instructions, prompts, roles and passwords in good faith is given too, as
well as what their programs say to models: prompts, mails, manuals, tables, records, articles about attacks.
"""

# ruff: noqa: S311 - texts are drawn at random for training
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import codecs
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

# Orders in other languages, the same as the signals know.
_PHRASES = tomllib.loads((resources.files("safellm._core.injection") / "data" / "phrases.toml").read_text("utf-8"))

_GROUPS: dict[str, dict[str, list[str]]] = {
    name: group
    for file in ("injection_texts.toml", "injection_clean.toml")
    for name, group in tomllib.loads((Path(__file__).parent / file).read_text("utf-8")).items()
}
_SLOTS = {name: texts for group in _GROUPS.values() for name, texts in group.items()}
_WORDS = [
    word
    for group in ("attack", "carrier", "honest")
    for texts in _GROUPS[group].values()
    for text in texts
    for word in re.findall(r"[a-z]{3,}", text)
]
# Words of attacks, to be spoken about in harmless texts: what a word is worth must not hang on its being there.
_SLOTS["c_w"] = sorted(
    {
        word
        for texts in _GROUPS["attack"].values()
        for text in texts
        for word in re.findall(r"[a-z]{4,}", re.sub(r"\{\w+\}", "", text))
    }
)
_DOCUMENTS = (
    *("c_mail", "c_mail", "c_table", "c_table", "c_manual", "c_release"),
    *("c_policy", "c_ticket", "c_review", "c_story", "c_data"),
)  # names of slots
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

# Other forms of a text.
_FORMS: tuple[Callable[[str], str], ...] = (
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: f"Attachment: {base64.b64encode(text.encode()).decode()}",
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex(" "),
    lambda text: codecs.encode(text, "rot13"),
    lambda text: text[::-1],
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    lambda text: " ".join(f"{byte:08b}" for byte in text.encode()[:60]),
    lambda text: "  ".join(" ".join(word) for word in text.split()),
    lambda text: "".join(f"&#{ord(one)};" for one in text),
    lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    str.upper,
)
CLEAN = "made_clean"  # family of harmless texts that no attack stands beside
_MOST = 300  # slots of a text


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
        carrier = self._fill("{carrier}", keep_x=True) if self._draw.random() < 0.5 else self._document()  # noqa: PLR2004
        order = self._foreign() if self._draw.random() < 0.2 else self._fill("{order}")  # noqa: PLR2004
        return carrier.replace("{X}", self._styled(order)), re.sub(r"[ \t]*\{X\}", "", carrier)

    def clean(self) -> str:
        """Return a harmless text of a kind that sounds like orders to a model."""
        text = self._fill("{clean}")
        roll = self._draw.random()
        if roll < 0.1:  # noqa: PLR2004 - share of texts in another form: that alone is no attack
            return self._draw.choice(_FORMS)(text)
        return text.lower() if roll < 0.15 else text  # noqa: PLR2004

    def _document(self) -> str:
        """Return a harmless document with a place for an order: before it, behind it, or after one of its sentences or lines."""
        text = "\n".join(self._fill(f"{{{self._draw.choice(_DOCUMENTS)}}}") for _ in range(self._draw.randint(1, 2)))
        text = text.replace("{X}", "")
        places = [0, len(text), *(match.end() for match in re.finditer(r"[.!?] |\n", text))]
        at = self._draw.choice(places)
        glue = self._draw.choice([" ", "\n", "\n\n"])
        return f"{text[:at]}{glue if at else ''}{{X}}{glue}{text[at:]}"

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
        for _ in range(_MOST):
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
    """Yield (text, label, family): attacks, as many harmless texts of the same making, and harmless texts of other kinds.

    Args:
        seed: Draws are the same for the same one.
        count: Of each of the five families.
    """
    maker = Maker(seed)
    for _ in range(count):
        yield maker.attack(), 1, "made_attack"
        yield maker.honest(), 0, "made_honest"
        with_order, alone = maker.pair()
        yield with_order, 1, "made_order"
        yield (alone if maker._draw.random() < 0.6 else maker.held()), 0, "made_carrier"  # noqa: PLR2004, SLF001
        yield maker.clean(), 0, CLEAN
