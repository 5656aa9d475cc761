"""Refusals as the SDK's own errors: caught by `except openai.APIStatusError` and by `except safellm.Refused`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import openai
from safellm._core.native import ByStatus, NativeRefusal
from safellm.errors import GuardFailure, Refused
from safellm_openai.adapter import ADAPTER


class _Native(NativeRefusal):
    """Takes the evidence of a refusal and the state of the SDK's status error."""

    def __init__(self, error: Refused, response: Any) -> None:
        self.take_evidence(error)
        body = json.loads(ADAPTER.refusal_body(error))["error"]
        openai.APIStatusError.__init__(self, str(error), response=response, body=body)  # type: ignore[arg-type]  # each subclass is one


class RefusedBadRequest(_Native, openai.BadRequestError):
    """A guard refused what the request says or how it is formed."""


class RefusedPermission(_Native, openai.PermissionDeniedError):
    """A guard refused where the request goes or what it asks for."""


class RefusedRateLimit(_Native, openai.RateLimitError):
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
