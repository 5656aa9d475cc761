"""Refusals as the SDK's own errors: caught by `except google.genai.errors.APIError` and by `except safellm.Refused`.

Their `status` is Google's word for it ("PERMISSION_DENIED"), as the SDK's errors have it; the number is `code`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from google.genai import errors
from safellm._core.native import NativeRefusal
from safellm.errors import GuardFailure, Refused
from safellm_google_genai.adapter import error_parts


class RefusedCall(NativeRefusal, errors.ClientError):  # type: ignore[misc]  # `status` is the SDK's here
    """A guard refused the call."""

    def __init__(self, error: Refused, response: Any) -> None:
        self.take_evidence(error, but="status")
        errors.ClientError.__init__(self, error.status, {"error": error_parts(error)}, response)
        self._said = str(error)

    def __str__(self) -> str:
        return self._said

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the response: it leads to the request. What is rebuilt is the SDK's error again.
        return (_rebuild, (type(self), self.evidence(self.code)))


class FailedCall(RefusedCall, GuardFailure):  # type: ignore[misc]  # the same
    """A guard could not do its work, so the call was refused."""


def native_error(error: Refused, response: Any) -> Exception:
    """Return the SDK error that stands for a refusal.

    Args:
        error: What a guard said.
        response: An HTTP response with the refusal's status and its request.
    """
    return (FailedCall if isinstance(error, GuardFailure) else RefusedCall)(error, response)


def _rebuild(kind: type[RefusedCall], error: Refused) -> RefusedCall:
    return kind(error, None)
