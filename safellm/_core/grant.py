"""Grants: scoped credentials. A grant says which key may be used for what, until when, and how much it may cost.

It is a macaroon (`macaroon.py`) whose caveats are typed JSON: each is an object with one name and its value. All of them must
hold; a name that isn't in the list below, or a value of another form, denies. So a caveat that is added can only narrow.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core import macaroon
from safellm._core.effects import JSON, Limit, Unit, Window
from safellm._core.macaroon import Macaroon
from safellm.errors import ConfigurationError, SafeLLMError

PREFIX = "slm_"
_LOCATION = b"safellm"
_IDENTIFIER = re.compile(r"g1:[0-9a-f]{24}")
_LONGEST_LIST = 64
_LONGEST_NAME = 256
_MOST_CAVEATS = 64
_LARGEST_NUMBER = 2**53 - 1  # RFC 8259, 6: what every JSON reader keeps exactly


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant whose caveats were read; `token` is what proves it.

    Attributes:
        id: Its number, for records and revocation; the same for all grants that were narrowed from it.
        caveats: In the order in which they were added, as (name, value).
    """

    id: str
    caveats: tuple[tuple[str, JSON], ...]
    token: Macaroon = field(repr=False)

    def text(self) -> str:
        """Return what the holder uses in place of an API key."""
        return PREFIX + macaroon.encode(self.token)

    def values(self, name: str) -> list[Any]:
        """Return the values of all caveats of one name."""
        return [value for one, value in self.caveats if one == name]

    @property
    def expires_s(self) -> int | None:
        """When it ends (Unix time, seconds): the earliest of its ends."""
        return min(self.values("expires"), default=None)

    @property
    def output_ceiling(self) -> int | None:
        """The lowest output ceiling of its caveats."""
        return min(self.values("max_output_tokens"), default=None)

    def narrow(self, **caveats: JSON) -> Grant:
        """Return this grant with more caveats; see the module for their names and values.

        Raises:
            ConfigurationError: a caveat is unknown or its value has another form.
        """
        token = self.token
        for name, value in caveats.items():
            token = macaroon.extend(token, _caveat(name, value))
        return _read(token)

    def denies(self, attempt: Attempt) -> str | None:
        """Return the name of the first caveat that doesn't hold, or None."""
        for name, value in self.caveats:
            if not _KINDS[name].holds(value, attempt):
                return name
        return None

    def limits(self) -> tuple[Limit, ...]:
        """Return the ceilings that the ledger keeps for this grant.

        Each stands under an account named by the chain up to its caveat: grants that were narrowed from one share what the
        one has, and each has its own ceiling below it.
        """
        chain = hashlib.sha256(self.token.identifier)
        out = []
        for (name, value), raw in zip(self.caveats, self.token.caveats, strict=True):
            chain.update(len(raw).to_bytes(4) + raw)
            for unit, most in _ceilings(name, value):
                account = f"grant:{self.id}:{chain.hexdigest()[:16]}"
                out.append(Limit(name=account, unit=unit, limit=most, window=Window.TOTAL))
        return tuple(out)


def issue(root: bytes, number: str, caveats: Mapping[str, JSON]) -> Grant:
    """Make a grant. There are no immortal or boundless ones: `key`, `operation`, `model` and `expires` have to be there.

    Args:
        root: The installation's root key, 32 random bytes.
        number: 24 random hexadecimal digits.
        caveats: By name; see the module.

    Raises:
        ConfigurationError: one of the four is missing, a caveat is unknown or its value has another form.
    """
    missing = sorted({"key", "operation", "model", "expires"} - set(caveats))
    if missing:
        raise ConfigurationError(
            f"A grant needs {', '.join(missing)}", remedy="Say what it is for and when it ends; '*' allows every name."
        )
    raw = [_caveat(name, value) for name, value in caveats.items()]
    return _read(macaroon.mint(root, f"g1:{number}".encode(), raw, location=_LOCATION))


def is_grant(text: str) -> bool:
    """Return whether a text wants to be a grant: it is then never used as an API key."""
    return text.startswith(PREFIX)


def read(text: str) -> Grant:
    """Return the grant of a text without checking who made it: for showing and narrowing.

    Raises:
        InvalidGrant: it can't be read.
    """
    if not is_grant(text):
        raise InvalidGrant("This is no grant: a grant begins with slm_")
    try:
        token = macaroon.decode(text.removeprefix(PREFIX))
    except macaroon.MalformedToken as error:
        raise InvalidGrant(f"The grant can't be read: {error}") from None
    return _read(token)


def verify(text: str, root: bytes) -> Grant:
    """Return the grant of a text that this installation made.

    Raises:
        InvalidGrant: another one made it, something was changed, or a caveat can't be read.
    """
    grant = read(text)
    if not macaroon.is_signed_by(grant.token, root):
        raise InvalidGrant("The grant was not made here, or it was changed")
    return grant


def _read(token: Macaroon) -> Grant:
    identifier = token.identifier.decode("ascii", "replace")
    if token.location != _LOCATION or not _IDENTIFIER.fullmatch(identifier):
        raise InvalidGrant("The grant is of another kind")
    if len(token.caveats) > _MOST_CAVEATS:
        raise InvalidGrant(f"The grant has more than {_MOST_CAVEATS} caveats")
    return Grant(id=identifier[3:], caveats=tuple(_parse(raw) for raw in token.caveats), token=token)


def _parse(raw: bytes) -> tuple[str, JSON]:
    try:
        value = json.loads(raw)
    except ValueError:  # also what isn't UTF-8
        raise InvalidGrant("The grant has a caveat that can't be read") from None
    except RecursionError:
        raise InvalidGrant("The grant has a caveat that is nested too deeply") from None
    # One object, one name, one way to write it: what two readers could read differently is no caveat.
    if not isinstance(value, dict) or len(value) != 1 or _canonical(value) != raw:
        raise InvalidGrant("The grant has a caveat that isn't in its canonical form")
    (name, content), *_ = value.items()
    kind = _KINDS.get(name)
    if kind is None or not kind.accepts(content):
        raise InvalidGrant("The grant has a caveat that is not known here")
    return name, content


def _caveat(name: str, value: JSON) -> bytes:
    kind = _KINDS.get(name)
    if kind is None:
        raise ConfigurationError(f"There is no caveat {name!r}", remedy=f"Known are: {', '.join(sorted(_KINDS))}.")
    if not kind.accepts(value):
        raise ConfigurationError(f"The caveat {name!r} can't have this value", remedy=f"It takes {kind.form}.")
    return _canonical({name: value})


def _canonical(value: Any) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        raise InvalidGrant("The grant has a caveat that can't be written") from None


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


def _all_match(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return all(any(_matches(pattern, name) for pattern in patterns) for name in names)


def _matches(pattern: str, name: str) -> bool:
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
    "operation": _Kind(_NAMES, _is_names, lambda value, call: _all_match(value, [call.operation])),
    # A request that names no model could get any: it has to match as an empty name, which only `*` does.
    "model": _Kind(_NAMES, _is_names, lambda value, call: _all_match(value, call.models or ("",))),
    "expires": _Kind("a Unix time in seconds", _is_number, lambda value, call: call.now_s < value),
    "max_output_tokens": _Kind(
        _NUMBER, _is_number, lambda value, call: call.output_tokens is None or call.output_tokens <= value
    ),
    "calls": _Kind(_NUMBER, _is_number, lambda _value, _call: True),
    "budget": _Kind("one of tokens and micro_usd with a whole number", _is_budget, lambda _value, _call: True),
    "tool": _Kind(_NAMES, _is_names, lambda value, call: _all_match(value, call.tools)),
    "stream": _Kind("true or false", lambda value: isinstance(value, bool), lambda value, call: value is call.streams),
    "without": _Kind(
        "a list of finding types",
        _is_names,
        lambda value, call: not any(_matches(one, found) for one in value for found in call.findings or ()),
    ),
    "uid": _Kind("a user's number", _is_number, lambda value, call: value == call.uid),
    "account": _Kind("a name", _is_name, lambda _value, _call: True),
}
