"""llama-index on guarded clients, on the SDK's older HTTP library."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

import openai
from safellm.testing.replies import Reply, ToolCall


class Notice(BaseModel):
    """A notice."""

    mail: str
    card: str


@pytest.fixture(params=[OpenAI, OpenAIResponses], ids=["chat", "responses"])
def kind(request):
    return request.param


def model(bench, kind=OpenAI, *, settings=None, **options):
    clients = {
        "openai_client": bench.client(**(settings or {})),
        "async_openai_client": bench.client("AsyncOpenAI", **(settings or {})),
    }
    return kind(model="gpt-4o-mini", **clients, **options)


def test_llama_index_page(bench):
    """The code of the page runs, and gets the real values."""
    assert bench.page("llama-index")["answer"].text == bench.echoed
    bench.check(1)


def test_llama_index_plain_and_streamed(bench, kind):
    """Plain and streamed answers hold the real values."""
    llm = model(bench, kind)
    assert llm.complete(bench.said).text == bench.echoed
    assert llm.chat([ChatMessage(role="user", content=bench.said)]).message.content == bench.echoed
    assert "".join(part.delta or "" for part in llm.stream_complete(bench.said)) == bench.echoed
    bench.check(3)


async def test_llama_index_async(bench, kind):
    """The async methods work the same."""
    llm = model(bench, kind)
    assert (await llm.acomplete(bench.said)).text == bench.echoed
    parts = await llm.astream_complete(bench.said)
    assert "".join([part.delta or "" async for part in parts]) == bench.echoed
    bench.check(2)


def test_llama_index_typed_answers(bench):
    """A structured answer with a JSON schema is restored."""
    typed = model(bench).as_structured_llm(Notice)
    assert typed.complete(bench.said).raw == Notice(mail=bench.said, card=bench.said)
    bench.check(1)


def test_llama_index_tool_calls(bench, kind):
    """A declared tool parameter gets the real value, another one keeps the placeholder."""

    def send_mail(to: str, text: str) -> str:
        """Send a mail."""
        return f"sent to {to}"

    def reply(seen):
        mail, card = bench.hidden(seen)
        return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": mail, "text": card}),))

    bench.provider.reply_with(reply)
    llm = model(bench, kind, settings={"redaction": {"restore_tool_arguments": ["send_mail.to"]}})
    answer = llm.predict_and_call([FunctionTool.from_defaults(send_mail)], bench.said)
    assert answer.response == f"sent to {bench.mail}"
    (output,) = answer.sources
    assert output.raw_input["kwargs"] == {"to": bench.mail, "text": bench.hidden(bench.provider.requests[0])[1]}
    bench.check(1)


async def test_llama_index_refusal(bench, kind):
    """A refusal comes through with its cause; llama-index's own retries end, and none of them sends anything."""
    llm = model(bench, kind, settings={"budget": bench.one_request}, max_retries=2)
    llm.complete(bench.said)
    with bench.refused():
        llm.complete(bench.said)
    bench.check(1)


async def test_llama_index_refusal_without_retries(bench, kind):
    """With `max_retries=0` a refusal comes through at once."""
    llm = model(bench, kind, settings={"budget": bench.one_request}, max_retries=0)
    llm.complete(bench.said)
    with bench.refused():
        llm.complete(bench.said)
    with bench.refused():
        await llm.acomplete(bench.said)
    bench.check(1)


def test_llama_index_makes_the_client_that_it_is_not_given(bench, monkeypatch):
    """A client that isn't given is made by llama-index, without a guard: the page says to give both."""
    monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
    half = OpenAI(model="gpt-4o-mini", openai_client=bench.client())
    assert type(half._get_aclient()) is openai.AsyncOpenAI
    assert type(model(bench, reuse_client=False)._get_client()) is openai.OpenAI
