"""Every kind of call of google-genai: what leaves is hidden, what comes back is whole again."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import io
import json
import warnings

import pydantic
import pytest

from safellm.google.genai import types
from safellm.testing.google_wire import signature
from safellm.testing.replies import Reply, ToolCall

MAIL = "alice@example.com"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def nothing_leaked(provider, value=MAIL):
    for one in provider.requests:
        assert value.encode() not in one.body
        assert value.encode() not in one.head
    assert provider.requests


@STREAMED
def test_value_is_hidden_and_comes_back(face, provider, stream):
    """The provider sees a placeholder, the program its own text."""
    assert face.ask(face.client(provider), f"mail {MAIL}", stream=stream) == f'You wrote: "mail {MAIL}"'
    nothing_leaked(provider)


@STREAMED
def test_system_text_tools_and_history_are_searched(face, provider, stream):
    """All texts of a request: instructions, tool descriptions, earlier turns, tool results, file parts."""
    config = types.GenerateContentConfig(
        system_instruction=f"you write for {MAIL}",
        stop_sequences=[MAIL],
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="send", description=f"to {MAIL}")])],
    )
    contents = [
        types.Content(role="user", parts=[types.Part(text=f"I am {MAIL}")]),
        types.Content(role="model", parts=[types.Part.from_function_call(name="send", args={"to": MAIL})]),
        types.Content(role="user", parts=[types.Part.from_function_response(name="send", response={"id": MAIL})]),
        types.Content(
            role="user",
            parts=[
                types.Part.from_bytes(data=f"a file of {MAIL}".encode(), mime_type="text/plain"),
                types.Part.from_uri(file_uri="https://example.com/x", mime_type="text/plain"),
                types.Part(executable_code=types.ExecutableCode(code=f"print('{MAIL}')", language="PYTHON")),
                types.Part(text="go on"),
            ],
        ),
    ]
    face.ask(face.client(provider), contents, stream=stream, config=config)
    nothing_leaked(provider)
    sent = provider.requests[-1].json
    inline = base64.b64decode(sent["contents"][3]["parts"][0]["inlineData"]["data"], b"-_")
    assert inline.startswith(b"a file of X-EMAIL-")


def test_the_account_that_a_tool_runs_as_is_sent_as_it_is(sync, provider):
    """It looks like a mail address, and is an identifier: with a placeholder the provider's tool couldn't sign in."""
    account = {"serviceAccount": "runner@shop.iam.gserviceaccount.com"}
    tool = {"retrieval": {"externalApi": {"authConfig": {"googleServiceAccountConfig": account}}}}
    config = {"http_options": {"extra_body": {"tools": [tool]}}}
    sync.ask(sync.client(provider), f"I am {MAIL}", config=config)
    nothing_leaked(provider)
    assert provider.requests[-1].json["tools"] == [tool]


def test_images_are_left_alone(face, provider):
    """Bytes that are no text arrive as they were, in the SDK's own base64."""
    data = bytes(range(256)) * 3
    face.ask(face.client(provider), [types.Part.from_bytes(data=data, mime_type="image/png"), "what is it"])
    parts = provider.requests[-1].json["contents"][0]["parts"]
    assert base64.urlsafe_b64decode(parts[0]["inlineData"]["data"]) == data


@STREAMED
def test_thoughts_and_signatures(face, provider, stream):
    """Thoughts are restored like text; a thought's signature is untouched to the byte."""
    provider.reply_with(lambda seen: Reply(text="done", reasoning=f"of {place(seen)} I think"))
    client = face.client(provider)
    models = face.of(client).models
    if stream:
        chunks = face.all(models.generate_content_stream(model="gemini-2.5-pro", contents=f"I am {MAIL}"))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
        assert base64.b64decode(signature(chunks[-1].response_id)) in [part.thought_signature for part in parts]
    else:
        answer = face.run(models.generate_content(model="gemini-2.5-pro", contents=f"I am {MAIL}"))
        parts = answer.candidates[0].content.parts
    assert "".join(part.text for part in parts if part.thought) == f"of {MAIL} I think"
    assert "".join(part.text or "" for part in parts if not part.thought) == "done"


def place(seen):
    """Return the placeholder in the last text of a request."""
    text = seen.json["contents"][-1]["parts"][-1]["text"]
    return next(word for word in text.split() if word.startswith("X-EMAIL-"))


@STREAMED
@pytest.mark.parametrize("declared", [False, True])
def test_r_7_tool_arguments_get_values_only_where_declared(face, provider, stream, declared):
    """A real value goes into a tool's argument only if the policy names that parameter."""
    arguments = lambda seen: {"to": place(seen), "deep": {"body": f"hi {place(seen)}"}, place(seen): "key"}  # noqa: E731
    provider.reply_with(lambda seen: Reply(tool_calls=(ToolCall(name="send", arguments=arguments(seen)),)))
    rules = {"redaction.restore_tool_arguments": ["send.to"]} if declared else {}
    client = face.client(provider, safellm=rules)
    config = types.GenerateContentConfig(automatic_function_calling={"disable": True})
    models = face.of(client).models
    if stream:
        chunks = face.all(models.generate_content_stream(model="g", contents=f"I am {MAIL}", config=config))
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
    else:
        calls = face.run(models.generate_content(model="g", contents=f"I am {MAIL}", config=config)).function_calls
    (call,) = calls
    assert (call.args["to"] == MAIL) is declared
    assert MAIL not in call.args["deep"]["body"]
    assert MAIL not in call.args


def test_partial_arguments_of_streams(sync, provider):
    """Arguments that come in pieces by JSON path are held together: a placeholder over two pieces is one."""

    def event(*parts, **more):
        body = {"candidates": [{"index": 0, "content": {"role": "model", "parts": list(parts)}, **more}]}
        return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"

    def piece(text):
        return {"functionCall": {"partialArgs": [{"jsonPath": "$.to", "stringValue": text}], "willContinue": True}}

    def chunks(seen):
        name = place(seen)
        first = {"functionCall": {"name": "send", "willContinue": True}}
        last = event({"functionCall": {}}, finishReason="STOP")
        return Reply(raw_body=event(first) + event(piece(name[:9])) + event(piece(name[9:])) + last)

    provider.reply_with(chunks)
    for declared in ([], ["send.to"]):
        client = sync.client(provider, safellm={"redaction.restore_tool_arguments": declared})
        url = f"{provider.origin}/v1beta/models/g:streamGenerateContent?alt=sse"
        body = {"contents": [{"role": "user", "parts": [{"text": f"I am {MAIL}"}]}]}
        answer = client._api_client._httpx_client.post(url, json=body)
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        calls = [part["functionCall"] for one in events for part in one["candidates"][0]["content"]["parts"]]
        said = "".join(one["stringValue"] for call in calls for one in call.get("partialArgs", []))
        assert said == MAIL if declared else said.startswith("X-EMAIL-")


class Person(pydantic.BaseModel):
    name: str


@STREAMED
def test_structured_output_is_parsed(face, provider, stream):
    """A value with a quotation mark comes back as JSON has to write it."""
    value = "O'Hara"
    client = face.client(provider)
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Person)
    text = face.ask(client, f"{value} is {MAIL}", stream=stream, config=config)
    assert Person.model_validate_json(text).name == f"{value} is {MAIL}"
    if not stream:
        answer = face.run(face.of(client).models.generate_content(model="g", contents=MAIL, config=config))
        assert answer.parsed == Person(name=MAIL)


def test_chat_keeps_one_placeholder_for_one_value(face, provider):
    """Turns of a chat hide a value in the same way, so the model knows it again."""
    chat = face.of(face.client(provider)).chats.create(model="gemini-2.5-flash")
    assert MAIL in face.run(chat.send_message(f"I am {MAIL}")).text
    assert MAIL in face.run(chat.send_message(f"who is {MAIL} now")).text
    chunks = face.all(chat.send_message_stream(f"and {MAIL} too"))
    assert MAIL in "".join(chunk.text or "" for chunk in chunks)
    texts = [
        part["text"] for turn in provider.requests[-1].json["contents"] for part in turn["parts"] if "text" in part
    ]
    assert len({word.strip('"?') for text in texts for word in text.split() if "X-EMAIL" in word}) == 1
    nothing_leaked(provider)


def test_files_are_searched_and_named(face, provider, tmp_path):
    """A text file is redacted, its name too, and the length that was announced is not sent; an image stays as it is."""
    path = tmp_path / f"{MAIL}.txt"
    path.write_text(f"mail {MAIL}\n" * 3)
    files = face.of(face.client(provider)).files
    made = face.run(files.upload(file=str(path), config={"display_name": MAIL}))
    nothing_leaked(provider)
    assert provider.requests[-1].body.count(b"X-EMAIL-") == 3
    assert "x-goog-upload-header-content-length" not in provider.requests[0].headers
    assert face.run(files.get(name=made.name)).name == made.name
    picture = bytes(range(256)) * 9
    face.run(files.upload(file=io.BytesIO(picture), config={"mime_type": "image/png"}))
    start, sent = provider.requests[-2:]
    assert sent.body == picture
    assert start.headers["x-goog-upload-header-content-length"] == str(len(picture))


def test_text_file_in_pieces_is_refused(sync, provider, monkeypatch):
    """A secret over the border of two pieces would be seen by nobody; an image may come in pieces."""
    import safellm
    from google.genai import _api_client

    monkeypatch.setattr(_api_client, "CHUNK_SIZE", 1000)
    files = sync.client(provider).files
    with pytest.raises(safellm.Refused) as caught:
        files.upload(file=io.BytesIO("grüße ".encode() * 300), config={"mime_type": "application/octet-stream"})
    assert caught.value.reason == "mediation.unsupported"
    assert b"gr" not in b"".join(
        one.body for one in provider.requests if "start" not in one.headers.get("x-goog-upload-command", "")
    )
    picture = bytes(range(256)) * 9
    files.upload(file=io.BytesIO(picture), config={"mime_type": "image/png"})
    assert b"".join(one.body for one in provider.requests[-3:]) == picture


def test_caches_share_their_conversation(face, provider):
    """What was hidden in a cache comes back in an answer of a call that refers to it."""
    client = face.client(provider)
    cache = face.run(face.of(client).caches.create(model="gemini-2.5-flash", config={"contents": [f"I am {MAIL}"]}))
    hidden = place(provider.requests[-1])
    provider.reply_with(f"you are {hidden}")
    assert face.ask(client, "who am I", config={"cached_content": cache.name}) == f"you are {MAIL}"
    nothing_leaked(provider)


@STREAMED
def test_interactions(face, provider, stream):
    """The newer half of the SDK uses the same clients; a later turn names the earlier one."""
    client = face.client(provider)
    interactions = getattr(face.of(client), "interactions", None)
    if interactions is None:
        pytest.skip("this SDK has no interactions")
    made = face.run(interactions.create(model="gemini-2.5-flash", input=f"I am {MAIL}", stream=stream))
    if stream:
        events = face.all(made)
        said = "".join(getattr(event.delta, "text", "") for event in events if hasattr(event, "delta"))
        name = next(event.interaction.id for event in events if hasattr(event, "interaction"))
    else:
        said, name = made.output_text, made.id
    assert said == f'You wrote: "I am {MAIL}"'
    hidden = next(word.strip('"') for word in provider.requests[-1].json["input"].split() if "X-EMAIL" in word)
    provider.reply_with(f"you are {hidden}")
    again = face.run(interactions.create(model="g", input="who am I", previous_interaction_id=name))
    assert again.output_text == f"you are {MAIL}"
    nothing_leaked(provider)


def test_other_methods_are_searched(face, provider):
    """Counting, embedding, batches, tuning."""
    client = face.of(face.client(provider))
    face.run(client.models.count_tokens(model="gemini-2.5-flash", contents=MAIL))
    face.run(client.models.embed_content(model="gemini-embedding-001", contents=[MAIL, "b"]))
    request = {"contents": [{"parts": [{"text": MAIL}], "role": "user"}]}
    face.run(client.batches.create(model="gemini-2.5-flash", src=[request], config={"display_name": f"of {MAIL}"}))
    data = {"examples": [{"text_input": MAIL, "output": MAIL}]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK calls its tuning experimental
        face.run(client.tunings.tune(base_model="models/gemini-1.5-flash", training_dataset=data))
    nothing_leaked(provider)
    assert len(provider.requests) >= 4


def test_answers_are_cleaned(face, provider):
    """Hidden characters and terminal controls of an answer don't reach the program."""
    provider.reply_with("a\u200bb\x1b[31mc\U000e0041")
    client = face.client(provider)
    plain = face.ask(client)
    assert plain == face.ask(client, stream=True)
    assert "\u200b" not in plain
    assert "\x1b" not in plain


def test_e_10_async_stays_on_the_guarded_client(provider, monkeypatch):
    """With aiohttp installed, the SDK would send async calls past any HTTP client: here none is made."""
    aiohttp = pytest.importorskip("aiohttp")
    from safellm.google import genai

    def refuse(*_, **__):
        raise AssertionError("a session of aiohttp was made")

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", refuse)
    client = genai.Client(api_key="k", http_options={"base_url": provider.origin})

    async def main():
        answer = await client.aio.models.generate_content(model="g", contents=MAIL)
        async for _ in await client.aio.models.generate_content_stream(model="g", contents=MAIL):
            pass
        await client.aio.files.upload(file=io.BytesIO(MAIL.encode()), config={"mime_type": "text/plain"})
        await client.aio.aclose()
        return answer.text

    assert asyncio.run(main()) == f'You wrote: "{MAIL}"'
    nothing_leaked(provider)
    client.close()


def test_client_is_used_from_many_loops(provider):
    """A program that runs a loop for each request keeps its client, as with the plain SDK."""
    from safellm.google import genai

    client = genai.Client(api_key="k", http_options={"base_url": provider.origin})

    async def ask():
        answer = await client.aio.models.generate_content(model="g", contents=MAIL)
        await client._api_client._async_httpx_client._transport.aclose()
        return answer.text

    assert {asyncio.run(ask()) for _ in range(3)} == {f'You wrote: "{MAIL}"'}
    client.close()


def test_client_that_is_dropped_leaves_its_parts_working(provider):
    """`Client(...).models` works on its own; the plain SDK closes the connections under its feet."""
    from safellm.google import genai

    models = genai.Client(api_key="k", http_options={"base_url": provider.origin}).models
    assert models.generate_content(model="g", contents="hi").text == 'You wrote: "hi"'
