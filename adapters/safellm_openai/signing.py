"""Requests that are signed over their body: the SDK's own method signs what really leaves, after the guards changed it.

The SDK signs before it hands a request to its HTTP client. Here it only notes on the request who signs; the guard asks him when
nothing changes any more, once for each attempt. What is signed never comes back to the program.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

_BY_HEADER = ("vertex",)  # providers that add a token to the request, whatever its body


class Signing:
    """What a sync client adds to the SDK's."""

    def _prepare_request(self, request: Any) -> None:
        runtime = signer_of(self)
        if runtime is None:
            super()._prepare_request(request)  # type: ignore[misc]  # the SDK's method
        else:
            request.safellm_sign = runtime.prepare_request


class AsyncSigning:
    """The same for an async client."""

    async def _prepare_request(self, request: Any) -> None:
        runtime = signer_of(self)
        if runtime is None:
            await super()._prepare_request(request)  # type: ignore[misc]  # the SDK's method
        else:
            request.safellm_sign = runtime.prepare_async_request


def signer_of(client: Any) -> Any:
    """Return what signs a client's requests over their body; None where a key in a header is all."""
    runtime = client.__dict__.get("_provider_runtime")  # older SDKs have none
    if runtime is None or runtime.name in _BY_HEADER or bearer_of(runtime) is not None:
        return None
    return runtime


def bearer_of(runtime: Any) -> Any:
    """Return what adds Bedrock's key to the header, if a runtime of the SDK does that and no more."""
    from openai.providers.bedrock import _BedrockBearerAuth  # noqa: PLC0415 - newer SDKs only

    found = getattr(runtime.prepare_request, "__self__", None)
    return found if isinstance(found, _BedrockBearerAuth) else None
