"""Strict JSON in, faithful JSON out (RFC 8259, read as RFC 7493 I-JSON where it leaves a choice).

Duplicate keys are refused: two parsers that pick different ones would let a body mean two things (THREATS K.9).
Integers keep all their digits, floating-point numbers keep their double value.

Two readers, one meaning: `orjson` reads nearly everything, and cheap proofs show that nothing was lost on the way (no key fell
under the table, no integer became a float). A text that is written as machines do proves it by coming out again byte for byte;
for others names are counted. What `orjson` refuses, or what can't be proven, Python's own reader decides.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import orjson

from safellm._core.effects import JSON


class Malformed(ValueError):
    """The bytes are not the JSON that is accepted; the message says why, without quoting them."""


# From here on `orjson` reads an integer as a float, below it never does: it has 64 bits, signed or not.
_FIRST_UNSURE: Final = float(1 << 63)
# Two thirds of the time go into the proofs: for a large text that isn't written compactly, Python's own reader is as fast.
_LARGE: Final = 8192  # bytes
_BEGINNING: Final = 256  # bytes that show how a text is written
_SPACE: Final = b" \r\t"  # and a line end, which has its own case
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NAME_END = re.compile(rb'"[ \t\n\r]*+:')


def loads(data: bytes, *, max_depth: int) -> JSON:
    """Return the value of a JSON text.

    Args:
        data: UTF-8 bytes; a byte order mark is refused (RFC 8259 8.1).
        max_depth: Deepest nesting of arrays and objects that is accepted.

    Raises:
        Malformed: not UTF-8, not JSON, a key twice in one object, NaN or Infinity, a number beyond a double, or nested too
            deeply.
    """
    if len(data) > _LARGE and b'": ' in data[:_BEGINNING]:
        return _exact(data, max_depth)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _exact(data, max_depth)
    same = _is_same(value, data)
    # There are no more levels than brackets, those in strings included.
    if same and data.count(b"{") + data.count(b"[") <= max_depth:
        return value  # type: ignore[no-any-return]  # orjson.loads is typed Any
    names = _survey(value, max_depth)
    if names is not None and (same or (len(data) <= _LARGE and data.count(b":") == names) or _are_all(names, data)):
        return value  # type: ignore[no-any-return]  # the same
    return _exact(data, max_depth)


def dumps(value: JSON) -> bytes:
    """Return the compact UTF-8 bytes of a value that `loads` returned or that guards changed."""
    written = _written(value)
    if written is not None:
        return written
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, written in JSON as an escape
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def quote(text: str) -> str:
    """Return the text as it stands between the quotation marks of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _survey(value: Any, max_depth: int) -> int | None:
    """Return how many names the objects of a value have, or None when an integer may have lost digits.

    Raises:
        Malformed: nested too deeply.
    """
    names, depth = 0, 0
    level = [value]
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                names += len(item)
                children = item.values()
            elif kind is list:
                children = item
            else:  # the text is one number, string, true, false or null
                return 0 if kind is not float or -_FIRST_UNSURE < item < _FIRST_UNSURE else None
            for child in children:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif kind is float and not -_FIRST_UNSURE < child < _FIRST_UNSURE:
                    return None
        if depth > max_depth:
            raise Malformed(f"nested deeper than {max_depth}")
        level = below
    return names


def _is_same(value: Any, data: bytes) -> bool:
    """Return whether a value comes out byte for byte as it was read, if it is written as machines do: compactly, or by 2 spaces.

    Then a text can mean nothing else: a name that stood twice would be missing, an integer that lost digits would be a float.
    """
    second = data[1:2]
    if second == b"\n":
        written = _written(value, orjson.OPT_INDENT_2)
    elif second in _SPACE or b'": ' in data[:_BEGINNING]:
        return False
    else:
        written = _written(value)
    return written == data or (written is not None and data[-1:] == b"\n" and written == data[:-1])


def _are_all(names: int, data: bytes) -> bool:
    """Return whether `names` is as many as stand in the text, so that none stands twice in one object.

    Each name ends in a quotation mark and a colon. Counting these can count too many, inside strings, but never too few:
    equal numbers are a proof, others are none: for a small text, `loads` counts all colons first.
    """
    without = _ESCAPE.sub(b"", data) if b"\\" in data else data  # no quotation mark is left inside a string
    return len(_NAME_END.findall(without)) == names


def _written(value: Any, how: int = 0) -> bytes | None:
    try:
        return orjson.dumps(value, option=how)
    except TypeError:  # an integer of more than 64 bits, a lone surrogate, nested deeper than 254
        return None


def _exact(data: bytes, max_depth: int) -> JSON:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"{error.msg.lower()} at character {error.pos}") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed("a number is too long") from None  # int() limit of Python, CVE-2020-10735
    _survey(value, max_depth)
    return value  # type: ignore[no-any-return]  # json.loads is typed Any


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a key stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (_INFINITY, -_INFINITY):  # it could not be written again (RFC 7493 2.2)
        raise Malformed("a number is beyond a double")
    return number


_INFINITY: Final = float("inf")
# Made once: `json.loads` with options makes a decoder for each call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
