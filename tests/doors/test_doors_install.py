"""`safellm.install()`: every call of an unchanged program is guarded or refused, and everything can be undone."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
from doors_support import MAIL, body, nothing_leaked

import openai
import safellm
from safellm.auto import gate, hooks, table
from safellm.testing.replies import Reply

httpx2 = pytest.importorskip("httpx2") if importlib.util.find_spec("httpx2") else httpx
FAMILIES = sorted({httpx, httpx2}, key=lambda one: one.__name__)
ANSWER = f'You wrote: "mail {MAIL}"'


def ask(client, **options):
    messages = [{"role": "user", "content": f"mail {MAIL}"}]
    return client.chat.completions.create(model="gpt-4o", messages=messages, **options)


def text_of(answer):
    return answer.choices[0].message.content


def test_an_sdk_client_made_afterwards_is_guarded(installed, provider, records):
    """The plain SDK's client sends placeholders and gets the values back; each call is recorded once."""
    with openai.OpenAI(base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client)) == ANSWER
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True) if chunk.choices)
        assert streamed == ANSWER
    nothing_leaked(provider, 2)
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome"] * 2


def test_an_sdk_client_made_before_is_guarded(provider):
    """A client that the program made before `install` is guarded from then on, and no longer after `uninstall`."""
    with openai.OpenAI(base_url=provider.base_url, api_key="k") as client:
        safellm.install()
        assert text_of(ask(client)) == ANSWER
        nothing_leaked(provider, 1)
        safellm.uninstall()
        ask(client)
    assert MAIL.encode() in provider.requests[-1].body


def test_an_async_client_is_guarded(installed, provider):
    """The same for the async client, plain and streamed."""

    async def go():
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k") as client:
            first = text_of(await ask(client))
            second = [chunk async for chunk in await ask(client, stream=True)]
            return first, "".join(chunk.choices[0].delta.content or "" for chunk in second if chunk.choices)

    assert asyncio.run(go()) == (ANSWER, ANSWER)
    nothing_leaked(provider, 2)


def test_the_module_level_api_is_guarded(installed, provider, monkeypatch):
    """`openai.chat.completions.create` uses a client of the SDK's own; it is guarded too."""
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "base_url", provider.base_url + "/")
    try:
        assert text_of(ask(openai)) == ANSWER
    finally:
        openai._load_client().close()
        openai._reset_client()
    nothing_leaked(provider, 1)


def test_the_sdk_s_client_on_aiohttp_is_guarded(installed, provider):
    """`DefaultAioHttpClient` stands on aiohttp, whose own seam lets pass what the transport's seam has guarded."""
    pytest.importorskip("aiohttp")
    if not hasattr(openai, "DefaultAioHttpClient"):
        pytest.skip("older SDKs have no client on aiohttp")

    async def go():
        http_client = openai.DefaultAioHttpClient()
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k", http_client=http_client) as client:
            return text_of(await ask(client))

    assert asyncio.run(go()) == ANSWER
    nothing_leaked(provider, 1)


def test_a_guarded_client_is_not_guarded_twice(installed, provider, records):
    """`safellm.OpenAI` under `install` makes one record of each kind, and is charged once."""
    with safellm.OpenAI(base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client)) == ANSWER
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.__name__)
def test_raw_http_to_a_known_origin_is_guarded(installed, front, provider, family, records):
    """`httpx.post("https://api.openai.com/…")` is guarded without any SDK."""
    with family.Client(verify=front.trust, trust_env=False) as client:
        answer = client.post(
            "https://api.openai.com/v1/chat/completions", json=body(), headers={"authorization": "Bearer k"}
        )
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER
    nothing_leaked(provider, 1)
    assert records()[0]["gen_ai.provider.name"] == "openai"
    assert records()[0]["safellm.sdk"].startswith(family.__name__)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.__name__)
def test_raw_http_of_async_clients_and_mounts_is_guarded(installed, model_at, family):
    """An async client, and a transport that a client mounts for the origin."""

    async def go():
        async with family.AsyncClient() as client:
            return (await client.post(f"{model_at.base_url}/chat/completions", json=body())).json()

    assert asyncio.run(go())["choices"][0]["message"]["content"] == ANSWER
    with family.Client(mounts={"http://": family.HTTPTransport()}) as client:
        client.post(f"{model_at.base_url}/chat/completions", json=body())
    nothing_leaked(model_at, 2)


def test_other_origins_are_untouched(installed, provider, records):
    """A server that is no language model's gets every byte as it was sent, by every library."""
    before = len(provider.requests)
    for family in FAMILIES:
        family.post(f"{provider.base_url}/chat/completions", json=body())
    urllib.request.urlopen(f"{provider.base_url}/models").close()
    assert len(provider.requests) - before == len(FAMILIES) + 1
    assert all(MAIL.encode() in one.body for one in provider.requests if one.method == "POST")
    assert records() == []


def with_urllib(url):
    urllib.request.urlopen(urllib.request.Request(url, data=b"{}"))


def with_http_client(url):
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(parts.hostname, parts.port)) as connection:
        connection.request("POST", parts.path, b"{}")


def with_a_websocket_of_aiohttp(url):
    aiohttp = pytest.importorskip("aiohttp")

    async def go():
        async with aiohttp.ClientSession() as session:
            await session.ws_connect(url)

    asyncio.run(go())


UNGUARDABLE = [with_urllib, with_http_client, with_a_websocket_of_aiohttp]


@pytest.mark.parametrize("call", UNGUARDABLE, ids=lambda one: one.__name__)
def test_e_10_a_library_without_a_shell_is_refused(installed, model_at, call, records):
    """The call ends in `safellm.Refused` with a way out, nothing arrives, and the refusal is in the trail."""
    with pytest.raises(safellm.Refused) as caught:
        call(f"{model_at.base_url}/chat/completions")
    assert caught.value.reason == safellm.Reason.MEDIATION_UNSUPPORTED
    assert caught.value.remedy
    assert MAIL not in str(caught.value)
    assert model_at.requests == []
    assert [one["event.name"] for one in records()] == ["policy.deny"]


@pytest.mark.parametrize("call", UNGUARDABLE, ids=lambda one: one.__name__)
def test_e_10_a_library_without_a_shell_sends_nothing_to_a_known_host(installed, front, provider, call):
    """The same for the provider's own address, through TLS."""
    with pytest.raises(safellm.Refused):
        call("https://api.openai.com/v1/chat/completions")
    assert provider.requests == []


def test_e_10_sockets_with_tls_are_refused(installed, front, provider):
    """A program that speaks HTTP over sockets of its own gets no TLS connection to a known host, sync or async."""
    with socket.create_connection(front.address) as plain, pytest.raises(safellm.Refused):
        front.trust.wrap_socket(plain, server_hostname="api.openai.com")
    with pytest.raises(safellm.Refused):  # what asyncio, aiohttp and anyio call
        front.trust.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="api.openai.com")
    assert provider.requests == []


def test_e_10_grpc_channels_are_refused(installed):
    """A channel to Google's hosts is not made."""
    grpc = pytest.importorskip("grpc")
    with pytest.raises(safellm.Refused):
        grpc.secure_channel("dns:///generativelanguage.googleapis.com:443", grpc.ssl_channel_credentials())
    grpc.insecure_channel("127.0.0.1:1").close()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e_2_a_redirect_to_another_origin_is_refused(installed, model_at, sink, family, status):
    """The answer that leads away becomes a 403; the other address gets nothing."""
    model_at.reply_with(Reply(status=status, headers={"location": f"{sink.origin}/v1/chat/completions"}, raw_body=b""))
    answer = family.post(f"{model_at.base_url}/chat/completions", json=body(), follow_redirects=True)
    assert answer.status_code == 403
    assert answer.headers["x-safellm-reason"] == "egress.origin"


def test_a_refusal_is_an_http_answer_in_raw_code(model_at):
    """Raw code sees 429 with the provider's JSON and the reason in a header, once the budget is spent."""
    safellm.install({"budget": {"limits": [{"requests": 1}]}})
    url = f"{model_at.base_url}/chat/completions"
    first, second = (httpx.post(url, json=body()) for _ in range(2))
    assert first.status_code == 200
    assert second.status_code == 429
    assert second.headers["x-safellm-reason"] == "budget.exceeded"
    assert "budget" in second.json()["error"]["message"]


def test_a_refusal_is_the_sdk_s_error_in_sdk_code(provider):
    """The plain SDK raises an error that is its own and ours, and doesn't try again."""
    safellm.install({"budget": {"limits": [{"requests": 1}]}})
    with openai.OpenAI(base_url=provider.base_url, api_key="k") as client:
        ask(client)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
    assert isinstance(caught.value, safellm.Refused)
    assert len(provider.requests) == 1


def test_strict_mode_takes_no_key_from_code(model_at):
    """A request that brings its own key is refused: strict mode knows keys from the vault only."""
    safellm.install({"mode": "strict", "egress": {"origins": [model_at.origin]}})
    answer = httpx.post(f"{model_at.base_url}/chat/completions", json=body(), headers={"authorization": "Bearer k"})
    assert (answer.status_code, answer.headers["x-safellm-reason"]) == (403, "key.unbound")
    assert model_at.requests == []


def test_e_1_an_address_from_a_variable_is_refused(installed, monkeypatch):
    """A variable may not say where the plain SDK sends; the policy may."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.invalid/v1")
    with openai.OpenAI(api_key="k", max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask(client)
        assert isinstance(caught.value, safellm.Refused)
        assert caught.value.reason == safellm.Reason.EGRESS_ORIGIN
        safellm.uninstall()
        safellm.install({"egress": {"origins": ["https://gateway.invalid"]}})
        with pytest.raises(openai.APIConnectionError):  # there is no such host
            ask(client)


def test_an_origin_of_the_policy_is_guarded(provider):
    """What `egress.origins` lists is a language model's: a gateway, for example."""
    safellm.install({"egress": {"origins": [provider.origin]}})
    httpx.post(f"{provider.base_url}/chat/completions", json=body())
    nothing_leaked(provider, 1)


def test_observing_changes_and_refuses_nothing(model_at):
    """In observe mode a library without a shell passes, and so does every text."""
    safellm.install({"mode": "observe"})
    httpx.post(f"{model_at.base_url}/chat/completions", json=body())
    urllib.request.urlopen(f"{model_at.base_url}/models").close()
    assert MAIL.encode() in model_at.requests[0].body
    assert len(model_at.requests) == 2


def test_a_wrong_setting_is_told_at_once(monkeypatch):
    """`install` with a policy that is wrong raises, and installs nothing."""
    monkeypatch.setenv("SAFELLM_BUDGT_USD", "5/day")
    before = httpx.HTTPTransport.handle_request
    with pytest.raises(safellm.ConfigurationError):
        safellm.install()
    assert httpx.HTTPTransport.handle_request is before
    assert not gate.STATE.installed


def state():
    owners = [(one.HTTPTransport, "handle_request") for one in FAMILIES]
    owners += [(one.AsyncHTTPTransport, "handle_async_request") for one in FAMILIES]
    owners += [(subprocess.Popen, "__init__"), (os, "execve"), (openai._base_client.BaseClient, "_build_request")]
    patched = [vars(owner)[name] for owner, name in owners]
    return patched, list(sys.meta_path), dict(os.environ)


def test_uninstalling_undoes_everything():
    """Classes, functions, import hooks and variables are what they were, however often it was switched."""
    before = state()
    for _ in range(2):
        safellm.install()
        safellm.install()
        assert state()[0] != before[0]
        safellm.uninstall()
        safellm.uninstall()
    assert state() == before


def test_a_patch_of_somebody_else_stays(provider, monkeypatch):
    """What was wrapped around ours since is left alone, and passes through."""
    # Put back at the end: the library's own, not ours that was wrapped.
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", httpx.HTTPTransport.handle_request)
    safellm.install()
    ours = httpx.HTTPTransport.handle_request
    seen = []
    monkeypatch.setattr(
        httpx.HTTPTransport, "handle_request", lambda self, request: seen.append(1) or ours(self, request)
    )
    safellm.uninstall()
    assert httpx.post(f"{provider.base_url}/chat/completions", json=body()).status_code == 200
    assert seen == [1]
    assert MAIL.encode() in provider.requests[0].body


def test_threads_are_guarded(installed, model_at):
    """Many threads at once: each call is guarded."""
    answers = []

    def call():
        answer = httpx.post(f"{model_at.base_url}/chat/completions", json=body())
        answers.append(answer.json()["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [ANSWER] * 8
    nothing_leaked(model_at, 8)


def test_a_module_is_patched_when_it_is_imported(tmp_path, monkeypatch):
    """A module of the table that is imported later is patched then; its loader stays its own; a reload keeps the patch."""
    (tmp_path / "late_library.py").write_text("class Sender:\n    def send(self):\n        return 'sent'\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "late_seam", late := type(sys)("late_seam"))
    before = list(sys.meta_path)
    late.patch = lambda module, patches: patches.replace(module.Sender, "send", lambda original: lambda self: "guarded")
    hooks.install({"late_library": "late_seam:patch"})
    try:
        import late_library

        assert late_library.Sender().send() == "guarded"
        assert type(late_library.__loader__).__module__ == "_frozen_importlib_external"
        importlib.reload(late_library)
        assert late_library.Sender().send() == "guarded"
    finally:
        hooks.uninstall()
        sys.modules.pop("late_library", None)
    assert sys.meta_path == before


def test_every_seam_and_dialect_of_the_table_is_there():
    """Patchers can be imported; rows that name an adapter which is installed can be loaded."""
    for place in table.SEAMS.values():
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    assert (
        gate.load_adapter(gate.find("https", "api.openai.com", None, "/v1/responses", library="test")).name == "openai"
    )


def test_known_hosts():
    """Which addresses are a language model's, and which only look like one."""

    def known(host, path="/", scheme="https"):
        found = gate.find(scheme, host, None, path, library="test")
        return None if found is None else found.profile.name if found.profile else found.dialect.name

    assert known("api.openai.com") == "openai"
    assert known("API.OpenAI.com.") == "openai"
    assert known("team-7.openai.azure.com") == "openai"
    assert known("team.cognitiveservices.azure.com", "/openai/deployments/x/chat/completions") == "openai"
    assert known("team.cognitiveservices.azure.com", "/vision/v3/analyze") is None
    assert known("api.anthropic.com") == "anthropic"
    assert known("generativelanguage.googleapis.com", "/v1beta/models/x:generateContent") == "google"
    assert known("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions") == "openai"
    assert known("europe-west4-aiplatform.googleapis.com") == "google"
    assert known("bedrock-runtime.us-east-1.amazonaws.com") == "bedrock"
    assert known("api.groq.com") == "groq"
    assert known("openrouter.ai") == "openrouter"
    assert [
        known(one) for one in ("api.openai.com.evil.test", "xapi.openai.com", "openai.com", "storage.googleapis.com")
    ] == [None] * 4
    assert known("localhost") is None


HOSTS = {
    "api.anthropic.com": ("/v1/messages", {"model": "m", "max_tokens": 9, **body()}),
    "generativelanguage.googleapis.com": (
        "/v1beta/models/gemini-x:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": f"mail {MAIL}"}]}]},
    ),
    "api.groq.com": ("/openai/v1/chat/completions", body()),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("library", ["httpx", "requests"])
def test_other_providers_are_guarded_by_their_adapters(installed, front, provider, host, library, records):
    """Raw HTTP to other providers passes their adapter, by the table."""
    module = pytest.importorskip(library)
    front.serve(host)
    path, said = HOSTS[host]
    with module.Client(verify=front.trust, trust_env=False) if library == "httpx" else module.Session() as client:
        if library == "requests":
            client.verify, client.trust_env = str(front.certificate), False
        client.post(f"https://{host}{path}", json=said)
    nothing_leaked(provider, 1)
    assert records()[0]["server.address"] == host


def test_requests_is_guarded(installed, model_at):
    """Plain, streamed, with a prepared request; a refusal is an HTTP answer."""
    requests = pytest.importorskip("requests")
    url = f"{model_at.base_url}/chat/completions"
    with requests.Session() as session:
        assert session.post(url, json=body()).json()["choices"][0]["message"]["content"] == ANSWER
        streamed = session.post(url, json={**body(), "stream": True}, stream=True)
        events = [line for line in streamed.iter_lines() if line.startswith(b"data: {")]
        deltas = [__import__("json").loads(line[6:])["choices"] for line in events]
        assert "".join(one[0]["delta"].get("content") or "" for one in deltas if one) == ANSWER
    nothing_leaked(model_at, 2)
    safellm.uninstall()
    safellm.install({"budget": {"limits": [{"requests": 1}]}, "egress": {"origins": [model_at.origin]}})
    answers = [requests.post(url, json=body()) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 429]
    assert answers[1].headers["x-safellm-reason"] == "budget.exceeded"


@pytest.mark.parametrize("status", [301, 307, 308])
def test_e_2_a_redirect_of_requests_to_another_origin_is_refused(installed, model_at, sink, status):
    """The same as for httpx: the answer that leads away becomes a 403."""
    requests = pytest.importorskip("requests")
    model_at.reply_with(Reply(status=status, headers={"location": f"{sink.origin}/v1/chat/completions"}, raw_body=b""))
    answer = requests.post(f"{model_at.base_url}/chat/completions", json=body())
    assert (answer.status_code, answer.headers["x-safellm-reason"]) == (403, "egress.origin")


@pytest.mark.parametrize("name", ["anthropic", "google"])
def test_other_sdks_are_guarded(provider, name, records):
    """The plain SDKs of other providers: placeholders leave, and a refusal is the SDK's own error."""
    said = f"mail {MAIL}"
    safellm.install({"budget": {"limits": [{"requests": 1 if name == "anthropic" else 2}]}})
    if name == "anthropic":
        sdk = pytest.importorskip("anthropic")
        kind = sdk.RateLimitError
        with sdk.Anthropic(base_url=provider.origin, api_key="k") as client:
            call = partial(client.messages.create, model="m", max_tokens=99, messages=body()["messages"])
            assert MAIL in call().content[0].text
            assert_refused(call, kind)
        nothing_leaked(provider, 1)
    else:
        genai = pytest.importorskip("google.genai")
        client = genai.Client(api_key="k", http_options={"base_url": provider.origin})
        call = partial(client.models.generate_content, model="m", contents=said)
        assert MAIL in call().text

        async def go():  # not through aiohttp, which the SDK prefers where it is installed
            async with client.aio as aio:
                return (await aio.models.generate_content(model="m", contents=said)).text

        assert MAIL in asyncio.run(go())
        assert_refused(call, genai.errors.ClientError)
        client.close()
        nothing_leaked(provider, 2)
    answered = [one for one in records() if one["event.name"] == "call.outcome"]
    assert len(answered) == len(provider.requests)  # each is guarded once


def assert_refused(call, kind):
    with pytest.raises(safellm.Refused) as caught:
        call()
    assert isinstance(caught.value, kind)
    assert caught.value.reason == safellm.Reason.BUDGET_EXCEEDED


def test_a_key_of_the_vault_stands_in_for_a_variable(provider, stored_key):
    """A program that only knows OPENAI_API_KEY gets a placeholder; the key is on the wire, and nowhere in the process."""
    safellm.install()
    assert os.environ["OPENAI_API_KEY"] == "safellm-vault-openai"
    with openai.OpenAI(base_url=provider.base_url) as client:
        assert text_of(ask(client)) == ANSWER
        assert stored_key not in str(vars(client))
    assert provider.requests[0].headers["authorization"] == f"Bearer {stored_key}"
    safellm.uninstall()
    assert "OPENAI_API_KEY" not in os.environ
