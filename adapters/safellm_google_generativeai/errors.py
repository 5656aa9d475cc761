"""Refusals as the SDK's own errors: caught by `except google.api_core.exceptions.GoogleAPICallError` and by `safellm.Refused`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from google.api_core import exceptions

from safellm.errors import GuardFailure, Reason, Refused


class _Native(Refused):
    """Takes the evidence of a refusal and the state of the SDK's error."""

    reason: Reason = Reason.GUARD_ERROR  # in the place of a property of the SDK's errors; each refusal sets its own

    def __init__(self, error: Refused, response: Any) -> None:
        for name in ("what", "guard", "reason", "remedy", "status", "sent"):
            setattr(self, name, getattr(error, name))
        exceptions.GoogleAPICallError.__init__(self, str(error), response=response)  # type: ignore[arg-type, no-untyped-call]  # each subclass is one

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the response: it leads to the request. What is rebuilt is the SDK's error again.
        evidence = Refused(
            self.what, guard=self.guard, reason=self.reason, remedy=self.remedy, status=self.status, sent=self.sent
        )
        return (type(self), (evidence, None))


class RefusedBadRequest(_Native, exceptions.InvalidArgument):
    """A guard refused what the request says or how it is formed."""


class RefusedPermission(_Native, exceptions.PermissionDenied):
    """A guard refused where the request goes or what it asks for."""


class RefusedRateLimit(_Native, exceptions.ResourceExhausted):
    """The budget has no room."""


class FailedBadRequest(RefusedBadRequest, GuardFailure):
    """A guard could not do its work on this request."""


class FailedPermission(RefusedPermission, GuardFailure):
    """A guard could not do its work."""


class FailedRateLimit(RefusedRateLimit, GuardFailure):
    """The ledger could not be asked."""


_REFUSED = {400: RefusedBadRequest, 429: RefusedRateLimit}
_FAILED = {400: FailedBadRequest, 429: FailedRateLimit}


def native_error(error: Refused, response: Any) -> Exception:
    """Return the SDK error that stands for a refusal.

    Args:
        error: What a guard said.
        response: A response of `requests` with the refusal's status and its request.
    """
    if isinstance(error, GuardFailure):
        return _FAILED.get(error.status, FailedPermission)(error, response)
    return _REFUSED.get(error.status, RefusedPermission)(error, response)
