"""What the SDK's own test suite found when the guarded classes ran in the place of its own (docs/drop-in.md)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import inspect
import json
import typing
from dataclasses import replace

import pytest

import openai as sdk
import safellm
import safellm.openai as guarded
from safellm._core.origin import parse_origin
from safellm._core.policy import Mode
from safellm._core.secret import Secret
from safellm.errors import VaultUnavailable
from safellm.stores.vault.open import ResolvedKey
from safellm.testing import LoopbackProvider
from safellm.testing.faults import Fault
from safellm.transports.http import guard_of

CLIENTS = pytest.mark.parametrize("name", ["OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"])
LATE = "_enforce_credentials" in inspect.signature(sdk.OpenAI.__init__).parameters
SETTINGS = (
    "api_key",
    "base_url",
    "api_type",
    "api_version",
    "azure_endpoint",
    "azure_ad_token",
    "azure_ad_token_provider",
)


@pytest.fixture
def module(monkeypatch):
    """The module-level API without settings; put back afterwards."""
    for name in SETTINGS:
        monkeypatch.setattr(guarded, name, None)
    guarded._reset_client()
    yield guarded
    if guarded._client is not None:
        guarded._client.close()
    guarded._reset_client()


@CLIENTS
def test_constructors_have_the_signature_of_the_sdk_and_safellm(name):
    """Programs and editors that inspect a client class find every argument of the installed SDK, and `safellm`."""
    theirs = inspect.signature(getattr(sdk, name)).parameters
    ours = inspect.signature(getattr(safellm, name)).parameters
    own = ("safellm", "profile") if "profile" in ours else ("safellm",)
    assert {one: ours[one] for one in ours if one not in own} == dict(theirs)
    assert all(ours[one].default is None for one in own)
    assert list(inspect.signature(getattr(safellm, name).__init__).parameters) == ["self", *ours]


@CLIENTS
@pytest.mark.parametrize("method", ["copy", "with_options"])
def test_copies_have_the_signature_of_the_sdk(name, method):
    """`copy` and `with_options` look like the SDK's, types included."""
    theirs, ours = getattr(getattr(sdk, name), method), getattr(getattr(safellm, name), method)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert typing.get_type_hints(ours) == typing.get_type_hints(theirs)


def test_arguments_that_the_sdk_does_not_know_are_type_errors(sync, provider):
    """The signature isn't only shown."""
    with pytest.raises(TypeError, match="no_such_argument"):
        sync.client(provider, no_such_argument=1)
    with pytest.raises(TypeError, match="no_such_argument"):
        sync.client(provider).with_options(no_such_argument=1)


def test_address_set_on_a_client_counts_as_given_in_code(face, provider):
    """`client.base_url = …` leads the next call there, as it does with the SDK."""
    client = face.client(base_url="https://llm.example/v1", api_key="x")
    client.base_url = provider.base_url
    assert face.ask(client) == 'You wrote: "hello"'
    assert str(client.base_url).rstrip("/") == provider.base_url


def test_address_set_on_a_client_counts_after_a_call(face, provider):
    """What is remembered of the address before is no longer asked."""
    client = face.client(provider)
    assert face.ask(client) == 'You wrote: "hello"'
    with LoopbackProvider() as other:
        client.base_url = other.base_url
        assert face.ask(client) == 'You wrote: "hello"'
        assert len(other.requests) == 1
    assert len(provider.requests) == 1


def test_e_1_address_set_on_a_client_is_refused_in_strict_mode(sync, sink, monkeypatch):
    """Strict mode takes no address from code, and a caught error opens no way."""
    origins = frozenset({parse_origin("https://llm.example")})
    key = ResolvedKey(ref="vault:openai", secret=Secret("stored-" + "k1" * 10), origins=origins)
    monkeypatch.setattr("safellm.client.resolve_key", lambda *_, **__: key)
    client = sync.client(base_url="https://llm.example/v1", safellm={"mode": "strict"})
    with pytest.raises(safellm.ConfigurationError, match="strict mode"):
        client.base_url = f"{sink.origin}/v1"
    with pytest.raises(safellm.Refused):
        sync.ask(client)


def test_k_4_managed_key_does_not_follow_an_address_set_on_a_client(face, sink, env_key):
    """The new address is the program's choice; the key from the variable stays with its own origin."""
    client = face.client()
    client.base_url = f"{sink.origin}/v1"
    with pytest.raises(safellm.Refused):
        face.ask(client)


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE_HEADERS, Fault.INVALID_JSON, Fault.REDIRECT_307, Fault.NONE])
def test_connections_are_given_back_when_a_raw_stream_fails_or_ends(face, faults, fault):
    """No connection of the pool stays in use after errors, retries and `with_streaming_response`."""
    client = face.client(base_url=faults.base_url(fault), api_key="x", max_retries=1)
    manager = client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
    )
    try:
        face.enter(manager)
    except sdk.APIError:
        pass
    else:
        face.leave(manager)
    assert client._client._transport._pool._requests == []


@pytest.mark.skipif(not hasattr(sdk, "BedrockOpenAI"), reason="newer SDKs only")
def test_bedrock_classes_are_the_sdk_s_and_can_be_subclassed():
    """`isinstance` and subclassing work with the names of the module."""
    assert not isinstance(object(), guarded.BedrockOpenAI)
    assert issubclass(guarded.BedrockOpenAI, sdk.BedrockOpenAI)

    class Own(guarded.BedrockOpenAI):
        pass

    with Own(api_key="x", aws_region="eu-west-1") as client, client.copy(timeout=1) as twin:
        assert type(twin) is Own
        assert guard_of(twin._client) is not None


def test_module_level_bedrock_is_not_sent_to_openai(module, env_key):
    """`openai.api_type = "amazon-bedrock"` must not lead to another provider: without a region there is no call."""
    module.api_type = "amazon-bedrock"
    with pytest.raises((sdk.OpenAIError, safellm.ConfigurationError), match="Bedrock"):
        module.responses.create(model="m", input="hi")


def test_module_level_client_classes_are_guarded_ones():
    """The SDK's private classes for the module-level API aren't a way round the guard."""
    assert issubclass(guarded._ModuleClient, safellm.OpenAI)
    assert issubclass(guarded._AzureModuleClient, safellm.AzureOpenAI)


def test_module_level_azure_is_chosen_by_its_variables(module, provider, monkeypatch):
    """A program that sets Azure's variables and nothing else gets Azure; the choice can be read and stays."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-" + "k1" * 10)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", provider.origin)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    module.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert provider.requests[-1].headers["api-key"] == "azure-" + "k1" * 10
    assert module.api_type == "azure"


def test_module_level_api_complains_when_openai_and_azure_are_both_set_up(module, env_key, monkeypatch):
    """With the SDK's own error; no provider is picked by chance."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-" + "k1" * 10)
    with pytest.raises(sdk.OpenAIError, match="Ambiguous"):
        module.chat.completions.create(model="gpt-4o", messages=[])


AZURE = """
import safellm, safellm.openai as openai
try:
    openai.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
except safellm.ConfigurationError as error:
    print(error)
"""


def test_e_1_azure_endpoint_from_a_variable_is_not_one_from_code(python, monkeypatch):
    """The SDK's module takes the variable for a setting when it is imported; the guard must not (nothing may be sent there)."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-" + "k1" * 10)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://elsewhere.example")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    assert "it comes from the environment" in python(AZURE).stdout


def test_module_level_client_needs_no_key_before_the_sdk_needs_one(module):
    """With newer SDKs reading `openai.chat` works without a key and the call says what is missing; older ones say it at once."""
    if LATE:
        assert str(module.completions._client.base_url) == "https://api.openai.com/v1/"
    with pytest.raises((sdk.OpenAIError, TypeError), match="(?i)credentials|api_key"):
        module.chat.completions.create(model="gpt-4o", messages=[])


def test_module_level_missing_key_names_the_vaults_problem(module, monkeypatch):
    """Somebody who keeps the key in the vault must hear that the vault can't be opened, not that there is no key."""

    def unavailable(*_, **__):
        raise VaultUnavailable("The key ring is locked", remedy="Unlock it.")

    monkeypatch.setattr("safellm.client.resolve_key", unavailable)
    with pytest.raises(sdk.OpenAIError, match="key ring is locked"):
        module.chat.completions.create(model="gpt-4o", messages=[])


def test_e_1_a_client_over_a_guarded_transport_takes_no_address_from_a_variable(sync, provider, sink, monkeypatch):
    """Another client's HTTP client brings its guard; where it sends is the program's word, not a variable's."""
    first = sync.client(provider)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{sink.origin}/v1")
    second = safellm.OpenAI(api_key="of the program", http_client=first._client, max_retries=0)
    with pytest.raises(safellm.Refused) as caught:
        second.responses.create(model="gpt-4o", input="hello")
    assert caught.value.reason == "egress.origin"
    assert sync.ask(first.with_options(timeout=5)) == 'You wrote: "hello"'


@pytest.mark.parametrize("name", ["api_key", "admin_api_key"])
def test_a_strict_client_s_copy_takes_no_key_from_code(sync, provider, monkeypatch, name):
    """As the client itself takes none."""
    client = sync.client(provider)
    if not hasattr(client, name):
        pytest.skip(f"this SDK has no {name}")
    driver = guard_of(client._client)
    strict = driver.tools.policy.model_copy(update={"mode": Mode.STRICT})
    monkeypatch.setattr(driver, "tools", replace(driver.tools, policy=strict))
    with pytest.raises(safellm.ConfigurationError, match="key of its own"):
        client.with_options(**{name: "from code"})


@pytest.mark.parametrize("header", ["Authorization", "api-key"])
def test_a_header_that_the_program_omits_is_no_key(provider, header):
    """Azure's client without a key fails as the SDK's own does, with the same error and as many requests."""

    def fails(kind):
        before = len(provider.requests)
        options = {"api_key": lambda: "", "default_headers": {header: sdk.Omit()}, "max_retries": 0}
        with kind(azure_endpoint=provider.origin, api_version="2024-10-21", **options) as client:
            try:
                client.models.list()
            except Exception as error:
                return type(error), str(error), len(provider.requests) - before
        return None

    assert fails(safellm.AzureOpenAI) == fails(sdk.AzureOpenAI)


BOTH_OF_AZURE = {"AZURE_OPENAI_API_KEY": "key-" + "k1" * 14, "AZURE_OPENAI_AD_TOKEN": "token-" + "t1" * 14}


def azure_client(face, provider):
    kind = safellm.AsyncAzureOpenAI if face.is_async else safellm.AzureOpenAI
    return face.keep(kind(azure_endpoint=provider.origin, api_version="2024-10-21", max_retries=0))


def test_k_4_of_a_key_and_a_token_of_azure_the_token_counts(face, provider, monkeypatch):
    """With both variables set: it is sent as the SDK sends it, and the client holds neither."""
    for name, value in BOTH_OF_AZURE.items():
        monkeypatch.setenv(name, value)
    client = azure_client(face, provider)
    face.ask(client)
    assert provider.requests[-1].headers["authorization"] == f"Bearer {BOTH_OF_AZURE['AZURE_OPENAI_AD_TOKEN']}"
    assert "api-key" not in provider.requests[-1].headers
    assert not set(BOTH_OF_AZURE.values()) & {client.api_key, client._azure_ad_token}


def test_the_module_decides_between_a_key_and_a_token_as_the_sdk_does(module, provider, monkeypatch):
    """Newer SDKs take the token, older ones ask for a choice."""
    for name, value in {
        **BOTH_OF_AZURE,
        "OPENAI_API_VERSION": "2024-10-21",
        "AZURE_OPENAI_ENDPOINT": provider.origin,
    }.items():
        monkeypatch.setenv(name, value)

    def made(one):
        for name in ("api_type", "api_key", "base_url", "azure_endpoint", "azure_ad_token", "azure_ad_token_provider"):
            monkeypatch.setattr(one, name, None)  # the SDK's client writes what it finds into them
        one._reset_client()
        try:
            return isinstance(one._load_client(), sdk.AzureOpenAI)
        except sdk.OpenAIError as error:
            return type(error).__name__

    assert made(module) == made(sdk)
    sdk._reset_client()


def test_what_a_vault_of_the_provider_s_is_given_arrives(face, provider):
    """A credential that is stored there, and where it may be used, go as they are; the same text elsewhere is hidden."""
    client = face.client(provider)
    secret, hosts = "sk-" + "proj-" + "B7c8D9e0F1" * 4, ["api.example.com", "192.0.2.1"]
    networking = {"type": "limited", "allowed_hosts": hosts}
    stored = [
        {"type": "environment_variable", "secret_name": "KEY", "secret_value": secret, "networking": networking},
        {"type": "static_bearer", "token": secret, "mcp_server_url": "https://192.0.2.1/mcp"},
    ]
    for auth in stored:
        with contextlib.suppress(sdk.APIStatusError):  # the provider of the test knows no vaults
            face.run(client.post("/vaults/vault_1/credentials", cast_to=object, body={"name": secret, "auth": auth}))
        seen = json.loads(provider.requests[-1].body)
        assert seen["auth"] == auth
        assert secret not in seen["name"]


@pytest.mark.parametrize("name", ["OpenAI", "AsyncOpenAI"])
def test_a_copy_keeps_the_region_when_it_signs_in_otherwise(name, monkeypatch):
    """As the SDK's own: nothing of the guard's stands in the way of an argument of the SDK."""
    pytest.importorskip("openai._data_residency", reason="an older SDK knows no regions")
    sign_in = pytest.importorskip("openai.auth").x509_workload_identity
    identity = sign_in(identity_provider_id="idp_example", service_account_id="svc_example")

    def address(one):
        return str(
            getattr(one, name)(api_key="k", data_residency="eu").with_options(workload_identity=identity).base_url
        )

    assert address(safellm) == address(sdk)
