"""JSON Schema for the arguments of tools: what the definition says, with keys that it doesn't list refused (THREATS A.2).

A validator of its own, because of what it may not do: it fetches nothing (a `$ref` stays in its document), its patterns are
matched by RE2 in linear time, its work is bounded in steps, and what it doesn't know is not passed over. Its answers are those of
the draft 2020-12 for the keywords below (a test compares it with another implementation), with two differences, both stricter:

* an object that is described by `properties` takes no other key unless the schema says so (`unevaluatedProperties: false`);
* a pattern that RE2 can't match in linear time fits nothing.

`format` and annotations say nothing, as in the draft. Gemini's spelling (`STRING`, `nullable`) is read as well.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import re2

_STEPS: Final = 100_000  # schemas looked at for one value; a schema of a thousand lines needs some thousands
_DEPTH: Final = 128
_LONGEST_PATTERN: Final = 1024
_PATTERN_MEMORY: Final = 1 << 20
_NONE: Final[frozenset[str]] = frozenset()

# Keywords that demand something and aren't done here. Others that aren't named below are annotations, as in the draft.
_UNSUPPORTED: Final = frozenset(
    {"unevaluatedItems", "$dynamicRef", "$recursiveRef", "dependencies", "disallow", "extends", "divisibleBy"}
)


class BadSchema(ValueError):
    """A schema can't be used; the message says why, without quoting it."""


class _Wrong(Exception):
    """A value doesn't fit."""


@dataclass(slots=True)
class _Work:
    root: Any
    steps: int = _STEPS
    lax: bool = False  # only what the draft refuses is refused
    opened: list[tuple[int, int]] = field(default_factory=list)  # references being followed: a circle has no end


@dataclass(frozen=True, slots=True)
class _At:
    """Where a value stands."""

    work: _Work
    place: str = ""
    depth: int = 0

    def below(self, name: object) -> _At:
        return _At(self.work, f"{self.place}/{_shown(name)}", self.depth + 1)

    def inside(self) -> _At:
        return _At(self.work, self.place, self.depth + 1)

    def wrong(self, what: str) -> _Wrong:
        return _Wrong(f"{self.place or 'the arguments'}: {what}")


def problem(value: Any, schema: Any) -> str | None:
    """Return where and why a value doesn't fit a schema, without quoting the value; None where it fits.

    Args:
        value: Parsed JSON: the arguments of a call.
        schema: Parsed JSON: the definition's schema.

    Raises:
        BadSchema: the schema has a keyword of another form, or refers to another document.
    """
    try:
        _check(value, schema, _At(_Work(schema)), is_root=True)
    except _Wrong as wrong:
        return str(wrong)
    return None


def check_schema(schema: Any) -> None:
    """Refuse a schema that can't be used.

    Raises:
        BadSchema: it isn't an object or a boolean, is too deep, or refers to another document.
    """
    if not isinstance(schema, (dict, bool)):
        raise BadSchema("it is no JSON Schema")
    level: list[Any] = [schema]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                for name in ("$ref", "$dynamicRef", "$recursiveRef"):
                    target = one.get(name)
                    if target is not None and not (isinstance(target, dict) or str(target).startswith("#")):
                        raise BadSchema(f"its {name} leads to another document")
                below += one.values()
            elif isinstance(one, list):
                below += one
        if not below:
            return
        level = below
    raise BadSchema(f"it is nested deeper than {_DEPTH}")


def _check(value: Any, schema: Any, at: _At, *, is_root: bool) -> frozenset[str]:  # noqa: C901 - one step after the other
    """Check a value; return the keys that the schema says something about, or all of them.

    `is_root`: the first schema that is asked about this value, and not one that belongs to another by `allOf` and the like.
    """
    at.work.steps -= 1
    if at.work.steps < 0 or at.depth > _DEPTH:
        raise at.wrong("too much to check")
    if schema is True or schema == {}:
        return frozenset(value) if isinstance(value, dict) else _NONE
    if schema is False:
        raise at.wrong("nothing is allowed here")
    if not isinstance(schema, dict):
        raise BadSchema("a part of it is no schema")
    if not _UNSUPPORTED.isdisjoint(schema):
        raise BadSchema(f"its keyword {_shown(min(_UNSUPPORTED.intersection(schema)))} is not supported")
    if value is None and schema.get("nullable") is True:
        return _NONE
    _plain(value, schema, at)
    known = _applied(value, schema, at)
    if isinstance(value, str):
        _text(value, schema, at)
    elif isinstance(value, list):
        _items(value, schema, at)
    elif isinstance(value, dict):
        known |= _members(value, schema, at)
        # A bare `{"type": "object"}` inside is a free-form object; the arguments themselves are never that.
        if is_root and not at.work.lax and (not at.place or not _SAYS_KEYS.isdisjoint(schema)):
            extra = sorted(set(value) - known)
            if extra:
                raise at.wrong(f"{_shown(extra[0])} is not among the declared keys")
    return known


def _plain(value: Any, schema: dict[str, Any], at: _At) -> None:
    kinds = schema.get("type")
    if kinds is not None:
        wanted = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
            raise BadSchema("its type is no name")
        if not any(_is(value, one.lower()) for one in wanted):
            raise at.wrong(f"must be {' or '.join(one.lower() for one in wanted)}")
    if "enum" in schema and not any(_same(value, one) for one in _list(schema["enum"])):
        raise at.wrong("none of the values that are declared")
    if "const" in schema and not _same(value, schema["const"]):
        raise at.wrong("not the value that is declared")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(value, schema, at)


def _number(value: float, schema: dict[str, Any], at: _At) -> None:
    below: Any = schema.get("exclusiveMinimum")
    above: Any = schema.get("exclusiveMaximum")
    low: Any = schema.get("minimum")
    high: Any = schema.get("maximum")
    if below is True:  # draft 4, which OpenAPI 3.0 still uses
        below, low = low, None
    if above is True:
        above, high = high, None
    wrong = (
        (_is_number(low) and value < low)
        or (_is_number(high) and value > high)
        or (_is_number(below) and value <= below)
        or (_is_number(above) and value >= above)
    )
    step: Any = schema.get("multipleOf")
    if wrong or (_is_number(step) and step > 0 and not _is_multiple(value, step)):
        raise at.wrong("outside of what is declared")


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = value / step
    return math.isfinite(quotient) and quotient == math.floor(quotient)


def _text(value: str, schema: dict[str, Any], at: _At) -> None:
    length = len(value)
    if length < _size(schema, "minLength", 0) or length > _size(schema, "maxLength", length):
        raise at.wrong("too short or too long")
    if "pattern" in schema and not _matches(schema["pattern"], value, at.work):
        raise at.wrong("not of the declared form")


def _items(value: list[Any], schema: dict[str, Any], at: _At) -> None:
    if len(value) < _size(schema, "minItems", 0) or len(value) > _size(schema, "maxItems", len(value)):
        raise at.wrong("too few or too many")
    first, rest = schema.get("prefixItems"), schema.get("items")
    if isinstance(rest, list):  # drafts before 2020-12
        first, rest = rest, schema.get("additionalItems")
    ahead = _list(first) if first is not None else []
    for index, one in enumerate(value):
        inner = ahead[index] if index < len(ahead) else rest
        if inner is not None:
            _check(one, inner, at.below(index), is_root=True)
    if schema.get("uniqueItems") is True and len({_key(one) for one in value}) < len(value):
        raise at.wrong("an entry stands twice")
    if "contains" in schema:
        fitting = sum(_fits(one, schema["contains"], at, lax=True) is not None for one in value)
        if fitting < _size(schema, "minContains", 1) or fitting > _size(schema, "maxContains", fitting):
            raise at.wrong("a declared entry is missing")


def _members(value: dict[str, Any], schema: dict[str, Any], at: _At) -> frozenset[str]:
    if len(value) < _size(schema, "minProperties", 0) or len(value) > _size(schema, "maxProperties", len(value)):
        raise at.wrong("too few or too many keys")
    for name in _list(schema.get("required", [])):
        if name not in value:
            raise at.wrong(f"{_shown(name)} is missing")
    described, patterns = _dict(schema, "properties"), _dict(schema, "patternProperties")
    known: set[str] = set()
    for name, one in value.items():
        fitting = [described[name]] if name in described else []
        fitting += [inner for pattern, inner in patterns.items() if _matches(pattern, name, at.work)]
        fitting = fitting or _others(name, schema, at)
        for inner in fitting:
            _check(one, inner, at.below(name), is_root=True)
        if fitting:
            known.add(name)
        if "propertyNames" in schema:
            _check(name, schema["propertyNames"], at.below(name), is_root=True)
    return frozenset(known) | _dependent(value, schema, at)


def _others(name: str, schema: dict[str, Any], at: _At) -> list[Any]:
    """Return what holds for a key that isn't described."""
    if schema.get("additionalProperties") is False:
        raise at.wrong(f"{_shown(name)} is not among the declared keys")
    others = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    return [] if others is None or others is False else [others]


def _dependent(value: dict[str, Any], schema: dict[str, Any], at: _At) -> frozenset[str]:
    known = _NONE
    for name, needed in _dict(schema, "dependentRequired").items():
        if name in value and any(one not in value for one in _list(needed)):
            raise at.wrong(f"a key that goes with {_shown(name)} is missing")
    for name, inner in _dict(schema, "dependentSchemas").items():
        if name in value:
            known |= _check(value, inner, at.inside(), is_root=False)
    return known


_IN_PLACE: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "not"})
_SAYS_KEYS: Final = _IN_PLACE | {"properties", "patternProperties", "unevaluatedProperties"}


def _applied(value: Any, schema: dict[str, Any], at: _At) -> frozenset[str]:
    """Check the schemas that say something about the same value."""
    known = _NONE
    if _IN_PLACE.isdisjoint(schema):
        return known
    if "$ref" in schema:
        mark = (id(value), id(schema))
        if mark in at.work.opened:
            raise BadSchema("its references go round in a circle")
        at.work.opened.append(mark)
        known |= _check(value, _resolved(schema["$ref"], at.work.root), at.inside(), is_root=False)
        at.work.opened.pop()
    for inner in _list(schema.get("allOf", [])):
        known |= _check(value, inner, at.inside(), is_root=False)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            known |= _one_of(value, _list(schema[name]), at, most=None if name == "anyOf" else 1)
    if "not" in schema and _fits(value, schema["not"], at, lax=True) is not None:
        raise at.wrong("of a form that is excluded")
    if "if" in schema:
        fit = _fits(value, schema["if"], at, lax=True)
        known |= fit or _NONE
        branch = "else" if fit is None else "then"
        if branch in schema:
            known |= _check(value, schema[branch], at.inside(), is_root=False)
    return known


def _one_of(value: Any, schemas: list[Any], at: _At, *, most: int | None) -> frozenset[str]:
    """Return the keys that the fitting schemas know; of `oneOf` just one may fit, as the draft reads it."""
    found = [fit for one in schemas if (fit := _fits(value, one, at)) is not None]
    too_many = most is not None and sum(_fits(value, one, at, lax=True) is not None for one in schemas) > most
    if not found or too_many:
        raise at.wrong("fits none, or too many, of the declared forms")
    return _NONE.union(*found)


def _fits(value: Any, schema: Any, at: _At, *, lax: bool = False) -> frozenset[str] | None:
    """Return the keys that a schema knows, or None where the value doesn't fit.

    Args:
        value: Parsed JSON.
        schema: Parsed JSON.
        at: Where it stands.
        lax: Just as the draft says: where not to fit lets a value pass, being stricter would be looser.
    """
    work = at.work
    before, was_lax = len(work.opened), work.lax
    work.lax |= lax
    try:
        return _check(value, schema, at.inside(), is_root=False)
    except _Wrong:
        if work.steps < 0:
            raise
        del work.opened[before:]
        return None
    finally:
        work.lax = was_lax


def _resolved(reference: Any, root: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise BadSchema("its $ref leads to another document")
    found = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise BadSchema("its $ref leads nowhere")
    if reference != "#" and not reference.startswith("#/"):
        raise BadSchema("its $ref is no JSON pointer")
    return found


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


def _matches(pattern: Any, text: str, work: _Work) -> bool:
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
        raise BadSchema("its pattern is no text, or too long")
    engine = _compiled(pattern)
    if engine is None and work.lax:
        raise BadSchema("its pattern can't be matched in linear time")
    return engine is not None and engine.search(text.encode("utf-8", "replace").decode()) is not None


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if kind not in types:
        raise BadSchema(f"its type {_shown(kind)} is not known here")
    return isinstance(value, types[kind])


def _same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal: 1 is 1.0 (draft 2020-12, 4.2.2), and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return (
        type(one) is type(other) and bool(one == other) if not (_is_number(one) and _is_number(other)) else one == other
    )


def _key(value: Any) -> str:
    """Return a text that equal values share (see `_same`)."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{name!r}:{_key(one)}' for name, one in sorted(value.items()))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_key, value))}]"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _size(schema: dict[str, Any], name: str, default: int) -> int:
    size = schema.get(name, default)
    if isinstance(size, str) and size.isdecimal():  # Google writes 64-bit numbers as texts
        size = int(size)
    if not _is_number(size):
        raise BadSchema(f"its {name} is no number")
    return int(size)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadSchema("a part of it that must be a list is none")
    return value


def _dict(schema: dict[str, Any], name: str) -> dict[str, Any]:
    value = schema.get(name, {})
    if not isinstance(value, dict):
        raise BadSchema(f"its {name} is no object")
    return value


def _shown(name: Any) -> str:
    text = str(name)
    return repr(text if len(text) <= 64 else f"{text[:61]}...")  # noqa: PLR2004 - characters of a name in a message
