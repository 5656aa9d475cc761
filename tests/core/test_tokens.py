"""The bound of tokens is never too small, and models get the encoding that is theirs."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
import tiktoken.model
from genai_prices.data import providers
from hypothesis import example, given
from hypothesis import strategies as st

from safellm._core.media import DOCUMENT, SERVER_TOOL, STORED, TOOL_PROMPT, extra_tokens, image_tokens
from safellm._core.tokens import byte_bound, byte_length, encoding_of, input_bound, normalized_excess
from safellm.stores.encodings import Encodings

COUNTER = Encodings()
ENCODINGS = ("o200k_base", "cl100k_base")
# Letters, marks, digits, ideographs, emoji, private and unassigned code points, controls, and runs of all of these.
TEXTS = (
    st.text(max_size=60)
    | st.text(st.sampled_from(" \t\n\r\x00\u00a0\u3000'.,-_=#"), max_size=200)
    | st.binary(max_size=60).map(lambda data: data.decode("latin-1"))
    | st.tuples(st.text(min_size=1, max_size=4), st.integers(1, 200)).map(lambda pair: pair[0] * pair[1])
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS)
@example(text="\ufdfa" * 50)
@example(text="<|endoftext|><|im_start|>")
@example(text="\U0001f469\u200d\U0001f469\u200d\U0001f467" * 20)
@example(text="\ud800")
def test_b_7_bytes_are_never_fewer_than_tokens(encoding: str, text: str) -> None:
    """For both vocabularies and any text, the bound holds."""
    counted = COUNTER.count(encoding, (text,))
    assert counted is not None
    assert counted <= byte_length(text) <= byte_bound(text)


@given(text=TEXTS)
def test_b_7_the_bound_covers_the_normalized_form(text: str) -> None:
    """A tokenizer that brings texts into NFKC has no more tokens than the bound either."""
    formed = unicodedata.normalize("NFKC", text)
    assert byte_length(formed) <= byte_bound(text) == byte_length(text) + normalized_excess((text,))
    assert COUNTER.count("cl100k_base", (formed,)) <= byte_bound(text)


def test_the_bound_grows_for_characters_that_normalize_to_more() -> None:
    """One character of three bytes is eighteen letters in NFKC."""
    assert byte_bound("\ufdfa") == 33 > byte_length("\ufdfa") == 3


def test_models_have_the_encoding_that_tiktoken_gives_them() -> None:
    """Every model of tiktoken's table with a vocabulary that is packed gets that one; all others get none."""
    known = {**tiktoken.model.MODEL_TO_ENCODING}
    known |= {
        f"{name}2026-01-01": found
        for name, found in tiktoken.model.MODEL_PREFIX_TO_ENCODING.items()
        if name.endswith("-")
    }
    assert len(known) > 30
    for model, encoding in known.items():
        expected = {"o200k_harmony": "o200k_base"}.get(encoding, encoding)
        assert encoding_of(model) == (expected if expected in ENCODINGS else None), model


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-2024-11-20", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5.1-codex", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "o200k_base"),
        ("openai/gpt-oss-20b", "o200k_base"),
        ("o4-mini-deep-research", "o200k_base"),
        ("gpt-35-turbo-16k", "cl100k_base"),
        ("text-embedding-3-large", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("GPT-4", "cl100k_base"),
        ("gpt-6", None),
        ("gpt-40", None),
        ("o10", None),
        ("claude-sonnet-4-5", None),
        ("gemini-2.5-pro", None),
        ("llama-3.3-70b", None),
        ("", None),
    ],
)
def test_a_model_has_its_encoding(model: str, encoding: str | None) -> None:
    """Dates, sizes and fine-tunes belong to a name; another number makes another model."""
    assert encoding_of(model) == encoding


def test_only_models_of_openai_have_a_public_tokenizer() -> None:
    """In the whole price list, nothing but OpenAI's models, wherever they run, is counted by OpenAI's vocabularies."""
    listed = {model.id for provider in providers for model in provider.models if encoding_of(model.id) is not None}
    assert len(listed) > 50
    assert {name for name in listed if not any(part in name for part in ("gpt", "o1", "o3", "o4", "codex", "davinci", "babbage",
            "embedding", "computer-use"))} == set()  # fmt: skip
    google = {model.id for provider in providers if provider.id in ("anthropic", "google") for model in provider.models}
    assert google
    assert not google & listed


def part(value: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [value]}]}


@pytest.mark.parametrize(
    ("body", "model", "extra"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, "gpt-4o", 0),
        (part({"type": "image_url", "image_url": {"url": "https://a/b"}}), "gpt-4o", 1445),
        (part({"type": "image_url", "image_url": {"url": "https://a/b", "detail": "low"}}), "gpt-4o-mini", 2833),
        (part({"type": "image_url", "image_url": {"url": "https://a/b"}}), "gpt-4o-mini-2024-07-18", 48_169),
        ({"input": [{"content": [{"type": "input_image", "image_url": "u"}]}]}, "o4-mini", 2642),
        (part({"type": "image", "source": {"type": "base64", "data": "aaaa"}}), "claude-opus-4-8", 4784),
        (part({"type": "document", "source": {"type": "url", "url": "u"}}), "claude-opus-4-8", STORED),
        (part({"type": "document", "source": {"type": "base64", "data": "a"}}), "claude-opus-4-8", DOCUMENT),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "a"}}]}]}, "gemini-2.5-pro", 4128),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "u"}}]}]}, "gemini-2.5-pro", STORED),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "a"}}]}]}, "gemini-2.5-pro", 0),
        ({"input": "hi", "previous_response_id": "r"}, "gpt-4o", STORED),
        ({"input": "hi", "tools": [{"type": "function"}, {"type": "web_search"}]}, "gpt-4o", SERVER_TOOL),
        ({"messages": [], "tools": [{"name": "f", "input_schema": {}}]}, "claude-opus-4-8", TOOL_PROMPT),
        ([], "gpt-4o", 0),
    ],
)
def test_b_7_what_is_no_text_comes_on_top(body: Any, model: str, extra: int) -> None:
    """An image has the most tokens that the provider's rule gives, however short its address is."""
    assert extra_tokens(body, model) == extra


def test_b_7_a_small_image_has_more_tokens_than_bytes() -> None:
    """The very case in which the bytes of a body are no bound."""
    body = part({"type": "image_url", "image_url": {"url": "https://a/b"}})
    assert input_bound(len(json.dumps(body)), 1) < image_tokens("gpt-4o-mini")
