"""Events that differ from one seen before in a piece of text only: recognised by their bytes, without parsing.

Nearly all events of a stream are equal but for the next piece of text (and a counter or padding). Such an event is learnt
once, as literal bytes with holes between them. An event that fits has the meaning of the learnt one with other values in the
holes: a hole is filled only by what can't end a JSON string or number, so the bytes around it are read as they were.
That the holes are where they seem to be is proven when an event is learnt, by parsing it with other values in them.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from typing import Any, Final

from safellm._core import jsontext
from safellm._core.adapter import Delta

_LONGEST = 4096  # bytes of an event that is worth learning: they are compared with each one that follows
_LONGEST_NUMBER = 15  # digits; more are for the parser
_PROBE_TEXT: Final = "safellm"
_PROBE_NUMBER: Final = (7, 8)
_WORD = re.compile(rb'"[A-Za-z0-9]*+"')
_DIGITS = re.compile(rb"(?:0|[1-9][0-9]*+)(?=[,}])")


class _What(Enum):
    """What fills a hole."""

    TEXT = auto()
    WORD = auto()  # padding: ASCII letters and digits
    NUMBER = auto()

    def fits(self, value: bytes) -> bool:
        """Return whether a value is one that can't mean anything else."""
        if self is _What.TEXT:
            return True  # looked at more closely when the rest of the event is known
        if self is _What.WORD:
            return not value or value.isalnum()
        return value.isdigit() and len(value) <= _LONGEST_NUMBER and (value == b"0" or not value.startswith(b"0"))


@dataclass(frozen=True, slots=True)
class _Hole:
    """A place in an event's bytes, and a value that proves that it is there."""

    start: int
    end: int
    what: _What
    probe: bytes
    key: str


@dataclass(slots=True)
class Frame:
    """One form of event: literal bytes with holes between them.

    Attributes:
        delta: The text's place, as the learnt event had it; only its names count.
        model: What the events say of the model.
    """

    delta: Delta
    model: str | None
    _parts: tuple[tuple[bytes, bytes, _What], ...]  # before each hole: literal bytes; the byte behind it; what fills it
    _tail: bytes

    def text_of(self, raw: bytes) -> str | None:
        """Return the text in an event of this form; None for any other event, and where only a parser can tell."""
        parts, tail = self._parts, self._tail
        if len(parts) > 1:
            return self._text_between(raw)
        head = parts[0][0]
        end = len(raw) - len(tail)
        if end < len(head) or not raw.startswith(head) or not raw.endswith(tail):
            return None
        value = raw[len(head) : end]
        if not value.isascii():
            return _plain(value)
        text = value.decode("ascii")
        # As in `_plain`; here for the sake of the calls, of which a stream makes one for each piece of text.
        return text if text.isprintable() and '"' not in text and "\\" not in text else None

    def with_text(self, raw: bytes, text: str) -> bytes:
        """Return an event of this form, for which `text_of` gave a text, with another text."""
        written = jsontext.dumps(text)[1:-1]
        position = 0
        for before, behind, what in self._parts:
            start = position + len(before)
            position = raw.index(behind, start)
            if what is _What.TEXT:
                break
        return b"".join((raw[:start], written, raw[position:]))

    def _text_between(self, raw: bytes) -> str | None:
        text = b""
        position = 0
        for before, behind, what in self._parts:
            start = position + len(before)
            position = raw.find(behind, start)
            value = raw[start:position]
            if position < 0 or not raw.startswith(before, start - len(before)) or not what.fits(value):
                return None
            if what is _What.TEXT:
                text = value
        return _plain(text) if raw[position:] == self._tail else None


def _plain(value: bytes) -> str | None:
    if b'"' in value or b"\\" in value:
        return None
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None  # no control character, which a JSON string may not hold


def learn(  # noqa: PLR0913 - an event, what it says, and how it is read
    raw: bytes,
    event: Any,
    delta: Delta,
    *,
    model: str | None,
    varying: Sequence[str],
    parse: Callable[[bytes], Any],
) -> Frame | None:
    """Return the form of an event, or None when it can't be recognised by its bytes.

    Args:
        raw: The event, whose only text is `delta` and which nothing changed.
        event: What was parsed from it.
        delta: The text in it.
        model: What the event says of the model.
        varying: Keys of the event that hold a counter or padding, which say nothing.
        parse: Reads an event's bytes.
    """
    if len(raw) > _LONGEST or not isinstance(delta.key, str) or not isinstance(event, dict):
        return None
    holes = _holes(raw, event, delta, varying)
    if not holes or not _are_proven(raw, event, delta, holes, parse):
        return None
    parts: list[tuple[bytes, bytes, _What]] = []
    position = 0
    for hole in holes:
        parts.append((raw[position : hole.start], raw[hole.end : hole.end + 1], hole.what))
        position = hole.end
    return Frame(delta, model, tuple(parts), raw[position:])


def _holes(raw: bytes, event: dict[str, Any], delta: Delta, varying: Sequence[str]) -> list[_Hole]:
    """Return the holes of an event in their order, or none if one of them can't be found."""
    text = delta.container[delta.key]
    written = text.encode("utf-8", "surrogatepass")
    place = _value(raw, delta.key, b'"' + re.escape(written) + b'"')
    if not text or text == _PROBE_TEXT or place is None or _plain(written) is None:
        return []
    holes = [_Hole(place[0] + 1, place[1] - 1, _What.TEXT, _PROBE_TEXT.encode(), delta.key)]
    for key in varying:
        value = event.get(key)
        if not isinstance(value, (str, int)):
            continue
        place = _value(raw, key, _WORD.pattern if isinstance(value, str) else _DIGITS.pattern)
        if place is None:
            return []
        if isinstance(value, str):
            holes.append(_Hole(place[0] + 1, place[1] - 1, _What.WORD, _PROBE_TEXT.encode(), key))
        else:
            holes.append(_Hole(*place, _What.NUMBER, b"%d" % _PROBE_NUMBER[value == _PROBE_NUMBER[0]], key))
    holes.sort(key=lambda hole: hole.start)
    return [] if any(after.start < before.end for before, after in pairwise(holes)) else holes


def _value(raw: bytes, key: str, pattern: bytes) -> tuple[int, int] | None:
    """Return where the only value of this form under this key stands."""
    name = re.escape(jsontext.dumps(key))
    found = [match.span(1) for match in re.finditer(name + rb"[ \t]*:[ \t]*(" + pattern + rb")", raw)]
    return found[0] if len(found) == 1 else None


def _are_proven(
    raw: bytes, event: dict[str, Any], delta: Delta, holes: list[_Hole], parse: Callable[[bytes], Any]
) -> bool:
    """Return whether the event with other values in its holes is read as the same event with these values."""
    pieces: list[bytes] = []
    position = 0
    for hole in holes:
        pieces += (raw[position : hole.start], hole.probe)
        position = hole.end
    try:
        probed = parse(b"".join([*pieces, raw[position:]]))
    except jsontext.Malformed:
        return False
    text = delta.container[delta.key]
    delta.container[delta.key] = _PROBE_TEXT
    try:
        others = [hole for hole in holes if hole.what is not _What.TEXT]
        expected = {hole.key: _PROBE_TEXT if hole.what is _What.WORD else int(hole.probe) for hole in others}
        return bool(probed == {**event, **expected})
    finally:
        delta.container[delta.key] = text
