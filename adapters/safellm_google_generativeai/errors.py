"""Refusals as the SDK's own errors: caught by `except google.api_core.exceptions.GoogleAPICallError` and by `safellm.Refused`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from google.api_core import exceptions

from safellm._core.native import ByStatus, NativeRefusal
from safellm.errors import GuardFailure, Reason, Refused


class _Native(NativeRefusal):
    """Takes the evidence of a refusal and the state of the SDK's error."""

    reason: Reason = Reason.GUARD_ERROR  # in the place of a property of the SDK's errors; each refusal sets its own

    def __init__(self, error: Refused, response: Any) -> None:
        self.take_evidence(error)
        exceptions.GoogleAPICallError.__init__(self, str(error), response=response)  # type: ignore[arg-type, no-untyped-call]  # each subclass is one

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the response: it leads to the request. What is rebuilt is the SDK's error again.
        return (type(self), (self.evidence(self.status), None))


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


native_error = ByStatus(
    {400: RefusedBadRequest, 403: RefusedPermission, 429: RefusedRateLimit},
    {400: FailedBadRequest, 403: FailedPermission, 429: FailedRateLimit},
).make
