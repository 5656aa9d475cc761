"""Pipelines of spaCy: of their parts only those are loaded that find names."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import spacy
from spacy.util import load_config

from safellm._core.plugged import Found

_CHARACTERS: Final = 20_000  # of one window: its memory grows with the text
_OVERLAP: Final = 400  # characters that two windows share, so that a name at the cut stands in one of them as a whole
# Parts that say nothing of names and take most of the time.
_NOT_NEEDED: Final = (
    "tagger",
    "parser",
    "morphologizer",
    "lemmatizer",
    "attribute_ruler",
    "senter",
    "sentencizer",
    "textcat",
)


class SpacyEngine:
    """Implements `safellm.ner.Engine`.

    Args:
        folder: With config.cfg and meta.json.
    """

    def __init__(self, folder: Path) -> None:
        there = load_config(folder / "config.cfg")["nlp"]["pipeline"]
        unneeded = [one for one in _NOT_NEEDED if one in there]
        self._nlp = spacy.load(folder, exclude=unneeded)
        self._lock = threading.Lock()  # words are added to its vocabulary
        labels = {label for _, part in self._nlp.pipeline for label in getattr(part, "labels", ())}
        self.labels = frozenset(labels)

    def windows(self, text: str, types: Mapping[str, str]) -> Iterator[list[Found]]:
        """Return what is in a text, window by window; overlapping findings are settled by the caller."""
        start = 0
        while start < len(text):
            end = _cut(text, start)
            with self._lock:
                ents = [(one.start_char, one.end_char, one.label_) for one in self._nlp(text[start:end]).ents]
            yield [Found(start + a, start + b, types[label], 0.9) for a, b, label in ents if label in types]
            start = end if end == len(text) else max(start + 1, end - _OVERLAP)


def _cut(text: str, start: int) -> int:
    """Return where a window ends: between two words, if there is a space not far away."""
    end = min(len(text), start + _CHARACTERS)
    space = text.rfind(" ", end - _OVERLAP // 2, end) if end < len(text) else -1
    return space if space > start else end
