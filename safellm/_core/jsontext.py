"""Strict JSON in, faithful JSON out (RFC 8259, read as RFC 7493 I-JSON where it leaves a choice).

Duplicate keys are refused: two parsers that pick different ones would let a body mean two things (THREATS K.9).
Integers keep all their digits, floating-point numbers keep their double value.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any, NoReturn

from safellm._core.effects import JSON


class Malformed(ValueError):
    """The bytes are not the JSON that is accepted; the message says why, without quoting them."""


def loads(data: bytes, *, max_depth: int) -> JSON:
    """Return the value of a JSON text.

    Args:
        data: UTF-8 bytes; a byte order mark is refused (RFC 8259 8.1).
        max_depth: Deepest nesting of arrays and objects that is accepted.

    Raises:
        Malformed: not UTF-8, not JSON, a key twice in one object, NaN or Infinity, or nested too deeply.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    # Counting is an upper bound of the depth and costs next to nothing; the exact walk is for the rare deep body.
    openings = sum(data.count(character) for character in (b"[", b"{"))
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
    if openings > max_depth and _depth(value) > max_depth:
        raise Malformed(f"nested deeper than {max_depth}")
    return value  # type: ignore[no-any-return]  # json.loads is typed Any


def dumps(value: JSON) -> bytes:
    """Return the compact UTF-8 bytes of a value that `loads` returned or that guards changed."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, written in JSON as an escape
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def quote(text: str) -> str:
    """Return the text as it stands between the quotation marks of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a key stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON")


# Made once: `json.loads` with options makes a decoder for each call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _depth(value: object) -> int:
    deepest, todo = 0, [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, (dict, list)):
            deepest = max(deepest, depth + 1)
            children = item.values() if isinstance(item, dict) else item
            todo.extend((child, depth + 1) for child in children)
    return deepest
