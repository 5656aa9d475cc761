"""Grants: scoped credentials. A grant says which key may be used for what, until when, and how much it may cost.

It is a macaroon (`macaroon.py`) whose caveats are typed JSON (`caveats.py`): each is an object with one name and its value.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core import caveats as rules
from safellm._core import macaroon
from safellm._core.caveats import Attempt as Attempt  # noqa: PLC0414 - a grant's own words
from safellm._core.caveats import Caveats
from safellm._core.caveats import InvalidGrant as InvalidGrant  # noqa: PLC0414
from safellm._core.effects import JSON, Limit
from safellm._core.macaroon import Macaroon
from safellm.errors import ConfigurationError

PREFIX = "slm_"
_LOCATION = b"safellm"
_IDENTIFIER = re.compile(r"g1:[0-9a-f]{24}")
_MOST_CAVEATS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant whose caveats were read; `token` is what proves it.

    Attributes:
        id: Its number, for records and revocation; the same for all grants that were narrowed from it.
        caveats: In the order in which they were added, as (name, value).
    """

    id: str
    caveats: Caveats
    token: Macaroon = field(repr=False)

    def text(self) -> str:
        """Return what the holder uses in place of an API key."""
        return PREFIX + macaroon.encode(self.token)

    def values(self, name: str) -> list[Any]:
        """Return the values of all caveats of one name."""
        return rules.values(self.caveats, name)

    @property
    def expires_s(self) -> int | None:
        """When it ends (Unix time, seconds): the earliest of its ends."""
        return min(self.values("expires"), default=None)

    @property
    def output_ceiling(self) -> int | None:
        """The lowest output ceiling of its caveats."""
        return min(self.values("max_output_tokens"), default=None)

    def narrow(self, **caveats: JSON) -> Grant:
        """Return this grant with more caveats. Anybody who holds it can do so; nobody can take one out again.

        Args:
            **caveats: By name, see `caveats.py`: `model="gpt-5*"`, `budget="0.10usd"`, `tool=[]`, `max_output_tokens=500`.

        Raises:
            ConfigurationError: a caveat is unknown or its value has another form.
        """
        token = self.token
        for name, value in caveats.items():
            token = macaroon.extend(token, rules.encode(name, rules.from_words(name, value)))
        return _read(token)

    def denies(self, attempt: Attempt) -> str | None:
        """Return the name of the first caveat that doesn't hold, or None."""
        return rules.first_denied(self.caveats, attempt)

    def limits(self) -> tuple[Limit, ...]:
        """Return the ceilings that the ledger keeps for this grant.

        See `caveats.limits`: grants that were narrowed from one share what the one has.
        """
        return rules.limits(f"grant:{self.id}", self.token.identifier, self.caveats)


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
    raw = [rules.encode(name, value) for name, value in caveats.items()]
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
    return Grant(id=identifier[3:], caveats=tuple(rules.parse(raw) for raw in token.caveats), token=token)
