"""A broken or hostile provider: a clear error, in time, within memory, and an outcome in the trail (E.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time

import pytest

import openai
import safellm
from safellm.testing.faults import TEXT

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SMALL = {"limits.response_bytes": 1 << 20, "limits.event_bytes": 1 << 18}
SECONDS = 15  # far above what any case takes, far below a hang

# What a program sees of each fault: an error of these kinds, or the text.
FAULTS = {
    "gzip-bomb": (safellm.Refused, safellm.Refused),
    "gzip-unasked": (TEXT, TEXT),
    "endless-stream": (safellm.Refused, safellm.Refused),
    "endless-line": (safellm.Refused, safellm.Refused),
    "endless-headers": (openai.APIConnectionError, openai.APIConnectionError),
    "endless-header-line": (openai.APIConnectionError, openai.APIConnectionError),
    "invalid-utf8": (safellm.Refused, safellm.Refused),
    "invalid-json": (safellm.Refused, safellm.Refused),
    "half-event": (safellm.Refused, None),
    "reset-before-headers": (openai.APIConnectionError, openai.APIConnectionError),
    "reset-mid-body": (openai.APIConnectionError, Exception),
    "close-before-headers": (openai.APIConnectionError, openai.APIConnectionError),
    "stall-before-headers": (openai.APITimeoutError, openai.APITimeoutError),
    "stall-mid-body": (openai.APITimeoutError, Exception),
    "length-short": (Exception, None),
    "length-long": (openai.APIConnectionError, None),
    "trailing-garbage": (safellm.Refused, None),
    "one-byte-chunks": (TEXT, TEXT),
}


@APIS
@STREAMED
@pytest.mark.parametrize("fault", FAULTS)
def test_e_9_fault_ends_in_a_clear_error_and_an_outcome(face, faults, outcome, api, stream, fault):
    """No hang, no error that nobody expects, and the trail says how the call ended."""
    expected = FAULTS[fault][stream]
    timeout = 0.5 if fault.startswith("stall") else 20
    client = face.client(base_url=faults.base_url(fault), api_key="x", timeout=timeout, safellm=SMALL)
    began = time.monotonic()
    if isinstance(expected, str):
        assert face.ask(client, api=api, stream=stream) == expected
        assert "error.type" not in outcome()
    elif expected is None:  # how much of a cut stream arrives is the SDK's matter; what does arrive is right
        try:
            text = face.ask(client, api=api, stream=stream)
        except Exception as error:
            assert isinstance(error, (openai.OpenAIError, safellm.SafeLLMError)) or "httpx" in type(error).__module__
        else:
            assert text
            assert text in (TEXT, f"{TEXT}after the end") or TEXT.startswith(text)
    else:
        with pytest.raises(expected) as caught:
            face.ask(client, api=api, stream=stream)
        assert not isinstance(caught.value, (AssertionError, AttributeError, TypeError, KeyError, UnicodeError))
        if isinstance(caught.value, safellm.Refused):
            assert isinstance(caught.value, openai.APIStatusError)
            assert caught.value.sent
            assert caught.value.remedy
            assert outcome()["decision"] == "deny"
            assert outcome()["reason"] == caught.value.reason
            assert outcome()["error.type"] == "refused"
        else:
            assert outcome()["error.type"] in {"connection", "timeout"}
    assert time.monotonic() - began < SECONDS
    assert outcome()["safellm.budget.charged"]


def test_refused_answer_is_not_asked_again(face, faults):
    """An answer that can't be guarded isn't fetched a second time, however many retries are allowed."""
    client = face.client(base_url=faults.base_url("invalid-json"), api_key="x", max_retries=4)
    with pytest.raises(safellm.Refused):
        face.ask(client)
    assert len(faults.requests) == 1


BOMB = """
import resource, sys, json
import safellm
base_url, stream = sys.argv[1], sys.argv[2] == "streamed"
client = safellm.OpenAI(base_url=base_url, api_key="x", max_retries=0, timeout=20,
    safellm={"limits.response_bytes": 3 << 20, "limits.event_bytes": 1 << 20})
def ask():
    made = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=stream)
    for _ in made: pass
def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
from safellm.testing.provider import LoopbackProvider
before = peak()
try:
    ask()
    print("no error")
except safellm.Refused as error:
    print(json.dumps([error.reason, peak() - before]))
"""


@STREAMED
@pytest.mark.parametrize("fault", ["gzip-bomb", "endless-stream", "endless-line"])
def test_e_9_memory_stays_bounded(python, faults, fault, stream):
    """A gigabyte out of a megabyte, or an answer without end: refused at the limit; memory grows by a few times that."""
    pytest.importorskip("resource", reason="peak memory is read from getrusage")
    how = "streamed" if stream else "plain"
    reason, grown = json.loads(python(BOMB, faults.base_url(fault), how).stdout)
    assert reason == "shape.limit"
    assert grown < 100 << 20
