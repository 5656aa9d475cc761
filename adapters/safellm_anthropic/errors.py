"""Refusals as the SDK's own errors: caught by `except anthropic.APIStatusError` and by `except safellm.Refused`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import anthropic
from safellm.errors import GuardFailure, Refused
from safellm_anthropic.adapter import ADAPTER


class _Native(Refused):
    """Takes the evidence of a refusal and the state of the SDK's status error."""

    def __init__(self, error: Refused, response: Any) -> None:
        for name in ("what", "guard", "reason", "remedy", "status", "sent"):
            setattr(self, name, getattr(error, name))
        body = json.loads(ADAPTER.refusal_body(error))
        anthropic.APIStatusError.__init__(self, str(error), response=response, body=body)  # type: ignore[arg-type]  # each subclass is one

    def __str__(self) -> str:
        return str(self.args[0])


class RefusedBadRequest(_Native, anthropic.BadRequestError):
    """A guard refused what the request says or how it is formed."""


class RefusedPermission(_Native, anthropic.PermissionDeniedError):
    """A guard refused where the request goes or what it asks for."""


class RefusedRateLimit(_Native, anthropic.RateLimitError):
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
        response: An HTTP response of the client's own family with the refusal's status and its request.
    """
    if isinstance(error, GuardFailure):
        return _FAILED.get(error.status, FailedPermission)(error, response)
    return _REFUSED.get(error.status, RefusedPermission)(error, response)
