"""A transport below the guard's that signs what really leaves: AWS signatures cover the body (SigV4)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from safellm_anthropic.seams import SIGNER


def sign_below(client: Any) -> Any:
    """Return the HTTP client with signing transports; to be guarded after. It is changed in place."""
    wrap = _AsyncSigning if hasattr(client, "aclose") else _Signing
    client._transport = _wrapped(client._transport, wrap)  # noqa: SLF001 - where httpx keeps it
    for pattern, transport in client._mounts.items():  # noqa: SLF001 - the same
        client._mounts[pattern] = None if transport is None else _wrapped(transport, wrap)  # noqa: SLF001
    return client


def _wrapped(transport: Any, wrap: type) -> Any:
    return transport if isinstance(transport, wrap) else wrap(transport)


class _Signing:
    """Signs, then sends."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
        signer = SIGNER.get()
        if signer is not None:
            signer(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class _AsyncSigning:
    """The same for an async client."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def handle_async_request(self, request: Any) -> Any:
        signer = SIGNER.get()
        if signer is not None:
            await signer(request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
