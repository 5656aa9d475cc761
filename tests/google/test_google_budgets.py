"""What a call may cost, and what it did: thoughts, caches, streams that end early."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

import safellm
from safellm._core.adapter import Seen
from safellm.google.genai import types
from safellm.stores.ledger.choose import file_ledger
from safellm.testing.replies import Reply
from safellm_google_genai.adapter import ADAPTER

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "toolUsePromptTokenCount": 7,
    "cachedContentTokenCount": 40,
    "totalTokenCount": 157,
}


@STREAMED
def test_usage_counts_thoughts_tools_and_caches(face, provider, outcome, stream):
    """Thoughts are billed as output, tool results as input, cached input at its own price."""
    provider.reply_with(Reply(text="hi", usage=USAGE))
    face.ask(face.client(provider), stream=stream)
    found = outcome()
    assert found["gen_ai.usage.input_tokens"] == 107
    assert found["gen_ai.usage.output_tokens"] == 50
    assert found["gen_ai.usage.reasoning.output_tokens"] == 30
    assert found["gen_ai.usage.cache_read.input_tokens"] == 40
    assert found["safellm.budget.charged"]["micro_usd"] > 0
    assert found["gen_ai.provider.name"] == "gcp.gemini"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "gemini-2.5-flash"
    assert found["gen_ai.response.finish_reasons"] == ["STOP"]
    assert found["gen_ai.operation.name"] == "generate_content"


def test_output_that_is_zero_is_left_out_by_google(face, provider, outcome):
    """Protobuf's JSON leaves out zeros: the total says that nothing is missing."""
    provider.reply_with(Reply(text="", usage={"promptTokenCount": 10, "totalTokenCount": 10}))
    face.ask(face.client(provider))
    assert outcome()["safellm.budget.charged"]["output_tokens"] == 0


def test_a_count_of_thousands_of_digits_is_no_count():
    """It is treated like a missing one, and withholds no answer by being too long to be read."""
    seen = Seen()
    usage = {"promptTokenCount": "9" * 5000, "candidatesTokenCount": "20", "totalTokenCount": "20"}
    ADAPTER.observe({"usageMetadata": usage}, seen)
    assert seen.usage.input_tokens is None
    assert seen.usage.output_tokens == 20


@STREAMED
def test_b_3_missing_usage_charges_the_hold(face, provider, outcome, stream):
    """What the provider doesn't say is charged as reserved."""
    provider.reply_with(Reply(text="hi", usage={}))
    face.ask(face.client(provider, safellm={"budget.limits": [{"tokens": 100_000}]}), stream=stream)
    charged = outcome()["safellm.budget.charged"]
    assert charged["output_tokens"] == 4096


def test_b_3_stream_that_is_left_charges_the_hold(sync, provider, outcome):
    """The usage of an early chunk is too small: it doesn't settle a stream that the program leaves."""
    client = sync.client(provider, safellm={"budget.limits": [{"tokens": 100_000}]})
    stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="count to ten " * 20)
    next(stream)
    stream.close()
    del stream
    import gc

    gc.collect()
    assert outcome()["safellm.budget.charged"]["output_tokens"] == 4096


@STREAMED
def test_ceiling_is_put_in_and_respected(face, provider, stream):
    """A limit needs a ceiling: one is put into requests that have none, a request's own counts else."""
    client = face.client(provider, safellm={"budget.limits": [{"tokens": 1_000_000}], "budget.max_output_tokens": 77})
    face.ask(client, stream=stream)
    assert provider.requests[-1].json["generationConfig"] == {"maxOutputTokens": 77}
    face.ask(client, stream=stream, config=types.GenerateContentConfig(max_output_tokens=9, temperature=0.5))
    assert provider.requests[-1].json["generationConfig"] == {"maxOutputTokens": 9, "temperature": 0.5}


def test_candidates_multiply_the_hold(sync, provider, records):
    """Each candidate may be as long as the ceiling."""
    client = sync.client(provider, safellm={"budget.limits": [{"tokens": 1_000_000}]})
    client.models.generate_content(
        model="gemini-2.5-flash", contents="hi", config={"candidate_count": 3, "max_output_tokens": 50}
    )
    intent = next(one for one in records() if one["event.name"] == "call.intent")
    assert intent["safellm.budget.reserved"]["output_tokens"] == 150
    assert intent["gen_ai.request.max_tokens"] == 50


def test_money_limit_knows_gemini_s_prices(face, provider):
    """A known model is priced and held to a limit; one without a price is refused."""
    client = face.client(provider, safellm={"budget.limits": [{"usd": "0.001"}], "budget.max_output_tokens": 10})
    assert face.ask(client)
    with pytest.raises(safellm.Refused) as caught:
        face.run(face.of(client).models.generate_content(model="no-such-model", contents="hi"))
    assert caught.value.reason == "budget.unpriced"
    with pytest.raises(safellm.Refused) as caught:
        face.ask(client, config={"max_output_tokens": 1_000_000})
    assert caught.value.reason == "budget.exceeded"


@pytest.mark.parametrize("usage", [{"promptTokenCount": -5, "candidatesTokenCount": 10**30}, {"promptTokenCount": 5}])
def test_b_3_absurd_usage_charges_the_hold(sync, provider, outcome, usage):
    """Numbers that are no counts are as good as none."""
    provider.reply_with(Reply(text="hi", usage=usage))
    sync.ask(sync.client(provider, safellm={"budget.limits": [{"tokens": 100_000}]}))
    assert outcome()["safellm.budget.charged"]["output_tokens"] == 4096


def test_counting_tokens_is_free_and_batches_have_no_bound(sync, provider, home):
    """Counting is held against no limit; work without a known bound is refused under one."""
    client = sync.client(provider, safellm={"budget.limits": [{"tokens": 10}]})
    assert client.models.count_tokens(model="gemini-2.5-flash", contents="a long text " * 50).total_tokens
    request = {"contents": [{"parts": [{"text": "hi"}], "role": "user"}]}
    with pytest.raises(safellm.Refused) as caught:
        client.batches.create(model="gemini-2.5-flash", src=[request])
    assert caught.value.reason == "budget.unbounded"
    assert file_ledger(home / "ledger.sqlite3").usage()
