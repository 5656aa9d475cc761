"""Frameworks with the clients that they make themselves, under `install`: no line of theirs or of the program is changed."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib.util
import os

import pytest
from doors_support import MAIL, nothing_leaked

import safellm

SAID = f"mail {MAIL}"
ANSWER = f'You wrote: "{SAID}"'


def with_langchain(url):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini")
    yield model.invoke(SAID).content
    yield asyncio.run(model.ainvoke(SAID)).content
    yield "".join(str(one.content) for one in model.stream(SAID))


def with_llama_index(url):
    from llama_index.llms.openai import OpenAI

    model = OpenAI(model="gpt-4o-mini", api_base=url, api_key="k", max_retries=0)
    yield str(model.complete(SAID))
    yield str(asyncio.run(model.acomplete(SAID)))


def with_instructor(url):
    import instructor
    from pydantic import BaseModel

    class Said(BaseModel):
        text: str

    client = instructor.from_provider("openai/gpt-4o", mode=instructor.Mode.JSON_SCHEMA)
    yield client.chat.completions.create(response_model=Said, messages=[{"role": "user", "content": SAID}]).text


def with_pydantic_ai(url):
    from pydantic_ai import Agent

    yield Agent("openai-chat:gpt-4o").run_sync(SAID).output


def with_agents(url):
    from agents import Agent, Runner, set_tracing_disabled

    set_tracing_disabled(True)  # its thread outlives the test
    yield Runner.run_sync(Agent(name="clerk", model="gpt-4o-mini"), SAID).final_output


def with_litellm(url):
    import litellm
    from litellm.litellm_core_utils.thread_pool_executor import executor

    arguments = {"model": "openai/gpt-4o", "api_base": url, "messages": [{"role": "user", "content": SAID}]}
    yield litellm.completion(**arguments).choices[0].message.content
    yield asyncio.run(litellm.acompletion(**arguments)).choices[0].message.content
    # Its own HTTP client, which stands on aiohttp, and aiohttp itself.
    for model in ("hosted_vllm/x", "aiohttp_openai/x"):
        yield asyncio.run(with_litellm_streamed(litellm, {**arguments, "model": model, "api_key": "k"}))
    executor.shutdown()  # its thread outlives the test


async def with_litellm_streamed(litellm, arguments):
    if arguments["model"].startswith("aiohttp"):  # it can't stream
        return (await litellm.acompletion(**arguments)).choices[0].message.content
    return "".join(
        [one.choices[0].delta.content or "" async for one in await litellm.acompletion(**arguments, stream=True)]
    )


def with_dspy(url):
    import dspy

    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    model = dspy.LM("openai/gpt-4o", api_base=url, api_key="k")
    yield model(SAID)[0]
    yield asyncio.run(model.acall(SAID))[0]


FRAMEWORKS = {
    "langchain_openai": with_langchain, "llama_index.llms.openai": with_llama_index, "instructor": with_instructor,
    "pydantic_ai": with_pydantic_ai, "agents": with_agents, "dspy": with_dspy,
    "litellm": with_litellm,  # the last one: it ends threads that DSPy uses too
}  # fmt: skip


EXPECTED = tuple(os.environ.get("FRAMEWORKS", "").split())  # a session that installs them says so


def is_there(name):
    if name.startswith(EXPECTED):
        return True  # or its test fails
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name in FRAMEWORKS if is_there(name)] or [pytest.param("", id="none")])
def test_a_framework_s_own_clients_are_guarded(name, provider, monkeypatch):
    """Each answer has the value back, and nothing but placeholders arrived."""
    if not name:
        return  # no framework is installed here; the sessions `frameworks*` install them
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    safellm.install()
    answers = list(FRAMEWORKS[name](provider.base_url))
    assert answers
    assert all(MAIL in one for one in answers)
    nothing_leaked(provider, len(answers))
