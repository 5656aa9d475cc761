"""Prices: known models cost, unknown ones have no price, bounds hold, and nothing touches the network."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.adapter import UsageSeen
from safellm.stores import prices
from safellm.stores.prices import bound_micro_usd, price_micro_usd

MODELS = [(owner.id, model.id) for owner in prices._snapshot().providers for model in owner.models]
TIERS = [None, "default", "flex", "priority", "auto"]


def test_known_model_has_a_price() -> None:
    """A million input tokens and a million output tokens of gpt-4o cost 12.50 dollars, as published in 2024."""
    assert price_micro_usd("openai", "gpt-4o", 1_000_000, 1_000_000) == 12_500_000


def test_price_is_rounded_up() -> None:
    """One token costs less than a micro-dollar of some models, and never nothing."""
    assert price_micro_usd("openai", "gpt-4o-mini", 1, 0) == 1
    assert bound_micro_usd("openai", "gpt-4o-mini", 1, 0) == 1
    assert price_micro_usd("openai", "gpt-4o-mini", 0, 0) == 0


def test_cached_input_is_cheaper_but_not_in_the_bound() -> None:
    """The settled price has the cache discount, the bound has not."""
    full = price_micro_usd("openai", "gpt-4o", 100_000, 0)
    cached = price_micro_usd("openai", "gpt-4o", 100_000, 0, cached_input_tokens=100_000)
    bound = bound_micro_usd("openai", "gpt-4o", 100_000, 0)
    assert full is not None
    assert cached is not None
    assert bound is not None
    assert cached < full <= bound
    # More cached than there were is as much as there were.
    assert price_micro_usd("openai", "gpt-4o", 100_000, 0, cached_input_tokens=10**9) == cached


def test_dearer_tier_counts_unless_the_request_excludes_it() -> None:
    """Without a tier the project's settings may choose priority processing, so the bound covers it."""
    paid = price_micro_usd("openai", "gpt-4o", 1000, 1000, service_tier="priority")
    plain = price_micro_usd("openai", "gpt-4o", 1000, 1000)
    assert paid is not None
    assert plain is not None
    assert paid > plain
    assert bound_micro_usd("openai", "gpt-4o", 1000, 1000) == paid
    assert bound_micro_usd("openai", "gpt-4o", 1000, 1000, service_tier="default") == plain


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("openai", "ft:gpt-4o-mini:org::id"),  # a fine-tuned model has a price of its own
        ("no-such-provider", "gpt-4o"),
        ("my-openai-proxy", "gpt-4o"),  # a name that only contains a provider's
        ("", "gpt-4o"),
        ("openai", "whisper-1"),  # priced by the hour, which must not look free
    ],
)
def test_b_6_unknown_model_has_no_price(provider: str, model: str) -> None:
    """What the list doesn't price by tokens has no price, so that a money limit can refuse it."""
    assert price_micro_usd(provider, model, 10, 10) is None
    assert bound_micro_usd(provider, model, 10, 10) is None


def test_azure_names_map_to_the_list() -> None:
    """OpenTelemetry's name for Azure finds Azure's prices and OpenAI's models there."""
    assert price_micro_usd("azure.ai.openai", "gpt-4o", 1_000_000, 0) == 2_500_000


def test_negative_tokens_are_refused() -> None:
    """A negative number would be a refund."""
    with pytest.raises(ValueError, match="negative"):
        price_micro_usd("openai", "gpt-4o", -1, 0)
    with pytest.raises(ValueError, match="negative"):
        price_micro_usd("openai", "gpt-4o", 0, 0, cached_input_tokens=-1)
    with pytest.raises(ValueError, match="negative"):
        bound_micro_usd("openai", "gpt-4o", 0, -1)


@given(
    known=st.sampled_from(MODELS),
    tokens=st.tuples(st.integers(0, 2_000_000), st.integers(0, 200_000)),
    slack=st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)),
    cached=st.integers(0, 2_000_000),
    written=st.tuples(st.integers(0, 2_000_000), st.integers(0, 2_000_000)),
    tier=st.sampled_from(TIERS),
)
def test_b_7_bound_is_never_below_the_price(  # one number per kind of token
    known: tuple[str, str],
    tokens: tuple[int, int],
    slack: tuple[int, int],
    cached: int,
    written: tuple[int, int],
    tier: str | None,
) -> None:
    """For every model of the list, what is settled is at most what was reserved for at least as many tokens."""
    paid = price_micro_usd(
        *known,
        *tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written[0],
        cache_write_1h_tokens=written[1],
        service_tier=tier,
    )
    bound = bound_micro_usd(*known, tokens[0] + slack[0], tokens[1] + slack[1], service_tier=tier)
    if paid is not None and bound is not None:
        assert paid <= bound


def test_prices_open_no_socket() -> None:
    """Looking up prices, from the first import on, neither connects nor resolves a name."""
    script = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
from safellm.stores.prices import bound_micro_usd, price_micro_usd
assert not [name for name in sys.modules if name.startswith("genai_prices")], "imported too early"
assert price_micro_usd("openai", "gpt-4o", 1000, 10) > 0
assert bound_micro_usd("azure.ai.openai", "gpt-4o", 1000, 10) > 0
assert price_micro_usd("openai", "no-such-model", 1, 1) is None
assert "import" in seen and "open" in seen  # the hook works
network = [event for event in seen if event.startswith(("socket.", "urllib.", "http.", "subprocess.", "os.posix_spawn"))]
assert not network, network
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_prices_ignore_a_list_that_was_fetched() -> None:
    """A list that other code of the program has put in place, or fetched, doesn't change our prices."""
    from genai_prices import data_snapshot

    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers=[], from_auto_update=True))
    try:
        prices._snapshot.cache_clear()
        prices._find.cache_clear()
        assert price_micro_usd("openai", "gpt-4o", 1_000_000, 1_000_000) == 12_500_000
    finally:
        data_snapshot.set_custom_snapshot(None)


@pytest.mark.parametrize("provider", ["openai", "azure.ai.openai", "anthropic", "gcp.gemini"])
def test_flat_rates_say_what_the_list_calculates(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three products give the list's own result for every model, those with steps of the input's length too."""
    owner = next(one for one in prices._snapshot().providers if one.id == prices._PROVIDER_IDS.get(provider, provider))
    counts = (
        (0, 0, 0, 0, 0),
        (1, 1, 0, 1, 0),
        (1000, 500, 300, 0, 0),
        (123_457, 9, 123_457, 5, 5),
        (9000, 1, 99, 777, 333),
        # Around the lengths from which long inputs cost more.
        *((start + more, 11, 99_999, 777, 333) for start in (128_000, 200_000, 256_000, 272_000) for more in (0, 1)),
        (2_000_001, 7, 0, 0, 0),
    )

    def price(name: str, count: tuple[int, ...]) -> int | None:
        return price_micro_usd(
            provider,
            name,
            *count[:2],
            cached_input_tokens=count[2],
            cache_write_tokens=count[3],
            cache_write_1h_tokens=count[4],
        )

    quick = {(m.id, c): price(m.id, c) for m in owner.models for c in counts}
    monkeypatch.setattr(prices, "_flat_rates", lambda *_: None)
    slow = {(name, c): price(name, c) for name, c in quick}
    assert quick == slow
    assert sum(value is not None for value in quick.values()) > 20


def test_tiers_that_a_request_asks_for_are_charged() -> None:
    """A dearer tier costs what it costs, a batch less; one that the list doesn't know costs the standard rate."""
    from safellm.stores.prices import ListedPrices

    standard, priority, batch = (
        ListedPrices().price("openai", "gpt-4o", UsageSeen(input_tokens=1_000_000, output_tokens=1_000_000), tier)
        for tier in (None, "priority", "batch")
    )
    assert standard is not None
    assert priority is not None
    assert batch is not None
    assert batch <= standard <= priority
    usage = UsageSeen(input_tokens=1000, output_tokens=1000)
    assert ListedPrices().price("openai", "gpt-4o", usage, "no such tier") is not None


@pytest.mark.parametrize("model", ["claude-opus-4-1", "claude-sonnet-4-5"])
def test_what_a_provider_writes_to_its_cache_is_billed_dearer(model: str) -> None:
    """Anthropic's published factors: 1.25 of the input for five minutes, 2 for an hour, a tenth for reading again."""
    from safellm.stores.prices import ListedPrices

    def price(**kinds: int) -> int:
        found = ListedPrices().price("anthropic", model, UsageSeen(input_tokens=100_000, output_tokens=0, **kinds))
        assert found is not None
        return found

    plain = price()
    assert price(cache_write_tokens=100_000) * 4 == plain * 5
    assert price(cache_write_tokens=100_000, cache_write_1h_tokens=100_000) == plain * 2
    assert price(cached_input_tokens=100_000) * 10 == plain
    mixed = price(cached_input_tokens=20_000, cache_write_tokens=50_000, cache_write_1h_tokens=10_000)
    assert mixed * 1000 == plain * (300 + 20 + 40 * 12.5 + 200)


def test_a_policy_prices_what_is_written_to_a_cache() -> None:
    """Own prices name cache writes too; without a name they cost what input does, and a bound takes the dearest."""
    from safellm._core.policy import Price
    from safellm.stores.prices import PolicyPrices

    usage = UsageSeen(input_tokens=1000, output_tokens=0, cache_write_tokens=600, cache_write_1h_tokens=100)
    plain = PolicyPrices({"m": Price(input="1", output="2")}, dearest=False)
    assert (plain.price("p", "m", usage), plain.bound("p", "m", 1000, 0)) == (1000, 1000)
    dear = PolicyPrices({"m": Price(input="1", output="2", cache_write="1.5", cache_write_1h="3")}, dearest=False)
    assert (dear.price("p", "m", usage), dear.bound("p", "m", 1000, 0)) == (400 + 750 + 300, 3000)
