"""An answer that came as a whole is read already when the SDK gets it; nothing that a program can ask it tells the difference."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import pickle

import pytest

import openai
from safellm.testing.provider import Reply

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def told(face, client):
    """Return what the response of one call says of itself, and how long it took."""
    raw = face.run(client.chat.completions.with_raw_response.create(**ASK))
    response = raw.http_response
    says = {
        "content": response.content, "text": response.text, "closed": response.is_closed,
        "read": face.run(response.aread() if face.is_async else response.read()),
        "consumed": response.is_stream_consumed, "bytes": response.num_bytes_downloaded, "status": response.status_code,
        "version": response.http_version, "reason": response.reason_phrase, "encoding": response.encoding,
        "pickled": pickle.loads(pickle.dumps(response)).content, "parsed": raw.parse().choices[0].message.content,
        "names": sorted(name for name in response.headers if name != "date"),
    }  # fmt: skip
    assert dt.timedelta(0) < response.elapsed < dt.timedelta(seconds=60)
    return says


def test_a_whole_answer_says_of_itself_what_it_does_without_us(face, provider):
    """Content, length, state, headers, time taken, pickling: over a new connection and over one that is used again."""
    provider.reply_with(Reply(text="fine"))
    plain = face.keep(face.pick("OpenAI", openai)(base_url=provider.base_url, api_key="x", max_retries=0))
    guarded = face.client(provider)
    for _ in range(3):
        ours, theirs = told(face, guarded), told(face, plain)
        for one in (ours, theirs):  # ids and moments differ
            one["lengths"] = [len(one.pop(key)) for key in ("content", "text", "read", "pickled")]
        assert ours == theirs


@pytest.mark.parametrize("way", ["iter_bytes", "iter_raw", "iter_lines"])
def test_a_response_that_the_program_reads_itself_is_not_read_before(face, provider, way):
    """`with_streaming_response` gives a response with its stream, also where the answer came as a whole."""
    provider.reply_with(Reply(text="fine"))
    client = face.client(provider)
    for _ in range(2):
        manager = client.chat.completions.with_streaming_response.create(**ASK)
        response = face.enter(manager)
        try:
            assert not response.http_response.is_closed
            http = response.http_response
            pieces = face.all(getattr(http, f"a{way}" if face.is_async else way)())
        finally:
            face.leave(manager)
        joined = "".join(one if isinstance(one, str) else one.decode() for one in pieces)
        assert '"fine"' in joined
        assert response.http_response.is_closed


def test_an_error_answer_is_read_as_well(face, provider):
    """The SDK's own error, with the provider's body and the response that it came in."""
    provider.reply_with(Reply(status=429, text="slow down"))
    client = face.client(provider)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            face.run(client.chat.completions.create(**ASK))
        assert caught.value.response.is_closed
        assert caught.value.response.content
