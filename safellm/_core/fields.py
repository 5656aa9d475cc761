"""Fields: the texts of a body, with what each one is. Guards work on fields, never on bytes.

A body is walked as generic JSON, so no string can be missed: what an adapter doesn't name is text. The adapter's table only
says which strings are something else than text (an identifier, a URL, base64 data, an opaque signature).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from safellm._core import jsontext
from safellm._core.effects import JSON


class Kind(Enum):
    """What a string is, and so what guards may do with it."""

    __hash__ = object.__hash__  # as members compare; Enum's own is written in Python, and asked for each text

    TEXT = auto()  # prose: searched, hidden, cleaned, restored
    NAME = auto()  # file names, user ids: like text
    ARGUMENTS = auto()  # JSON inside a string: a tool call's arguments
    TOOL_INPUT = auto()  # free text that a tool gets
    TOKEN = auto()  # a piece of the answer repeated for its probability: cleaned, never restored
    URL = auto()  # an address: only secrets are hidden, nothing is restored
    IDENTIFIER = auto()  # ids, enums, model names: only secrets are hidden, otherwise untouched
    CREDENTIAL = auto()  # a credential that belongs in the body (a remote tool's header)
    DATA = auto()  # base64 or data URLs: follow the policy for binary content
    OPAQUE = auto()  # signed or encrypted by the provider: one changed byte breaks the next turn


# Members of an enum are looked up slowly, and these for every string.
_TEXT, _IDENTIFIER, _ARGUMENTS = Kind.TEXT, Kind.IDENTIFIER, Kind.ARGUMENTS


class Trust(Enum):
    """Whether the program wrote a text itself or only passes it on."""

    OWN = auto()  # system and developer text, tool definitions, schemas
    UNTRUSTED = auto()  # everything else


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How an adapter reads JSON bodies.

    Attributes:
        kinds: Kind by key name, or by `parent.key` where the name alone would say too much. Others are TEXT.
        own_roles: Roles whose text the program wrote itself.
        own_keys: Keys below which everything is the program's own (instructions, tool definitions).
        token_keys: Keys of the body whose arrays of integers are tokens: text that can't be searched.
        free_keys: Keys, or `parent.key`, below which names are the program's own and mean nothing to the provider: all is TEXT.
        typed: Kinds by key name in objects of one `type` ("thinking"); they come before `kinds`.
    """

    kinds: Mapping[str, Kind]
    own_roles: frozenset[str]
    own_keys: frozenset[str]
    free_keys: frozenset[str] = frozenset()
    token_keys: frozenset[str] = frozenset()
    typed: Mapping[str, Mapping[str, Kind]] = field(default_factory=dict)
    # Answers of the two methods by (key, parent): bodies have the same few keys.
    _free: dict[tuple[str, str], bool] = field(default_factory=dict, init=False, repr=False, compare=False)
    _kind: dict[tuple[str, str], Kind] = field(default_factory=dict, init=False, repr=False, compare=False)

    def is_free(self, key: str, parent: str) -> bool:
        """Return whether what stands under `key` of an object under `parent` is the program's own."""
        found = self._free.get((key, parent))
        if found is None:
            found = key in self.free_keys or f"{parent}.{key}" in self.free_keys
            _remember(self._free, (key, parent), found)
        return found

    def kind_of(self, key: str, parent: str) -> Kind:
        """Return what the string under `key` of an object under `parent` is."""
        found = self._kind.get((key, parent))
        if found is None:
            named = self.kinds.get(f"{parent}.{key}")
            found = named if named is not None else self.kinds.get(key, _TEXT)
            _remember(self._kind, (key, parent), found)
        return found


def _remember(known: dict[tuple[str, str], Any], place: tuple[str, str], found: Any) -> None:
    # A name can be anything, a secret as well: long ones, and more of them than there are keys, aren't kept.
    if len(place[0]) <= _LONGEST_NAME and len(place[1]) <= _LONGEST_NAME and len(known) < _MOST_KEYS:
        known[place] = found


# For JSON that the program made up: a file, a tool's arguments. A key named "signature" says nothing there.
PLAIN = Table(kinds={}, own_roles=frozenset(), own_keys=frozenset())

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/\r\n]*+|[A-Za-z0-9_\-\r\n]*+)={0,2}+\s*+")  # RFC 4648 4 and 5
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
# Identifiers that stand in nearly every body and are no fields: there is nothing to find or to change in them.
_WORDS = frozenset(
    {"user", "assistant", "system", "developer", "tool", "function", "model", "message", "text", "input_text", "output_text",
     "tool_use", "tool_result", "function_call", "function_call_output", "object", "chat.completion", "chat.completion.chunk",
     "stop", "completed", "response", "auto", "default", "ephemeral", "json_schema", "json_object"}
)  # fmt: skip
_MOST_KEYS = 1024
_LONGEST_NAME = 15  # a longer key can be a secret that has the form of a name, such as a token with underscores


@dataclass(slots=True, kw_only=True)
class Field:
    """One string in a parsed body. `put` replaces it in place; a key is renamed."""

    container: Any
    key: Any
    text: str
    kind: Kind
    trust: Trust
    path: tuple[str | int, ...]
    is_key: bool = False
    tool: str | None = None  # for ARGUMENTS and TOOL_INPUT: the tool's name
    parameter: str | None = None  # for TOOL_INPUT that stands in an object of arguments: the outermost key

    def put(self, text: str) -> None:
        """Write the new text into the body."""
        if self.is_key:
            renamed = {(text if key == self.key else key): value for key, value in self.container.items()}
            self.container.clear()
            self.container.update(renamed)
            self.key = text
        else:
            self.container[self.key] = text
        self.text = text

    @property
    def pointer(self) -> str:
        """The field's place as a JSON pointer (RFC 6901)."""
        return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in self.path)


@dataclass(slots=True)
class Document:
    """A parsed JSON body and its fields; `encode` gives the bytes after changes."""

    value: JSON
    fields: list[Field]
    nested: list[tuple[Field, Document]] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the JSON bytes, inner documents (tool arguments) included."""
        self.fold()
        return jsontext.dumps(self.value)

    def fold(self) -> None:
        """Write changed inner documents back into the strings that held them."""
        for holder, inner in self.nested:
            inner.fold()
            holder.put(jsontext.dumps(inner.value).decode("utf-8"))

    def all_fields(self) -> Iterator[Field]:
        """Yield the fields, those of opened inner documents instead of the strings that hold them."""
        if not self.nested:
            yield from self.fields
            return
        opened = {id(holder) for holder, _ in self.nested}
        for one in self.fields:
            if id(one) not in opened:
                yield one
        for _, inner in self.nested:
            yield from inner.all_fields()


def read(value: JSON, table: Table, *, trust: Trust = Trust.UNTRUSTED) -> Document:
    """Return a document with every string of a parsed body, keys included, as a field."""
    box = {"": value}
    fields: list[Field] = []
    if isinstance(value, str):
        fields.append(Field(container=box, key="", text=value, kind=Kind.TEXT, trust=trust, path=()))
    else:
        _walk(value, table, trust, (), "", "", fields, None)
        # Keys last: a renamed key must not leave a value's field pointing at the old name.
        for one in fields:
            if one.is_key:
                fields.sort(key=_is_key)
                break
    return Document(value, fields)


def _is_key(one: Field) -> bool:
    return one.is_key


def open_arguments(document: Document, *, max_depth: int) -> None:
    """Parse JSON that stands inside strings (tool arguments), so that escapes can't hide a value from the search.

    A string that is no JSON stays one text field.
    """
    for one in document.fields:
        if one.kind is _ARGUMENTS and one.text[:1] in ("{", "["):
            try:
                value = jsontext.loads(one.text.encode("utf-8", "surrogatepass"), max_depth=max_depth)
            except jsontext.Malformed:
                continue
            document.nested.append((one, read(value, PLAIN, trust=one.trust)))


def _walk(  # noqa: C901, PLR0913 - the path of one recursion, spelled out
    value: Any,
    table: Table,
    trust: Trust,
    path: tuple[str | int, ...],
    parent: str,
    key: str,
    fields: list[Field],
    tool: str | None,
) -> None:
    if isinstance(value, dict):
        role = value.get("role")
        if isinstance(role, str):
            trust = Trust.OWN if role in table.own_roles else Trust.UNTRUSTED
        name = value.get("name")
        tool = name if isinstance(name, str) else tool
        form = value.get("type") if table.typed else None
        typed = table.typed.get(form) if isinstance(form, str) else None
        for child_key, child in value.items():
            child_trust = Trust.OWN if child_key in table.own_keys else trust
            if len(child_key) > _LONGEST_NAME or not child_key.isidentifier():
                fields.append(
                    Field(
                        container=value, key=child_key, text=child_key, kind=Kind.NAME, trust=trust, path=(*path, child_key),
                        is_key=True,
                    )
                )  # fmt: skip
            made = type(child)
            if made is str:
                known = table._kind.get((child_key, key)) if typed is None else None  # noqa: SLF001 - the same module
                kind = known if known is _TEXT or known is _IDENTIFIER else _kind(table, child_key, key, child, typed)
                if kind is _IDENTIFIER and child in _WORDS:
                    continue
                fields.append(
                    Field(
                        container=value, key=child_key, text=child, kind=kind, trust=child_trust, path=(*path, child_key),
                        tool=tool,
                    )
                )  # fmt: skip
            elif made is dict and table.kind_of(child_key, key) is _ARGUMENTS:
                fields += _arguments(child, child_trust, (*path, child_key), child_key, tool)
            elif made is dict or made is list:
                below = PLAIN if table.is_free(child_key, key) else table
                _walk(child, below, child_trust, (*path, child_key), key, child_key, fields, tool)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            if isinstance(child, str):
                fields.append(
                    Field(
                        container=value, key=index, text=child, kind=_kind(table, key, parent, child), trust=trust,
                        path=(*path, index), tool=tool,
                    )
                )  # fmt: skip
            elif isinstance(child, (dict, list)):
                _walk(child, table, trust, (*path, index), parent, key, fields, tool)


def _arguments(
    value: dict[str, Any], trust: Trust, path: tuple[str | int, ...], key: str, tool: str | None
) -> list[Field]:
    """Return the texts of a tool's arguments that come as an object, each with the parameter that it belongs to."""
    found: list[Field] = []
    _walk(value, PLAIN, trust, path, "", key, found, None)
    for one in found:
        named = one.path[len(path)]
        one.kind, one.tool = Kind.TOOL_INPUT, tool
        one.parameter = "" if one.is_key else str(named)  # a key is no value: no policy can name it
    return found


def _kind(table: Table, key: str, parent: str, text: str, typed: Mapping[str, Kind] | None = None) -> Kind:
    kind = table.kind_of(key, parent) if typed is None or key not in typed else typed[key]
    if kind is _TEXT or kind is _IDENTIFIER:
        return kind
    if kind is Kind.URL and _DATA_URL.match(text):
        return Kind.DATA
    if kind is Kind.DATA and not _BASE64.fullmatch(text, _data_start(text)):
        return Kind.TEXT  # what isn't base64 can be read, whatever it is called
    return kind


def _data_start(text: str) -> int:
    found = _DATA_URL.match(text)
    return found.end() if found else 0
