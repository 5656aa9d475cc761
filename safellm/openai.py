"""All of `openai`, with guarded clients: `import safellm.openai as openai`.

Classes, errors, types and helpers are the SDK's own objects. The clients are guarded, and so is the module-level API
(`openai.api_key = …; openai.chat.completions.create(…)`), which reads its settings from this module.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading as _threading
from functools import cached_property as _cached_property
from typing import TYPE_CHECKING
from typing import Any as _Any

import openai as _openai

if TYPE_CHECKING:
    # Type checkers keep the first binding of a name, the interpreter the last: ours stand before and after the star.
    from openai import *  # noqa: F403 - the drop-in is the whole public face of the SDK
    from safellm_openai.clients import AsyncOpenAI as AsyncOpenAI
    from safellm_openai.clients import OpenAI as OpenAI
else:
    # The same, without the names that the SDK loads late: `__getattr__` below finds them when they are asked for.
    globals().update({name: value for name, value in vars(_openai).items() if name in _openai.__all__})

from safellm_openai.clients import AsyncAzureOpenAI as AsyncAzureOpenAI
from safellm_openai.clients import AsyncOpenAI as AsyncOpenAI
from safellm_openai.clients import AzureOpenAI as AzureOpenAI
from safellm_openai.clients import OpenAI as OpenAI
from safellm_openai.clients import refuse_bedrock as _refuse_bedrock

if TYPE_CHECKING:
    from openai import audio as audio
    from openai import batches as batches
    from openai import beta as beta
    from openai import chat as chat
    from openai import completions as completions
    from openai import containers as containers
    from openai import conversations as conversations
    from openai import embeddings as embeddings
    from openai import evals as evals
    from openai import files as files
    from openai import fine_tuning as fine_tuning
    from openai import images as images
    from openai import models as models
    from openai import moderations as moderations
    from openai import responses as responses
    from openai import uploads as uploads
    from openai import vector_stores as vector_stores
    from openai import videos as videos
    from openai import webhooks as webhooks

Client = OpenAI  # type: ignore[misc]  # the star import named the SDK's own
AsyncClient = AsyncOpenAI  # type: ignore[misc]  # the same
BedrockOpenAI = _refuse_bedrock  # type: ignore[misc, assignment]  # a refusal in place of a class
AsyncBedrockOpenAI = _refuse_bedrock  # type: ignore[misc, assignment]  # the same

# -- module-level API ---------------------------------------------------------------------------------------------------

# Settings of the SDK's module, by the argument of the client that each one becomes.
_SETTINGS = {
    "api_key": None,
    "admin_api_key": None,
    "organization": None,
    "project": None,
    "webhook_secret": None,
    "base_url": None,
    "timeout": _openai.DEFAULT_TIMEOUT,
    "max_retries": _openai.DEFAULT_MAX_RETRIES,
    "default_headers": None,
    "default_query": None,
    "http_client": None,
}
_AZURE_SETTINGS = ("api_version", "azure_endpoint", "azure_ad_token", "azure_ad_token_provider")

api_key: str | None = None
admin_api_key: str | None = None
organization: str | None = None
project: str | None = None
webhook_secret: str | None = None
base_url: _Any = None
timeout: _Any = _openai.DEFAULT_TIMEOUT
max_retries: int = _openai.DEFAULT_MAX_RETRIES
default_headers: _Any = None
default_query: _Any = None
http_client: _Any = None
api_type: _Any = _openai.api_type
api_version: str | None = _openai.api_version
azure_endpoint: str | None = _openai.azure_endpoint
azure_ad_token: str | None = None
azure_ad_token_provider: _Any = None

_lock = _threading.Lock()
_client: _Any = None
_client_settings: tuple[_Any, ...] | None = None


def _load_client() -> _Any:
    """Return the client of the module-level API, made anew when a setting has changed since."""
    global _client, _client_settings  # noqa: PLW0603 - it is the module's client
    here = globals()
    names = [*_SETTINGS, *_AZURE_SETTINGS, "api_type"]
    settings = tuple(here[name] for name in names)
    with _lock:
        if _client is None or settings != _client_settings:
            options = {name: here[name] for name in _SETTINGS if here[name] is not None or name == "timeout"}
            if _is_azure():
                options.pop("admin_api_key", None)
                options |= {name: here[name] for name in _AZURE_SETTINGS if here[name] is not None}
                _client = AzureOpenAI(**options)
            else:
                _client = OpenAI(**options)
            _client_settings = settings
        return _client


def _reset_client() -> None:
    global _client  # noqa: PLW0603 - it is the module's client
    _client = None


def _is_azure() -> bool:
    if api_type is not None:
        return bool(api_type == "azure")
    return azure_endpoint is not None or azure_ad_token is not None or azure_ad_token_provider is not None


def __getattr__(name: str) -> _Any:
    # Resources of the module-level API (`chat`, `responses`, …) belong to the guarded client; the rest is the SDK's.
    if isinstance(_openai.OpenAI.__dict__.get(name), _cached_property):
        return _Resource(name)
    return getattr(_openai, name)


class _Resource:
    """A resource of the module's client, looked up at each use so that settings may change in between."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Any:
        return getattr(getattr(_load_client(), self._name), name)

    def __repr__(self) -> str:
        return f"<guarded openai.{self._name}>"


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_openai)})
