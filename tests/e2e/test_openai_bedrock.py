"""OpenAI's SDK on Amazon Bedrock and Vertex: guarded first, then signed over what really leaves."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import importlib.util
import os
from urllib.parse import quote, unquote

import pytest

import openai
import safellm
import safellm.openai as guarded
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply
from safellm.testing.sink import Sink

if not hasattr(openai, "BedrockOpenAI"):
    pytest.skip("this openai has no clients for Bedrock", allow_module_level=True)
bedrock = pytest.importorskip("openai.providers").bedrock

MAIL = "alice@example.com"
REGION, KEY_ID, SECRET = "eu-west-1", "AK" + "ID" * 8, "s3cr" * 10
STATIC = {"aws_region": REGION, "aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
BEARER = "bedrock-api-" + "Zq9" * 12
signing = pytest.mark.skipif(not importlib.util.find_spec("botocore"), reason="openai[bedrock] signs with botocore")


class Aws(LoopbackProvider):
    """A provider that answers only what is signed right, over the very bytes that arrived (AWS Signature Version 4)."""

    def __init__(self, service: str = "bedrock-mantle") -> None:
        super().__init__()
        self.service, self.refused = service, []

    def _is_key_right(self, request) -> bool:
        problem = wrong(request, SECRET, REGION, self.service)
        if problem:
            self.refused.append(problem)
        return not problem


def wrong(request, secret, region, service):
    """Return what is wrong with a request's signature, computed anew from what arrived; nothing if it is right."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    if kind != "AWS4-HMAC-SHA256":
        return "not signed"
    said = dict(part.strip().split("=", 1) for part in rest.split(","))
    date = request.headers["x-amz-date"]
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    if said["Credential"] != f"{KEY_ID}/{scope}":
        return f"signed for {said['Credential']}"
    digest = hashlib.sha256(request.body).hexdigest()
    if request.headers["x-amz-content-sha256"] != digest:
        return "the digest is of another body"
    names = said["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    pairs = sorted(pair.split("=", 1) for pair in request.query.split("&") if pair)
    query = "&".join(
        f"{quote(unquote(name), safe='-_.~')}={quote(unquote(value), safe='-_.~')}" for name, value in pairs
    )
    canonical = "\n".join([request.method, request.path, query, headers, ";".join(names), digest])
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (date[:8], region, service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return "" if hmac.compare_digest(key.hex(), said["Signature"]) else "the signature is of another request"


@pytest.fixture
def aws():
    with Aws() as server:
        yield server


@pytest.fixture
def root(aws):
    return f"{aws.origin}/openai/v1"


@pytest.fixture
def trail(home):
    """Return all that was written: trail, ledger, whatever."""
    return lambda: b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())


def refuses(make, word):
    with pytest.raises(safellm.ConfigurationError, match=word) as caught:
        make()
    assert caught.value.remedy
    return caught.value


# -- signed ----------------------------------------------------------------------------------------------------------


@signing
@pytest.mark.parametrize(
    ("way", "api", "stream"),
    [
        ("class", "chat", False),
        ("class", "responses", True),
        ("provider", "chat", True),
        ("provider", "responses", False),
    ],
)
def test_what_leaves_is_guarded_and_then_signed(face, aws, root, trail, way, api, stream):
    """The value is hidden in the bytes that the signature covers, and back in the answer; copies and further calls too."""
    if way == "class":
        client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, **STATIC)
    else:
        made = bedrock(region=REGION, base_url=root, access_key_id=KEY_ID, secret_access_key=SECRET)
        client = face.client(provider=made)
    for one in (client, client.with_options(timeout=9), client.copy(max_retries=1), client):
        assert face.ask(one, MAIL, api=api, stream=stream) == f'You wrote: "{MAIL}"'
    assert (len(aws.requests), aws.refused) == (4, [])
    assert all(MAIL.encode() not in request.body for request in aws.requests)
    assert all(request.headers["accept-encoding"] == "identity" for request in aws.requests)
    written = trail()
    assert b"aws.bedrock" in written
    for secret in (SECRET, KEY_ID, aws.requests[0].headers["authorization"].rpartition("=")[2], MAIL):
        assert secret.encode() not in written


@signing
def test_bodies_of_all_kinds_are_signed(face, aws, root):
    """None, JSON that nothing changed, JSON that is changed, a form with a file, a query, headers that are changed."""
    client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, **STATIC)
    face.run(client.models.list())
    face.ask(client, "nothing to hide")
    face.ask(client, "nothing to hide", extra_headers={"x-note": MAIL})
    face.ask(client, MAIL, extra_query={"b": "x/z", "a": "ü"})
    face.run(client.files.create(file=("notes.txt", f"mail {MAIL}".encode()), purpose="assistants"))
    assert aws.refused == []
    assert [MAIL.encode() in one.head + one.body for one in aws.requests] == [False] * 5


@signing
def test_each_attempt_is_signed_anew(face, aws, root):
    """A retry carries its own headers, so its own signature; both are right."""
    aws.reply_with(Reply(status=503, headers={"retry-after-ms": "1"}), Reply(text="ok"))
    client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, max_retries=2, **STATIC)
    assert face.ask(client, MAIL) == "ok"
    assert aws.refused == []
    first, second = aws.requests
    assert [one.headers["x-stainless-retry-count"] for one in (first, second)] == ["0", "1"]
    assert first.headers["authorization"] != second.headers["authorization"]


@signing
def test_a_copy_signs_for_its_own_region_and_service(face):
    """Region and endpoint of a copy are its own, the guard is shared, and a client is never signed by the one before."""
    with Aws("bedrock") as server:
        root = f"{server.origin}/openai/v1"
        made = bedrock(endpoint="runtime", region=REGION, base_url=root, access_key_id=KEY_ID, secret_access_key=SECRET)
        client = face.client(provider=made)
        other = client.with_options(
            provider=bedrock(region="us-east-1", base_url=root, access_key_id=KEY_ID, secret_access_key=SECRET)
        )
        keyed = client.with_options(provider=bedrock(base_url=root, api_key=BEARER))
        assert face.ask(client, MAIL) == f'You wrote: "{MAIL}"'
        for one in (other, keyed):
            with pytest.raises(openai.AuthenticationError):
                face.ask(one, MAIL)
        assert face.ask(client, MAIL) == f'You wrote: "{MAIL}"'
        assert [one.partition("/")[2].partition("/")[2] for one in server.refused[:1]] == [
            "us-east-1/bedrock-mantle/aws4_request"
        ]
        assert server.requests[2].headers["authorization"] == f"Bearer {BEARER}"
        assert all(MAIL.encode() not in one.body for one in server.requests)


@signing
def test_a_client_of_the_program_s_own_is_signed_below_the_guard(face, aws, root, family):
    """Both HTTP libraries, hooks included, and another one that a copy brings along."""
    client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, http_client=face.http(family), **STATIC)
    for one in (client, client.with_options(http_client=face.http(family))):
        assert face.ask(one, MAIL) == f'You wrote: "{MAIL}"'
    assert aws.refused == []


@signing
def test_b_1_credentials_that_fail_cost_nothing_and_are_the_sdk_s_error(face, aws, root, usage):
    """The program's own way to find credentials broke: nothing is sent, nothing charged, and no reason is lost."""

    def broken():
        raise LookupError("no credentials today")

    client = face.client(
        name="BedrockOpenAI", module=guarded, base_url=root, aws_region=REGION, aws_credentials_provider=broken
    )
    with pytest.raises(openai.OpenAIError, match="resolve AWS credentials"):
        face.ask(client, MAIL)
    assert aws.requests == []
    assert sum(sum(one.amounts.values()) for one in usage()) == 0


@signing
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_b_1_a_budget_is_settled_with_what_the_answer_says(face, root, aws, usage, stream):
    """Tokens of a signed call are billed, streamed or not."""
    client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, **STATIC)
    face.ask(client, MAIL, stream=stream)
    assert usage()
    assert aws.refused == []


@signing
def test_k_4_errors_of_signed_calls_lead_to_no_credential(face, free_port):
    """Nobody listens: no frame of the error holds the secret, and none the signed request."""
    options = {**STATIC, "aws_session_token": "session-" + "T7" * 20}
    client = face.client(name="BedrockOpenAI", module=guarded, base_url=f"http://127.0.0.1:{free_port}/v1", **options)
    with pytest.raises(openai.APIConnectionError) as caught:
        face.ask(client, MAIL)
    seen, one = [], caught.value
    while one is not None:
        frame = one.__traceback__
        while frame is not None:
            own = frame.tb_frame.f_code.co_filename == __file__
            values = [] if own else list(frame.tb_frame.f_locals.values())
            seen += [repr(value) for value in values]
            seen += [str(value.headers.raw) for value in values if type(value).__name__ == "Request"]
            frame = frame.tb_next
        one = one.__cause__ or one.__context__
    assert seen
    for secret in (SECRET, options["aws_session_token"], "AWS4-HMAC-SHA256"):
        assert not any(secret in text for text in seen)


@signing
def test_e_2_a_redirect_is_not_followed(face, aws, root):
    """A signature is for one address; the SDK follows none, and the guard no other origin's."""
    with Sink() as sink:
        aws.reply_with(Reply(status=307, headers={"location": f"{sink.origin}/x"}))
        client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, **STATIC)
        with pytest.raises(openai.APIStatusError):
            face.ask(client, MAIL)
        sink.assert_untouched()


@signing
def test_e_1_a_request_to_another_origin_is_neither_signed_nor_sent(face, aws, root):
    """An absolute address in a call goes nowhere."""
    with LoopbackProvider() as other:
        client = face.client(name="BedrockOpenAI", module=guarded, base_url=root, **STATIC)
        with pytest.raises(openai.OpenAIError):
            face.run(client.post(f"{other.base_url}/responses", cast_to=object, body={"input": MAIL}))
        assert other.requests == aws.requests == []


@signing
def test_a_refusal_comes_before_the_signature(face, aws, root):
    """What a guard refuses was never signed: no credentials are asked for."""
    asked = []
    client = face.client(
        name="BedrockOpenAI", module=guarded, base_url=root, aws_region=REGION,
        aws_credentials_provider=lambda: asked.append(1), safellm={"limits": {"request_bytes": 200}},
    )  # fmt: skip
    with pytest.raises(safellm.Refused):
        face.ask(client, "x" * 300)
    assert asked == aws.requests == []


@signing
def test_the_module_level_api_signs(aws, root, monkeypatch):
    """`api_type = "amazon-bedrock"`, with AWS credentials from where AWS keeps them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in {"api_type": "amazon-bedrock", "api_key": None, "base_url": root, "max_retries": 0}.items():
        monkeypatch.setattr(guarded, name, value)
    guarded._reset_client()
    try:
        assert guarded.responses.create(model="m", input=MAIL).output_text == f'You wrote: "{MAIL}"'
        assert isinstance(guarded._client, guarded.BedrockOpenAI)
    finally:
        guarded._client.close()
        guarded._reset_client()
    assert aws.refused == []


INSTALLED = """
import asyncio, sys
import safellm
safellm.install()
import openai
root, region, key, secret = sys.argv[1:]
options = dict(base_url=root, aws_region=region, aws_access_key_id=key, aws_secret_access_key=secret, max_retries=0)
asked = dict(model="m", messages=[{"role": "user", "content": "alice@" + "example.com"}])

async def main():
    async with openai.AsyncBedrockOpenAI(**options) as client:
        print((await client.chat.completions.create(**asked)).choices[0].message.content)

with openai.BedrockOpenAI(**options) as client:
    print(client.chat.completions.create(**asked).choices[0].message.content)
asyncio.run(main())
"""


@signing
def test_install_guards_and_then_signs(aws, root, python):
    """A program that knows nothing of safellm, sync and async."""
    done = python(INSTALLED, root, REGION, KEY_ID, SECRET)
    assert done.stdout.splitlines() == [f'You wrote: "{MAIL}"'] * 2
    assert (len(aws.requests), aws.refused) == (2, [])
    assert all(MAIL.encode() not in request.body for request in aws.requests)


# -- with a key ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["class", "provider"])
def test_k_4_a_key_of_the_variable_is_managed(face, provider, monkeypatch, trail, way):
    """The SDK's objects hold a placeholder, copies too; the key stands in what leaves, and in no record."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    monkeypatch.setenv("AWS_REGION", REGION)
    if way == "class":
        client = face.client(name="BedrockOpenAI", module=guarded, base_url=provider.base_url)
        assert client.api_key.startswith("safellm-managed-")
    else:
        client = face.client(provider=bedrock(base_url=provider.base_url))
    for one in (client, client.with_options(timeout=9)):
        assert face.ask(one, MAIL, stream=True) == f'You wrote: "{MAIL}"'
        seen = repr([vars(one), getattr(one, "_bedrock_state", None)])
        assert BEARER not in seen
    assert [one.headers["authorization"] for one in provider.requests] == [f"Bearer {BEARER}"] * 2
    assert all(MAIL.encode() not in one.body for one in provider.requests)
    assert BEARER.encode() not in trail()


def test_k_5_a_key_can_be_taken_out_of_the_environment(face, provider, monkeypatch):
    """`keys.clear_environment` works for the key that the SDK would read before each call."""
    monkeypatch.setattr("safellm.stores.environment._taken", {})
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    made = bedrock(base_url=provider.base_url)
    client = face.client(provider=made, safellm={"keys": {"clear_environment": True}})
    assert "AWS_BEARER_TOKEN_BEDROCK" not in os.environ
    assert face.ask(client) == 'You wrote: "hello"'
    assert provider.requests[0].headers["authorization"] == f"Bearer {BEARER}"


def test_a_key_of_a_secret_file_comes_before_aws_s_own_credentials(face, provider, monkeypatch, tmp_path):
    """As systemd and containers hand it over; where there is none, no vault is asked."""
    name = {"name": "BedrockOpenAI", "module": guarded, "base_url": provider.base_url, "aws_region": REGION}
    with monkeypatch.context() as patched:
        patched.setattr("safellm.client.resolve_key", lambda *_, **__: pytest.fail("the vault was asked"))
        assert face.client(**name).api_key == ""
    (tmp_path / "bedrock").write_text(BEARER)
    (tmp_path / "bedrock").chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    client = face.client(**name)
    assert client.api_key.startswith("safellm-managed-")
    assert face.ask(client) == 'You wrote: "hello"'
    assert provider.requests[0].headers["authorization"] == f"Bearer {BEARER}"


@pytest.mark.parametrize("way", ["class", "provider"])
def test_a_key_given_in_code_is_the_program_s_own(face, provider, way):
    """It is sent as it is, and a token provider is asked before each attempt."""
    asked = []

    def token():
        asked.append(1)
        return f"{BEARER}{len(asked)}"

    if way == "class":
        made = [face.client(name="BedrockOpenAI", module=guarded, base_url=provider.base_url, **one)
                for one in ({"api_key": BEARER}, {"bedrock_token_provider": token})]  # fmt: skip
    else:
        made = [face.client(provider=bedrock(base_url=provider.base_url, **one))
                for one in ({"api_key": BEARER}, {"token_provider": token})]  # fmt: skip
    for client in made:
        assert face.ask(client, MAIL) == f'You wrote: "{MAIL}"'
    assert [one.headers["authorization"] for one in provider.requests] == [f"Bearer {BEARER}", f"Bearer {BEARER}1"]


def test_k_1_strict_mode_takes_no_credentials_but_the_vault_s(face, monkeypatch):
    """Not from code, not AWS's own, not from a variable."""
    strict = {"mode": "strict"}
    name = "AsyncBedrockOpenAI" if face.is_async else "BedrockOpenAI"
    make = getattr(guarded, name)
    refuses(lambda: make(api_key=BEARER, aws_region=REGION, safellm=strict), "from code")
    refuses(lambda: make(**STATIC, safellm=strict), "from code")
    refuses(lambda: face.client(provider=bedrock(region=REGION), safellm=strict), "vault")
    refuses(lambda: face.client(provider=bedrock(region=REGION, api_key=BEARER), safellm=strict), "from code")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    caught = refuses(lambda: make(aws_region=REGION, safellm=strict), "strict mode")
    assert "safellm keys import bedrock" in caught.remedy


def test_k_11_a_key_of_the_vault_is_used_and_goes_only_where_it_is_bound(face, provider, monkeypatch):
    """The vault's key comes before AWS's own credentials, in strict mode too; a copy doesn't take it elsewhere."""
    from safellm._core.origin import parse_origin
    from safellm._core.secret import Secret
    from safellm.stores.vault.open import ResolvedKey

    origin = parse_origin(provider.origin)
    key = ResolvedKey(ref="vault:bedrock", secret=Secret(BEARER), origins=(origin,))
    monkeypatch.setattr("safellm.client.resolve_key", lambda *_, **__: key)
    client = face.client(
        name="BedrockOpenAI", module=guarded, base_url=provider.base_url, aws_region=REGION, safellm={"mode": "strict"}
    )
    assert face.ask(client) == 'You wrote: "hello"'
    assert provider.requests[0].headers["authorization"] == f"Bearer {BEARER}"
    refuses(lambda: client.with_options(base_url="https://sink.example/v1"), "strict mode")
    refuses(lambda: client.with_options(api_key=BEARER), "of its own")
    refuses(lambda: client.with_options(aws_profile="other"), "of its own|not")


# -- addresses -------------------------------------------------------------------------------------------------------


OWN = {
    "https://bedrock-mantle.eu-west-1.api.aws": {"aws_region": "eu-west-1"},
    "https://bedrock-runtime.us-gov-west-1.amazonaws.com": {
        "base_url": "https://bedrock-runtime.us-gov-west-1.amazonaws.com/openai/v1"
    },
    "https://bedrock-runtime.cn-north-1.amazonaws.com.cn": {
        "base_url": "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/openai/v1"
    },
}


@pytest.mark.parametrize("origin", OWN)
def test_the_region_s_own_host_counts(sync, origin, monkeypatch):
    """The address that the SDK makes from a region is AWS's: the key of the variable is bound to it, and to no other."""
    from safellm.transports.http import guard_of

    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    client = sync.client(name="BedrockOpenAI", module=guarded, **OWN[origin])
    bounds = guard_of(client._client).bounds
    assert [str(one) for one in bounds.origins] == [origin]
    assert [[str(one) for one in key.origins] for key in bounds.managed] == [[origin]]
    moved = client.with_options(aws_region="eu-central-1", base_url="")
    other = "https://bedrock-mantle.eu-central-1.api.aws"
    bounds = guard_of(moved._client).bounds
    assert {str(one) for one in bounds.origins} == {origin, other} == {str(one) for one in bounds.managed[0].origins}


@pytest.mark.parametrize("name", ["BedrockOpenAI", "provider"])
@pytest.mark.parametrize(
    "address",
    [
        "https://sink.example/openai/v1",
        "https://bedrock-mantle.eu-west-1.api.aws.sink.example/openai/v1",
        "https://bedrock-runtime.eu-west-1.amazonaws.com.cn/openai/v1",
        "https://bedrock-mantle.eu-west-1.api.aws:8443/openai/v1",
        "http://169.254.169.254/openai/v1",
    ],
)
def test_e_1_an_address_of_the_variable_is_refused(sync, monkeypatch, name, address):
    """`AWS_BEDROCK_BASE_URL` may name AWS's host of the region, this machine, or what is bound; nothing else."""
    monkeypatch.setenv("AWS_BEDROCK_BASE_URL", address)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    if name == "provider":
        refuses(lambda: sync.client(provider=bedrock()), "from the environment")
    else:
        refuses(lambda: guarded.BedrockOpenAI(), "from the environment")
        client = sync.client(name=name, module=guarded, base_url="https://gateway.example/v1")
        assert str(client.base_url) == "https://gateway.example/v1/"


@pytest.mark.parametrize("value", ["sink.example/x?", "eu-west-1.sink.example", "../x", "a.b"])
def test_e_1_a_region_of_the_variable_can_t_name_another_host(sync, monkeypatch, value):
    """What isn't a region isn't put into a host name."""
    monkeypatch.setenv("AWS_REGION", value)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    for make in (guarded.BedrockOpenAI, lambda: guarded.OpenAI(provider=bedrock())):
        with pytest.raises((openai.OpenAIError, safellm.ConfigurationError)):
            make()


def test_k_4_a_key_of_the_variable_does_not_follow_to_another_address(face, provider, monkeypatch):
    """An address that a copy is given is the program's choice; the key from the variable stays with AWS."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    client = face.client(name="BedrockOpenAI", module=guarded, aws_region=REGION)
    with pytest.raises(safellm.Refused):
        face.ask(client.with_options(base_url=provider.base_url))
    assert provider.requests == []


# -- what is not known -----------------------------------------------------------------------------------------------


def test_e_10_an_unknown_provider_is_refused(sync):
    """Nobody knows what it signs, so nobody can say that it signs what leaves."""
    from openai._provider import _create_provider

    class Definition:
        name = "another"

        def configure(self):
            raise AssertionError("not asked")

    made = _create_provider(Definition())
    caught = refuses(lambda: sync.client(provider=made), "another")
    assert "base_url" in caught.remedy


def test_e_10_websockets_of_a_provider_are_refused(sync, provider):
    """The SDK signs none."""
    client = sync.client(name="BedrockOpenAI", module=guarded, base_url=provider.base_url, api_key=BEARER)
    with pytest.raises((openai.OpenAIError, safellm.Refused)), client.realtime.connect(model="m"):
        pass
    assert provider.requests == []


def test_a_guarded_http_client_is_not_lent_to_another_client(sync, provider):
    """The transport has a policy and keys; what would bring none of its own has to be a copy."""
    client = sync.client(name="BedrockOpenAI", module=guarded, base_url=provider.base_url, api_key=BEARER)
    refuses(lambda: guarded.BedrockOpenAI(aws_region=REGION, http_client=client._client), "already belongs")


def test_a_copy_takes_no_key_from_the_environment(sync, provider, monkeypatch):
    """A guard that was made without the key can't manage it: the copy is refused instead of holding it."""
    client = sync.client(provider)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    refuses(lambda: client.with_options(provider=bedrock(base_url=provider.base_url)), "AWS_BEARER_TOKEN_BEDROCK")


def test_an_older_sdk_says_what_to_install(sync, monkeypatch):
    """The classes stand there for annotations, whatever the SDK."""
    from safellm_openai import clients

    monkeypatch.setattr(clients, "_SDKBedrock", openai.OpenAI)
    refuses(lambda: clients.BedrockOpenAI(aws_region=REGION), "no clients for Bedrock")


# -- Vertex ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not importlib.util.find_spec("openai.providers.vertex"), reason="newer SDKs only")
def test_vertex_is_guarded(face, family):
    """The path of a project is known for the endpoint behind it, and the token goes to Google's own host."""
    from openai.providers.vertex import vertex

    from safellm.transports.http import guard_of

    seen = []

    def handler(request):
        seen.append(request)
        answer = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "status": "completed"}
        return family.Response(200, json=answer)

    async def handle(request):
        await request.aread()
        return handler(request)

    http = face.http(family, transport=family.MockTransport(handle if face.is_async else handler))
    made = vertex(project="p", location="europe-west1", token_provider=lambda: "token-of-google")
    client = face.client(provider=made, http_client=http)
    face.run(client.responses.create(model="m", input=MAIL))
    request = seen[0]
    assert request.url.host == "europe-west1-aiplatform.googleapis.com"
    assert request.headers["authorization"] == "Bearer token-of-google"
    assert MAIL.encode() not in request.content
    driver = guard_of(client._client)
    route = driver.tools.adapter.route("POST", request.url.path)
    assert (route.known, route.template) == (True, "/responses")
    assert driver.tools.adapter.provider == "gcp.vertex_ai"
