"""Guards that answer in the provider's place: nothing is sent or charged, and the SDK gets what it would have got."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm import plugins
from safellm.openai import AsyncOpenAI, OpenAI
from safellm.plugins import Answer, AnswerView, Change, Refuse, RequestView
from safellm.stores.plugged import found
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply, ToolCall

KEY = "sk-" + "proj-" + "A1b2" * 10


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Each test offers its own."""
    monkeypatch.setattr(found, "_registered", {})


class Canned:
    """Answers everything itself."""

    def __init__(self, text: str = "Ask me about invoices.", when: str = "") -> None:
        self.text, self.when = text, when

    def on_request(self, request: RequestView) -> Answer | None:
        return Answer(self.text) if any(self.when in one.text for one in request.texts) else None


class Remembers:
    """The exact cache of the documentation, with what it saw."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.told = 0
        self.seen: list[RequestView] = []

    def on_request(self, request: RequestView) -> None:
        return None

    def on_sending(self, request: RequestView) -> Answer | None:
        self.seen.append(request)
        known = self.kept.get((request.user, request.digest))
        return None if known is None or not request.answerable else Answer(known)

    def on_done(self, answer: AnswerView) -> None:
        assert answer.request is not None
        self.told += 1
        self.kept[answer.request.user, answer.request.digest] = answer.texts[0].text


def client(provider: LoopbackProvider, *guards: Any, **settings: Any) -> OpenAI:
    names = [f"guard{number}" for number, _ in enumerate(guards)]
    for name, guard in zip(names, guards, strict=True):
        plugins.register(name, lambda guard=guard: guard)
    return OpenAI(base_url=provider.base_url, api_key="any", max_retries=0, safellm={"plugins": names, **settings})


def chat(made: OpenAI, text: str = "Hello", **options: Any) -> Any:
    return made.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": text}], **options)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_a_guard_reaches_the_program(provider: LoopbackProvider, api: str, *, stream: bool) -> None:
    """In the SDK's shape, streamed or not, with a usage of nothing; the provider sees no byte."""
    with client(provider, Canned("Ask *me* 日本語.")) as made:
        if api == "chat":
            answer = chat(made, stream=stream)
            if stream:
                chunks = list(answer)
                assert "".join(one.choices[0].delta.content or "" for one in chunks) == "Ask *me* 日本語."
                assert chunks[-1].choices[0].finish_reason == "stop"
            else:
                assert answer.choices[0].message.content == "Ask *me* 日本語."
                assert answer.usage.total_tokens == 0
        elif stream:
            with made.responses.stream(model="gpt-5-mini", input="Hello") as events:
                assert events.get_final_response().output_text == "Ask *me* 日本語."
        else:
            answer = made.responses.create(model="gpt-5-mini", input="Hello")
            assert (answer.output_text, answer.status, answer.usage.total_tokens) == (
                "Ask *me* 日本語.",
                "completed",
                0,
            )
    assert provider.requests == []


async def test_an_answer_of_a_guard_reaches_an_async_program(provider: LoopbackProvider) -> None:
    """The same, on an event loop."""
    plugins.register("canned", Canned)
    async with AsyncOpenAI(base_url=provider.base_url, api_key="any", safellm={"plugins": ["canned"]}) as made:
        messages: Any = [{"role": "user", "content": "Hello"}]
        answer = await made.chat.completions.create(model="gpt-5-mini", messages=messages)
        assert answer.choices[0].message.content == "Ask me about invoices."
        stream = await made.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True)
        texts = [one.choices[0].delta.content or "" async for one in stream]
    assert "".join(texts) == "Ask me about invoices."
    assert provider.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_a_guard_reaches_anthropic_s_and_google_s_sdks(stream: bool) -> None:
    """Messages and generated content, streamed or not."""
    anthropic = pytest.importorskip("safellm.anthropic")
    genai = pytest.importorskip("safellm.google.genai")
    plugins.register("canned", Canned)
    with anthropic.Anthropic(api_key="any", base_url="http://127.0.0.1:9", safellm={"plugins": ["canned"]}) as made:
        asked: Any = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
        if stream:
            with made.messages.stream(**asked) as events:
                assert events.get_final_text() == "Ask me about invoices."
        else:
            answer = made.messages.create(**asked)
            assert (answer.content[0].text, answer.usage.input_tokens) == ("Ask me about invoices.", 0)
    options = {"base_url": "http://127.0.0.1:9"}
    with genai.Client(api_key="any", http_options=options, safellm={"plugins": ["canned"]}) as made:
        if stream:
            pieces = made.models.generate_content_stream(model="gemini-3-flash", contents="Hello")
            assert "".join(one.text or "" for one in pieces) == "Ask me about invoices."
        else:
            assert (
                made.models.generate_content(model="gemini-3-flash", contents="Hello").text == "Ask me about invoices."
            )


def test_an_answer_of_a_guard_costs_nothing_and_is_recorded(provider: LoopbackProvider, home: Path) -> None:
    """No limit is touched, even a full one, and the trail says who answered."""
    limits = [{"requests": 1, "window": "total"}]
    with client(provider, Canned(when="invoice"), budget={"limits": limits}) as made:
        chat(made, "Hello")
        chat(made, "My invoice, please.")
        with pytest.raises(safellm.Refused):
            chat(made, "Hello again")
    assert len(provider.requests) == 1
    [trail] = home.rglob("*.jsonl")
    told = [json.loads(line) for line in trail.read_text("utf-8").splitlines()]
    named = [(one["event.name"], one.get("safellm.answered_by")) for one in told]
    assert named[2:4] == [("call.intent", "plugin:guard0"), ("call.outcome", "plugin:guard0")]
    assert "safellm.budget.charged" not in told[3]


def test_a_later_guard_may_still_refuse(provider: LoopbackProvider) -> None:
    """An answer is no permission: every guard of the policy is asked."""

    class No:
        def on_request(self, request: RequestView) -> Refuse:
            return Refuse("No")

    with client(provider, Canned(), No()) as made, pytest.raises(safellm.Refused, match="No"):
        chat(made)


def test_answers_of_guards_pass_the_guards_of_answers(provider: LoopbackProvider) -> None:
    """Terminal controls are taken out, and a guard of answers is asked about it too."""

    class Loud:
        def on_request(self, request: RequestView) -> None:
            return None

        def on_answer(self, answer: AnswerView) -> Change:
            return Change({0: answer.texts[0].text.upper()})

    with client(provider, Canned("a\x1b[31m b"), Loud()) as made:
        assert "\x1b" not in (text := chat(made).choices[0].message.content)
        assert text.startswith("A")


@pytest.mark.parametrize(
    "options", [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}, {"store": True}], ids=str
)
def test_what_a_text_can_not_answer_is_refused(provider: LoopbackProvider, options: dict[str, Any]) -> None:
    """It isn't sent in spite of the guard, and the guard could have known."""
    with client(provider, Canned()) as made, pytest.raises(safellm.GuardFailure, match="only the provider can answer"):
        chat(made, **options)
    assert provider.requests == []


def test_a_response_that_the_provider_does_not_know_can_not_be_continued(provider: LoopbackProvider) -> None:
    """The error says to send the conversation itself."""
    with client(provider, Canned(when="invoice")) as made:
        first = made.responses.create(model="gpt-5-mini", input="invoice")
        with pytest.raises(safellm.Refused, match="previous_response_id"):
            made.responses.create(model="gpt-5-mini", input="And?", previous_response_id=first.id)
    assert provider.requests == []


def test_in_observe_mode_nothing_is_answered(provider: LoopbackProvider) -> None:
    """The provider answers, as without the guard."""
    with client(provider, Canned(), mode="observe") as made:
        assert "invoices" not in chat(made).choices[0].message.content
    assert len(provider.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_cache_answers_the_same_question_of_the_same_person(provider: LoopbackProvider, *, stream: bool) -> None:
    """Asked once; another person, model or setting asks anew; it sees placeholders and no secret."""
    cache = Remembers()

    def ask(text: str, **options: Any) -> str:
        answer = chat(made, text, stream=stream, **options)
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join(one.choices[0].delta.content or "" for one in answer if one.choices)

    with client(provider, cache) as made:
        first = ask("What is 1+1?")
        assert ask("What is 1+1?") == first
        assert len(provider.requests) == 1
        with safellm.labels(user="somebody"):
            assert ask("What is 1+1?") == first
        assert len(provider.requests) == 2
        ask("What is 1+1?", temperature=1)
        ask(f"What is {KEY}?")
    assert len(provider.requests) == 4 == cache.told  # of its own answer it isn't told
    assert KEY not in repr([[one.text for one in view.texts] for view in cache.seen])
    users = {view.user for view in cache.seen}
    assert "somebody" in users
    assert len(users) == 2  # the other one is the system's
    around = {view.digest_around for view in cache.seen if view.user != "somebody"}
    assert len(around) == 2  # the questions differ in nothing else, but for the one with another setting


def test_a_cache_is_not_told_of_what_is_no_plain_text(provider: LoopbackProvider) -> None:
    """Tool calls, cut answers and errors aren't answers to keep."""
    cache = Remembers()
    with client(provider, cache) as made:
        provider.reply_with(Reply(text="half", finish_reason="length"))
        chat(made, "one")
        provider.reply_with(Reply(tool_calls=(ToolCall(name="f", arguments={}),)))
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        chat(made, "two", tools=[tool])
        provider.reply_with(Reply(text="might have called it"))
        chat(made, "two", tools=[tool])
        assert cache.kept == {}
        provider.reply_with(Reply(text="whole"))
        chat(made, "three")
    assert list(cache.kept.values()) == ["whole"]


def test_a_guard_that_breaks_when_it_is_told_is_the_call_s_error(provider: LoopbackProvider) -> None:
    """An asynchronous or broken `on_done` is noticed."""

    class Bad(Remembers):
        def on_done(self, answer: AnswerView) -> None:
            raise RuntimeError(answer.texts[0].text)

    with client(provider, Bad()) as made, pytest.raises(safellm.GuardFailure, match="broke") as caught:
        chat(made)
    assert "Hello" not in str(caught.value)
