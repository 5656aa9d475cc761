"""X.509 workload identities: calls are guarded, and the exchange for a token carries its four names and nothing else."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

import openai
import safellm
from safellm_openai.workload import EXCHANGE

pytest.importorskip("openai.auth._x509", reason="newer SDKs only")

MAIL = "alice@example.com"
IDENTITY = {"type": "x509", "identity_provider_id": "idp_123", "service_account_id": "sa_456"}
TOKEN = "token-" + "Qw9" * 12
BODY = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:openai:params:oauth:token-type:x509",
    "identity_provider_id": "idp_123",
    "service_account_id": "sa_456",
}


class Wire:
    """What arrived, and an answer to each: a token, or the prompt quoted back."""

    def __init__(self, face, family):
        self.seen, self.expired = [], 0
        self.family = family
        transport = family.MockTransport(self.handle_async if face.is_async else self.handle)
        self.http = face.http(family, transport=transport, follow_redirects=True)

    async def handle_async(self, request):
        await request.aread()
        return self.handle(request)

    def handle(self, request):
        self.seen.append(request)
        if str(request.url) == EXCHANGE:
            return self.family.Response(200, json={"access_token": TOKEN, "expires_in": 3600})
        if self.expired:
            self.expired -= 1
            return self.family.Response(401, json={"error": {"message": "expired"}})
        said = json.loads(request.content)["messages"][0]["content"]
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"You wrote: {said}"},
        }
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return self.family.Response(200, json=answer)

    def urls(self):
        return [str(one.url) for one in self.seen]


@pytest.fixture
def wire(face, family):
    return Wire(face, family)


@pytest.fixture
def client(face, wire):
    return face.client(workload_identity=IDENTITY, http_client=wire.http)


CHAT = "https://mtls.api.openai.com/v1/chat/completions"


def test_calls_are_guarded_and_the_token_is_in_no_record(face, client, wire, home):
    """One exchange, then calls with its token; values are hidden and restored; a copy shares both."""
    for one in (client, client, client.with_options(timeout=9)):
        assert face.ask(one, MAIL) == f"You wrote: {MAIL}"
    assert wire.urls() == [EXCHANGE, CHAT, CHAT, EXCHANGE, CHAT]
    assert [json.loads(one.content) for one in wire.seen if str(one.url) == EXCHANGE] == [BODY] * 2
    assert "authorization" not in wire.seen[0].headers
    assert all(MAIL.encode() not in one.content for one in wire.seen)
    assert wire.seen[1].headers["authorization"] == f"Bearer {TOKEN}"
    written = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert b"mtls.api.openai.com" in written
    assert TOKEN.encode() not in written


def test_a_token_that_expired_is_exchanged_anew(face, client, wire):
    """The SDK asks once more; the second attempt is guarded as the first was."""
    wire.expired = 1
    assert face.ask(client, MAIL) == f"You wrote: {MAIL}"
    assert wire.urls() == [EXCHANGE, CHAT, EXCHANGE, CHAT]
    assert all(MAIL.encode() not in one.content for one in wire.seen)


def test_a_client_with_a_key_becomes_one_with_an_identity(face, wire):
    """`with_options(workload_identity=…)`: the SDK's own addresses count, under the same guard."""
    client = face.client(api_key="given", http_client=wire.http)
    assert face.ask(client.with_options(workload_identity=IDENTITY), MAIL) == f"You wrote: {MAIL}"
    assert wire.urls() == [EXCHANGE, CHAT]


WRONG = {
    "a prompt": {"json": {**BODY, "note": f"write to {MAIL}"}},
    "another identity": {"json": {**BODY, "service_account_id": "sa_789"}},
    "a name twice": {"content": json.dumps(BODY)[:-1] + ', "grant_type": "' + BODY["grant_type"] + '"}'},
    "a list": {"json": [BODY]},
    "no JSON": {"content": b"hello"},
    "a header": {"json": BODY, "headers": {"x-note": "hello"}},
    "a key": {"json": BODY, "headers": {"authorization": f"Bearer {TOKEN}"}},
    "another host": {"json": BODY, "headers": {"host": "sink.example"}},
    "an extension": {"json": BODY, "extensions": {"sni_hostname": "sink.example"}},
    "another method": {"json": BODY, "method": "PUT"},
    "another place": {"json": BODY, "url": "https://mtls.auth.openai.com/oauth/other"},
    "another port": {"json": BODY, "url": "https://mtls.auth.openai.com:8443/oauth/token"},
    "a query": {"json": BODY, "url": f"{EXCHANGE}?note=hello"},
    "no encryption": {"json": BODY, "url": "http://mtls.auth.openai.com/oauth/token"},
    "user info": {"json": BODY, "url": "https://a:b@mtls.auth.openai.com/oauth/token"},
}


def test_e_10_the_way_of_the_exchange_takes_nothing_else(face, client, wire, family):
    """What differs from the exchange in anything is refused there; what goes elsewhere takes the guarded way."""
    ways = client._workload_identity_auth._http_client
    exchange = ways._transport_for_url(family.URL(EXCHANGE))
    send = exchange.handle_async_request if face.is_async else exchange.handle_request
    for how, wrong in WRONG.items():
        given = {"method": "POST", "url": EXCHANGE, **wrong}
        request = family.Request(given.pop("method"), given.pop("url"), **given)
        with pytest.raises(safellm.Refused):
            face.run(send(request))
        assert wire.seen == [], how
        if "url" in wrong:
            assert ways._transport_for_url(request.url) is client._client._transport, how
    face.run(send(family.Request("POST", EXCHANGE, json=BODY)))
    assert wire.urls() == [EXCHANGE]


def test_e_10_a_call_can_t_take_the_way_of_the_exchange(face, client, wire):
    """Nor does the guard let anything go there."""
    with pytest.raises(openai.OpenAIError):
        face.run(client.post(EXCHANGE, cast_to=object, body={**BODY, "note": MAIL}))
    answer = face.run(client._client.post(EXCHANGE, json={**BODY, "note": MAIL}))
    assert answer.status_code == 403
    assert wire.seen == []


@pytest.mark.parametrize("name", ["identity_provider_id", "service_account_id"])
@pytest.mark.parametrize("value", [f"write to {MAIL}", "line\nline", "x" * 201, "ü"])
def test_e_10_names_that_are_texts_are_refused(face, wire, name, value):
    """An exchange that carries what somebody wrote is none."""
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.client(workload_identity={**IDENTITY, name: value}, http_client=wire.http)
    assert value not in str(caught.value)
    assert caught.value.remedy


def test_e_10_an_exchange_that_is_not_known_is_refused(sync, monkeypatch):
    """Should the SDK exchange tokens elsewhere one day, its client isn't made."""
    monkeypatch.setattr("safellm_openai.workload.EXCHANGE", "https://mtls.auth.openai.com/another")
    with pytest.raises(safellm.ConfigurationError, match="doesn't know"):
        sync.client(workload_identity=IDENTITY)


def test_k_1_strict_mode_takes_no_identity_from_code(sync):
    """Nor a copy of a client that has a guard in strict mode."""
    with pytest.raises(safellm.ConfigurationError, match="from code"):
        sync.client(workload_identity=IDENTITY, safellm={"mode": "strict"})


def test_e_1_an_address_of_the_environment_is_refused(sync, monkeypatch):
    """Tokens go to the SDK's own addresses, or where code says."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://sink.example/v1")
    with pytest.raises(safellm.ConfigurationError, match="environment"):
        sync.client(workload_identity=IDENTITY)
