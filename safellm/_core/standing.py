"""Under which credential a call is made: a grant, the scopes of the blocks around it, or neither."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from safellm._core import caveats as rules
from safellm._core.caveats import Attempt, Caveats
from safellm._core.effects import Limit
from safellm._core.grant import Grant

_OF_ANY_CALL = frozenset({"expires", "key", "origin", "uid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one `with safellm.scope(…)` demands of the calls inside.

    Attributes:
        id: Names its accounts in the ledger; a block that is entered again has a fresh one.
        caveats: As in a grant.
    """

    id: str
    caveats: Caveats

    def limits(self) -> tuple[Limit, ...]:
        """Return the ceilings that the ledger keeps for this block."""
        return rules.limits(f"scope:{self.id}", b"", self.caveats)


@dataclass(frozen=True, kw_only=True)  # no slots: what follows from it is worked out once
class Standing:
    """What holds for one call.

    Attributes:
        grant: The credential, or None where the client has a key of its own.
        scopes: Blocks around the call, the outermost first.
        key: Name of the key that the call will carry; empty where it has none.
        now_s: Unix time at which the call begins, seconds.
        uid: The user who asks, where the system tells.
        problem: Why the grant holds no more, or an empty text.
    """

    grant: Grant | None = None
    scopes: tuple[Scope, ...] = ()
    key: str = ""
    now_s: int
    uid: int | None = None
    problem: str = ""

    @cached_property
    def caveats(self) -> Caveats:
        """All that has to hold, the grant's first."""
        own = () if self.grant is None else self.grant.caveats
        return (*own, *(one for scope in self.scopes for one in scope.caveats))

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """The ceilings that the ledger keeps for grant and blocks."""
        own = () if self.grant is None or not self.has_limits else self.grant.limits()
        return (*own, *(one for scope in self.scopes for one in scope.limits()))

    @property
    def output_ceiling(self) -> int | None:
        """The lowest output ceiling."""
        return min(rules.values(self.caveats, "max_output_tokens"), default=None)

    @property
    def has_limits(self) -> bool:
        """Whether the ledger has anything to count."""
        return self.has("budget") or self.has("calls")

    def has(self, name: str) -> bool:
        """Return whether a caveat of this name is among them."""
        return any(one == name for one, _ in self.caveats)

    def denies_all(self, origin: str) -> str | None:
        """Return the name of the first caveat that no call at an origin can meet (its time, its user), or None."""
        attempt = Attempt(
            now_s=self.now_s, key=self.key, origin=origin, operation="", models=(), streams=False, tools=(), uid=self.uid
        )  # fmt: skip
        return rules.first_denied(tuple(one for one in self.caveats if one[0] in _OF_ANY_CALL), attempt)

    def denies(self, attempt: Attempt) -> str | None:
        """Return the name of the first caveat that doesn't hold, or None."""
        return rules.first_denied(self.caveats, attempt)
