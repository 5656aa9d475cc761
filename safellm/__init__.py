"""safellm: swap one import, and every LLM call passes local guards.

    from safellm import OpenAI          # instead of: from openai import OpenAI
    import safellm.openai as openai     # instead of: import openai

Nothing is loaded before it is used: importing this package touches no SDK, key store, network, environment or logging.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from safellm._version import __version__
from safellm.errors import ConfigurationError, GuardFailure, Reason, Refused, SafeLLMError, VaultUnavailable

if TYPE_CHECKING:
    from safellm.client import register_secret as register_secret
    from safellm.openai import AsyncAzureOpenAI as AsyncAzureOpenAI
    from safellm.openai import AsyncOpenAI as AsyncOpenAI
    from safellm.openai import AzureOpenAI as AzureOpenAI
    from safellm.openai import OpenAI as OpenAI
    from safellm.stores.conversations import conversation as conversation

__all__ = [
    "AsyncAzureOpenAI",
    "AsyncOpenAI",
    "AzureOpenAI",
    "ConfigurationError",
    "GuardFailure",
    "OpenAI",
    "Reason",
    "Refused",
    "SafeLLMError",
    "VaultUnavailable",
    "__version__",
    "conversation",
    "register_secret",
]

_LATE = {
    "AsyncAzureOpenAI": "safellm.openai",
    "AsyncOpenAI": "safellm.openai",
    "AzureOpenAI": "safellm.openai",
    "OpenAI": "safellm.openai",
    "conversation": "safellm.stores.conversations",
    "register_secret": "safellm.client",
}


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - only for names that load something

    module = _LATE.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
