"""A Gemini stream that has more output than is held ends as Google ends one at its ceiling."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from safellm.google.genai import types
from safellm.stores.encodings import shared
from safellm.testing.replies import Reply

CEILING = 100
WORDS = tuple(f" word{number}" for number in range(3000))
LIMITS = {"budget.limits": [{"tokens": 1_000_000}]}


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """What is tested is where a stream ends, not how long a vocabulary takes to load."""
    shared().count("o200k_base", ("hello",))


def test_b_3_a_stream_ends_with_max_tokens(face, provider, outcome):
    """The last chunk says why; what came is charged."""
    provider.reply_with(Reply(chunks=WORDS))
    client = face.client(provider, safellm=LIMITS)
    chunks = face.all(
        face.of(client).models.generate_content_stream(
            model="gemini-2.5-flash", contents="go", config=types.GenerateContentConfig(max_output_tokens=CEILING)
        )
    )
    text = "".join(chunk.text or "" for chunk in chunks)
    assert 2 * CEILING < shared().count("o200k_base", (text,)) < 2.5 * CEILING
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert outcome()["safellm.budget.charged"]["output_tokens"] >= 2 * CEILING
