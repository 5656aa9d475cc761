"""Values that must never leave: searched exactly, in the forms in which programs write them (THREATS R.1).

Forms: as it is; escaped for JSON (also within JSON in a string); percent-encoded; hexadecimal; Base64 at each of the three places a
value can have in a longer text, in both alphabets. Also as it is in the canonical view, so invisible characters don't hide it.
Other encodings, and a value that is split over two texts, aren't found.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import compile_pattern
from safellm._core.detection.finding import Finding
from safellm._core.detection.scanner import merge

MIN_LENGTH = 8  # characters; shorter values would be found by chance
TYPE = "REGISTERED"
_RULE = "registered"
_PRIORITY = 100
_GATE_LENGTH = 65_536  # bytes of one alternation, so that RE2 has memory for it however many values there are
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class RegisteredSecrets:
    """A frozen set of values to be searched; equal sets are equal, and its `repr` shows none of them.

    Args:
        values: Texts of at least 8 characters.

    Raises:
        ValueError: A value is shorter.
    """

    __slots__ = ("_forms", "_gates", "_values")

    _values: frozenset[str]
    _forms: tuple[tuple[str, bool], ...]
    _gates: tuple[Any, ...]

    def __init__(self, values: Iterable[str] = ()) -> None:
        kept = frozenset(values)
        if any(len(value) < MIN_LENGTH for value in kept):
            msg = f"a registered value has fewer than {MIN_LENGTH} characters and would be found by chance"
            raise ValueError(msg)
        forms = {form for value in kept for form in _forms_of(value)}
        forms |= {(folded, False) for value in kept if len(folded := canonicalise(value).text) >= MIN_LENGTH}
        ordered = tuple(sorted(forms))
        object.__setattr__(self, "_values", kept)
        object.__setattr__(self, "_forms", ordered)
        object.__setattr__(self, "_gates", tuple(_gates(sorted({_bytes(form) for form, _ in ordered}))))

    def with_values(self, values: Iterable[str]) -> RegisteredSecrets:
        """Return a set that holds these values as well."""
        return RegisteredSecrets(self._values.union(values))

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return where a value stands in any of its forms, ordered and without overlaps, in indexes of `text`.

        Raises:
            GuardFailure: The engine rejects the values.
        """
        if not self._values:
            return ()
        canonical = canonicalise(text)
        spans = list(self._spans(text))
        if canonical.text != text:
            spans += [canonical.original_span(*span) for span in self._spans(canonical.text)]
        return tuple(merge((start, end, _PRIORITY, TYPE, _RULE, 1.0) for start, end in spans))

    def may_hold(self, text: str | bytes) -> bool:
        """Return whether a value stands in a text, or in the bytes of a JSON text, in any form but the canonical view's."""
        data = _bytes(text) if isinstance(text, str) else text
        return any(gate.search(data) is not None for gate in self._gates)

    def forms(self) -> Iterator[tuple[str, str]]:
        """Yield each form and the value that it is a form of."""
        return ((form, value) for value in self._values for form in written_forms(value))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        if self.may_hold(text):
            for form, is_base64 in self._forms:
                yield from _occurrences(text, form, edges=is_base64)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, RegisteredSecrets) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = "RegisteredSecrets is frozen; use with_values"
        raise AttributeError(msg)

    def __repr__(self) -> str:
        return f"RegisteredSecrets({len(self)} values)"

    def __reduce__(self) -> NoReturn:
        msg = "registered secrets can't be pickled out of the process"
        raise TypeError(msg)


def _gates(needles: Iterable[bytes]) -> Iterator[Any]:
    group: list[str] = []
    for needle in needles:
        group.append(re2.escape(needle).decode("latin-1"))
        if sum(map(len, group)) >= _GATE_LENGTH:
            yield compile_pattern("|".join(group))
            group = []
    if group:
        yield compile_pattern("|".join(group))


def _bytes(text: str) -> bytes:
    # One form for any text, lone surrogates included; only equality matters here, not offsets.
    return text.encode("utf-8", "surrogatepass")


def _occurrences(text: str, needle: str, *, edges: bool) -> Iterator[tuple[int, int]]:
    start = text.find(needle)
    while start >= 0:
        end = start + len(needle)
        if edges:  # the neighbours may hold some bits of the value
            yield start - (text[max(0, start - 1) : start] in _BASE64), end + (text[end : end + 1] in _BASE64)
        else:
            yield start, end
        start = text.find(needle, start + 1)


def written_forms(value: str) -> set[str]:
    """Return the forms in which a value is searched."""
    return {form for form, _ in _forms_of(value)}


def _forms_of(value: str) -> Iterator[tuple[str, bool]]:
    """Yield each form of a value, and whether it is Base64."""
    plain = {value}
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        plain |= {once, _upper_escapes(once), once.replace("/", "\\/"), json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    data = _bytes(value)
    for encoded in (quote(data, safe=""), quote(data), quote_plus(data), quote(data, safe="/:@!$&'()*+,;=-._~")):
        plain |= {encoded, _lower_escapes(encoded)}
    plain |= {data.hex(), data.hex().upper()}
    yield from ((form, False) for form in plain)
    for offset in range(3):
        bits = (offset + len(data)) * 8
        text = base64.b64encode(b"\0" * offset + data).decode("ascii")[(0, 2, 3)[offset] : bits // 6]
        yield text, True
        yield text.translate(str.maketrans("+/", "-_")), True


def _upper_escapes(escaped: str) -> str:
    head, *parts = escaped.split("\\u")
    return "\\u".join([head, *(part[:4].upper() + part[4:] for part in parts)])


def _lower_escapes(encoded: str) -> str:
    head, *parts = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in parts)])
