"""The loopback provider, asked by the real openai SDK."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import openai
from safellm.testing.http_server import SeenRequest
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply, ToolCall, count_tokens, tokens_of

PLACEHOLDER = "X-EMAIL-7QK3ZB9XW2M4T6RP"
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"mail": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["mail", "count"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    """A running provider."""
    with LoopbackProvider() as running:
        yield running


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    """The SDK's own client, pointed to the provider."""
    with openai.OpenAI(base_url=provider.base_url, api_key="any", max_retries=0) as made:
        yield made


def ask(text: str) -> list[dict[str, str]]:
    """Return a conversation of one message."""
    return [{"role": "user", "content": text}]


def test_chat_quotes_the_last_user_message(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Without a script a placeholder in the prompt comes back in the answer, and the request is recorded."""
    answer = client.chat.completions.with_raw_response.create(model="gpt-5", messages=ask(f"Greet {PLACEHOLDER}."))
    made = answer.parse()
    assert made.choices[0].message.content == f'You wrote: "Greet {PLACEHOLDER}."'
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0
    assert made.id.startswith("chatcmpl-")
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["openai-processing-ms"]) >= 1
    (seen,) = provider.requests
    assert (seen.method, seen.path, seen.json["model"]) == ("POST", "/v1/chat/completions", "gpt-5")
    assert seen.headers["authorization"] == "Bearer any"
    assert any(PLACEHOLDER.encode() in received for received in provider.received)


def test_chat_stream_joins_to_the_whole_answer(client: openai.OpenAI) -> None:
    """A stream has the role first, then deltas that join, a finish reason, and the usage because it was asked for."""
    whole = client.chat.completions.create(model="m", messages=ask("one two three"))
    chunks = list(
        client.chat.completions.create(
            model="m", messages=ask("one two three"), stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert len(deltas) > 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_chat_stream_has_no_usage_unless_asked(client: openai.OpenAI) -> None:
    """The last chunk is the one with the finish reason when usage wasn't asked for."""
    chunks = list(client.chat.completions.create(model="m", messages=ask("hi"), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_chat_stream_helper_accumulates(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """`client.chat.completions.stream()` gives events and a final completion, cut as the script says."""
    provider.reply_with(Reply(chunks=("a", "", "b c")))
    with client.chat.completions.stream(model="m", messages=ask("hi")) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == "ab c" == final.choices[0].message.content
    assert deltas[-1] == "b c"


def test_several_choices_come_interleaved(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """With `n` each choice has its own text, and in a stream they alternate."""
    provider.reply_with(Reply(choices=(Reply(text="one two three"), Reply(text="vier fünf sechs"))))
    whole = client.chat.completions.create(model="m", messages=ask("x"), n=2)
    assert [choice.message.content for choice in whole.choices] == ["one two three", "vier fünf sechs"]
    texts, order = ["", ""], []
    for chunk in client.chat.completions.create(model="m", messages=ask("x"), n=2, stream=True):
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        order.append(choice.index)
    assert texts == ["one two three", "vier fünf sechs"]
    assert order[:4] == [0, 1, 0, 1]


def test_tool_calls_plain_and_streamed(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Scripted tool calls arrive whole, and in a stream as fragments that join to the same arguments."""
    arguments = {"mail": 'a"b\\c\né', "count": 2}
    provider.reply_with(Reply(tool_calls=(ToolCall(name="find_order", arguments=arguments), ToolCall(name="other"))))
    whole = client.chat.completions.create(model="m", messages=ask("x"), tools=[TOOL])
    calls = whole.choices[0].message.tool_calls
    assert calls is not None
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None
    assert json.loads(calls[0].function.arguments) == arguments
    with client.chat.completions.stream(model="m", messages=ask("x"), tools=[TOOL]) as stream:
        final = stream.get_final_completion().choices[0].message.tool_calls
    assert final is not None
    assert [(call.id, call.function.name, call.function.arguments) for call in final][0][1:] == (
        calls[0].function.name,
        calls[0].function.arguments,
    )
    assert [call.function.name for call in final] == ["find_order", "other"]


def test_forced_tool_is_called_with_the_quoted_text(client: openai.OpenAI) -> None:
    """Without a script, a forced function gets the user's text in its string arguments."""
    choice = {"type": "function", "function": {"name": "find_order"}}
    made = client.chat.completions.create(model="m", messages=ask(PLACEHOLDER), tools=[TOOL], tool_choice=choice)
    (call,) = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"mail": PLACEHOLDER, "count": 1}


class Order(BaseModel):
    """An answer in a schema with a reference, a list and an optional part."""

    class Line(BaseModel):
        """A part of the order."""

        item: str
        amount: float

    mail: str
    lines: list[Line]
    next: Order | None


def test_parse_gives_the_typed_answer(client: openai.OpenAI) -> None:
    """`parse()` works in chat and in responses: the echo fits the schema and carries the user's text."""
    chat = client.chat.completions.parse(model="m", messages=ask(PLACEHOLDER), response_format=Order)
    parsed = chat.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.mail, parsed.lines[0].item) == (PLACEHOLDER, PLACEHOLDER)
    response = client.responses.parse(model="m", input=PLACEHOLDER, text_format=Order)
    assert response.output_parsed is not None
    assert response.output_parsed.mail == PLACEHOLDER


def test_refusal_and_reasoning_plain_and_streamed(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """A refusal and a reasoning text arrive in their own fields."""
    provider.reply_with(Reply(refusal="I will not do that.", reasoning="Not allowed at all."))
    message = client.chat.completions.create(model="m", messages=ask("x")).choices[0].message
    assert (message.content, message.refusal) == (None, "I will not do that.")
    assert message.model_extra == {"reasoning_content": "Not allowed at all."}
    with client.chat.completions.stream(model="m", messages=ask("x")) as stream:
        assert stream.get_final_completion().choices[0].message.refusal == "I will not do that."
    with client.responses.stream(model="m", input="x") as events:
        final = events.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output[0].summary[0].text == "Not allowed at all."
    assert final.output[1].content[0].refusal == "I will not do that."


def test_responses_stream_has_the_full_sequence(client: openai.OpenAI) -> None:
    """The events come in the documented order, numbered without a gap, and every repeated text agrees."""
    events = list(client.responses.create(model="m", input="hello there", stream=True, previous_response_id="resp_x"))
    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * len(deltas),
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(deltas)
    done, part, item, completed = events[-4:]
    assert text == 'You wrote: "hello there"' == done.text == part.part.text == item.item.content[0].text
    assert completed.response.output_text == text
    assert completed.response.previous_response_id == "resp_x"
    assert completed.response.usage.output_tokens == count_tokens(text)


def test_responses_function_calls_plain_and_streamed(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Function call items carry the arguments; the deltas join to them."""
    provider.reply_with(Reply(tool_calls=(ToolCall(name="find_order", arguments={"mail": PLACEHOLDER}),)))
    tool = {"type": "function", "name": "find_order", "parameters": {"type": "object"}, "strict": False}
    (item,) = client.responses.create(model="m", input="x", tools=[tool]).output
    assert (item.type, item.name, json.loads(item.arguments)) == ("function_call", "find_order", {"mail": PLACEHOLDER})
    with client.responses.stream(model="m", input="x", tools=[tool]) as stream:
        fragments = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert "".join(fragments) == item.arguments == final.output[0].arguments
    assert len(fragments) > 3


def test_stored_response_is_retrieved_and_deleted(client: openai.OpenAI) -> None:
    """A response can be read again by its id until it is deleted."""
    made = client.responses.create(model="m", input="x")
    assert client.responses.retrieve(made.id).output_text == made.output_text
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_output_limit_cuts_the_echo(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """The echo honours the output ceiling in each of its spellings; a scripted text is sent as it is."""
    long = "word " * 100
    chat = client.chat.completions.create(model="m", messages=ask(long), max_completion_tokens=7)
    assert chat.usage is not None
    assert (chat.choices[0].finish_reason, chat.usage.completion_tokens) == ("length", 7)
    response = client.responses.create(model="m", input=long, max_output_tokens=7)
    assert response.usage is not None
    assert response.incomplete_details is not None
    assert (response.status, response.usage.output_tokens) == ("incomplete", 7)
    assert response.incomplete_details.reason == "max_output_tokens"
    provider.reply_with(long)
    assert client.chat.completions.create(model="m", messages=ask("x"), max_tokens=7).choices[0].message.content == long


def test_older_completions_plain_and_streamed(client: openai.OpenAI) -> None:
    """`/v1/completions` answers too."""
    whole = client.completions.create(model="m", prompt="hi there")
    parts = client.completions.create(model="m", prompt="hi there", stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text == 'You wrote: "hi there"'


def test_embeddings_are_unit_vectors_in_both_encodings(client: openai.OpenAI) -> None:
    """The SDK's default (base64) and plain floats agree, depend on the input alone and have the wanted size."""
    first = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    again = client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
    assert [len(item.embedding) for item in first.data] == [1536, 1536]
    assert first.data[0].embedding == pytest.approx(again.data[0].embedding, abs=1e-6)
    assert first.data[0].embedding != first.data[1].embedding
    assert sum(x * x for x in again.data[0].embedding) == pytest.approx(1)
    assert len(client.embeddings.create(model="m", input="a", dimensions=8).data[0].embedding) == 8


def test_models_and_moderations(client: openai.OpenAI) -> None:
    """Models are listed and retrieved, an unknown one is not found, and moderation flags nothing."""
    assert "gpt-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-5").id == "gpt-5"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
    assert [result.flagged for result in client.moderations.create(input=["a", "b"]).results] == [False, False]


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=300) | st.sampled_from([b"\r\n--x\r\n", b"a\rb\nc\r\n", b"--"]))
def test_uploaded_file_comes_back_byte_for_byte(content: bytes) -> None:
    """Any bytes survive the multipart upload, line ends and dashes too."""
    with LoopbackProvider() as provider, openai.OpenAI(base_url=provider.base_url, api_key="k") as client:
        made = client.files.create(file=("räport.jsonl", content), purpose="batch")
        assert (made.bytes, made.purpose) == (len(content), "batch")
        assert client.files.content(made.id).read() == content


def test_files_are_listed_and_deleted(client: openai.OpenAI) -> None:
    """The list holds what was uploaded until it is deleted."""
    made = client.files.create(file=("a.txt", b"text"), purpose="user_data")
    assert [(file.id, file.filename) for file in client.files.list()] == [(made.id, "a.txt")]
    assert client.files.retrieve(made.id).purpose == "user_data"
    client.files.delete(made.id)
    assert list(client.files.list()) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_scripted_status_raises_the_sdks_error(
    client: openai.OpenAI, provider: LoopbackProvider, status: int, kind: type[openai.APIStatusError]
) -> None:
    """An error status becomes the SDK's own error, with the provider's form of body and the scripted headers."""
    provider.reply_with(Reply(status=status, text="as told", headers={"Retry-After": "3"}))
    with pytest.raises(kind, match="as told") as raised:
        client.chat.completions.create(model="m", messages=ask("x"))
    assert raised.value.response.headers["retry-after"] == "3"
    assert raised.value.request_id is not None


def test_script_runs_in_order_and_the_last_stays(provider: LoopbackProvider) -> None:
    """The SDK's retry meets the second reply; the last one answers from then on, until the script is cleared."""
    provider.reply_with(Reply(status=500, headers={"retry-after-ms": "1"}), "fine")
    with openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=1) as client:
        said = [client.chat.completions.create(model="m", messages=ask("x")).choices[0].message.content for _ in "12"]
        assert said == ["fine", "fine"]
        assert [seen.headers["x-stainless-retry-count"] for seen in provider.requests] == ["0", "1", "0"]
        provider.reply_with()
        assert client.responses.create(model="m", input="x").output_text == 'You wrote: "x"'


def test_reply_can_be_a_function_of_the_request(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """A callable sees the request; a raw body is sent as it is."""

    def rule(request: SeenRequest) -> Reply | str:
        return request.json["model"] if request.json["model"] != "raw" else Reply(raw_body=b'{"id": "raw"}', status=203)

    provider.reply_with(rule)
    assert client.chat.completions.create(model="abc", messages=ask("x")).choices[0].message.content == "abc"
    assert client.chat.completions.with_raw_response.create(model="raw", messages=ask("x")).content == b'{"id": "raw"}'


def test_usage_is_replaced_or_left_out(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    """Scripted usage arrives as given; an empty one leaves the field out."""
    given = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    provider.reply_with(Reply(text="x", usage=given), Reply(text="x", usage={}))
    first = client.chat.completions.create(model="m", messages=ask("x"))
    assert first.usage is not None
    assert first.usage.total_tokens == 11
    assert client.chat.completions.create(model="m", messages=ask("x")).usage is None


def test_wrong_key_is_refused_and_right_one_accepted() -> None:
    """With `api_key=` the provider answers 401 to every other key."""
    with LoopbackProvider(api_key="right") as provider:
        with openai.OpenAI(base_url=provider.base_url, api_key="right", max_retries=0) as client:
            assert client.models.list().data
        with openai.OpenAI(base_url=provider.base_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()


def test_azure_client_is_served() -> None:
    """Azure's paths, version query and key header work; the deployment stands for the model."""
    with LoopbackProvider(api_key="right") as provider:
        with openai.AzureOpenAI(
            azure_endpoint=provider.origin, api_key="right", api_version="2025-01-01", max_retries=0
        ) as client:
            made = client.chat.completions.create(model="my-deployment", messages=ask("x"))
            assert made.model == "my-deployment"
            assert client.responses.create(model="my-deployment", input="x").output_text == 'You wrote: "x"'
        seen = provider.requests[0]
        assert (seen.path, seen.query) == (
            "/openai/deployments/my-deployment/chat/completions",
            "api-version=2025-01-01",
        )
        assert seen.headers["api-key"] == "right"


def test_malformed_requests_get_the_providers_errors(client: openai.OpenAI) -> None:
    """A missing parameter is a 400 that names it, an unknown path a 404, a wrong method a 405."""
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.post("/chat/completions", body={"model": "m"}, cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.post("/nothing", body={}, cast_to=object)
    with pytest.raises(openai.APIStatusError) as raised:
        client.get("/embeddings", cast_to=object)
    assert raised.value.status_code == 405


@pytest.mark.asyncio
async def test_async_client_streams(provider: LoopbackProvider) -> None:
    """The async SDK gets the same answers."""
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k") as client:
        stream = await client.chat.completions.create(model="m", messages=ask("hi"), stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == 'You wrote: "hi"'


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=60), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_r_5_any_cut_of_the_body_reads_the_same(text: str, cuts: list[int]) -> None:
    """Wherever the body is cut, inside UTF-8 and inside events too, the SDK reads the same text."""

    def cut(body: bytes) -> Iterator[bytes]:
        at, turn = 0, 0
        while at < len(body):
            size = cuts[turn % len(cuts)]
            yield body[at : at + size]
            at, turn = at + size, turn + 1

    with (
        LoopbackProvider(write_chunks=cut) as provider,
        openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as client,
    ):
        provider.reply_with(text)
        plain = client.chat.completions.create(model="m", messages=ask("x")).choices[0].message.content
        chunks = client.chat.completions.create(model="m", messages=ask("x"), stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        events = list(client.responses.create(model="m", input="x", stream=True))
    assert plain == streamed == text == events[-1].response.output_text


@given(text=st.text(max_size=200))
def test_tokens_join_to_the_text(text: str) -> None:
    """No character is lost when a text is cut into tokens."""
    assert "".join(tokens_of(text)) == text


def test_chunks_must_join_to_the_text() -> None:
    """A script that says two different things is refused at once."""
    with pytest.raises(ValueError, match="join"):
        Reply(text="ab", chunks=("a", "c"))


def test_images_and_other_parts_do_not_disturb_the_echo(client: openai.OpenAI) -> None:
    """Only the text parts of a message are quoted."""
    image = {"url": "data:image/png;base64," + base64.b64encode(b"x").decode()}
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": image}]
    made = client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert made.choices[0].message.content == 'You wrote: "look"'
