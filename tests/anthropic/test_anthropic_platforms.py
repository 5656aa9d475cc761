"""Claude on other platforms: the same guards, on paths, addresses and signatures of their own."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json

import pytest

import anthropic
import safellm
from safellm.testing.anthropic_wire import message, message_stream
from safellm.testing.replies import Reply
from safellm.testing.wire import Call

MAIL = "alice@example.com"
AWS = {"aws_access_key": "AKID", "aws_secret_key": "s" * 40, "aws_region": "eu-west-1"}
CLIENTS = {
    "AnthropicVertex": {"region": "europe-west1", "project_id": "p", "access_token": "token-of-google"},
    "AnthropicFoundry": {"resource": "mine", "api_key": "key-of-azure"},
    "AnthropicGoogleCloud": {"project": "p", "workspace_id": "w", "token_provider": lambda: "token-of-google"},
    "AnthropicAWS": {"aws_region": "eu-west-1", "workspace_id": "w", "api_key": "key-of-aws"},
    "AnthropicBedrockMantle": {"aws_region": "eu-west-1", "api_key": "key-of-aws"},
}
HOSTS = {
    "AnthropicVertex": ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
    "AnthropicFoundry": ("mine.services.ai.azure.com", "azure.ai.inference"),
    "AnthropicGoogleCloud": ("claude.googleapis.com", "gcp.vertex_ai"),
    "AnthropicAWS": ("aws-external-anthropic.eu-west-1.api.aws", "aws.bedrock"),
    "AnthropicBedrockMantle": ("bedrock-mantle.eu-west-1.api.aws", "aws.bedrock"),
}


@pytest.fixture
def echo(face):
    """An HTTP client that answers like the provider, and what it was sent."""
    seen = []

    def handler(request):
        body = json.loads(request.content)
        seen.append(request)
        call = Call(
            tag="t" * 32, created=1, body=body, reply=Reply(text=f"You wrote: {body['messages'][-1]['content']}")
        )
        if body.get("stream"):
            data, kind = b"".join(message_stream(call)), "text/event-stream"
        else:
            data, kind = json.dumps(message(call)).encode(), "application/json"
        return face.native.Response(200, headers={"content-type": kind}, content=data)

    return face.http(handler), seen


@pytest.mark.parametrize("name", CLIENTS)
def test_a_platform_is_guarded(face, echo, outcome, way, name):
    """Values are hidden and restored; the host is the platform's own, the credential goes out, the model is known."""
    http, seen = echo
    client = face.client(name=name, http_client=http, **CLIENTS[name])
    assert type(client) is face.pick(name, anthropic)
    assert isinstance(client, face.pick(name))
    for one in (client, client.with_options(timeout=9)):
        assert face.ask(one, MAIL, way=way) == f"You wrote: {MAIL}"
    host, provider = HOSTS[name]
    for request in seen:
        assert request.url.host == host
        assert MAIL.encode() not in request.content
        assert any("token-of-" in value or "key-of-" in value for value in request.headers.values())
    told = outcome()
    assert told["gen_ai.provider.name"] == provider
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "claude-sonnet-5-5"
    assert told["gen_ai.usage.output_tokens"] > 0


@pytest.mark.parametrize("name", ["AnthropicAWS", "AnthropicBedrockMantle"])
def test_aws_signatures_cover_what_leaves(face, echo, way, name):
    """The body is signed after the guards changed it, with the data of the client that asks, copies included."""
    pytest.importorskip("botocore")
    http, seen = echo
    more = {"workspace_id": "w"} if name == "AnthropicAWS" else {}
    client = face.client(name=name, http_client=http, **AWS, **more)
    other = client.with_options(aws_region="us-east-1", base_url=client.base_url)
    for one, region in ((client, "eu-west-1"), (other, "us-east-1"), (client, "eu-west-1")):
        assert face.ask(one, MAIL, way=way) == f"You wrote: {MAIL}"
        request = seen[-1]
        assert MAIL.encode() not in request.content
        assert f"AKID/{request.headers['x-amz-date'][:8]}/{region}/" in request.headers["authorization"]
        assert _signature(request, AWS["aws_secret_key"], region) in request.headers["authorization"]


def _signature(request, secret, region):
    """Return the signature that AWS would compute for a request (Signature Version 4), with the data that is in it."""
    from urllib.parse import quote

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    scope = request.headers["authorization"].split("Credential=")[1].split(",")[0]
    service = scope.split("/")[3]
    named = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signed = AWSRequest(
        method=request.method,
        url=str(request.url),
        headers={name: request.headers[name] for name in named if name in request.headers},
        data=request.content,
    )
    signed.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKID", secret), service, region)
    canonical = signer.canonical_request(signed)
    assert hashlib.sha256(request.content).hexdigest() in canonical
    assert quote("x") == "x"
    return signer.signature(signer.string_to_sign(signed, canonical), signed)


@pytest.mark.parametrize("name", ["AnthropicBedrock"])
def test_e_10_bedrock_s_binary_streams_are_refused(face, name):
    """When the client is made, with the way out."""
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.pick(name)(**AWS)
    assert "AnthropicBedrockMantle" in caught.value.remedy
    assert issubclass(face.pick(name), face.pick(name, anthropic))


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("AnthropicVertex", "ANTHROPIC_VERTEX_BASE_URL", "https://sink.example/v1"),
        ("AnthropicVertex", "CLOUD_ML_REGION", "sink.example/x?"),
        ("AnthropicFoundry", "ANTHROPIC_FOUNDRY_BASE_URL", "https://sink.example/"),
        ("AnthropicFoundry", "ANTHROPIC_FOUNDRY_RESOURCE", "not-mine"),
        ("AnthropicGoogleCloud", "ANTHROPIC_GOOGLE_CLOUD_BASE_URL", "https://sink.example/"),
        ("AnthropicAWS", "ANTHROPIC_AWS_BASE_URL", "https://sink.example/"),
        ("AnthropicAWS", "AWS_REGION", "sink.example/x?"),
        ("AnthropicBedrockMantle", "ANTHROPIC_BEDROCK_MANTLE_BASE_URL", "https://sink.example/"),
    ],
)
def test_e_1_address_of_a_platform_from_a_variable_is_refused(face, monkeypatch, name, variable, value):
    """An address or a region of the environment that leads elsewhere counts only if it is bound."""
    monkeypatch.setenv(variable, value)
    options = {key: one for key, one in CLIENTS[name].items() if key not in ("resource", "region", "aws_region")}
    if variable not in ("CLOUD_ML_REGION", "AWS_REGION"):
        options |= {key: one for key, one in CLIENTS[name].items() if key in ("region", "aws_region")}
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.client(name=name, **options)
    assert caught.value.remedy


def test_foundry_s_key_of_the_variable_is_managed(face, provider, monkeypatch):
    """Bound by the policy's origins; on this machine it counts without."""
    key = "k" * 4 + "Az9Qw7Lm2Kp4" * 3
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", key)
    client = face.client(name="AnthropicFoundry", base_url=f"{provider.origin}/")
    assert client.api_key.startswith("safellm-managed-")
    assert face.ask(client, MAIL) == f'You wrote: "{MAIL}"'
    assert provider.requests[0].headers["api-key"] == key


@pytest.mark.parametrize("name", ["AnthropicAWS", "AnthropicBedrockMantle"])
def test_a_signature_is_never_that_of_the_client_before(face, echo, name):
    """A client that sends a key is not signed by one that signed before in the same thread."""
    from safellm_anthropic.seams import SIGNER

    http, seen = echo
    client = face.client(name=name, http_client=http, **CLIENTS[name])
    before = SIGNER.set(lambda _request: pytest.fail("the signer of another client"))
    try:
        assert face.ask(client, MAIL) == f"You wrote: {MAIL}"
    finally:
        SIGNER.reset(before)
    assert any("token-of-" in value or "key-of-" in value for value in seen[-1].headers.values())
