"""The score of a text: how much it reads like orders to a model, from 0 to 1. A signal, not a promise.

Model and signals are added up; of all the ways in which a text may be read, the worst counts. For a long text the model's margin is
a mean of that of the whole and that of its worst window: neither does much harmless text around an order hide it, nor does one
odd passage make a document an attack.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import exp

from safellm._core.injection.features import tokens
from safellm._core.injection.model import shipped
from safellm._core.injection.signals import signals
from safellm._core.injection.views import decoded, normal

_MOST_SIGNALS = 2  # more of them say nothing more
_REMEMBERED = 4096  # texts whose looks are kept
_FAR = 50.0  # beyond, a score is 0 or 1
_seen: dict[bytes, Look] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen in a text.

    Attributes:
        score: 0 to 1.
        signals: Names of what was seen, without any text; `encoded_...` where an order stood in another form.
    """

    score: float
    signals: tuple[str, ...]


def look(text: str) -> Look:
    """Return what is seen in a text; any `str` is accepted."""
    if not text or text.isspace():
        return Look(0.0, ())
    plain = normal(text)
    words = tokens(plain)
    distinct = set(words)
    margin, found = _read(plain, words, distinct)
    for form, inner in decoded(text, distinct):
        view = normal(inner)
        inside = tokens(view)
        more, names = _read(view, inside, set(inside))
        margin = max(margin, more)
        found |= names
        if names or more > 0:
            found.add(f"encoded_{form}")
    return Look(1 / (1 + exp(-max(-_FAR, min(_FAR, margin)))), tuple(sorted(found)))


def look_again(text: str) -> Look:
    """Return what `look` returns; chats send the same texts again and again, so it is kept by the text's digest."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = _seen.get(digest)
    if found is None:
        found = look(text)
        if len(_seen) >= _REMEMBERED:
            _seen.clear()
        _seen[digest] = found
    return found


def _read(text: str, words: list[str], distinct: set[str]) -> tuple[float, set[str]]:
    """Return the scaled margin of one view of a text, 0 where the line is, and its signals."""
    model = shipped()
    found = signals(text, distinct)
    whole, window = model.margins(words, distinct)
    share = model.header["share"]
    margin = (1 - share) * whole + share * window + model.header["signal"] * min(len(found), _MOST_SIGNALS)
    return (margin - model.header["line"]) * model.header["steep"], found
