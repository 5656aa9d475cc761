"""A program's own HTTP client, of either family: every door of it is guarded, and the program's object isn't changed (E.4)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json

import pytest

import openai
import safellm
from safellm.testing.canary import make_canary, sweep
from safellm.testing.http_server import LoopbackServer

SDK_SPEAKS_HTTPX2 = int(openai.VERSION.split(".")[0]) >= 3
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def parts(face, family):
    """Return (base class, name of the method) of the family's transports."""
    if face.is_async:
        return family.AsyncBaseTransport, "handle_async_request", family.AsyncHTTPTransport
    return family.BaseTransport, "handle_request", family.HTTPTransport


def spying(face, family, seen):
    """Return a transport of the program's own that notes the bytes that it is given to send."""
    base, _, real = parts(face, family)

    class Spy(base):
        def __init__(self):
            self.inner = real()

        def handle_request(self, request):
            seen.append(request.read() + repr(request.headers.raw).encode())
            return self.inner.handle_request(request)

        async def handle_async_request(self, request):
            seen.append(await request.aread() + repr(request.headers.raw).encode())
            return await self.inner.handle_async_request(request)

        def close(self):
            self.inner.close()

        async def aclose(self):
            await self.inner.aclose()

    return Spy()


@STREAMED
def test_e_4_own_transport_gets_guarded_bytes_only(face, family, provider, stream):
    """What the program's own transport is given to send holds no secret; its client object stays as it was."""
    secret, seen = f"{make_canary()}@example.com".lower(), []
    own = face.http(family, transport=spying(face, family, seen))
    before = (own._transport, dict(own._mounts))
    client = face.client(provider, http_client=own)
    assert face.ask(client, f"mail {secret}", stream=stream) == f'You wrote: "mail {secret}"'
    assert len(seen) == 1
    assert sweep(secret, texts=[*seen, *provider.received]) == []
    assert (own._transport, dict(own._mounts)) == before


@STREAMED
def test_e_4_mounts_are_guarded(face, family, provider, stream):
    """A mount wins over the transport; it is guarded as well."""
    secret, seen = f"{make_canary()}@example.com".lower(), []
    own = face.http(family, mounts={"http://127.0.0.1": spying(face, family, seen)})
    client = face.client(provider, http_client=own)
    assert face.ask(client, f"mail {secret}", stream=stream) == f'You wrote: "mail {secret}"'
    assert len(seen) == 1
    assert sweep(secret, texts=[*seen, *provider.received]) == []


def test_e_4_client_given_to_with_options_is_guarded(face, family, provider):
    """`with_options(http_client=…)` replaces the transports by other guarded ones, and keeps the managed key out of sight."""
    secret, seen = f"{make_canary()}@example.com".lower(), []
    client = face.client(provider)
    twin = client.with_options(http_client=face.http(family, transport=spying(face, family, seen)))
    assert face.ask(twin, f"mail {secret}") == f'You wrote: "mail {secret}"'
    assert len(seen) == 1
    assert sweep(secret, texts=[*seen, *provider.received]) == []


def test_e_4_managed_key_works_after_with_options_http_client(face, family, provider, env_key):
    """The copy must send the real key, or say clearly that it can't; never the placeholder alone."""
    client = face.client(base_url=provider.base_url)
    twin = client.with_options(http_client=face.http(family))
    face.ask(twin)
    assert provider.requests[-1].headers["authorization"] == f"Bearer {env_key}"


class Proxy(LoopbackServer):
    """A plain-http proxy that answers by itself and keeps what it got."""

    def serve(self, request, connection):
        from safellm.testing.endpoints import error, ok

        if request.method == "CONNECT":
            connection.send_answer(error(403, "no way out"))
            return False
        answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
        message = {"role": "assistant", "content": "from the proxy"}
        connection.send_answer(ok(answer | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
        return True


@pytest.fixture
def proxy():
    with Proxy() as server:
        yield server


@pytest.mark.parametrize("how", ["HTTP_PROXY", "ALL_PROXY", "proxy="])
def test_e_4_proxies_get_guarded_bytes_only(face, family, proxy, monkeypatch, how):
    """A proxy from the program sees no secret value; one from the environment gets no plain http at all."""
    secret = f"{make_canary()}@example.com".lower()
    options = {"http_client": face.http(family, proxy=proxy.origin)} if how == "proxy=" else {}
    if how != "proxy=":
        monkeypatch.setenv(how, proxy.origin)
        options = {"http_client": face.http(family)} if family.__name__ == "httpx" else {}
    client = face.client(
        base_url="http://llm.example:8080/v1", api_key="x", safellm={"egress.allow_http": True}, **options
    )
    if not options:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            face.ask(client, f"mail {secret}")
        assert caught.value.reason == "egress.plaintext"
        assert not proxy.received
        return
    assert face.ask(client, f"mail {secret}") == "from the proxy"
    assert len(proxy.requests) == 1
    assert sweep(secret, texts=proxy.received) == []


@pytest.mark.parametrize("how", ["HTTPS_PROXY", "proxy="])
def test_e_8_https_goes_through_a_proxy_by_connect_only(face, family, proxy, monkeypatch, how):
    """The proxy learns host and port, and neither key nor prompt."""
    secret = make_canary()
    options = {"http_client": face.http(family, proxy=proxy.origin)} if how == "proxy=" else {}
    if how != "proxy=":
        monkeypatch.setenv(how, proxy.origin)
    client = face.client(base_url="https://llm.example/v1", api_key=f"key-{secret}", **options)
    with pytest.raises(openai.APIConnectionError):
        face.ask(client, f"mail {secret}@example.com")
    assert all(data.startswith(b"CONNECT llm.example:443 ") for data in proxy.received)
    assert sweep(secret, texts=proxy.received) == []


AUDITED = """
import json, sys
import importlib
import safellm
connects = []
sys.addaudithook(lambda name, args: connects.append(list(args[1])[:2]) if name == "socket.connect" else None)
base_url, kind = sys.argv[1:3]
def ask(client):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
def go():
    client = safellm.OpenAI(base_url=base_url, api_key="x", max_retries=0)
    ask(client); client.models.list(); list(client.responses.create(model="gpt-4o", input="hi", stream=True))
    for url in ("https://example.com/x", "http://10.0.0.1/", "https://127.0.0.1/"):
        try: client.post(url, cast_to=object, body={})
        except safellm.Refused: pass
    client.close()
async def ago():
    client = safellm.AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0)
    await ask(client); await client.models.list()
    try: await client.post("https://example.com/x", cast_to=object, body={})
    except safellm.Refused: pass
    await client.close()
import asyncio
go() if kind == "sync" else asyncio.run(ago())
print(json.dumps(connects))
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_e_4_only_the_allowed_address_is_connected(python, provider, kind):
    """An audit hook on `socket.connect` sees the provider's address and no other."""
    done = python(AUDITED, provider.base_url, kind)
    assert json.loads(done.stdout)
    assert {tuple(one) for one in json.loads(done.stdout)} == {("127.0.0.1", provider.port)}


def test_client_that_is_no_http_client_is_refused(sync, provider, family):
    """Something that can't be guarded is an error at the start, not a hole; so is an async client for a sync one."""
    with pytest.raises((TypeError, AttributeError, safellm.ConfigurationError)):
        sync.client(provider, http_client=object())
    with pytest.raises(TypeError):
        sync.client(provider, http_client=family.AsyncClient())


def test_both_families_are_tested_where_the_sdk_takes_both():
    """The older family must not be left out silently."""
    if SDK_SPEAKS_HTTPX2:
        assert importlib.util.find_spec("httpx"), "install httpx: the SDK takes its clients too"


def test_e_4_policy_and_keys_stay_with_a_copy_that_has_another_http_client(face, family, provider, env_key):
    """`with_options(http_client=…)` is not a way out of the client's own policy."""
    client = face.client(base_url=provider.base_url, safellm={"redaction.types": {"EMAIL": "block"}})
    twin = client.with_options(http_client=face.http(family))
    with pytest.raises(safellm.Refused):
        face.ask(twin, "mail alice@example.com")
    assert provider.requests == []
