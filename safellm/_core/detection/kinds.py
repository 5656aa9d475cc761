"""Kinds of numbers: shape, layout and check of each, as data; and which kinds a number can be."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TypeVar

from safellm._core.detection.belonging import is_of
from safellm._core.detection.packaged import package_files

LONGEST = 20  # characters of the longest compact form
Key = TypeVar("Key")
_ALIKE = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "9" * 10 + "A" * 52
_LEVEL = str.maketrans(*_ALIKE)
_LEVEL_ASCII = bytes.maketrans(_ALIKE[0].encode(), _ALIKE[1].encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of number.

    Attributes:
        id: Its name, country first.
        type: Finding type.
        check: Function over the compact form, or None if it has no check digit.
        prefix: Letters or digits that the compact form begins with.
        bare: Confidence of the compact form without a label; 0 means that it needs one.
        formatted: The same for a number in one of its layouts.
        alone: The same for a compact number that is the whole text: a field of its own has no room for a label.
    """

    id: str
    type: str
    check: Callable[[str], bool] | None
    prefix: str
    bare: float
    formatted: float
    alone: float

    def holds(self, compact: str) -> bool:
        """Return whether a compact number of this kind's shape, in capitals, can be one."""
        return compact.startswith(self.prefix) and (self.check is None or self.check(compact))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """All kinds.

    Attributes:
        shapes: By compact shape.
        bare: By compact shape, those that may need no label.
        layouts: By layout and compact shape, those that need no label in it.
        forms: The layouts, for a first look.
    """

    shapes: Mapping[str, tuple[Kind, ...]]
    bare: Mapping[str, tuple[Kind, ...]]
    layouts: Mapping[tuple[str, str], tuple[Kind, ...]]
    forms: frozenset[str]


def shape(text: str) -> str:
    """Return a text with 9 for each digit and A for each letter; everything else stays."""
    if text.isascii():  # nearly always, and three times as fast
        return text.encode().translate(_LEVEL_ASCII).decode()
    return text.translate(_LEVEL)


@cache
def load_kinds(countries: frozenset[str] = frozenset()) -> Kinds:
    """Return the kinds, read once per process.

    Args:
        countries: Kinds of other countries need a label.
    """
    import tomllib  # noqa: PLC0415 - needed once, as is what follows

    from safellm._core.detection.national import NUMBERS  # noqa: PLC0415

    path = package_files() / "data" / "words" / "kinds.toml"
    shapes: dict[str, list[Kind]] = defaultdict(list)
    bare: dict[str, list[Kind]] = defaultdict(list)
    layouts: dict[tuple[str, str], list[Kind]] = defaultdict(list)
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["kind"]:
        forms = {shape(expand(layout)) for layout in table.get("layouts", ())}
        for written in table["shapes"]:
            prefix, _, rest = written.rpartition("|")
            compact = shape(prefix + expand(rest).replace(" ", ""))
            kind = Kind(
                id=table["id"],
                type=table["type"],
                check=NUMBERS[table["check"]] if "check" in table else None,
                prefix=prefix,
                bare=table.get("bare", 0.0),
                formatted=table.get("formatted", 0.0),
                alone=table.get("alone", 0.0),
            )
            shapes[compact].append(kind)
            if not is_of(kind.id.partition("-")[0], countries):
                continue
            if kind.bare or kind.alone:
                bare[compact].append(kind)
            for form in forms if kind.formatted else ():
                layouts[form, compact].append(kind)
    return Kinds(
        shapes=_frozen(shapes),
        bare=_frozen(bare),
        layouts=_frozen(layouts),
        forms=frozenset(form for form, _ in layouts),
    )


def _frozen(kinds: Mapping[Key, list[Kind]]) -> Mapping[Key, tuple[Kind, ...]]:
    return MappingProxyType({key: tuple(found) for key, found in kinds.items()})


def expand(written: str) -> str:
    """Return a shape without repeat counts: "A9x3-9" is "A999-9"; at most two digits follow an x."""
    parts: list[str] = []
    rest = written
    while rest:
        count = ""
        character, rest = rest[0], rest[1:]
        if rest[:1] == "x":
            count = rest[1:3] if rest[1:3].isdigit() else rest[1:2]
            rest = rest[1 + len(count) :]
        parts.append(character * int(count or 1))
    return "".join(parts)
