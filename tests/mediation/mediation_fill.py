"""Values made from types: every alternative of every union at least once, a marked text in every place for a string.

`Filler.build` returns the alternatives of a type as a list. A list type holds all alternatives of its items at once; an object
has as many alternatives as its field with the most. So all is reached with few values, and nothing is left to luck.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import io
import os
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pydantic
import typing_extensions

Text = Callable[
    [str, str], str
]  # (place, form) -> value; form is "text", "open" (an enum that takes any string) or "key"

_SEQUENCES = (list, tuple, set, collections.abc.Iterable, collections.abc.Sequence, collections.abc.Iterator)
_MOST = 400  # alternatives of one type; a bound for the walk, far above what is reached
# Names that mean something to a provider elsewhere; in the program's own map they mean nothing.
FREE_KEYS = (
    "note",
    "id",
    "url",
    "signature",
    "authorization",
    "access_token",
    "file_data",
    "md5",
    "sdp",
    "client_secret",
)


@dataclass(slots=True, kw_only=True)
class Filler:
    """Makes values.

    Args:
        text: Called for each place where a string goes.
        file: Called for each place where a file goes; returns its alternatives.
        fixed: Values by field name that must be what they are (`has_more`, `status`).
        skip: Field names that are left out.
        wire: Use the names of the wire (aliases) for objects, not those of Python.
    """

    text: Text
    file: Callable[[str], list[Any]] = lambda place: []
    fixed: dict[str, Any] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    wire: bool = False
    free_keys: tuple[str, ...] = FREE_KEYS
    _stack: list[Any] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def build(self, kind: Any, place: str) -> list[Any]:
        """Return the alternatives of a type; none where it can't be filled (its own recursion, `None`)."""
        kind = bare(kind)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is None or kind is type(None) or getattr(kind, "__name__", "") in ("Omit", "NotGiven"):
            return []
        if origin in (typing.Union, types.UnionType):
            return self._union(args, place)
        if origin in (typing.Literal, typing_extensions.Literal):
            named = place.rpartition(".")[2]
            if named in self.fixed and self.fixed[named] in args:
                return [self.fixed[named]]
            for preferred in self.fixed.get("prefer", ()):
                if preferred in args:
                    return [preferred]
            return list(args) if named == "role" else [args[0]]
        if kind is str:
            return [self.text(place, "text")]
        if kind in (object, Any):
            inner = {name: self.text(f"{place}.{name}", "text") for name in self.free_keys}
            return [
                {
                    **inner,
                    "deep": [self.text(f"{place}.deep[0]", "text"), {"in": self.text(f"{place}.deep[1].in", "text")}],
                }
            ]
        if kind is bool:
            return [True]
        if kind is int:
            return [1]
        if kind is float:
            return [0.5]
        if isinstance(kind, type) and issubclass(kind, (dt.datetime, dt.date)):
            return [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] if not self.wire else ["2026-01-01T00:00:00Z"]
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return [one.value for one in kind][:1]
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
            return self._map(args[1] if args else object, place)
        if origin in _SEQUENCES or (isinstance(origin, type) and issubclass(origin, collections.abc.Iterable)):
            return self._list(args, place)
        if getattr(origin, "__name__", "") == "SequenceNotStr":
            return self._list(args, place)
        if typing_extensions.is_typeddict(kind):
            hints = _hints(kind)
            if hints is None:
                self.unknown.add(f"{place}: {kind!r}")
                return []
            return self._object(kind, hints.items(), place)
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            fields = kind.model_fields.items()
            return self._object(
                kind, [((one.alias or name) if self.wire else name, one.annotation) for name, one in fields], place
            )
        if isinstance(kind, type) and issubclass(kind, dict):
            return self._map(object, place)
        if kind is list:
            return self._list((object,), place)
        if (
            kind in (bytes, bytearray)
            or origin is os.PathLike
            or (isinstance(kind, type) and issubclass(kind, (io.IOBase, os.PathLike)))
        ):
            return self.file(place)
        if isinstance(kind, typing.TypeVar):
            return self.build(kind.__bound__ or object, place)
        self.unknown.add(f"{place}: {kind!r}"[:150])
        return []

    def _union(self, args: Iterable[Any], place: str) -> list[Any]:
        args = [bare(one) for one in args]
        if bytes in args:  # the SDK's FileTypes
            return self.file(place)
        if str in args and any(typing.get_origin(one) is typing.Literal for one in args):
            args = [one for one in args if typing.get_origin(one) is not typing.Literal and one is not str]
            return [self.text(place, "open"), *self._all(args, place)]
        return self._all(args, place)

    def _all(self, args: Iterable[Any], place: str) -> list[Any]:
        found: list[Any] = []
        for one in args:
            found += self.build(one, place)
        return found[:_MOST]

    def _list(self, args: tuple[Any, ...], place: str) -> list[Any]:
        items = self.build(args[0] if args else object, f"{place}[]")
        return [items] if items else [[]]

    def _map(self, kind: Any, place: str) -> list[Any]:
        made: dict[str, Any] = {}
        for number, name in enumerate(self.free_keys):
            values = self.build(kind, f"{place}.*{name}")
            if not values:
                return [{}]
            made[name] = values[number % len(values)]
            for extra, value in enumerate(values[1:] if number == 0 else ()):
                made[f"more{extra}"] = value
        made[self.text(f"{place}.<key>", "key")] = (
            made["note"] if isinstance(made["note"], (int, bool)) else self.build(kind, f"{place}.*")[0]
        )
        return [made]

    def _object(self, kind: Any, fields: Iterable[tuple[str, Any]], place: str) -> list[Any]:
        if self._stack.count(kind) >= 1:
            return []
        self._stack.append(kind)
        try:
            columns: dict[str, list[Any]] = {}
            for name, hint in fields:
                if name in self.skip:
                    continue
                if name in self.fixed and not _is_literal(hint):
                    columns[name] = [self.fixed[name]]
                    continue
                values = self.build(hint, f"{place}.{name}" if place else name)
                if values:
                    columns[name] = values
        finally:
            self._stack.pop()
        rows = max((len(values) for values in columns.values()), default=1)
        return [
            {name: values[row % len(values)] for name, values in columns.items()} for row in range(min(rows, _MOST))
        ]


@cache
def _hints(kind: Any) -> dict[str, Any] | None:
    try:
        return dict(typing_extensions.get_type_hints(kind))
    except NameError:  # names that the SDK imports for type checkers only
        return None


def _is_literal(hint: Any) -> bool:
    hint = bare(hint)
    return typing.get_origin(hint) is typing.Literal or any(
        _is_literal(one) for one in typing.get_args(hint) if one is not hint
    )


def bare(kind: Any) -> Any:
    """Return a type without what is said about it."""
    while typing.get_origin(kind) in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        kind = typing.get_args(kind)[0]
    if isinstance(kind, typing_extensions.TypeAliasType):
        return bare(kind.__value__)
    return kind
