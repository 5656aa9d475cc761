"""openai-agents on a guarded client: runs, streams, tools, typed answers, and the traces that go past every client."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import agents
import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents.models import _openai_shared
from agents.tracing import set_trace_processors, set_tracing_disabled
from agents.tracing.processors import BackendSpanExporter, BatchTraceProcessor
from pydantic import BaseModel

from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply, ToolCall


class Notice(BaseModel):
    mail: str
    card: str


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch):
    """Settings of the framework that hold for the whole process; put back after each test."""
    set_tracing_disabled(True)
    set_trace_processors([])
    monkeypatch.setattr(_openai_shared, "_default_openai_client", None)
    yield
    set_tracing_disabled(True)
    set_trace_processors([])


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel], ids=["responses", "chat"])
def kind(request):
    return request.param


def clerk(bench, kind, *, settings=None, **options):
    client = bench.client("AsyncOpenAI", **(settings or {}))
    return Agent(name="clerk", model=kind("gpt-4o-mini", openai_client=client), **options)


@pytest.fixture
def mailbox():
    return []


@pytest.fixture
def send_mail(mailbox):
    @function_tool
    def send_mail(to: str, text: str) -> str:
        """Send a mail."""
        mailbox.append((to, text))
        return f"sent to {to}"

    return send_mail


def calling(bench):
    """Return a script: first the tool is called with both placeholders, then its result is confirmed."""

    def reply(seen):
        mail, card = bench.hidden(seen)
        if b"sent to" in seen.body:
            return f"Done: {mail}"
        return Reply(tool_calls=(ToolCall(name="send_mail", arguments={"to": mail, "text": card}),))

    return reply


def test_agents_page(bench):
    """The code of the page runs: its tool gets the real address and hidden card, and its answer is restored."""
    bench.provider.reply_with(calling(bench))
    names = bench.page("openai-agents")
    assert names["result"].final_output == f"Done: {bench.mail}"
    bench.check(2)


async def test_agents_plain(bench, kind):
    """A run's final output holds the real values."""
    assert (await Runner.run(clerk(bench, kind), bench.said)).final_output == bench.echoed
    bench.check(1)


async def test_agents_streamed(bench, kind):
    """Deltas and final output hold the real values."""
    run = Runner.run_streamed(clerk(bench, kind), bench.said)
    raw = [event.data async for event in run.stream_events() if event.type == "raw_response_event"]
    assert "".join(one.delta for one in raw if one.type == "response.output_text.delta") == bench.echoed
    assert run.final_output == bench.echoed
    bench.check(1)


async def test_agents_typed_output(bench, kind):
    """`output_type` uses a JSON schema, whose text is restored."""
    run = await Runner.run(clerk(bench, kind, output_type=Notice), bench.said)
    assert run.final_output == Notice(mail=bench.said, card=bench.said)
    bench.check(1)


async def test_agents_tool(bench, kind, send_mail, mailbox):
    """A declared tool parameter gets the real value, another one keeps the placeholder; the tool's result leaves hidden."""
    bench.provider.reply_with(calling(bench))
    settings = {"redaction": {"restore_tool_arguments": ["send_mail.to"]}}
    run = await Runner.run(clerk(bench, kind, settings=settings, tools=[send_mail]), bench.said)
    assert mailbox == [(bench.mail, bench.hidden(bench.provider.requests[0])[1])]
    assert run.final_output == f"Done: {bench.mail}"
    bench.check(2)


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_agents_stop_at_a_refusal(bench, kind, send_mail, mailbox, streamed):
    """A refusal in the second turn ends the run with its cause, and nothing is sent again."""
    bench.provider.reply_with(calling(bench))
    agent = clerk(bench, kind, settings={"budget": bench.one_request}, tools=[send_mail])
    with bench.refused():
        if streamed:
            async for _ in Runner.run_streamed(agent, bench.said).stream_events():
                pass
        else:
            await Runner.run(agent, bench.said)
    assert len(mailbox) == 1
    bench.check(1)


async def test_agents_default_client_serves_models_given_by_name(bench):
    """With `set_default_openai_client`, agents that name their model go through the guard as well."""
    agents.set_default_openai_client(bench.client("AsyncOpenAI"), use_for_tracing=False)
    run = await Runner.run(Agent(name="clerk", model="gpt-4o-mini"), bench.said)
    assert run.final_output == bench.echoed
    bench.check(1)


@pytest.mark.parametrize("disabled", [True, False], ids=["disabled", "left on"])
async def test_agents_traces_go_past_the_client(bench, kind, send_mail, disabled):
    """The exporter of traces sends real values in clear over its own connection; only switching it off stops that."""
    bench.provider.reply_with(calling(bench))
    settings = {"redaction": {"restore_tool_arguments": ["send_mail.to"]}}
    with LoopbackProvider() as collector:  # stands in the place of the exporter's own address
        exporter = BackendSpanExporter(api_key="any", endpoint=f"{collector.origin}/traces", max_retries=1)
        processor = BatchTraceProcessor(exporter)
        set_trace_processors([processor])
        set_tracing_disabled(disabled)
        await Runner.run(clerk(bench, kind, settings=settings, tools=[send_mail]), bench.said)
        processor.force_flush()
        processor.shutdown()
        exporter.close()
        exported = b"".join(seen.body for seen in collector.requests)
    assert bool(exported) is not disabled
    assert (bench.mail.encode() in exported) is not disabled
    prompts = not disabled and kind is OpenAIChatCompletionsModel  # with responses, the traces only name them
    assert (bench.card.encode() in exported) is prompts
    bench.check(2)
