"""`response.safellm`: on what each SDK returns, exact about the call, without a trace on the response itself."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm.anthropic import Anthropic, AsyncAnthropic
from safellm.google import genai
from safellm.testing import LoopbackProvider

SECRET_ONE, SECRET_TWO = "alice@example.com", "bob@example.org"
CODE = "```python\nimport made_up_thing\n```\nhttps://new.example/y https://old.example/x"
ASKED = f"Who is {SECRET_ONE}? See https://old.example/x"


@pytest.fixture(autouse=True)
def _clean(nothing_left: None) -> None:
    """Clients and sockets are closed."""


@pytest.fixture
def provider(home: Path) -> Iterator[LoopbackProvider]:
    """A provider, and a folder of its own for the trail."""
    with LoopbackProvider() as made:
        yield made


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[safellm.OpenAI]:
    """A guarded client."""
    with openai(provider) as made:
        yield made


def placeholders(seen: Any) -> list[str]:
    """Return what stands for values in a request."""
    return re.findall(r"X-EMAIL-[0-9A-Z]{16}", json.dumps(seen.json))


def asked_twice(client: Any, ask: Any, *, streams: bool) -> list[tuple[Any, list[Any]]]:
    """Return what two calls gave, each with its chunks; the client is closed then."""
    with closing(client):
        answers = [ask(client) for _ in range(2)]
        return [(one, list(one) if streams else [one]) for one in answers]


async def asked_twice_async(client: Any, ask: Any, *, streams: bool) -> list[tuple[Any, list[Any]]]:
    try:
        answers = [await ask(client) for _ in range(2)]
        return [(one, [chunk async for chunk in one] if streams else [one]) for one in answers]
    finally:
        await (client.aclose() if hasattr(client, "aclose") else client.close())


OPENAI: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": ASKED}]}
CLAUDE = OPENAI | {"model": "claude-sonnet-5-5", "max_tokens": 99}
GEMINI: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": ASKED}
KEYED = {"api_key": "x"}


def openai(provider: LoopbackProvider, *, is_async: bool = False) -> Any:
    return (safellm.AsyncOpenAI if is_async else safellm.OpenAI)(base_url=provider.base_url, **KEYED)


def claude(provider: LoopbackProvider, *, is_async: bool = False) -> Any:
    return (AsyncAnthropic if is_async else Anthropic)(base_url=provider.origin, **KEYED)


def gemini(provider: LoopbackProvider, *, is_async: bool = False) -> Any:
    client = genai.Client(http_options={"base_url": provider.origin}, **KEYED)
    return client.aio if is_async else client


CALLS = {
    "chat": (openai, lambda c: c.chat.completions.create(**OPENAI)),
    "responses": (openai, lambda c: c.responses.create(model="gpt-4o", input=ASKED)),
    "raw": (openai, lambda c: c.chat.completions.with_raw_response.create(**OPENAI)),
    "stream": (openai, lambda c: c.chat.completions.create(stream=True, **OPENAI)),
    "responses stream": (openai, lambda c: c.responses.create(model="gpt-4o", input=ASKED, stream=True)),
    "claude": (claude, lambda c: c.messages.create(**CLAUDE)),
    "claude raw": (claude, lambda c: c.messages.with_raw_response.create(**CLAUDE)),
    "claude stream": (claude, lambda c: c.messages.create(stream=True, **CLAUDE)),
    "gemini": (gemini, lambda c: c.models.generate_content(**GEMINI)),
    "gemini stream": (gemini, lambda c: c.models.generate_content_stream(**GEMINI)),
}


@pytest.mark.parametrize(
    ("shape", "is_async"),
    [
        *((shape, False) for shape in CALLS),
        *((shape, True) for shape in CALLS if shape in ("chat", "raw") or "stream" in shape),
    ],
)
def test_response_tells_its_own_call_when_it_is_asked(provider: LoopbackProvider, shape: str, is_async: bool) -> None:
    """What was hidden and where what came back had stood, packages and addresses; for each SDK, raw, streamed, async."""
    make, ask = CALLS[shape]
    client = make(provider, is_async=is_async)
    # First nothing of what was hidden comes back, then its placeholder does.
    provider.reply_with(f"Nobody.\n{CODE}", lambda seen: f"{placeholders(seen)[0]}\n{CODE}")
    streams = "stream" in shape
    twice = asked_twice_async if is_async else asked_twice
    answers = twice(client, ask, streams=streams)
    for restored, (stream, chunks) in enumerate(asyncio.run(answers) if is_async else answers):
        last = chunks[-1]
        told = getattr(last, "response", last).safellm if "stream" in shape else last.safellm
        if "claude stream" in shape:
            told = stream.safellm
        assert told.recorded, shape
        assert told.hidden == {"EMAIL": 1}
        times = told.restored
        assert times >= restored if "responses stream" in shape else times == restored  # its events repeat whole texts
        whole = safellm.report(chunks if "stream" in shape else last)
        assert whole.call_id == told.call_id
        assert whole.unknown_packages == ("made_up_thing",)
        assert whole.unseen_urls == ("https://new.example/y",)
        assert SECRET_ONE not in repr(told) + str(told)
        if not restored:
            assert not times
            continue
        (origin,) = told.restored_from
        assert (origin.type, origin.count, origin.source) == ("EMAIL", times, "user")
        assert origin.where in ("messages[0].content", "input", "contents[0].parts[0].text")
        assert origin.call_id == told.call_id


HELPERS = {
    "chat": (openai, lambda c: c.chat.completions.stream(**OPENAI), "get_final_completion"),
    "responses": (openai, lambda c: c.responses.stream(model="gpt-4o", input=ASKED), "get_final_response"),
    "claude": (claude, lambda c: c.messages.stream(**CLAUDE), "get_final_message"),
    "claude beta": (claude, lambda c: c.beta.messages.stream(**CLAUDE), "get_final_message"),
}


async def helped(client: Any, ask: Any, final: str) -> list[Any]:
    """Return the manager, the stream and the last object of an async helper."""
    async with client, (manager := ask(client)) as stream:
        async for _ in stream:
            pass
        return [manager, stream, await getattr(stream, final)()]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("shape", HELPERS)
def test_stream_helpers_tell_their_call(provider: LoopbackProvider, shape: str, is_async: bool) -> None:
    """The manager, the stream and the object that is put together; before the call there is nothing to tell."""
    make, ask, final = HELPERS[shape]
    provider.reply_with(lambda seen: f"{placeholders(seen)[0]}\n{CODE}")
    client = make(provider, is_async=is_async)
    if is_async:
        told = asyncio.run(helped(client, ask, final))
    else:
        with client:
            manager = ask(client)
            assert not manager.safellm.recorded
            with manager as stream:
                list(stream)
                told = [manager, stream, getattr(stream, final)()]
    reports = [one.safellm for one in told]
    assert len({one.call_id for one in reports}) == 1
    for one in reports:
        assert one.recorded
        assert one.hidden == {"EMAIL": 1}
        assert one.restored >= 1
    assert reports[-1].unknown_packages == ("made_up_thing",)
    assert reports[-1].unseen_urls == ("https://new.example/y",)


def test_report_of_a_stream_object_is_exact_when_ids_repeat(provider: LoopbackProvider, client: safellm.OpenAI) -> None:
    """A raw response and a stream carry their call; nothing has to be guessed from names."""
    first = client.chat.completions.create(stream=True, **OPENAI)
    list(first)
    second = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
    )
    assert first.safellm.hidden == {"EMAIL": 1}
    assert second.safellm.hidden == {}
    assert second.safellm.recorded
    assert not client.embeddings.create(model="text-embedding-3-small", input="x").data[0].safellm.recorded


def test_report_names_the_source_of_each_value(provider: LoopbackProvider, client: safellm.OpenAI) -> None:
    """A tool's result, a marked text, system text and an earlier call of a named conversation are told apart."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "system", "content": "The boss is boss@example.com."},
        {
            "role": "user",
            "content": f"Read {safellm.untrusted(f'mail of {SECRET_ONE}', source='mail')} and carol@example.net",
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"It is {SECRET_TWO}."},
    ]

    provider.reply_with(lambda seen: " ".join(placeholders(seen)))
    with safellm.conversation("one"):
        first = client.chat.completions.create(model="gpt-4o", messages=messages).safellm
        later = client.chat.completions.create(model="gpt-4o", messages=messages[:1]).safellm
    assert {(one.where, one.source) for one in first.restored_from} == {
        ("messages[0].content", "system"),
        ("messages[1].content", "marked:mail"),
        ("messages[1].content", "user"),
        ("messages[3].content", "tool:find"),
    }
    assert later.call_id != first.call_id
    assert [one.call_id for one in later.restored_from] == [first.call_id]
    assert SECRET_TWO not in repr(first)


def test_response_itself_is_untouched(provider: LoopbackProvider, client: safellm.OpenAI) -> None:
    """Type, fields, equality, pickle, copy and repr are the SDK's; a provider can't forge the attribute."""
    provider.reply_with("plain")
    answer = client.chat.completions.create(**OPENAI)
    plain = answer.model_dump()
    assert answer.safellm.recorded
    assert answer.model_dump() == plain
    assert "safellm" not in plain
    assert "safellm" not in vars(answer)
    copied = pickle.loads(pickle.dumps(answer))
    assert copied == answer
    assert copied.safellm == answer.safellm
    forged = type(answer).model_validate({**plain, "id": "other", "safellm": {"recorded": True}})
    assert forged.safellm.recorded is False
    assert type(answer).__module__.startswith("openai.")


def test_error_tells_why_it_was_refused(provider: LoopbackProvider) -> None:
    """The answer's head has the call, so the report of an error says what the trail says."""
    policy = {"limits": {"response_bytes": 1024}}
    provider.reply_with("x" * 3000)
    with safellm.OpenAI(base_url=provider.base_url, api_key="x", safellm=policy) as client:
        stream = client.chat.completions.create(stream=True, **OPENAI)
        with pytest.raises(safellm.Refused) as refused:
            list(stream)
    assert stream.safellm.refused == refused.value.reason  # type: ignore[attr-defined]


INSTALLED = """
import sys, safellm, openai
before = "safellm" in vars(openai.BaseModel)
safellm.install()
from google.genai import types
import anthropic
from openai.lib.streaming.chat import ChatCompletionStream
owners = (
    openai.BaseModel, openai.Stream, anthropic.BaseModel, anthropic.MessageStream, types.GenerateContentResponse,
    ChatCompletionStream,
)
during = all("safellm" in vars(one) for one in owners)
safellm.uninstall()
after = any("safellm" in vars(one) for one in owners)
safellm.install()
import safellm.openai
safellm.uninstall()
kept = "safellm" in vars(openai.BaseModel) and "safellm" in vars(ChatCompletionStream)
print(before, during, after, kept)
"""


def test_install_puts_the_attribute_in_and_uninstall_takes_it_out(tmp_path: Path) -> None:
    """Also for SDKs imported later; what `import safellm.openai` put in stays."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INSTALLED],
        capture_output=True, text=True, check=True, timeout=60, env={"SAFELLM_HOME": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "False", "True"]
