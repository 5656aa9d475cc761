"""The seams of SDKs: their requests are known as theirs wherever they go, and refusals become their own errors."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from safellm import attribute
from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.auto.targets import dialect_named
from safellm.errors import Refused


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `_base_client.BaseClient` of openai or anthropic, of which every client is one: made before or after."""
    sdk = module.__name__.partition(".")[0]

    def build(original: Any) -> Any:
        def _build_request(self: Any, *arguments: Any, **named: Any) -> Any:
            request = original(self, *arguments, **named)
            request.safellm_sdk = sdk
            return request

        return _build_request

    def error_of(original: Any) -> Any:
        def _make_status_error_from_response(self: Any, response: Any) -> Any:
            error = response.extensions.get("safellm.refused")
            if gate.STATE.installed and isinstance(error, Refused):
                where, _, name = dialect_named(sdk).native.partition(":")
                return getattr(importlib.import_module(where), name)(error, response)
            return original(self, response)

        return _make_status_error_from_response

    patches.replace(module.BaseClient, "_build_request", build)
    patches.replace(module.BaseClient, "_make_status_error_from_response", error_of)
    if sdk == "anthropic":
        from safellm_anthropic.quiet import quieten_log  # noqa: PLC0415 - the adapter's: its debug log has whole bodies

        quieten_log()


def patch_signing(module: ModuleType, patches: Patches) -> None:
    """Have openai's clients sign what leaves instead of what the program said, where the seam of the transport guards it."""
    patches.replace(module.OpenAI, "_prepare_request", _signing)
    patches.replace(module.AsyncOpenAI, "_prepare_request", _signing_async)


def _signing(original: Any) -> Any:
    def _prepare_request(self: Any, request: Any) -> None:
        runtime = _signer(self, request, "handle_request")
        if runtime is None:
            original(self, request)
        else:
            request.safellm_sign = runtime.prepare_request

    return _prepare_request


def _signing_async(original: Any) -> Any:
    async def _prepare_request(self: Any, request: Any) -> None:
        runtime = _signer(self, request, "handle_async_request")
        if runtime is None:
            await original(self, request)
        else:
            request.safellm_sign = runtime.prepare_async_request

    return _prepare_request


def _signer(client: Any, request: Any, sends: str) -> Any:
    """Return what signs a request, if it is signed over its body and goes through a transport that we patched."""
    if not gate.STATE.installed or client.__dict__.get("_provider_runtime") is None:
        return None
    from safellm_openai.signing import signer_of  # noqa: PLC0415 - only for Bedrock

    transport = type(client._client._transport_for_url(request.url))  # noqa: SLF001 - where httpx keeps them
    return signer_of(client) if hasattr(getattr(transport, sends, None), "safellm_seam") else None


def patch_responses(module: ModuleType, patches: Patches) -> None:
    """Give what the SDK returns the attribute `safellm`."""
    for one in attribute.classes_of(module):
        patches.set(one, attribute.NAME, attribute.made())


def patch_google(module: ModuleType, patches: Patches) -> None:
    """Have `google-genai` use httpx for async calls, as it does where aiohttp is not installed."""
    if getattr(module, "has_aiohttp", False):
        patches.set(module, "has_aiohttp", False)
