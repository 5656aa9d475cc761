"""langchain-openai on guarded clients: chat, streams, tools, typed answers, embeddings."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

import openai
from safellm.testing.replies import Reply, ToolCall


class Notice(BaseModel):
    """A notice."""

    mail: str
    card: str


@tool
def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def responses(request):
    """Which of OpenAI's two interfaces LangChain uses."""
    return request.param


def model(bench, responses=False, **settings):
    sync, asynchronous = bench.client(**settings), bench.client("AsyncOpenAI", **settings)
    return ChatOpenAI(
        model="gpt-4o-mini",
        client=sync.chat.completions,
        root_client=sync,
        async_client=asynchronous.chat.completions,
        root_async_client=asynchronous,
        use_responses_api=responses,
    )


def test_langchain_page(bench):
    """The code of the page runs, and gets the real values."""
    assert bench.page("LangChain")["answer"].text == bench.echoed
    bench.check(1)


def test_langchain_plain_and_streamed(bench, responses):
    """Plain and streamed answers hold the real values."""
    chat = model(bench, responses)
    assert chat.invoke(bench.said).text == bench.echoed
    assert "".join(part.text for part in chat.stream(bench.said)) == bench.echoed
    bench.check(2)


async def test_langchain_async(bench, responses):
    """The async methods work the same."""
    chat = model(bench, responses)
    assert (await chat.ainvoke(bench.said)).text == bench.echoed
    assert "".join([part.text async for part in chat.astream(bench.said)]) == bench.echoed
    bench.check(2)


async def test_langchain_typed_answers(bench, responses):
    """`with_structured_output` uses a JSON schema, whose text is restored."""
    typed = model(bench, responses).with_structured_output(Notice)
    wanted = Notice(mail=bench.said, card=bench.said)
    assert typed.invoke(bench.said) == wanted
    assert await typed.ainvoke(bench.said) == wanted
    bench.check(2)


def test_langchain_tool_calls(bench, responses):
    """A declared tool parameter gets the real value, another one keeps the placeholder; the tool's result leaves hidden."""

    def reply(seen):
        mail, card = bench.hidden(seen)
        if b"sent to" in seen.body:
            return f"Done: {mail}"
        return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": mail, "text": card}),))

    bench.provider.reply_with(reply)
    chat = model(bench, responses, redaction={"restore_tool_arguments": ["send_mail.to"]}).bind_tools([send_mail])
    asked = chat.invoke(bench.said)
    (call,) = asked.tool_calls
    assert call["args"] == {"to": bench.mail, "text": bench.hidden(bench.provider.requests[0])[1]}
    result = send_mail.invoke(call)
    assert result.content == f"sent to {bench.mail}"
    said = {"role": "user", "content": bench.said}
    assert chat.invoke([said, asked, result]).text == f"Done: {bench.mail}"
    bench.check(2)


async def test_langchain_does_not_retry_a_refusal(bench, responses):
    """A refusal comes through with its cause, and nothing is sent again."""
    chat = model(bench, responses, budget=bench.one_request)
    chat.invoke(bench.said)
    with bench.refused():
        chat.invoke(bench.said)
    with bench.refused():
        list(chat.stream(bench.said))
    with bench.refused():
        await chat.ainvoke(bench.said)
    bench.check(1)


async def test_langchain_embeddings(bench):
    """Embeddings are guarded when LangChain is told to send text."""
    sync, asynchronous = bench.client(), bench.client("AsyncOpenAI")
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        client=sync.embeddings,
        async_client=asynchronous.embeddings,
        check_embedding_ctx_length=False,
    )
    assert embeddings.embed_query(bench.said)
    assert await embeddings.aembed_documents([bench.said])
    bench.check(2)


def test_langchain_embeddings_as_tokens_need_the_network(bench, watch, monkeypatch, tmp_path):
    """By default LangChain sends numbers instead of text, and fetches the vocabulary for that first."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    sync = bench.client()
    embeddings = OpenAIEmbeddings(model="text-embedding-3-small", client=sync.embeddings, async_client=sync.embeddings)
    with pytest.raises(OSError, match="openaipublic"):
        embeddings.embed_query(bench.said)
    assert set(watch.stopped) == {"openaipublic.blob.core.windows.net"}
    watch.stopped.clear()
    bench.check(0)


def test_langchain_makes_the_client_that_it_is_not_given(bench, monkeypatch):
    """With the sync client alone, the async methods go through a plain client of LangChain's: the page says to give both."""
    monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
    sync = bench.client()
    half = ChatOpenAI(model="gpt-4o-mini", client=sync.chat.completions, root_client=sync)
    assert half.root_client is sync
    assert type(half.root_async_client) is openai.AsyncOpenAI
