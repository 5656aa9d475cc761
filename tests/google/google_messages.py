"""Messages made from their descriptors, as JSON: a marked text in every place for a string, every alternative once."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Text = Callable[[str, str], str]  # (place, form) -> value, as `mediation_fill.Filler` takes it
FREE_KEYS = ("note", "id", "url", "signature")  # names that mean something elsewhere, in the program's own maps
_NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE: 0.5, FieldDescriptor.CPPTYPE_FLOAT: 0.5, FieldDescriptor.CPPTYPE_BOOL: True}


class Messages:
    """Makes messages.

    Args:
        text: Called for each place where a string goes.
        fixed: Values by field name (`model`) that must be what they are.
    """

    def __init__(self, text: Text, fixed: dict[str, Any] | None = None) -> None:
        self._text, self._fixed = text, fixed or {}
        self._stack: list[Descriptor] = []

    def rows(self, kind: Descriptor, place: str = "") -> list[dict[str, Any]]:
        """Return the alternatives of a message; none where it would hold itself."""
        if kind in self._stack:
            return []
        self._stack.append(kind)
        columns: dict[str, list[dict[str, Any]]] = {}
        for field in kind.fields:
            group = field.containing_oneof.name if field.containing_oneof else field.name
            name = field.name.rstrip("_")  # as the provider calls it: the SDK avoids Python's own names
            here = f"{place}.{name}" if place else name
            columns.setdefault(group, []).extend({field.json_name: one} for one in self._values(field, here))
        self._stack.pop()
        filled = [values for values in columns.values() if values]
        count = max(map(len, filled), default=1)
        return [{k: v for values in filled for k, v in values[row % len(values)].items()} for row in range(count)]

    def _values(self, field: FieldDescriptor, place: str) -> list[Any]:
        if field.name in self._fixed:
            return [self._fixed[field.name]]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            (value,) = (one for one in field.message_type.fields if one.name == "value")
            made = {key: (self._one(value, f"{place}.*{key}") or [None])[0] for key in FREE_KEYS}
            made[self._text(f"{place}.<key>", "key")] = made["note"]
            return [{key: one for key, one in made.items() if one is not None}]
        repeated = field.label == field.LABEL_REPEATED
        found = self._one(field, f"{place}[]" if repeated else place)
        return [found] if repeated and found else found

    def _one(self, field: FieldDescriptor, place: str) -> list[Any]:
        if field.message_type is not None:
            return self._message(field.message_type, place)
        if field.enum_type is not None:
            return [field.enum_type.values[-1].name]
        if field.type == FieldDescriptor.TYPE_BYTES:
            return [base64.b64encode(self._text(place, "text").encode()).decode()]
        return [
            self._text(place, "text") if field.type == FieldDescriptor.TYPE_STRING else _NUMBERS.get(field.cpp_type, 1)
        ]

    def _message(self, kind: Descriptor, place: str) -> list[Any]:
        known: dict[str, Callable[[], Any]] = {
            "Timestamp": lambda: "2026-01-01T00:00:00.500Z",
            "Duration": lambda: "3s",
            "FieldMask": lambda: "displayName",
            "Struct": lambda: {name: self._text(f"{place}.*{name}", "text") for name in FREE_KEYS},
            "Value": lambda: self._text(place, "text"),
            "ListValue": lambda: [self._text(f"{place}[]", "text")],
        }
        if kind.full_name == "google.protobuf.Any":
            return []
        if kind.full_name.startswith("google.protobuf.") and kind.name in known:
            return [known[kind.name]()]
        return self.rows(kind, place)
