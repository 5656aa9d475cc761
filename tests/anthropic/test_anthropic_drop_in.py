"""The guarded client is the SDK's own: its class, its types, its errors, its helpers."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
import json
import subprocess
import sys
import types

import pytest

import anthropic
import safellm
import safellm.anthropic as guarded
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply, ToolCall
from safellm.transports.http import guard_of

CLASSES = ("Anthropic", "AnthropicFoundry", "AnthropicVertex", "AnthropicGoogleCloud", "AnthropicAWS", "AnthropicBedrock",
           "AnthropicBedrockMantle")  # fmt: skip
MADE = [f"{prefix}{name}" for name in CLASSES for prefix in ("", "Async")]
MAIL = "alice@example.com"


def test_a_client_is_of_the_sdk_s_own_class(face, provider):
    """The SDK compares classes; `isinstance` with ours says whether a client is guarded."""
    client = face.client(provider)
    plain = face.keep(face.pick("Anthropic", anthropic)(api_key="x"))
    assert type(client) is face.pick("Anthropic", anthropic)
    assert isinstance(client, face.pick("Anthropic", anthropic))
    assert isinstance(client, face.pick())
    assert isinstance(client.with_options(timeout=1), face.pick())
    assert not isinstance(plain, face.pick())
    assert not isinstance("client", face.pick())


def test_credentials_that_the_sdk_finds_by_itself_still_count(face, provider, tmp_path, monkeypatch):
    """A profile of the SDK is found, as by the SDK's own class; a subclass would lose it without a word."""
    token = "tok" + "en-of-the-profile"
    folder = tmp_path / "profiles"
    (folder / "configs").mkdir(parents=True)
    (folder / "credentials").mkdir()
    (folder / "configs" / "work.json").write_text(
        json.dumps({"version": "1.0", "authentication": {"type": "user_oauth"}})
    )
    secret = folder / "credentials" / "work.json"
    secret.write_text(json.dumps({"access_token": token, "expires_at": 4_102_444_800, "version": "1.0"}))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(folder))
    monkeypatch.setenv("ANTHROPIC_PROFILE", "work")
    client = face.client(base_url=provider.origin)
    assert client.credentials is not None
    assert face.ask(client, f"mail {MAIL}") == f'You wrote: "mail {MAIL}"'
    assert face.ask(client.with_options(timeout=9)) == 'You wrote: "hello"'
    assert {one.headers["authorization"] for one in provider.requests} == {f"Bearer {token}"}
    assert MAIL.encode() not in provider.received[0]


def test_a_subclass_of_a_program_is_guarded_too(face, provider):
    """`class Mine(safellm.Anthropic)` works as with the SDK's class, copies included."""

    class Mine(face.pick()):
        def __init__(self, *, extra=1, **options):
            super().__init__(**options)
            self.extra = extra

    client = face.keep(Mine(extra=2, base_url=provider.origin, api_key="x", max_retries=0))
    assert (type(client), client.extra) == (Mine, 2)
    assert face.ask(client, MAIL) == face.ask(client.with_options(timeout=9), MAIL) == f'You wrote: "{MAIL}"'
    assert MAIL not in b"".join(provider.received).decode()


def test_the_module_offers_everything_of_the_sdk():
    """Names that aren't clients are the SDK's own objects; so is what is asked for by name only."""
    public = [name for name in dir(anthropic) if not name.startswith("_")]
    assert set(public) <= set(dir(guarded))
    changed = {*MADE, "Client", "AsyncClient", "lib"}  # `lib` holds modules with classes of clients
    for name in public:
        mine, theirs = getattr(guarded, name), getattr(anthropic, name)
        assert (mine is theirs) is (name not in changed), name
    assert guarded.Client is guarded.Anthropic
    assert safellm.Anthropic is guarded.Anthropic
    assert safellm.AsyncAnthropic is guarded.AsyncAnthropic
    assert guarded._exceptions is anthropic._exceptions


@pytest.mark.parametrize("name", [name for name in MADE if not name.endswith("Bedrock")])
def test_the_signature_is_the_sdk_s_and_one_more(name):
    """Editors and programs that inspect see the SDK's arguments, and `safellm`."""
    theirs = inspect.signature(getattr(anthropic, name)).parameters
    mine = inspect.signature(getattr(guarded, name).__init__).parameters
    assert [*mine] == ["self", *theirs, "safellm"]


@pytest.mark.parametrize("name", ["copy", "with_options"])
def test_copies_keep_the_guard(face, provider, name):
    """Options, middleware, another address, another HTTP client: the same policy and the same bounds."""
    client = face.client(provider, safellm={"redaction.types": {"EMAIL": "block"}})
    other = face.keep((face.native.AsyncClient if face.is_async else face.native.Client)())
    twins = [
        getattr(client, name)(timeout=3),
        getattr(client, name)(http_client=other),
        getattr(client, name)(base_url=provider.origin.replace("127.0.0.1", "localhost")),
        client.with_middleware(),
    ]
    for twin in twins:
        assert type(twin) is type(client)
        with pytest.raises(anthropic.BadRequestError) as caught:
            face.ask(twin, MAIL)
        assert isinstance(caught.value, safellm.Refused)
        assert face.ask(twin) == 'You wrote: "hello"'
    assert guard_of(other) is None, "the caller's own client is not changed"
    assert inspect.signature(client.copy) == inspect.signature(face.pick("Anthropic", anthropic).copy).replace(
        parameters=list(inspect.signature(face.pick("Anthropic", anthropic).copy).parameters.values())[1:]
    )


def test_a_shallow_copy_is_guarded_as_itself(face, provider):
    """`copy.copy` gives a client that copies itself, not the one it came from."""
    twin = copy.copy(face.client(provider))
    twin.max_retries = 7
    assert twin.with_options(timeout=1).max_retries == 7
    assert face.ask(twin, MAIL) == f'You wrote: "{MAIL}"'
    assert MAIL.encode() not in provider.received[0]


def test_another_address_set_in_code_counts(face, provider):
    """`client.base_url = …` binds, as an argument does."""
    client = face.client(base_url="http://127.0.0.1:9", api_key="x")
    client.base_url = provider.origin
    assert face.ask(client) == 'You wrote: "hello"'
    with LoopbackProvider() as other:  # after a call too: what is remembered of the address before is no longer asked
        client.base_url = other.origin
        assert face.ask(client) == 'You wrote: "hello"'
        assert (len(provider.received), len(other.received)) == (1, 1)


def test_a_plain_client_beside_is_not_changed(face, provider):
    """The SDK's classes know both kinds: a client without a guard sends what it is given, and copies itself."""
    plain = face.keep(face.pick("Anthropic", anthropic)(base_url=provider.origin, api_key="x", max_retries=0))
    assert face.ask(plain.with_options(timeout=9), MAIL) == f'You wrote: "{MAIL}"'
    plain.base_url = provider.origin
    assert MAIL.encode() in provider.received[0]
    provider.reply_with(Reply(status=400))
    with pytest.raises(anthropic.BadRequestError) as caught:
        face.ask(plain)
    assert not isinstance(caught.value, safellm.Refused)


def test_an_http_client_of_the_other_family_is_the_sdk_s_own_complaint(sync):
    """The SDK takes its own family only, and says so itself."""
    other = "httpx" if sync.native.__name__ == "httpx2" else "httpx2"
    family = pytest.importorskip(other)
    with family.Client() as http, pytest.raises(TypeError):
        sync.pick()(api_key="x", http_client=http)


def test_a_guarded_http_client_is_not_lent(face, provider):
    """Another client with other settings over the same transport would borrow its keys."""
    client = face.client(provider)
    with pytest.raises(safellm.ConfigurationError) as caught:
        face.pick()(http_client=client._client)
    assert caught.value.remedy


# -- what clients do ------------------------------------------------------------------------------------------------------


def test_raw_and_streaming_responses(face, provider):
    """Headers and bytes on demand, guarded ones."""
    client = face.client(provider)
    wanted = {"model": "claude-sonnet-5-5", "max_tokens": 99, "messages": [{"role": "user", "content": MAIL}]}
    raw = face.run(client.messages.with_raw_response.create(**wanted))
    assert MAIL in face.run(raw.parse()).content[0].text if face.is_async else MAIL in raw.parse().content[0].text
    assert raw.headers["x-request-id"]
    assert raw.http_response.elapsed is not None
    assert MAIL.encode() not in provider.received[0]


def test_tool_runner_runs_with_placeholders(sync, provider):
    """The SDK's own loop: the tool gets the placeholder, its result goes back, the answer is restored."""
    got = []

    @anthropic.beta_tool
    def send(to: str) -> str:
        """Send.

        Args:
            to: Whom.
        """
        got.append(to)
        return f"sent to {to}"

    def answer(request):
        said = request.json["messages"][-1]["content"]
        if isinstance(said, str):
            return Reply(tool_calls=(ToolCall(name="send", arguments={"to": said}),))
        return f"done: {json.dumps(said[0]['content'])}"

    provider.reply_with(answer)
    runner = sync.client(provider).beta.messages.tool_runner(
        model="claude-sonnet-5-5", max_tokens=99, tools=[send], max_iterations=3,
        messages=[{"role": "user", "content": MAIL}],
    )  # fmt: skip
    last = runner.until_done()
    assert f"sent to {MAIL}" in last.content[0].text
    assert got[0].startswith("X-EMAIL-")
    assert MAIL.encode() not in b"".join(provider.received)


def test_structured_answers_parse(face, provider):
    """An answer in a JSON schema stays JSON, with the values restored."""
    if not hasattr(face.client(provider).messages, "parse"):
        pytest.skip("this SDK has no parse")
    import pydantic

    class Answer(pydantic.BaseModel):
        answer: str

    made = face.run(
        face.client(provider).messages.parse(
            model="claude-sonnet-5-5", max_tokens=99, output_format=Answer, messages=[{"role": "user", "content": MAIL}]
        )
    )
    assert made.parsed_output == Answer(answer=MAIL)


def test_batches_restore_their_results(face, provider, client):
    """Hidden on the way out, restored in the results, which come later and are known by the batch's name."""
    params = {"model": "claude-sonnet-5-5", "max_tokens": 9}
    asked = [
        {"custom_id": str(number), "params": {**params, "messages": [{"role": "user", "content": f"{number} {MAIL}"}]}}
        for number in range(3)
    ]
    batch = face.run(client.messages.batches.create(requests=asked))
    assert face.run(client.messages.batches.retrieve(batch.id)).processing_status == "ended"
    results = face.all(face.run(client.messages.batches.results(batch.id)))
    assert [one.result.message.content[0].text for one in results] == [f'You wrote: "{n} {MAIL}"' for n in range(3)]
    assert MAIL.encode() not in b"".join(provider.received)
    assert [one.id for one in face.all(client.messages.batches.list())] == [batch.id]


def test_files_models_and_counts(face, provider, client):
    """Uploads are searched, downloads come as they are, lists are pages."""
    files = client.beta.files
    made = face.run(files.upload(file=("note.txt", f"mail {MAIL}".encode(), "text/plain")))
    assert MAIL.encode() not in b"".join(provider.received)
    content = face.run(files.download(made.id))
    assert face.run(content.read()).startswith(b"mail X-EMAIL-")
    assert [one.id for one in face.all(files.list())] == [made.id]
    assert face.run(files.delete(made.id)).id == made.id
    counted = client.messages.count_tokens(model="claude-sonnet-5-5", messages=[{"role": "user", "content": "one two"}])
    assert face.run(counted).input_tokens > 0
    assert "claude-haiku-4-5" in [one.id for one in face.all(client.models.list())]
    assert face.run(client.models.retrieve("claude-haiku-4-5")).type == "model"


def test_importing_safellm_imports_no_sdk():
    """`import safellm` and the OpenAI side don't load Anthropic's SDK, which takes seconds."""
    code = "import sys, safellm, safellm.openai; assert 'anthropic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_adapter_is_registered():
    """Other tools find the adapter by its entry point."""
    from importlib.metadata import entry_points

    (found,) = [one for one in entry_points(group="safellm.adapters") if one.name == "anthropic"] or [None]
    if found is None:
        pytest.skip("installed before this adapter was there")
    assert found.load().name == "anthropic"
    assert isinstance(guarded, types.ModuleType)
