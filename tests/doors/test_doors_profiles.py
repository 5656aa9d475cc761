"""`OpenAI(profile=…)`: other servers of OpenAI's dialect, by name, with their keys and their quirks."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from doors_support import MAIL, nothing_leaked

import openai
import safellm
from safellm.profiles import find_profile, profile_at, profiles
from safellm.testing.replies import Reply

KEY = "k-" + "A1b2C3d4" * 4
HOSTED = [name for name, one in profiles().items() if not one.is_local]
LOCAL = [name for name, one in profiles().items() if one.is_local]


def ask(client, **options):
    said = [{"role": "user", "content": f"mail {MAIL}"}]
    return client.chat.completions.create(model="m", messages=said, **options)


def text_of(answer):
    if isinstance(answer, openai.Stream):
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    return answer.choices[0].message.content


def events(*values):
    lines = [one if isinstance(one, str) else "data: " + json.dumps(one) for one in values]
    return Reply(headers={"content-type": "text/event-stream"}, raw_body="\n\n".join([*lines, ""]).encode())


def chunk(text, **more):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


@pytest.mark.parametrize("name", HOSTED)
def test_a_key_from_its_variable_is_bound_to_the_profile_s_origin(name, monkeypatch):
    """The client sends to the profile's address; the SDK holds a placeholder; the key may go to that origin alone."""
    profile = find_profile(name)
    monkeypatch.setenv(profile.variable, KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    with safellm.OpenAI(profile=name) as client:
        assert str(client.base_url).rstrip("/") == profile.base_url
        assert KEY not in str(vars(client))
        driver = client._client._transport.safellm_driver
        (key,) = driver.bounds.managed
        assert (key.ref, key.origins) == (f"env:{profile.variable}", frozenset(profile.origins))
        assert driver.bounds.origins == {profile.origins[0]}


@pytest.mark.parametrize("name", HOSTED)
def test_a_missing_key_is_told_with_the_way_out(name, monkeypatch):
    """Another provider's key is not taken for it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(openai.OpenAIError, match=f"safellm keys set {name} .*{find_profile(name).variable}"):
        safellm.OpenAI(profile=name)


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_server_needs_no_key(name, monkeypatch):
    """And it doesn't get another provider's."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with safellm.OpenAI(profile=name) as client:
        assert str(client.base_url).rstrip("/") == find_profile(name).base_url
        assert client.api_key == "no-key"


@pytest.mark.parametrize("name", list(profiles()))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_each_profile_is_guarded_and_recorded_under_its_name(name, stream, provider, records):
    """Placeholders leave, values come back, the trail has the provider's name; usage is asked for only where it may be."""
    profile = find_profile(name)
    with safellm.OpenAI(profile=name, base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client, stream=stream)) == f'You wrote: "mail {MAIL}"'
    nothing_leaked(provider, 1)
    assert {one["gen_ai.provider.name"] for one in records()} == {profile.provider}
    assert ("stream_options" in provider.requests[0].json) == (stream and profile.asks_usage)
    assert "openai-organization" not in provider.requests[0].headers


def test_names_of_the_organization_stay_at_openai(provider, monkeypatch):
    """OPENAI_ORG_ID and OPENAI_PROJECT_ID are not told to others, nor by copies of the client."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with safellm.OpenAI(profile="ollama", base_url=provider.base_url) as client:
        ask(client)
        ask(client.with_options(timeout=5))
    for one in provider.requests:
        assert not {"openai-organization", "openai-project"} & set(one.headers)


def test_an_address_in_code_finds_its_profile(monkeypatch):
    """`base_url=` alone, as in the provider's own documentation, gets the provider's name and quirks."""
    with safellm.OpenAI(base_url="https://api.groq.com/openai/v1", api_key="k") as client:
        adapter = client._client._transport.safellm_driver.tools.adapter
    assert adapter.provider_of(find_profile("groq").origins[0]) == "groq"
    with safellm.OpenAI(base_url="https://gateway.example/v1", api_key="k") as client:
        assert client._client._transport.safellm_driver.tools.adapter.provider == "openai"


def test_groq_s_usage_is_read_where_it_stands(provider, records):
    """Older Groq models tell usage under `x_groq` only."""
    usage = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    provider.reply_with(events(chunk("a", x_groq={"usage": usage}), "data: [DONE]"))
    with safellm.OpenAI(profile="groq", base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client, stream=True)) == "a"
    assert records()[-1]["gen_ai.usage.input_tokens"] == 11


def test_deepseek_s_cached_tokens_are_read(provider, records):
    """DeepSeek counts the cache in a key of its own."""
    usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13, "prompt_cache_hit_tokens": 7}
    provider.reply_with(Reply(text="a", usage=usage))
    with safellm.OpenAI(profile="deepseek", base_url=provider.base_url, api_key="k") as client:
        ask(client)
    assert records()[-1]["gen_ai.usage.cache_read.input_tokens"] == 7


def test_keep_alive_comments_and_blank_lines_pass(provider):
    """OpenRouter and DeepSeek keep connections alive by comments; DeepSeek by blank lines before a whole answer."""
    provider.reply_with(events(": OPENROUTER PROCESSING", chunk("a"), ": keep-alive", chunk("b"), "data: [DONE]"))
    with safellm.OpenAI(profile="openrouter", base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client, stream=True)) == "ab"
    message = {"role": "assistant", "content": "late"}
    whole = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    provider.reply_with(
        Reply(headers={"content-type": "application/json"}, raw_body=b"\n\n\n" + json.dumps(whole).encode())
    )
    with safellm.OpenAI(profile="deepseek", base_url=provider.base_url, api_key="k") as client:
        assert text_of(ask(client)) == "late"


@pytest.mark.parametrize(
    "shape",
    [
        {"error": {"message": "no such model", "type": "invalid_request_error", "code": 404}},
        {"error": "no such model"},
        {"object": "error", "message": "no such model", "type": "NotFoundError", "code": 404},
        {"detail": [{"loc": ["body"], "msg": "no such model", "type": "extra_forbidden"}]},
        {"code": "not-found", "error": "no such model"},
        ["no such model"],
    ],
    ids=["openai", "ollama", "vllm", "mistral", "xai", "list"],
)
def test_errors_of_each_shape_reach_the_program(shape, provider):
    """The SDK raises its own error with the server's body, whatever that looks like."""
    provider.reply_with(
        Reply(status=404, headers={"content-type": "application/json"}, raw_body=json.dumps(shape).encode())
    )
    with safellm.OpenAI(profile="vllm", base_url=provider.base_url, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="no such model|404") as caught:
            ask(client)
    assert "no such model" in caught.value.response.text


def test_a_name_that_is_none_is_told():
    """With what is near, and with what there is; Azure has classes of its own."""
    with pytest.raises(safellm.ConfigurationError, match="Did you mean 'ollama'"):
        safellm.OpenAI(profile="olama")
    with pytest.raises(safellm.ConfigurationError, match="AzureOpenAI"):
        safellm.AsyncOpenAI(profile="azure")


def test_strict_mode_takes_a_local_server_without_a_key(provider):
    """There is no key to keep, and the address is the profile's own."""
    with safellm.OpenAI(profile="ollama", safellm={"mode": "strict"}) as client:
        assert client.api_key == "no-key"
    with pytest.raises(safellm.ConfigurationError):
        safellm.OpenAI(profile="groq", api_key="k", safellm={"mode": "strict"})


async def test_the_async_client_has_profiles_too(provider):
    """`AsyncOpenAI(profile=…)`."""
    async with safellm.AsyncOpenAI(profile="mistral", base_url=provider.base_url, api_key="k") as client:
        assert text_of(await ask(client)) == f'You wrote: "mail {MAIL}"'
    nothing_leaked(provider, 1)


def test_the_data_is_sound():
    """Every profile has an https address or one on this machine, a variable of its own, and is found by its origin."""
    for name, one in profiles().items():
        assert one.origins[0].scheme == "https" or one.origins[0].is_loopback
        assert one.variable.isupper()
        assert profile_at(one.origins[0]) == (None if one.is_local else one), name
    assert len({one.variable for one in profiles().values()}) == len(profiles())


@pytest.mark.local_model
def test_llama_cpp_for_real(records):
    """llama.cpp's own server with a real model: chat, stream with usage, completions, embeddings refused by it, an error."""
    from safellm.testing.local_model import LocalModel

    with LocalModel() as local, safellm.OpenAI(profile="llamacpp", base_url=local.base_url, max_retries=0) as client:
        said = [{"role": "user", "content": f"Write a mail to {MAIL}."}]
        whole = client.chat.completions.create(model=local.model, messages=said, max_tokens=24, temperature=0)
        parts = list(
            client.chat.completions.create(model=local.model, messages=said, max_tokens=24, temperature=0, stream=True)
        )
        assert whole.usage.completion_tokens
        assert (
            "".join(one.choices[0].delta.content or "" for one in parts if one.choices)
            == whole.choices[0].message.content
        )
        assert client.completions.create(model=local.model, prompt="One, two,", max_tokens=4).choices[0].text
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(
                model=local.model, messages=[{"role": "nobody", "content": [{"type": "nothing"}]}]
            )
    outcomes = [one for one in records() if one["event.name"] == "call.outcome"]
    assert [one["gen_ai.provider.name"] for one in outcomes] == ["llamacpp"] * 4
    assert all(one["gen_ai.usage.output_tokens"] > 0 for one in outcomes[:3])
