"""Where calls go: no variable and no redirect leads one away (E.1, E.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket

import pytest

import openai
import safellm
from safellm.testing.faults import FaultServer
from safellm.testing.sink import Sink

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
STATUSES = (301, 302, 303, 307, 308)
NAME = "sink.example"


@pytest.fixture(autouse=True)
def foreign_name(monkeypatch):
    """`sink.example` is this machine, but doesn't look like it."""
    real = socket.getaddrinfo

    def resolve(host, *arguments, **named):
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name == NAME else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def construct(face, name, **options):
    azure = {"api_version": "2024-10-21"} if "Azure" in name else {}
    return face.pick(name)(max_retries=0, **azure, **options)


@pytest.mark.parametrize(
    ("variable", "name", "key"),
    [
        ("OPENAI_BASE_URL", "OpenAI", "OPENAI_API_KEY"),
        ("AZURE_OPENAI_ENDPOINT", "AzureOpenAI", "AZURE_OPENAI_API_KEY"),
        ("AZURE_OPENAI_ENDPOINT", "AzureOpenAI", "AZURE_OPENAI_AD_TOKEN"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given", [False, True], ids=["managed key", "key in code"])
def test_e_1_address_from_a_variable_is_refused(face, sink, monkeypatch, variable, name, key, scheme, given):
    """An address of the environment that isn't bound: an error with a remedy when the client is made; zero bytes arrive."""
    monkeypatch.setenv(variable, f"{scheme}://{NAME}:{sink.port}/v1")
    monkeypatch.setenv(key, "key-of-the-variable")
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.ask(construct(face, name, **({"api_key": "in code"} if given else {})))
    assert NAME in str(caught.value)
    assert caught.value.remedy


def test_e_1_control_the_plain_sdk_goes_there(sync, monkeypatch):
    """Without the guard the same variable leads to the sink: the test above can fail."""
    with Sink() as trap:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://{NAME}:{trap.port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-variable")
        with openai.OpenAI(max_retries=0) as client, pytest.raises(openai.PermissionDeniedError):
            sync.ask(client)
        assert b"key-of-the-variable" in trap.received[0]


@pytest.mark.parametrize(
    "header",
    ["Authorization: Bearer other", "api-key: other", "X-Api-Key:other", "Cookie: a=b", "x: y\nauthorization: z"],
)
def test_e_1_credential_header_from_a_variable_is_refused(face, provider, monkeypatch, header):
    """`OPENAI_CUSTOM_HEADERS` can't replace the key."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", header)
    with pytest.raises(safellm.ConfigurationError) as caught:
        construct(face, "OpenAI", base_url=provider.base_url, api_key="x")
    assert "OPENAI_CUSTOM_HEADERS" in str(caught.value)
    assert caught.value.remedy


def test_e_1_host_header_from_a_variable_does_not_move_a_call(face, provider, sink, monkeypatch):
    """A `Host` of the environment is refused at the call."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Host: {NAME}:{sink.port}")
    client = face.client(provider)
    try:
        face.ask(client)
    except safellm.Refused as error:
        assert error.guard == "egress"
    # SDKs that don't read the variable send their own Host.
    assert all(request.headers["host"] == f"127.0.0.1:{provider.port}" for request in provider.requests)


def test_e_1_dotenv_and_policy_of_the_working_directory_are_not_read(face, provider, sink, tmp_path, monkeypatch):
    """A stranger's folder can't say where calls go."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / ".env").write_text(f"OPENAI_BASE_URL=http://{NAME}:{sink.port}/v1\nSAFELLM_MODE=observe\n")
    for name in ("policy.toml", "safellm.toml", "pyproject.toml"):
        (folder / name).write_text('mode = "observe"\n[egress]\norigins = ["http://sink.example"]\n')
    monkeypatch.chdir(folder)
    client = face.client(provider)
    face.ask(client, "mail alice@example.com")
    assert b"alice@example.com" not in provider.received[0]


def test_loopback_address_from_a_variable_counts(face, provider, env_key, monkeypatch):
    """A model server on this machine needs no setting, and gets the key."""
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    assert face.ask(face.client()) == 'You wrote: "hello"'
    assert provider.requests[0].headers["authorization"] == f"Bearer {env_key}"


def test_plain_http_to_another_machine_is_refused(face, sink):
    """Given in code, but unencrypted: the policy must allow it."""
    client = face.client(base_url=f"http://{NAME}:{sink.port}/v1", api_key="x")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        face.ask(client)
    assert caught.value.reason == "egress.plaintext"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("where", ["other port", "other name", "foreign name", "scheme relative", "user info"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_e_2_redirect_to_another_origin_is_refused(face, sink, env_key, records, status, where, stream):
    """No hop leaves the origin: the sink sees nothing, the program gets a refusal, the trail has it."""
    url = {
        "other port": f"http://127.0.0.1:{sink.port}/v1/x",
        "other name": f"http://localhost:{sink.port}/v1/x",
        "foreign name": f"http://{NAME}:{sink.port}/v1/x",
        "scheme relative": f"//{NAME}:{sink.port}/v1/x",
        "user info": f"http://127.0.0.1@{NAME}:{sink.port}/v1/x",
    }[where]
    with FaultServer(redirect_to=url) as server:
        client = face.client(base_url=f"{server.origin}/redirect-{status}/v1", max_retries=2)
        with pytest.raises(openai.APIStatusError) as caught:
            face.ask(client, stream=stream)
        assert isinstance(caught.value, safellm.Refused)
        assert caught.value.guard == "egress"
        assert len(server.requests) == 1
    assert [one["event.name"] for one in records()] == ["call.intent", "call.outcome", "policy.deny"]


def test_e_2_same_origin_redirect_is_guarded_again(face, faults, env_key, records):
    """A hop within the origin works; both requests were guarded, recorded and carry the key."""
    client = face.client(base_url=faults.base_url("redirect-relative"))
    assert face.ask(client, "mail alice@example.com")
    first, second = faults.requests
    assert first.body == second.body
    assert b"alice@example.com" not in second.body
    assert second.headers["authorization"] == f"Bearer {env_key}"
    names = [one["event.name"] for one in records()]
    assert names == ["call.intent", "call.outcome"] * 2


def test_e_2_redirect_loop_ends(face, faults, outcome):
    """A bound on hops; each is recorded."""
    with pytest.raises(openai.APIConnectionError):
        face.ask(face.client(base_url=faults.base_url("redirect-loop"), api_key="x"))
    assert len(faults.requests) <= 30
    assert outcome()["http.response.status_code"] == 307


def test_e_5_extensions_that_move_a_request_are_refused(sync, provider, sink):
    """`target` and `sni_hostname` would change what is sent behind the URL's back."""
    from safellm.transports.http import guard_of

    client = sync.client(provider)
    http = client._client
    for extension in ({"target": b"http://elsewhere/"}, {"sni_hostname": NAME}):
        request = http.build_request("POST", f"{provider.base_url}/chat/completions", json={}, extensions=extension)
        answer = http.send(request)
        assert answer.status_code == 403
        assert json.loads(answer.text)["error"]["code"] == "egress.request"
    assert guard_of(http) is not None
    assert provider.requests == []


def test_strict_mode_takes_no_key_and_no_address_from_code_or_variables(face, provider, env_key):
    """Vault keys and bound origins only: everything else is an error with a remedy when the client is made."""
    strict = {"mode": "strict"}
    for options in ({"api_key": "x"}, {"base_url": provider.base_url, "api_key": "x"}, {}):
        with pytest.raises(safellm.ConfigurationError) as caught:
            face.client(safellm=strict, **options)
        assert caught.value.remedy
        assert env_key not in str(caught.value)
    assert provider.requests == []


def test_k_9_unknown_endpoint_is_walked_or_refused_as_the_policy_says(face, provider):
    """A path that nobody knows: its texts are guarded all the same; with `deny` nothing leaves."""
    body = {"deep": [{"note": "mail alice@example.com"}], "alice@example.com": 1}
    with pytest.raises(openai.NotFoundError):
        face.run(face.client(provider).post("/brand/new", cast_to=object, body=body))
    assert b"alice@example.com" not in provider.received[0]
    with pytest.raises(safellm.Refused) as caught:
        face.run(
            face.client(provider, safellm={"unknown_endpoints": "deny"}).post("/brand/new", cast_to=object, body=body)
        )
    assert caught.value.reason == "mediation.unknown"
    assert len(provider.requests) == 1


def test_closing_closes_the_program_s_own_http_client_too(face, family, provider):
    """As with the plain SDK: what the program gave is closed with the client, and closing it closes the client."""
    own = face.http(family)
    client = face.client(provider, http_client=own)
    face.ask(client)
    assert not own.is_closed
    face.close(client)
    assert own.is_closed
    assert client.is_closed()
    other = face.http(family)
    client = face.client(provider, http_client=other)
    face.run(other.aclose() if face.is_async else other.close())
    assert client.is_closed()
    with pytest.raises((RuntimeError, openai.APIConnectionError)):
        face.ask(client)


def test_e_7_default_clients_of_the_sdk_check_their_connections(face, monkeypatch, env_key):
    """A client of the SDK whose provider's name leads inside: refused as the SDK's own error, not tried again, not charged."""
    asked = []

    def resolve(host, port, *arguments, **named):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        face.ask(face.client(max_retries=3))
    assert caught.value.reason == "egress.address"
    assert "api.openai.com" in str(caught.value)
    assert len(asked) == 1


def test_e_1_refusal_names_both_origins_and_the_command(face, provider, sink):
    """Where it would go, where it may go, and what to say to change that."""
    client = face.client(provider)
    with pytest.raises(safellm.Refused) as caught:
        face.run(client.post(f"{sink.url}/x", cast_to=object, body={}))
    message = str(caught.value)
    for part in (f":{sink.port}", f":{provider.port}", "safellm keys bind NAME http", "egress.origins"):
        assert part in message
