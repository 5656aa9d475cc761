"""What the refusals in the errors of every SDK have in common: the evidence, and which class stands for which status."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from safellm.errors import GuardFailure, Refused

_EVIDENCE = ("what", "guard", "reason", "remedy", "status", "sent")


class NativeRefusal(Refused):
    """A refusal that is an SDK's own error too: each subclass adds the SDK's class and sets up its part."""

    def take_evidence(self, error: Refused, *, but: str = "") -> None:
        """Take what a guard said; `but` names a part that the SDK's class keeps for itself."""
        for name in _EVIDENCE:
            if name != but:
                setattr(self, name, getattr(error, name))

    def evidence(self, status: int) -> Refused:
        """Return the refusal alone: what a pickle holds, since a response leads to the request."""
        return Refused(
            self.what, guard=self.guard, reason=self.reason, remedy=self.remedy, status=status, sent=self.sent
        )

    def __str__(self) -> str:
        return str(self.args[0])


class ByStatus(NamedTuple):
    """An SDK's classes for the statuses that a refusal has.

    Attributes:
        refused: By status; 403 is there.
        failed: The same for a guard that could not do its work.
    """

    refused: Mapping[int, Any]
    failed: Mapping[int, Any]

    def make(self, error: Refused, response: Any) -> Exception:
        """Return the SDK's error for a refusal.

        Args:
            error: What a guard said.
            response: A response of the client's own HTTP library with the refusal's status and its request.
        """
        kinds = self.failed if isinstance(error, GuardFailure) else self.refused
        made: Exception = kinds.get(error.status, kinds[403])(error, response)
        return made
