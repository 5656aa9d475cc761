"""Caveats: what a grant or a scope demands of each call. Each is one name and a value; all of them must hold.

A name that isn't in the list below, or a value of another form, denies. So a caveat that is added can only narrow.

| caveat | value | holds when |
|---|---|---|
| `key` | name | this is the stored key that is asked for |
| `origin` | list of origins | the call goes to one of them |
| `operation` | list of names, `*` allowed | the operation is one of them (`chat`, `embeddings`, …) |
| `model` | list of names, `*` allowed | every model that the request names matches one |
| `expires` | Unix time, seconds | it is earlier |
| `max_output_tokens` | number | the request's output ceiling is at most this |
| `calls` | number | at most this many attempts were made under the grant; the ledger counts |
| `budget` | {`tokens` or `micro_usd`: number} | no more was spent under the grant; the ledger counts |
| `tool` | list of names, `*` allowed | every tool that the request declares matches one; an empty list: no tools |
| `stream` | true or false | the request streams, or doesn't |
| `without` | list of finding types, `*` for all | no such data was found in the request, masked or not |
| `uid` | number | the peer is this user of this machine (checked by the broker) |
| `account` | name | spending is shown under this name |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from safellm._core.effects import JSON, Limit, Unit, Window
from safellm.errors import ConfigurationError, SafeLLMError

_LONGEST_LIST = 64
_LONGEST_NAME = 256
_LARGEST_NUMBER = 2**53 - 1  # RFC 8259, 6: what every JSON reader keeps exactly
_MICRO = 1_000_000
# Made once: making one takes longer than a caveat does.
_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_READER = json.JSONDecoder()
_AMOUNT = re.compile(r"([0-9][0-9_]{0,15}(?:\.[0-9]{1,6})?) ?(usd|tokens)", re.IGNORECASE)
_DURATION = re.compile(r"([1-9][0-9]{0,4})(s|min|h|d)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

Caveats: TypeAlias = "tuple[tuple[str, JSON], ...]"


class InvalidGrant(SafeLLMError):
    """This is no grant of this installation, or one of its caveats can't be read. The message holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a request would do, as far as a grant cares. `None`: not known (yet); such a caveat is checked later."""

    now_s: int
    key: str
    origin: str
    operation: str
    models: tuple[str, ...]
    streams: bool
    tools: tuple[str, ...]
    output_tokens: int | None = None
    findings: frozenset[str] | None = None
    uid: int | None = None


def first_denied(caveats: Caveats, attempt: Attempt) -> str | None:
    """Return the name of the first caveat that doesn't hold, or None."""
    for name, value in caveats:
        if not _KINDS[name].holds(value, attempt):
            return name
    return None


def values(caveats: Caveats, name: str) -> list[Any]:
    """Return the values of all caveats of one name."""
    return [value for one, value in caveats if one == name]


def limits(account: str, start: bytes, caveats: Caveats) -> tuple[Limit, ...]:
    """Return the ceilings that the ledger keeps.

    Each stands under an account named by the chain up to its caveat: what was narrowed from one shares what the one has, and
    has a ceiling of its own below it.

    Args:
        account: What the accounts' names begin with.
        start: Where the chain begins.
        caveats: In their order.
    """
    chain = hashlib.sha256(start)
    out = []
    for name, value in caveats:
        raw = canonical({name: value})
        chain.update(len(raw).to_bytes(4) + raw)
        for unit, most in _ceilings(name, value):
            out.append(Limit(name=f"{account}:{chain.hexdigest()[:16]}", unit=unit, limit=most, window=Window.TOTAL))
    return tuple(out)


def parse(raw: bytes) -> tuple[str, JSON]:
    """Return the caveat that these bytes are.

    Raises:
        InvalidGrant: they are none, or not in the one form of it.
    """
    try:
        value = _READER.decode(raw.decode())
    except ValueError:  # also what isn't UTF-8
        raise InvalidGrant("The grant has a caveat that can't be read") from None
    except RecursionError:
        raise InvalidGrant("The grant has a caveat that is nested too deeply") from None
    # One object, one name, one way to write it: what two readers could read differently is no caveat.
    if not isinstance(value, dict) or len(value) != 1 or canonical(value) != raw:
        raise InvalidGrant("The grant has a caveat that isn't in its canonical form")
    (name, content), *_ = value.items()
    kind = _KINDS.get(name)
    if kind is None or not kind.accepts(content):
        raise InvalidGrant("The grant has a caveat that is not known here")
    return name, content


def encode(name: str, value: JSON) -> bytes:
    """Return a caveat's one form.

    Raises:
        ConfigurationError: it is unknown or its value has another form.
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise ConfigurationError(f"There is no caveat {name!r}", remedy=f"Known are: {', '.join(sorted(_KINDS))}.")
    if not kind.accepts(value):
        raise ConfigurationError(f"The caveat {name!r} can't have this value", remedy=f"It takes {kind.form}.")
    return canonical({name: value})


def canonical(value: Any) -> bytes:
    """Return JSON that has one form only."""
    try:
        return _WRITER.encode(value).encode()
    except (UnicodeEncodeError, RecursionError):
        raise InvalidGrant("The grant has a caveat that can't be written") from None


def names(value: object) -> list[JSON]:
    """Return a list of names, of which one may stand by itself."""
    return [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []


def parse_amount(text: str) -> JSON:
    """Return the value of `budget` that a text like `5usd`, `0.10usd` or `100000tokens` says.

    Raises:
        ConfigurationError: it says nothing of the kind.
    """
    found = _AMOUNT.fullmatch(text.strip())
    number = Decimal(found[1].replace("_", "")) if found else Decimal(0)
    if found is None or not number or (found[2].lower() == "tokens" and number != int(number)):
        raise ConfigurationError("This is not an amount", remedy="Write it like 5usd, 0.10usd or 100000tokens.")
    return {"micro_usd": int(number * _MICRO)} if found[2].lower() == "usd" else {"tokens": int(number)}


def from_words(name: str, value: JSON) -> JSON:
    """Return a caveat's value as it stands in a grant: a single name as a list of one, an amount of money as its number."""
    if not isinstance(value, str) or name in ("key", "account"):
        return value
    return parse_amount(value) if name == "budget" else [value]


def parse_duration(text: str) -> int:
    """Return the seconds that a text like `45s`, `30min`, `8h` or `7d` says.

    Raises:
        ConfigurationError: it says nothing of the kind.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError("This is not a time", remedy="Write it like 30min, 8h or 7d.")
    return int(found[1]) * _SECONDS[found[2]]


@dataclass(frozen=True, slots=True)
class _Kind:
    form: str
    accepts: Callable[[Any], bool]
    holds: Callable[[Any, Attempt], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_NUMBER


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _LONGEST_LIST and all(_is_name(one) for one in value)


def _is_budget(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and set(value) <= set(_UNITS) and _is_number(*value.values())


def all_match(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Return whether each name fits one of the patterns."""
    return all(any(matches(pattern, name) for pattern in patterns) for name in names)


def matches(pattern: str, name: str) -> bool:
    """Return whether a name fits a pattern in which `*` stands for any text; linear for each star."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    last = rest.pop()
    if not (name.startswith(first) and name.endswith(last) and len(name) >= len(first) + len(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in rest:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _ceilings(name: str, value: JSON) -> list[tuple[Unit, int]]:
    if name == "calls" and isinstance(value, int):
        return [(Unit.REQUESTS, value)]
    if name == "budget" and isinstance(value, dict):
        return [(_UNITS[unit], most) for unit, most in value.items() if isinstance(most, int)]
    return []


_UNITS = {"tokens": Unit.TOKENS, "micro_usd": Unit.MICRO_USD}
_NAMES = "a list of names"
_NUMBER = "a whole number"
_KINDS: dict[str, _Kind] = {
    "key": _Kind("a name", _is_name, lambda value, call: value == call.key),
    "origin": _Kind("a list of origins", _is_names, lambda value, call: call.origin in value),
    "operation": _Kind(_NAMES, _is_names, lambda value, call: all_match(value, [call.operation])),
    # A request that names no model could get any: it has to match as an empty name, which only `*` does.
    "model": _Kind(_NAMES, _is_names, lambda value, call: all_match(value, call.models or ("",))),
    "expires": _Kind("a Unix time in seconds", _is_number, lambda value, call: call.now_s < value),
    "max_output_tokens": _Kind(
        _NUMBER, _is_number, lambda value, call: call.output_tokens is None or call.output_tokens <= value
    ),
    "calls": _Kind(_NUMBER, _is_number, lambda _value, _call: True),
    "budget": _Kind("one of tokens and micro_usd with a whole number", _is_budget, lambda _value, _call: True),
    "tool": _Kind(_NAMES, _is_names, lambda value, call: all_match(value, call.tools)),
    "stream": _Kind("true or false", lambda value: isinstance(value, bool), lambda value, call: value is call.streams),
    "without": _Kind(
        "a list of finding types",
        _is_names,
        lambda value, call: not any(matches(one, found) for one in value for found in call.findings or ()),
    ),
    "uid": _Kind("a user's number", _is_number, lambda value, call: value == call.uid),
    "account": _Kind("a name", _is_name, lambda _value, _call: True),
}
