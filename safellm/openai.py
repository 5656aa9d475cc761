"""All of `openai`, with guarded clients: `import safellm.openai as openai`.

Classes, errors, types and helpers are the SDK's own objects. The clients are guarded, and so is the module-level API
(`openai.api_key = …; openai.chat.completions.create(…)`), which reads its settings from this module.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect as _inspect
import os as _os
import threading as _threading
from functools import cached_property as _cached_property
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING
from typing import Any as _Any

import openai as _openai

# The public face of the SDK: spelt out for type checkers, taken as it is by the interpreter, whatever the SDK's version. Names
# that the SDK loads late are found by `__getattr__` below when they are asked for.
if TYPE_CHECKING:
    from openai import DEFAULT_CONNECTION_LIMITS as DEFAULT_CONNECTION_LIMITS
    from openai import DEFAULT_MAX_RETRIES as DEFAULT_MAX_RETRIES
    from openai import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
    from openai import NOT_GIVEN as NOT_GIVEN
    from openai import APIConnectionError as APIConnectionError
    from openai import APIError as APIError
    from openai import APIResponseValidationError as APIResponseValidationError
    from openai import APIStatusError as APIStatusError
    from openai import APITimeoutError as APITimeoutError
    from openai import AsyncComputerDriver as AsyncComputerDriver
    from openai import AsyncComputerToolset as AsyncComputerToolset
    from openai import AsyncStream as AsyncStream
    from openai import AuthenticationError as AuthenticationError
    from openai import BadRequestError as BadRequestError
    from openai import BaseModel as BaseModel
    from openai import ComputerDriver as ComputerDriver
    from openai import ComputerToolset as ComputerToolset
    from openai import ConflictError as ConflictError
    from openai import ContentFilterFinishReasonError as ContentFilterFinishReasonError
    from openai import DataResidency as DataResidency
    from openai import DefaultAioHttpClient as DefaultAioHttpClient
    from openai import DefaultAsyncHttpx2Client as DefaultAsyncHttpx2Client
    from openai import DefaultAsyncHttpxClient as DefaultAsyncHttpxClient
    from openai import DefaultHttpx2Client as DefaultHttpx2Client
    from openai import DefaultHttpxClient as DefaultHttpxClient
    from openai import InternalServerError as InternalServerError
    from openai import InvalidWebhookSignatureError as InvalidWebhookSignatureError
    from openai import LengthFinishReasonError as LengthFinishReasonError
    from openai import NoneType as NoneType
    from openai import NotFoundError as NotFoundError
    from openai import NotGiven as NotGiven
    from openai import OAuthError as OAuthError
    from openai import Omit as Omit
    from openai import OpenAIError as OpenAIError
    from openai import PermissionDeniedError as PermissionDeniedError
    from openai import ProxiesTypes as ProxiesTypes
    from openai import RateLimitError as RateLimitError
    from openai import ReconnectingEvent as ReconnectingEvent
    from openai import ReconnectingOverrides as ReconnectingOverrides
    from openai import RequestOptions as RequestOptions
    from openai import Stream as Stream
    from openai import Timeout as Timeout
    from openai import Transport as Transport
    from openai import UnprocessableEntityError as UnprocessableEntityError
    from openai import WebSocketConnectionClosedError as WebSocketConnectionClosedError
    from openai import WebSocketQueueFullError as WebSocketQueueFullError
    from openai import file_from_path as file_from_path
    from openai import not_given as not_given
    from openai import omit as omit
    from openai import types as types
else:
    globals().update({name: value for name, value in vars(_openai).items() if name in _openai.__all__})

from safellm_openai.clients import AsyncAzureOpenAI as AsyncAzureOpenAI
from safellm_openai.clients import AsyncBedrockOpenAI as AsyncBedrockOpenAI
from safellm_openai.clients import AsyncOpenAI as AsyncOpenAI
from safellm_openai.clients import AzureOpenAI as AzureOpenAI
from safellm_openai.clients import BedrockOpenAI as BedrockOpenAI
from safellm_openai.clients import OpenAI as OpenAI

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

from safellm.attribute import attach as _attach
from safellm.submodules import mirror as _mirror

Client = OpenAI
AsyncClient = AsyncOpenAI
_attach("openai")
_guarded = _mirror(globals(), _openai)

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
_BEDROCK_SETTINGS = ("bedrock_token_provider",)
# Newer SDKs complain about a missing key at the first call of the module-level API that needs one.
_LATE: dict[str, _Any] = (
    {"_enforce_credentials": False}
    if "_enforce_credentials" in _inspect.signature(_openai.OpenAI.__init__).parameters
    else {}
)

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
# Not read from their variables here: an address from the environment is not one that the program gives (THREATS E.1). The
# client reads the variables itself, and knows them as such.
azure_endpoint: str | None = None
azure_ad_token: str | None = None
azure_ad_token_provider: _Any = None
bedrock_token_provider: _Any = None

_lock = _threading.Lock()
_client: _Any = None
_client_settings: tuple[_Any, ...] | None = None


# Newer SDKs decide between a key and a token of Azure as their client does: the token counts.
_MUST_CHOOSE = _find_spec("openai.lib._module_runtime") is None


class _ModuleClient(OpenAI):
    """The client of the module-level API."""


class _AzureModuleClient(AzureOpenAI):
    """The client of the module-level API on Azure."""


class _BedrockModuleClient(BedrockOpenAI):
    """The client of the module-level API on Bedrock."""


def _load_client() -> _Any:
    """Return the client of the module-level API, made anew when a setting has changed since."""
    global _client, _client_settings  # noqa: PLW0603 - it is the module's client
    here = globals()
    names = [*_SETTINGS, *_AZURE_SETTINGS, *_BEDROCK_SETTINGS, "api_type"]
    with _lock:
        kind = _kind()
        settings = tuple(here[name] for name in names)
        if _client is None or settings != _client_settings:
            options = {name: here[name] for name in _SETTINGS if here[name] is not None or name == "timeout"}
            if kind == "azure":
                options.pop("admin_api_key", None)
                options |= {name: here[name] for name in _AZURE_SETTINGS if here[name] is not None}
                _client = _AzureModuleClient(**options)
            elif kind == "amazon-bedrock":
                options.pop("admin_api_key", None)
                options |= {name: here[name] for name in _BEDROCK_SETTINGS if here[name] is not None}
                _client = _BedrockModuleClient(**options)
            else:
                _client = _ModuleClient(**options, **_LATE)
            _client_settings = settings
        return _client


def _reset_client() -> None:
    global _client  # noqa: PLW0603 - it is the module's client
    _client = None


def _kind() -> _Any:
    """Return `api_type`, decided at the first use from settings and variables as the SDK does, and kept."""
    global api_type  # noqa: PLW0603 - a setting of the module
    if api_type is None:
        key = _os.environ.get("AZURE_OPENAI_API_KEY")
        tokens = (azure_ad_token, azure_ad_token_provider, _os.environ.get("AZURE_OPENAI_AD_TOKEN"))
        has_token = any(one is not None for one in tokens)
        has_azure = any(one is not None for one in (azure_endpoint, _os.environ.get("AZURE_OPENAI_ENDPOINT"), key))
        has_openai = _os.environ.get("OPENAI_API_KEY") is not None
        if (has_openai and (has_azure or has_token)) or (_MUST_CHOOSE and has_token and key is not None):
            raise _openai._AmbiguousModuleClientUsageError  # noqa: SLF001 - the SDK's own complaint
        api_type = "azure" if has_azure or has_token else "openai"
    return api_type


def __getattr__(name: str) -> _Any:
    # Resources of the module-level API (`chat`, `responses`, …) belong to the guarded client; the rest is the SDK's.
    if isinstance(_openai.OpenAI.__dict__.get(name), _cached_property):
        return _Resource(name)
    return _guarded(getattr(_openai, name))


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
