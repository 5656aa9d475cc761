"""Where a call may go, and with which key."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import traceback

import httpx
import pytest
from google.genai.client import DebugConfig

import safellm
from google import genai as sdk
from safellm.google import genai
from safellm.google.genai import errors, types
from safellm.testing.provider import LoopbackProvider

ADDRESSES = ["GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"]


def test_e_1_address_from_a_variable_is_refused(monkeypatch):
    """A variable can't move calls, and the key with them, to another host."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://gateway.example")
    with pytest.raises(safellm.ConfigurationError, match="environment"):
        genai.Client(api_key="given")


def test_e_1_address_from_a_variable_is_refused_on_vertex(monkeypatch):
    """The same for Vertex AI's variable, and for a location that is another host in disguise."""
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "https://gateway.example")
    with pytest.raises(safellm.ConfigurationError, match="environment"):
        genai.Client(vertexai=True, api_key="given")
    monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "gateway.example/x?")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    with pytest.raises(safellm.ConfigurationError):
        genai.Client(vertexai=True)


def test_loopback_from_a_variable_and_bound_origins_count(provider, monkeypatch):
    """A server on this machine may come from the variable; another one if the policy lists it."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", provider.origin)
    with genai.Client(api_key="given") as client:
        assert client.models.generate_content(model="g", contents="hi").text == 'You wrote: "hi"'
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://gateway.example")
    genai.Client(api_key="given", safellm={"egress.origins": ["https://gateway.example"]}).close()


@pytest.mark.parametrize("location", [None, "global", "us-central1", "eu"])
def test_vertex_regions_are_google_s_own(location):
    """Vertex AI's hosts by region need no setting."""
    from google.auth.credentials import AnonymousCredentials

    options = (
        {"project": "p", "location": location, "credentials": AnonymousCredentials()} if location else {"api_key": "k"}
    )
    with genai.Client(vertexai=True, **options) as client:
        (origin,) = client._api_client._httpx_client._transport.safellm_driver.bounds.origins
        assert origin.host.endswith("googleapis.com")


def test_e_4_address_of_one_call_is_refused(face, provider, env_key):
    """`http_options` of a call may name another host, and the SDK would send the key along."""
    with LoopbackProvider() as other:
        client = face.client(http_options={"base_url": provider.origin})
        with pytest.raises(safellm.Refused) as caught:
            face.ask(client, config={"http_options": {"base_url": other.origin}})
        assert caught.value.reason == "egress.origin"
        with pytest.raises(safellm.Refused):
            face.ask(client, stream=True, config={"http_options": {"base_url": other.origin}})
        assert other.requests == []
    assert face.ask(client, config={"http_options": {"headers": {"x-note": "1"}, "timeout": 5000}})
    assert provider.requests[-1].headers["x-note"] == "1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e_2_redirect_to_another_origin_is_refused(face, provider, sink, status, env_key):
    """httpx takes the key's header along: nothing arrives elsewhere."""
    from safellm.testing.replies import Reply

    headers = {"location": f"{sink.origin}/v1beta/models/g:generateContent"}
    provider.reply_with(Reply(status=status, headers=headers, raw_body=b""))
    client = face.client(http_options={"base_url": provider.origin})
    for stream in (False, True):
        with pytest.raises(safellm.Refused):
            face.ask(client, stream=stream)


def test_e_5_key_in_the_url_is_refused(sync, provider):
    """A URL stands in logs; keys belong in a header."""
    client = sync.client(provider)
    http = client._api_client._httpx_client
    with pytest.raises(safellm.Refused) as caught:
        http.post(f"{provider.origin}/v1beta/models/g:generateContent?key=abc", json={})
    assert caught.value.reason == "egress.request"
    assert provider.requests == []


def test_k_4_sdk_holds_a_placeholder(face, provider, env_key, caplog):
    """The real key is on the wire, and in none of the client's parts, logs or errors."""
    caplog.set_level(logging.DEBUG)
    client = face.client(http_options={"base_url": provider.origin})
    assert face.ask(client, "hello")
    assert provider.requests[-1].headers["x-goog-api-key"] == env_key
    api = client._api_client
    shown = [repr(vars(api)), repr(api._http_options), api.api_key, caplog.text, repr(vars(client))]
    assert not [one for one in shown if env_key in one]
    assert api.api_key.startswith("safellm-managed-")


def test_keys_of_both_variables(provider, monkeypatch):
    """`GOOGLE_API_KEY` comes before `GEMINI_API_KEY`, as in the SDK."""
    first, second = "first" * 8, "second" * 8
    monkeypatch.setenv("GEMINI_API_KEY", second)
    for expected, variable in ((second, None), (first, "GOOGLE_API_KEY")):
        if variable:
            monkeypatch.setenv(variable, first)
        with genai.Client(http_options={"base_url": provider.origin}) as client:
            client.models.generate_content(model="g", contents="hi")
        assert provider.requests[-1].headers["x-goog-api-key"] == expected


def test_missing_key_is_the_sdk_s_own_error():
    """Without any key the SDK says so, as ever."""
    with pytest.raises(ValueError, match=r"API key|api_key"):
        genai.Client()


def test_strict_mode_takes_no_key_from_code():
    """Vault keys only."""
    with pytest.raises(safellm.ConfigurationError):
        genai.Client(api_key="given", safellm={"mode": "strict"})


def test_e_4_foreign_clients_are_refused(provider, monkeypatch):
    """An aiohttp session, a client of another guard, recordings."""
    with pytest.raises(safellm.ConfigurationError, match="replay"):
        genai.Client(api_key="k", debug_config=DebugConfig(client_mode="record"))
    if "aiohttp_client" in types.HttpOptions.model_fields:
        with pytest.raises((safellm.ConfigurationError, ValueError)):
            genai.Client(api_key="k", http_options={"aiohttp_client": object()})
    with genai.Client(api_key="k", http_options={"base_url": provider.origin}) as one:
        borrowed = one._api_client._httpx_client
        with pytest.raises(safellm.ConfigurationError, match="belongs"):
            genai.Client(api_key="other", http_options={"base_url": provider.origin, "httpx_client": borrowed})
    monkeypatch.setenv("GOOGLE_GENAI_CLIENT_MODE", "replay")
    with pytest.raises(safellm.ConfigurationError, match="replay"):
        genai.Client(api_key="k")


def test_own_http_clients_are_guarded_and_stay_as_they_are(provider):
    """A program's own clients are used through a guarded copy, and are closed when the plain SDK closes them."""
    mine, mine_async = httpx.Client(), httpx.AsyncClient()
    client = genai.Client(
        api_key="k", http_options={"base_url": provider.origin, "httpx_client": mine, "httpx_async_client": mine_async}
    )
    assert (
        client.models.generate_content(model="g", contents="alice@example.com").text == 'You wrote: "alice@example.com"'
    )
    assert b"alice" not in provider.requests[-1].body

    async def main():
        answer = await client.aio.models.generate_content(model="g", contents="alice@example.com")
        await mine_async.aclose()
        return answer.text

    assert asyncio.run(main()) == 'You wrote: "alice@example.com"'
    assert b"alice" not in provider.requests[-1].body
    client.close()
    own = httpx.Client()
    sdk.Client(api_key="k", http_options={"httpx_client": own}).close()
    assert mine.is_closed is own.is_closed  # the newest SDK leaves it open, an older one doesn't
    assert type(mine._transport) is httpx.HTTPTransport
    mine.close()
    own.close()


def test_client_arguments_reach_the_http_clients(provider):
    """`client_args` and `async_client_args` work as with the plain SDK."""
    args = {"headers": {"x-mine": "1"}}
    client = genai.Client(
        api_key="k", http_options={"base_url": provider.origin, "client_args": args, "async_client_args": args}
    )
    client.models.generate_content(model="g", contents="hi")

    async def main():
        await client.aio.models.generate_content(model="g", contents="hi")
        await client.aio.aclose()

    asyncio.run(main())
    assert [one.headers["x-mine"] for one in provider.requests] == ["1", "1"]
    client.close()


def test_k_4_transport_errors_hold_no_key(face, env_key):
    """A connection that can't be made is the HTTP library's error, and no frame of it leads to the key."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = face.client(http_options={"base_url": f"http://127.0.0.1:{port}"})
    for stream in (False, True):
        with pytest.raises(Exception, match="refused|failed|attempts") as caught:
            face.ask(client, stream=stream)
        assert not isinstance(caught.value, safellm.Refused)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        lines = [line for line in shown.format() if "env_key" not in line]
        assert env_key not in "".join(lines)


def test_errors_of_the_provider_are_plain(face, provider):
    """A real error of Google's is no refusal."""
    from safellm.testing.replies import Reply

    provider.reply_with(Reply(status=429, text="slow down", headers={"x-safellm-reason": "budget.exceeded"}))
    with pytest.raises(errors.ClientError) as caught:
        face.ask(face.client(provider))
    assert caught.value.code == 429
    assert not isinstance(caught.value, safellm.Refused)


def test_answers_may_take_their_time():
    """The SDK sets no limit of its own; interactions ask the HTTP client, whose library says five seconds."""
    with genai.Client(api_key="k") as client:
        api = client._api_client
        assert {api._httpx_client.timeout.read, api._async_httpx_client.timeout.read} == {None}
    with genai.Client(api_key="k", http_options={"client_args": {"timeout": 7}}) as client:
        assert client._api_client._httpx_client.timeout.read == 7


def vertex(**options):
    from google.oauth2.credentials import Credentials

    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=Credentials(token="t" * 20), **options
    )


def test_interactions_reach_vertex_with_a_token_of_google_cloud(provider, face):
    """The SDK leaves a note about the token on the request; it changes nothing of where that goes."""
    client = face.keep(vertex(http_options={"base_url": provider.origin}))
    if not hasattr(client, "interactions"):
        pytest.skip("this SDK has none")
    made = face.run(face.of(client).interactions.create(model="gemini-2.5-flash", input="I am alice@example.com"))
    assert made.status == "completed"
    assert b"alice@example.com" not in provider.requests[-1].body
    assert provider.requests[-1].headers["authorization"] == f"Bearer {'t' * 20}"


def test_certificate_of_the_machine_is_presented_at_google_s_address_for_it(monkeypatch):
    """With a client certificate the SDK calls another address of Google's: the guarded client may, and no other one may."""
    from google.genai import _api_client

    if not hasattr(_api_client, "_client_cert_ssl_contexts"):
        pytest.skip("this SDK presents none")
    context = ssl.create_default_context()
    _api_client._client_cert_ssl_contexts.add(context)
    monkeypatch.setattr(_api_client, "_get_client_cert_ssl_ctx", lambda: context)
    with vertex() as client:
        origins = {one.host for one in client._api_client._httpx_client._transport.safellm_driver.bounds.origins}
        assert origins == {"us-central1-aiplatform.googleapis.com", "us-central1-aiplatform.mtls.googleapis.com"}
        assert client._api_client._httpx_use_mtls_endpoint
        assert client._api_client._async_httpx_use_mtls_endpoint
    with vertex(safellm={"mode": "strict"}) as client:  # whose connections are its own, without the certificate
        origins = client._api_client._httpx_client._transport.safellm_driver.bounds.origins
        assert {one.host for one in origins} == {"us-central1-aiplatform.googleapis.com"}
        assert not client._api_client._httpx_use_mtls_endpoint
