"""Near a limit the input is counted exactly, and every decision is the one that counting always would make."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from exchanges import World
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.call import Tools
from safellm._core.effects import Count, Forward, OverLimit, Reserve
from safellm._core.measure import measure
from safellm._core.tokens import encoding_of
from safellm.errors import Reason
from safellm.stores.encodings import Encodings

COUNTER = Encodings()
WORDS = st.text(st.sampled_from("abc é字\n"), max_size=40)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant"]), "content": WORDS}, optional={"name": WORDS}
    ),
    min_size=1,
    max_size=4,
)


class Counting(World):
    """A world with a ledger of one limit, and real counts."""

    def __init__(self, limit: int, used: int = 0, **settings: Any) -> None:
        super().__init__({"budget": {"limits": [{"tokens": limit}]}, **settings})
        self.limit, self.used = limit, used

    def exchange(self, bounds: Any = None) -> Any:
        made = super().exchange(bounds)
        made._tools = Tools(**{**{name: getattr(made._tools, name) for name in Tools.__slots__}, "counter": COUNTER})
        return made

    def run(self, effects: Any) -> Any:
        try:
            effect = next(effects)
            while True:
                self.effects.append(effect)
                answer = None
                if isinstance(effect, Count):
                    answer = COUNTER.count(effect.encoding, effect.texts)
                if isinstance(effect, Reserve):
                    asked = effect.amounts.input_tokens + effect.amounts.output_tokens
                    if self.used + asked > self.limit:
                        one = effect.limits[0]
                        answer = OverLimit(limit=one, used=self.used, held=0, asked=asked, resets_at_ns=0)
                effect = effects.send(answer)
        except StopIteration as done:
            return done.value


def body(messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "max_completion_tokens": 20, "messages": messages, **more}


def cookbook(messages: list[dict[str, str]], encoding: str = "o200k_base") -> int:
    """OpenAI's published way to count a chat."""
    total = 3
    for message in messages:
        total += 3 + ("name" in message)
        total += sum(COUNTER.count(encoding, (value,)) or 0 for value in message.values())
    return total


@given(messages=MESSAGES)
def test_a_plain_chat_is_counted_as_openai_does(messages: list[dict[str, str]]) -> None:
    """Three tokens a message, one for a name, three for the answer's opening."""
    measured = measure(body(messages), "gpt-4o")
    assert measured is not None
    assert measured.exact
    assert COUNTER.count("o200k_base", measured.texts) + measured.marks == cookbook(messages)


@given(messages=MESSAGES, room=st.integers(-60, 60))
def test_b_7_decisions_are_those_of_exact_counting(messages: list[dict[str, str]], room: int) -> None:
    """Whatever room a limit has, the call passes if and only if its exact count fits."""
    exact = cookbook(messages) + 20
    world = Counting(limit=max(1, exact + room))
    _, decision = world.begin(body(messages))
    assert isinstance(decision, Forward) == (exact <= world.limit)


def test_nothing_is_counted_when_the_bound_fits() -> None:
    """Far from the limit no tokenizer is asked."""
    world = Counting(limit=10_000)
    _, decision = world.begin(body([{"role": "user", "content": "hello " * 50}]))
    assert isinstance(decision, Forward)
    assert [type(one).__name__ for one in world.effects] == ["Reserve", "Record"]


def test_the_exact_count_is_held() -> None:
    """What is reserved after a count is the count, not the bound."""
    messages = [{"role": "user", "content": "hello " * 50}]
    world = Counting(limit=150)
    world.begin(body(messages))
    held = [one.amounts.input_tokens for one in world.effects if isinstance(one, Reserve)]
    assert held[-1] == cookbook(messages) < held[0]
    assert [type(one).__name__ for one in world.effects] == ["Reserve", "Count", "Reserve", "Record"]


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro", "unheard-of"])
def test_without_a_public_tokenizer_the_bound_decides(model: str) -> None:
    """A model whose tokenizer nobody has is refused by its bound."""
    world = Counting(limit=150)
    _, decision = world.begin({**body([{"role": "user", "content": "hello " * 50}]), "model": model})
    assert decision.error.reason == Reason.BUDGET_EXCEEDED
    assert not any(isinstance(one, Count) for one in world.effects)


def test_limits_on_requests_need_no_count() -> None:
    """A limit that a shorter input doesn't help with is refused at once."""
    world = Counting(limit=1, budget={"limits": [{"requests": 1}]})
    world.begin(body([{"role": "user", "content": "hello"}]))
    assert not any(isinstance(one, Count) for one in world.effects)


def test_a_limit_for_each_call_is_counted_exactly() -> None:
    """A call that fits only by its exact count passes a limit per call."""
    messages = [{"role": "user", "content": "hello " * 50}]
    exact = cookbook(messages) + 20
    for limit, passes in ((exact, True), (exact - 1, False)):
        world = Counting(limit=10**9, budget={"limits": [{"tokens": limit, "window": "call"}]})
        assert isinstance(world.begin(body(messages))[1], Forward) == passes


RICH = st.recursive(
    WORDS | st.integers(-99, 99) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(content=RICH, tools=RICH)
def test_b_7_other_forms_are_counted_by_more_than_their_texts(content: Any, tools: Any) -> None:
    """Parts, tools and schemas: never fewer tokens than all their texts have, and marked as no exact count."""
    request = body([{"role": "user", "content": [{"type": "text", "text": content}]}], tools=tools)
    measured = measure(request, "gpt-4o")
    assert measured is not None
    assert not measured.exact
    counted = (COUNTER.count("o200k_base", measured.texts) or 0) + measured.marks
    texts = list(_texts(content))
    assert (
        counted
        >= (COUNTER.count("o200k_base", texts) or 0) + (COUNTER.count("o200k_base", (json.dumps(tools),)) or 0) // 2
    )


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def test_embeddings_are_counted_by_text_and_by_token() -> None:
    """A list of texts, and lists of numbers, each of which is a token."""
    assert encoding_of("text-embedding-3-small") == "cl100k_base"
    texts = measure({"model": "text-embedding-3-small", "input": ["hello world", "hi"]}, "text-embedding-3-small")
    numbers = measure({"model": "text-embedding-3-small", "input": [[1, 2, 3], [4]]}, "text-embedding-3-small")
    assert texts is not None
    assert numbers is not None
    assert texts.texts == ["hello world", "hi"]
    assert numbers.marks >= 4
