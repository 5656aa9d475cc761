"""Programs written for the SDK go on working: same calls, same types, and the guard in between."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import io
import json

import pydantic
import pytest

import openai
import safellm
from safellm.testing.replies import Reply, ToolCall

TEXT = "Write to alice@example.com about card 4111 1111 1111 1111"
SECRETS = ("alice@example.com", "4111 1111 1111 1111")
ENDPOINTS = pytest.mark.parametrize("api", ["chat", "responses"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Letter(pydantic.BaseModel):
    to: str
    subject: str


def sent(provider):
    return json.dumps(provider.requests[-1].json)


def assert_hidden(provider):
    assert not [secret for secret in SECRETS if any(secret.encode() in data for data in provider.received)]


@ENDPOINTS
@STREAMED
def test_answer_is_the_same_when_values_were_hidden_on_the_way(face, client, provider, api, stream):
    """The provider sees placeholders, the program sees its own values."""
    assert face.ask(client, TEXT, api=api, stream=stream) == f'You wrote: "{TEXT}"'
    assert_hidden(provider)
    assert "X-EMAIL-" in sent(provider)


def test_client_is_an_sdk_client_and_answers_are_sdk_types(face, client):
    """`isinstance` checks of the program hold."""
    made = face.run(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": TEXT}]))
    assert isinstance(client, face.pick("OpenAI", openai))
    assert type(made) is openai.types.chat.ChatCompletion
    assert made._request_id.startswith("req_")


def test_chat_stream_helper_gives_the_text_and_the_final_completion(face, client, provider):
    """`chat.completions.stream()` accumulates restored text."""
    manager = client.chat.completions.stream(model="gpt-4o", messages=[{"role": "user", "content": TEXT}])
    stream = face.enter(manager)
    texts = [event.delta for event in face.all(stream) if event.type == "content.delta"]
    final = face.run(stream.get_final_completion())
    face.leave(manager)
    assert "".join(texts) == final.choices[0].message.content == f'You wrote: "{TEXT}"'
    assert_hidden(provider)


def test_responses_stream_helper_agrees_with_its_final_response(face, client, provider):
    """`responses.stream()`: deltas, the done event and the final response say the same."""
    manager = client.responses.stream(model="gpt-4o", input=TEXT)
    stream = face.enter(manager)
    events = face.all(stream)
    final = face.run(stream.get_final_response())
    face.leave(manager)
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    done = next(event.text for event in events if event.type == "response.output_text.done")
    assert deltas == done == final.output_text == f'You wrote: "{TEXT}"'
    assert_hidden(provider)


def test_parse_gives_the_programs_model_with_real_values(face, client, provider):
    """`chat.completions.parse` and `responses.parse` build the pydantic model from restored text."""
    said = 'mail alice@example.com, "quoted" \\ and card 4111 1111 1111 1111'
    chat = face.run(
        client.chat.completions.parse(
            model="gpt-4o", messages=[{"role": "user", "content": said}], response_format=Letter
        )
    )
    response = face.run(client.responses.parse(model="gpt-4o", input=said, text_format=Letter))
    assert chat.choices[0].message.parsed == response.output_parsed == Letter(to=said, subject=said)
    assert_hidden(provider)


def test_parse_works_in_the_stream_helpers(face, client):
    """A structured answer that is streamed parses as well."""
    manager = client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": TEXT}], response_format=Letter
    )
    stream = face.enter(manager)
    final = face.run(stream.get_final_completion())
    face.leave(manager)
    assert final.choices[0].message.parsed == Letter(to=TEXT, subject=TEXT)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_hide_values_and_keep_vectors(face, client, provider, encoding):
    """Vectors come through untouched in both encodings."""
    plain = openai.OpenAI(base_url=provider.base_url, api_key="x")
    made = face.run(
        client.embeddings.create(model="text-embedding-3-small", input=[TEXT, "two"], encoding_format=encoding)
    )
    assert_hidden(provider)
    same = plain.embeddings.create(
        model="text-embedding-3-small", input=provider.requests[-1].json["input"], encoding_format=encoding
    )
    plain.close()
    assert [one.embedding for one in made.data] == [one.embedding for one in same.data]


def test_models_list_can_be_iterated_and_retrieved(face, client, provider):
    """Pages work like the SDK's own."""
    page = face.run(client.models.list()) if face.is_async else client.models.list()
    assert {model.id for model in face.all(page)} == set(provider.models)
    assert face.run(client.models.retrieve("gpt-4o")).id == "gpt-4o"


def test_file_of_text_is_redacted_and_binary_passes(face, client, provider):
    """An uploaded text loses its mail address; bytes that are no text arrive as they are."""
    text = face.run(client.files.create(file=("note.txt", b"mail alice@example.com"), purpose="assistants"))
    assert_hidden(provider)
    binary = bytes(range(256)) * 4
    made = face.run(client.files.create(file=("image.png", io.BytesIO(binary)), purpose="vision"))
    assert binary in provider.requests[-1].body
    assert made.bytes == len(binary)
    assert face.run(client.files.content(made.id)).read() == binary
    assert b"alice@example.com" not in face.run(client.files.content(text.id)).content


def test_file_of_json_lines_is_redacted_line_by_line(face, client, provider):
    """A batch file stays one JSON text per line."""
    lines = [{"custom_id": str(n), "body": {"messages": [{"role": "user", "content": TEXT}]}} for n in range(3)]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    made = face.run(client.files.create(file=("batch.jsonl", data), purpose="batch"))
    assert_hidden(provider)
    stored = face.run(client.files.content(made.id)).content
    assert [json.loads(line)["custom_id"] for line in stored.splitlines()] == ["0", "1", "2"]


def test_completions_and_moderations_work(face, client, provider):
    """The older and the smaller endpoints pass the same guards."""
    made = face.run(client.completions.create(model="gpt-3.5-turbo-instruct", prompt=TEXT))
    assert made.choices[0].text == f'You wrote: "{TEXT}"'
    chunks = face.all(face.run(client.completions.create(model="gpt-3.5-turbo-instruct", prompt=TEXT, stream=True)))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == made.choices[0].text
    assert face.run(client.moderations.create(input=TEXT)).results
    assert_hidden(provider)


def test_with_raw_response_shows_headers_and_parses(face, client):
    """`with_raw_response`: headers, status, parsed object, elapsed time."""
    raw = face.run(
        client.chat.completions.with_raw_response.create(model="gpt-4o", messages=[{"role": "user", "content": TEXT}])
    )
    assert raw.status_code == 200
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.elapsed.total_seconds() >= 0
    assert raw.parse().choices[0].message.content == f'You wrote: "{TEXT}"'
    assert json.loads(raw.text)["choices"][0]["message"]["content"] == f'You wrote: "{TEXT}"'
    assert raw.headers["content-length"] == str(len(raw.content))


def test_with_streaming_response_reads_lines(face, client):
    """`with_streaming_response` gives the guarded bytes as they come."""
    manager = client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": TEXT}], stream=True
    )
    response = face.enter(manager)
    lines = face.all(response.iter_lines())
    face.leave(manager)
    datas = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(data["choices"][0]["delta"].get("content") or "" for data in datas if data["choices"])
    assert text == f'You wrote: "{TEXT}"'
    assert lines[-1].strip() == "data: [DONE]" or lines[-2].strip() == "data: [DONE]"


def test_with_options_shares_the_guarded_transport(face, client, provider):
    """`with_options` and `copy` wrap once: same HTTP client, same class, guarded."""
    for twin in (client.with_options(timeout=3), client.copy(max_retries=1), client.with_options().with_options()):
        assert twin._client is client._client
        assert type(twin) is type(client)
        assert face.ask(twin, TEXT) == f'You wrote: "{TEXT}"'
    inner = client._client._transport._inner
    assert type(inner) is not type(client._client._transport)
    assert_hidden(provider)


def test_shallow_copy_of_a_client_is_guarded(face, client, provider):
    """`copy.copy(client)` shares the guarded transport."""
    assert face.ask(copy.copy(client), TEXT) == f'You wrote: "{TEXT}"'
    assert_hidden(provider)


def test_subclass_of_a_guarded_client_is_guarded(face, provider):
    """A program's own subclass works, with its own constructor."""
    base = face.pick("OpenAI")

    class Own(base):
        def __init__(self, *, team, **options):
            super().__init__(**options)
            self.team = team

    client = Own(team="blue", base_url=provider.base_url, api_key="x", max_retries=0)
    face.keep(client)
    assert client.team == "blue"
    assert face.ask(client, TEXT) == f'You wrote: "{TEXT}"'
    assert_hidden(provider)


def test_context_manager_closes_the_connections(face, provider):
    """`with OpenAI() as client` closes the client's own HTTP client."""
    client = face.pick("OpenAI")(base_url=provider.base_url, api_key="x")
    inside = face.enter(client)
    assert face.ask(inside, TEXT) == f'You wrote: "{TEXT}"'
    face.leave(client)
    assert client.is_closed()


@ENDPOINTS
def test_stream_that_is_left_early_is_settled_and_recorded(face, client, provider, outcome, usage, api):
    """Leaving a stream charges the hold and records that it was left."""
    provider.reply_with("word " * 500)
    if api == "chat":
        made = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True, max_tokens=50
        )
    else:
        made = client.responses.create(model="gpt-4o", input="hi", stream=True, max_output_tokens=50)
    stream = face.run(made)
    face.first(stream)
    face.run(stream.close())
    assert outcome()["error.type"] == "closed"
    assert outcome()["safellm.budget.charged"]["output_tokens"] == 50
    assert usage()[0].requests == 1


def test_retries_are_recorded_one_by_one(face, provider, records, usage):
    """429 and then an answer: two attempts, each with intent and outcome; the second says that it is one (B.4)."""
    provider.reply_with(Reply(status=429, headers={"retry-after-ms": "1"}), "done")
    assert face.ask(face.client(provider, max_retries=2)) == "done"
    found = records()
    intents = [one for one in found if one["event.name"] == "call.intent"]
    outcomes = [one for one in found if one["event.name"] == "call.outcome"]
    assert [one.get("http.request.resend_count", 0) for one in intents] == [0, 1]
    assert [one["http.response.status_code"] for one in outcomes] == [429, 200]
    assert sum(one.requests for one in usage()) == 2


def test_timeout_is_the_sdks_own_error_and_recorded(face, faults, outcome):
    """A provider that is silent: `openai.APITimeoutError`, and the outcome says so."""
    client = face.client(base_url=faults.base_url("stall-before-headers"), api_key="x", timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        face.ask(client)
    assert outcome()["error.type"] == "timeout"


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (404, "NotFoundError"), (500, "InternalServerError")],
)
def test_errors_of_the_provider_are_the_sdks_own(face, client, provider, outcome, status, error):
    """A provider's error passes with its body and costs nothing."""
    provider.reply_with(Reply(status=status, text="The provider says no."))
    with pytest.raises(getattr(openai, error), match="The provider says no") as caught:
        face.ask(client)
    assert type(caught.value) is getattr(openai, error)
    assert not isinstance(caught.value, safellm.SafeLLMError)
    assert outcome()["error.type"] == str(status)
    assert outcome()["safellm.budget.charged"] == {"input_tokens": 0, "output_tokens": 0, "micro_usd": 0}


def test_usage_of_a_stream_is_hidden_when_the_program_did_not_ask(face, client, provider):
    """The guard asks for usage; a program that didn't gets no chunk without choices."""
    stream = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True)
    chunks = face.all(face.run(stream))
    assert provider.requests[-1].json["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    asked = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert face.all(face.run(asked))[-1].usage.total_tokens > 0


def test_request_that_no_guard_changes_is_sent_as_the_sdk_wrote_it(sync, provider):
    """Byte for byte the same body, and no header of ours."""
    plain = openai.OpenAI(base_url=provider.base_url, api_key="given-in-code", max_retries=0)
    sync.ask(plain, "nothing to hide")
    sync.ask(sync.client(provider), "nothing to hide")
    plain.close()
    theirs, ours = provider.requests
    assert theirs.body == ours.body
    assert set(ours.headers) == set(theirs.headers)
    assert {name for name in ours.headers if ours.headers[name] != theirs.headers[name]} <= {"accept-encoding"}


def test_tool_calls_come_as_the_sdk_makes_them(face, client, provider):
    """A tool call's arguments are parsed by the program as always."""
    provider.reply_with(Reply(tool_calls=(ToolCall(name="send", arguments={"to": "ops", "n": 3}),)))
    made = face.run(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": TEXT}]))
    call = made.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("send", {"to": "ops", "n": 3})


def test_conversation_by_previous_response_restores_old_values(face, client, provider):
    """A value of an earlier turn comes back when the next turn only names the previous answer."""
    first = face.run(client.responses.create(model="gpt-4o", input=TEXT))
    placeholder = next(word for word in sent(provider).split() if word.startswith("X-EMAIL-"))
    provider.reply_with(f"I wrote to {placeholder} already")
    second = face.run(client.responses.create(model="gpt-4o", input="did you?", previous_response_id=first.id))
    assert second.output_text == "I wrote to alice@example.com already"


def test_azure_clients_hide_values_and_send_their_key_header(face, provider):
    """Azure's paths and its `api-key` header pass the guard."""
    client = face.client(
        name="AzureOpenAI", azure_endpoint=provider.origin, api_key="azure-key", api_version="2024-10-21"
    )
    assert face.ask(client, TEXT) == f'You wrote: "{TEXT}"'
    assert face.ask(client, TEXT, stream=True) == f'You wrote: "{TEXT}"'
    assert face.ask(client.with_options(timeout=5), TEXT) == f'You wrote: "{TEXT}"'
    request = provider.requests[-1]
    assert request.path == "/openai/deployments/gpt-4o/chat/completions"
    assert request.headers["api-key"] == "azure-key"
    assert isinstance(client, face.pick("AzureOpenAI", openai))
    assert_hidden(provider)


def test_azure_token_provider_is_called_for_each_request(face, provider):
    """A token that the program provides is sent as a bearer."""
    client = face.client(
        name="AzureOpenAI",
        azure_endpoint=provider.origin,
        azure_ad_token_provider=lambda: "token-of-the-program",
        api_version="2024-10-21",
    )
    face.ask(client, TEXT)
    assert provider.requests[-1].headers["authorization"] == "Bearer token-of-the-program"


def test_azure_key_from_the_variable_is_managed(face, provider, monkeypatch):
    """The Azure client holds a placeholder; the provider gets the key."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-of-the-variable")
    client = face.client(name="AzureOpenAI", azure_endpoint=provider.origin, api_version="2024-10-21")
    face.ask(client)
    assert client.api_key.startswith("safellm-managed-")
    assert provider.requests[-1].headers["api-key"] == "azure-key-of-the-variable"


def test_policy_given_to_a_client_counts_for_that_client_only(face, provider):
    """`safellm=` takes policy values."""
    open_client = face.client(provider, safellm={"redaction.enabled": False})
    face.ask(open_client, "mail alice@example.com")
    assert "alice@example.com" in sent(provider)
    face.ask(face.client(provider), "mail alice@example.com")
    assert "alice@example.com" not in sent(provider)


NOISE = """
import asyncio, sys
import safellm
async def main():
    client = safellm.AsyncOpenAI(base_url=sys.argv[1], api_key="x")
    async for _ in await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
    ):
        pass
    async for _ in await client.responses.create(model="gpt-4o", input="hi", stream=True):
        pass
    await client.close()
asyncio.run(main())
"""


def test_async_stream_read_to_its_end_leaves_no_noise(python, provider):
    """`asyncio.run` ends in silence, as with the plain SDK."""
    assert python(NOISE, provider.base_url).stderr == ""
