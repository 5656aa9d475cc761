"""What files of lines hold before they are uploaded for training or as a batch: each line looked at by itself.

A poisoned example is one line among thousands: hidden characters, orders to the model, the same example many times over. Small
shares are enough (Souly et al. 2025: 250 documents, whatever the size of the model), so lines are named, not averaged.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from safellm._core import jsontext
from safellm._core.detection.finding import Scanner
from safellm._core.effects import JSON
from safellm._core.hidden import CharacterFilter, needs_cleaning
from safellm._core.injection.engine import look

INJECTED_FROM = 0.9  # scores that few honest texts reach
_DEPTH = 128
_NAME = "custom_id"  # of a line of a batch: the rest may still be the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something about one line.

    Attributes:
        line: Its number, from 1.
        what: `duplicate`, `hidden`, `injected`, `malformed`, or the type of what was found.
        note: More about it, never the text itself.
    """

    line: int
    what: str
    note: str = ""


def is_lines(text: str) -> bool:
    """Return whether a text is JSON lines: at least its first line is an object by itself."""
    first = text.lstrip("\ufeff \t\r\n").partition("\n")[0].strip()
    return first.startswith("{") and first.endswith("}")


def repeats(text: str) -> tuple[int, int]:
    """Return how many lines a text has, and how many of them stand in it before; names, order of keys and spaces don't count."""
    seen: set[bytes] = set()
    lines = doubled = 0
    for _, raw in _lines(text):
        lines += 1
        digest = _digest(raw, _value(raw))
        doubled += digest in seen
        seen.add(digest)
    return lines, doubled


def review(text: str, scanner: Scanner | None) -> Iterator[Remark]:
    """Yield what there is to say of each line of a file, in order.

    Args:
        text: JSON lines.
        scanner: Finds secrets and personal data; None leaves them out.
    """
    first: dict[bytes, int] = {}
    for number, raw in _lines(text):
        value = _value(raw)
        if value is None:
            yield Remark(line=number, what="malformed", note="it is no JSON")
        known = first.setdefault(_digest(raw, value), number)
        if known != number:
            yield Remark(line=number, what="duplicate", note=f"of line {known}")
        texts = [raw] if value is None else list(_texts(value))
        if hidden := sum(_hidden(one) for one in texts):
            yield Remark(line=number, what="hidden", note=f"{hidden} invisible characters")
        worst = max((look(one) for one in texts), key=lambda one: one.score, default=None)
        if worst is not None and worst.score >= INJECTED_FROM:
            yield Remark(line=number, what="injected", note=f"{worst.score:.2f} {', '.join(worst.signals)}".strip())
        if scanner is not None:
            for kind in dict.fromkeys(one.type for text in texts for one in scanner.scan(text)):
                yield Remark(line=number, what=kind)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if raw.strip():
            yield number, raw.strip()


def _value(raw: str) -> JSON:
    try:
        return jsontext.loads(raw.encode("utf-8", "surrogatepass"), max_depth=_DEPTH)
    except jsontext.Malformed:
        return None


def _digest(raw: str, value: JSON) -> bytes:
    if isinstance(value, dict):
        raw = json.dumps({name: one for name, one in value.items() if name != _NAME}, sort_keys=True)
    return hashlib.blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _hidden(text: str) -> int:
    if text.isascii() or not needs_cleaning(text):
        return 0
    cleaner = CharacterFilter(hidden=True, terminal=False)
    cleaner.feed(text)
    cleaner.finish()
    return cleaner.removed
