"""pydantic-ai on a guarded client: runs, streams, tools, typed answers."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from safellm.testing.replies import Reply, ToolCall


class Notice(BaseModel):
    mail: str
    card: str


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def kind(request):
    return request.param


def model(bench, kind, **settings):
    return kind("gpt-4o-mini", provider=OpenAIProvider(openai_client=bench.client("AsyncOpenAI", **settings)))


def test_pydantic_ai_page(bench):
    """The code of the page runs, and gets the real values."""
    assert bench.page("pydantic-ai")["result"].output.mail == bench.said
    bench.check(1)


async def test_pydantic_ai_plain_and_streamed(bench, kind):
    """Plain and streamed answers hold the real values."""
    agent = Agent(model(bench, kind))
    assert (await agent.run(bench.said)).output == bench.echoed
    async with agent.run_stream(bench.said) as run:
        assert "".join([part async for part in run.stream_text(delta=True, debounce_by=None)]) == bench.echoed
    bench.check(2)


async def test_pydantic_ai_native_output(bench, kind):
    """`NativeOutput` uses a JSON schema, whose text is restored."""
    run = await Agent(model(bench, kind), output_type=NativeOutput(Notice)).run(bench.said)
    assert run.output == Notice(mail=bench.said, card=bench.said)
    bench.check(1)


@pytest.mark.parametrize(("declared", "shown"), [([], False), (["final_result.*"], True)])
async def test_pydantic_ai_output_type_needs_a_declaration(bench, kind, declared, shown):
    """A plain `output_type` comes as a call of the tool `final_result`: placeholders, until it is declared."""
    settings = {"redaction": {"restore_tool_arguments": declared}}
    run = await Agent(model(bench, kind, **settings), output_type=Notice).run(bench.said)
    assert (run.output.mail == bench.said) is shown
    assert ("X-EMAIL-" in run.output.mail) is not shown
    bench.check(1)


async def test_pydantic_ai_tool(bench, kind):
    """A declared tool parameter gets the real value, another one keeps the placeholder; the tool's result leaves hidden."""
    sent = []
    settings = {"redaction": {"restore_tool_arguments": ["send_mail.to"]}}
    agent = Agent(model(bench, kind, **settings))

    @agent.tool_plain
    def send_mail(to: str, text: str) -> str:
        """Send a mail."""
        sent.append((to, text))
        return f"sent to {to}"

    def reply(seen):
        mail, card = bench.hidden(seen)
        if b"sent to" in seen.body:
            return f"Done: {mail}"
        return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": mail, "text": card}),))

    bench.provider.reply_with(reply)
    assert (await agent.run(bench.said)).output == f"Done: {bench.mail}"
    assert sent == [(bench.mail, bench.hidden(bench.provider.requests[0])[1])]
    bench.check(2)


async def test_pydantic_ai_does_not_retry_a_refusal(bench, kind):
    """A refusal comes through with its cause, and nothing is sent again."""
    agent = Agent(model(bench, kind, budget=bench.one_request))
    await agent.run(bench.said)
    with bench.refused():
        await agent.run(bench.said)
    with bench.refused():
        async with agent.run_stream(bench.said):
            pass
    bench.check(1)


async def test_pydantic_ai_fallback_goes_on_after_a_refusal(bench, kind):
    """A `FallbackModel` takes a refusal for an outage and asks its next model, which needs a guarded client of its own."""
    agent = Agent(FallbackModel(model(bench, kind, budget=bench.one_request), model(bench, kind)))
    for _ in range(2):
        assert (await agent.run(bench.said)).output == bench.echoed
    bench.check(2)
