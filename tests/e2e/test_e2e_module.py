"""`import safellm.openai as openai`: the module-level API and the names of the SDK."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
import os
import types

import pytest

import openai as sdk
import safellm
import safellm.openai as guarded

GUARDED = {
    "OpenAI", "AsyncOpenAI", "Client", "AsyncClient", "AzureOpenAI", "AsyncAzureOpenAI", "BedrockOpenAI", "AsyncBedrockOpenAI",
}  # fmt: skip
SETTINGS = (
    "api_key",
    "base_url",
    "max_retries",
    "timeout",
    "http_client",
    "default_headers",
    "azure_endpoint",
    "api_version",
    "api_type",
)


@pytest.fixture(autouse=True)
def module(provider, monkeypatch):
    """The module, set up for the provider; its settings are put back and its client is closed afterwards."""
    for name in SETTINGS:
        monkeypatch.setattr(guarded, name, getattr(guarded, name))
    guarded._reset_client()
    guarded.api_key, guarded.base_url = "of-the-module", provider.base_url
    yield guarded
    if guarded._client is not None:
        guarded._client.close()
    guarded._reset_client()


def ask(text="mail alice@example.com"):
    made = guarded.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
    return made.choices[0].message.content


def test_module_level_call_is_guarded(provider):
    """`openai.chat.completions.create` hides and restores."""
    assert ask() == 'You wrote: "mail alice@example.com"'
    assert b"alice@example.com" not in provider.received[0]
    assert provider.requests[0].headers["authorization"] == "Bearer of-the-module"


def test_settings_that_change_between_calls_count_for_the_next_call(provider):
    """The next call sees another key, other headers, other retries; the same settings keep the client."""
    ask()
    first = guarded._client
    ask()
    assert guarded._client is first
    guarded.api_key = "another"
    guarded.default_headers = {"x-team": "blue"}
    ask()
    assert provider.requests[-1].headers["authorization"] == "Bearer another"
    assert provider.requests[-1].headers["x-team"] == "blue"
    first.close()


def test_resource_kept_from_before_follows_a_changed_setting(provider):
    """`chat = openai.chat` is looked up at each use."""
    chat = guarded.chat
    chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a"}])
    before = guarded._client
    guarded.api_key = "later"
    chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a"}])
    assert provider.requests[-1].headers["authorization"] == "Bearer later"
    before.close()


def test_module_level_streams_responses_and_lists_work(provider):
    """Not only chat."""
    events = list(guarded.responses.create(model="gpt-4o", input="mail alice@example.com", stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == 'You wrote: "mail alice@example.com"'
    assert {model.id for model in guarded.models.list()} == set(provider.models)
    assert guarded.embeddings.create(model="m", input="x").data


def test_module_level_azure_is_guarded(provider):
    """`openai.api_type = "azure"`, as programs of the SDK write it."""
    guarded.api_type, guarded.base_url = "azure", None
    guarded.azure_endpoint, guarded.api_version = provider.origin, "2024-10-21"
    assert ask() == 'You wrote: "mail alice@example.com"'
    assert provider.requests[-1].headers["api-key"] == "of-the-module"
    assert isinstance(guarded._client, safellm.AzureOpenAI)


def test_every_public_name_of_the_sdk_is_there():
    """`__all__` of the SDK: the same objects, but for the clients."""
    for name in sdk.__all__:
        assert hasattr(guarded, name), name
        if name not in GUARDED:
            assert getattr(guarded, name) is getattr(sdk, name), name


def test_every_other_attribute_of_the_sdk_is_there():
    """What people use without it being in `__all__`: submodules, version, resources."""
    for name in dir(sdk):
        if not name.startswith("__"):
            assert hasattr(guarded, name), name
            if isinstance(getattr(sdk, name), types.ModuleType) and name not in ("chat", "responses"):
                assert isinstance(getattr(guarded, name), types.ModuleType) or name in dir(sdk.OpenAI), name


def test_types_and_errors_are_the_sdks_own():
    """`isinstance` and `except` work across both imports."""
    assert guarded.types is sdk.types
    assert guarded.types.chat.ChatCompletion is sdk.types.chat.ChatCompletion
    for name in ("APIError", "APIStatusError", "RateLimitError", "OpenAIError", "NotGiven", "Timeout", "Stream"):
        assert getattr(guarded, name) is getattr(sdk, name)


def test_clients_of_the_module_are_the_guarded_ones():
    """No name leads to an unguarded client by accident."""
    for name in ("OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"):
        assert getattr(guarded, name) is getattr(safellm, name)
        assert issubclass(getattr(guarded, name), getattr(sdk, name))
    assert guarded.Client is guarded.OpenAI
    assert guarded.AsyncClient is guarded.AsyncOpenAI
    plain = {id(getattr(sdk, name)) for name in GUARDED if hasattr(sdk, name)}
    assert not [name for name in dir(guarded) if not name.startswith("_") and id(getattr(guarded, name)) in plain]


def test_import_from_works_for_types_and_submodules():
    """`from safellm.openai import types, OpenAI` and `from safellm.openai import lib`."""
    space: dict[str, object] = {}
    exec("from safellm.openai import OpenAI, types, NOT_GIVEN, DefaultHttpxClient, RateLimitError", space)
    assert space["OpenAI"] is safellm.OpenAI
    assert space["types"] is sdk.types


def test_star_import_gives_guarded_clients():
    """`from safellm.openai import *` brings the SDK's names, and no plain client."""
    theirs: dict[str, object] = {}
    ours: dict[str, object] = {}
    exec("from openai import *", theirs)
    exec("from safellm.openai import *", ours)
    assert set(theirs) <= set(ours)
    assert {name for name in theirs if theirs[name] is not ours[name]} <= GUARDED | {"__builtins__"}
    assert ours["OpenAI"] is ours["Client"] is safellm.OpenAI


def test_unknown_names_raise_attribute_errors():
    """As any module does."""
    with pytest.raises(AttributeError):
        guarded.no_such_name  # noqa: B018
    with pytest.raises(AttributeError):
        safellm.no_such_name  # noqa: B018
    assert set(safellm.__all__) <= set(dir(safellm))
    needs = {"Anthropic": "anthropic", "AsyncAnthropic": "anthropic"}
    for name in safellm.__all__:
        if name in needs and importlib.util.find_spec(needs[name]) is None:
            with pytest.raises(safellm.ConfigurationError, match=r"pip install 'safellm\["):
                getattr(safellm, name)
        else:
            assert hasattr(safellm, name)


def test_module_reads_the_key_from_the_environment(provider, env_key):
    """Without `api_key` the module's client takes the variable, managed."""
    guarded.api_key = None
    ask()
    assert guarded._client.api_key.startswith("safellm-managed-")
    assert provider.requests[-1].headers["authorization"] == f"Bearer {env_key}"
    assert os.environ["OPENAI_API_KEY"] == env_key
    assert importlib.import_module("safellm.openai") is guarded
