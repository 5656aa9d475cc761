"""DSPy with an engine that calls a guarded client: DSPy's own connection is not used."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import LMUnsupportedFeatureError


class Notice(dspy.Signature):
    """Find the address."""

    text: str = dspy.InputField()
    mail: str = dspy.OutputField()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """No cache, and DSPy's own list of models instead of the one that it would fetch."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


@pytest.fixture
def engine(bench, home, tmp_path, monkeypatch):
    """The class of the page, whose own call is in another ledger."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "page"))
    made = bench.page("DSPy")["Guarded"]
    monkeypatch.setenv("SAFELLM_HOME", str(home))
    bench.provider.requests.clear()
    return made


@pytest.fixture
def model(bench, engine):
    def make(**settings):
        return dspy.LM("gpt-4o-mini", engine=engine(bench.client(**settings)))

    return make


def test_dspy_page(bench):
    """The code of the page runs, and gets the real values."""
    assert bench.page("DSPy")["answer"] == bench.echoed
    bench.check(1)


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        (dspy.ChatAdapter, "[[ ## mail ## ]]\n{}\n\n[[ ## completed ## ]]"),
        (dspy.JSONAdapter, '{{"mail": "{}"}}'),
        (dspy.XMLAdapter, "<mail>{}</mail>"),
    ],
)
def test_dspy_predictions_hold_real_values(bench, model, adapter, text):
    """A field of a prediction holds the real value."""
    bench.provider.reply_with(lambda seen: text.format(bench.hidden(seen)[0]))
    with dspy.context(lm=model(), adapter=adapter()):
        assert dspy.Predict(Notice)(text=bench.said).mail == bench.mail
    bench.check(1)


async def test_dspy_async_engine(bench, engine):
    """Async calls go through `async_engine`."""

    class AsyncGuarded(engine):
        async def complete(self, request):
            body = json.loads(self.wire.build_request(request, stream=False).body)
            return lm15.response_from_openai_chat(
                await self.client.post("/chat/completions", cast_to=object, body=body)
            )

    lm = dspy.LM("gpt-4o-mini", engine=engine(bench.client()), async_engine=AsyncGuarded(bench.client("AsyncOpenAI")))
    assert await lm.acall(bench.said) == [bench.echoed]
    bench.check(1)


async def test_dspy_takes_no_way_around_its_engine(bench, model, monkeypatch):
    """With `engine` alone, an async call and a stream are errors; they don't go over DSPy's own connection."""
    monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
    lm = model()
    with pytest.raises(LMUnsupportedFeatureError):
        await lm.acall(bench.said)
    with dspy.context(lm=lm):
        streamed = dspy.streamify(dspy.Predict(Notice), async_streaming=False)
        with pytest.raises(Exception, match="stream"):
            list(streamed(text=bench.said))
    assert bench.provider.requests == []


def test_dspy_does_not_retry_a_refusal(bench, model):
    """A refusal comes through with its cause, and nothing is sent again."""
    lm = model(budget=bench.one_request)
    assert lm(bench.said) == [bench.echoed]
    with bench.refused():
        lm(bench.said)
    bench.check(1)
