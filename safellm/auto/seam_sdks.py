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


def patch_responses(module: ModuleType, patches: Patches) -> None:
    """Give what the SDK returns the attribute `safellm`."""
    for one in attribute.classes_of(module):
        patches.set(one, attribute.NAME, attribute.made())


def patch_google(module: ModuleType, patches: Patches) -> None:
    """Have `google-genai` use httpx for async calls, as it does where aiohttp is not installed."""
    if getattr(module, "has_aiohttp", False):
        patches.set(module, "has_aiohttp", False)
