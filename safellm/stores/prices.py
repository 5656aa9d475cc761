"""What tokens cost, in whole micro-US-dollars, from the price list inside the `genai-prices` package.

* Only the list that was installed is read: no download, and no list that another part of the program fetched.
* Every price is rounded up. A model that the list doesn't know, or doesn't price by tokens, has no price: None.
* A bound takes the dearest rate that can apply; a settled price takes the rate that did.

Charges per tool use (web or file search) are not part of a price per token and are not counted.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider, Tier, TieredPrices

    from safellm._core.adapter import UsageSeen
    from safellm._core.policy import Policy, Price

_MICRO = 1_000_000
_HOUR_S = 3600
_MODELS_REMEMBERED = 512

# OpenTelemetry's `gen_ai.provider.name` (semantic conventions 1.37) where the price list has another id.
_PROVIDER_IDS = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}

# Service tiers that cost at most the standard rate. Others, and "auto" (the project decides), may cost more.
_PLAIN_TIERS = frozenset({"default", "standard", "flex", "batch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """The dearest rates, by the number of input tokens from which a rate counts.

    US dollars per million tokens are micro-dollars per token; they are whole numbers of `1 / unit`, since sums of decimals take
    longer than all the rest.
    """

    input: tuple[tuple[int, int], ...]
    output: tuple[tuple[int, int], ...]
    request: int  # per call
    unit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _FlatRates:
    """What a token costs if the input has more tokens than `start`, as in `_Rates`."""

    start: int
    input: int
    cached: int
    written: int
    written_1h: int
    output: int
    unit: int


def price_micro_usd(  # noqa: PLR0913 - one number per kind of token
    provider: str,
    model: str,
    input_tokens: int,
    output_tokens: int,
    *,
    cached_input_tokens: int = 0,
    cache_write_tokens: int = 0,
    cache_write_1h_tokens: int = 0,
    service_tier: str | None = None,
) -> int | None:
    """Return the price of one billed call, rounded up; None when it isn't known.

    Args:
        provider: OpenTelemetry name, such as `openai` or `azure.ai.openai`.
        model: Name as in the response.
        input_tokens: All input tokens, the cached ones included.
        output_tokens: All output tokens, reasoning included.
        cached_input_tokens: Those of the input that the provider read from its cache.
        cache_write_tokens: Those of the input that it wrote there, which some providers bill dearer.
        cache_write_1h_tokens: Those of the written ones that are kept for an hour, dearer again.
        service_tier: Tier that the response names; None is the standard rate.

    Raises:
        ValueError: a number is negative.
    """
    _check(input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens)
    found = _find(provider, model)
    if found is None:
        return None
    cached = min(cached_input_tokens, input_tokens)
    written = min(cache_write_tokens, input_tokens - cached)
    for_hour = min(cache_write_1h_tokens, written)
    steps = None if service_tier is not None else _flat_rates(provider, model, int(time.time()) // _HOUR_S)
    if steps is not None:
        flat = next(step for step in steps if input_tokens > step.start)
        total = (input_tokens - cached - written) * flat.input + cached * flat.cached + output_tokens * flat.output
        total += (written - for_hour) * flat.written + for_hour * flat.written_1h
        return -(-total // flat.unit)
    from genai_prices.types import Usage  # noqa: PLC0415 - about 0.2 s; only programs that price pay it

    usage = Usage(
        input_tokens=input_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=for_hour,
        output_tokens=output_tokens,
    )
    owner, info = found
    now = datetime.fromtimestamp(int(time.time()), tz=UTC)
    if service_tier is None:
        calculation = info.calc_price(usage, owner, genai_request_timestamp=now)
    else:
        context = {"service_tier": service_tier}
        calculation = info.calc_price(usage, owner, genai_request_timestamp=now, price_context=context)
    prices = calculation.model_price
    if not _has_rate(prices, "input", input_tokens) or not _has_rate(prices, "output", output_tokens):
        return None
    return _ceil(calculation.total_price * _MICRO)


def bound_micro_usd(
    provider: str, model: str, input_tokens: int, output_tokens: int, *, service_tier: str | None = None
) -> int | None:
    """Return the most that one call can cost, rounded up; None when no price is known.

    The dearest rate of every kind of token counts: no cache discount, cache writes, audio and image tokens, and the rate
    for long prompts from the number of input tokens on at which it begins.

    Args:
        provider: OpenTelemetry name, such as `openai` or `azure.ai.openai`.
        model: Name as in the request.
        input_tokens: Upper bound of the input.
        output_tokens: Upper bound of the output over all choices.
        service_tier: Tier that the request asks for. Without one, or with `auto`, the provider's project settings may
            choose a dearer tier, so the dearest counts.

    Raises:
        ValueError: a number is negative.

    Source: THREATS B.7.
    """
    _check(input_tokens, output_tokens)
    rates = _rates(provider, model, service_tier in _PLAIN_TIERS, int(time.time()) // _HOUR_S)
    if rates is None or (input_tokens and not rates.input) or (output_tokens and not rates.output):
        return None
    total = rates.request
    for tokens, steps in ((input_tokens, rates.input), (output_tokens, rates.output)):
        total += tokens * max([rate for start, rate in steps if start == 0 or input_tokens > start], default=0)
    return -(-total // rates.unit)


class ListedPrices:
    """The prices that this installation has; see the functions above."""

    def bound(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that a call can cost, in micro-dollars; None when no price is known."""
        return bound_micro_usd(provider, model, input_tokens, output_tokens)

    def price(self, provider: str, model: str, usage: UsageSeen, tier: str | None = None) -> int | None:
        """Return what a call cost, in micro-dollars; None when no price is known."""
        return _listed_micro_usd(provider, model, usage, tier)


class PolicyPrices:
    """The policy's own prices before the list's; an unknown model is priced as the policy says.

    Args:
        own: Prices by the name of the model, as in requests or in answers.
        dearest: An unknown model costs what the dearest of its provider does; else it has no price.
    """

    def __init__(self, own: Mapping[str, Price], *, dearest: bool) -> None:
        self._own = dict(own)
        self._dearest = dearest

    def bound(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """Return the most that a call can cost, in micro-dollars; None when no price is known."""
        own = self._own.get(model)
        if own is not None:
            dearest_input = max(own.input, *_own_cache_rates(own))
            return _own_micro_usd(own, input_tokens * dearest_input + output_tokens * own.output)
        listed = bound_micro_usd(provider, model, input_tokens, output_tokens)
        if listed is None and self._dearest:
            return _dearest_micro_usd(provider, input_tokens, output_tokens)
        return listed

    def price(self, provider: str, model: str, usage: UsageSeen, tier: str | None = None) -> int | None:
        """Return what a call cost, in micro-dollars; None when no price is known."""
        own = self._own.get(model)
        if own is not None:
            return _own_micro_usd(own, _own_total(own, usage))
        listed = _listed_micro_usd(provider, model, usage, tier)
        if listed is None and self._dearest:
            return _dearest_micro_usd(provider, usage.input_tokens or 0, usage.output_tokens or 0)
        return listed


def prices_of(policy: Policy) -> ListedPrices | PolicyPrices:
    """Return the prices that count under a policy."""
    dearest = policy.budget.unknown_price == "dearest"
    return PolicyPrices(policy.prices, dearest=dearest) if policy.prices or dearest else ListedPrices()


def _listed_micro_usd(provider: str, model: str, usage: UsageSeen, tier: str | None) -> int | None:
    return price_micro_usd(
        provider,
        model,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        cached_input_tokens=usage.cached_input_tokens or 0,
        cache_write_tokens=usage.cache_write_tokens or 0,
        cache_write_1h_tokens=usage.cache_write_1h_tokens or 0,
        service_tier=tier,
    )


def _own_cache_rates(own: Price) -> tuple[Decimal, Decimal, Decimal]:
    """Return the rates for what is read from a cache, written to it, and written for an hour."""
    written = own.input if own.cache_write is None else own.cache_write
    for_hour = written if own.cache_write_1h is None else own.cache_write_1h
    return (own.input if own.cached is None else own.cached), written, for_hour


def _own_total(own: Price, usage: UsageSeen) -> Decimal:
    tokens = usage.input_tokens or 0
    cached = min(usage.cached_input_tokens or 0, tokens)
    written = min(usage.cache_write_tokens or 0, tokens - cached)
    for_hour = min(usage.cache_write_1h_tokens or 0, written)
    read_rate, write_rate, hour_rate = _own_cache_rates(own)
    total = (tokens - cached - written) * own.input + (usage.output_tokens or 0) * own.output
    return total + cached * read_rate + (written - for_hour) * write_rate + for_hour * hour_rate


def _own_micro_usd(own: Price, micro_usd: Decimal) -> int:
    # Dollars per million tokens are micro-dollars per token.
    return _ceil(micro_usd + own.request * _MICRO)


def _dearest_micro_usd(provider: str, input_tokens: int, output_tokens: int) -> int | None:
    rates = _dearest_rates(provider, int(time.time()) // _HOUR_S)
    return None if rates is None else _ceil(input_tokens * rates[0] + output_tokens * rates[1] + rates[2] * _MICRO)


@lru_cache(maxsize=64)
def _dearest_rates(provider: str, hour: int) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return the dearest rates for input, for output and for a request among a provider's models."""
    wanted = _PROVIDER_IDS.get(provider, provider)
    owner = next((candidate for candidate in _snapshot().providers if candidate.id == wanted), None)
    if owner is None:
        return None
    found = [rates for model in owner.models if (rates := _rates(provider, model.id, False, hour)) is not None]
    zero = Decimal(0)
    dearest_input = max((Decimal(rate) / rates.unit for rates in found for _, rate in rates.input), default=zero)
    dearest_output = max((Decimal(rate) / rates.unit for rates in found for _, rate in rates.output), default=zero)
    if not dearest_input or not dearest_output:
        return None
    request = max((Decimal(rates.request) / rates.unit / _MICRO for rates in found), default=zero)
    return dearest_input, dearest_output, request


@lru_cache(maxsize=1)
def _snapshot() -> DataSnapshot:
    from genai_prices.data import providers  # noqa: PLC0415 - 1.5 MB of data
    from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415

    # A snapshot of our own, not `get_snapshot()`: that one may have been fetched by other code of the program.
    return DataSnapshot(providers=providers, from_auto_update=False)


@lru_cache(maxsize=_MODELS_REMEMBERED)
def _find(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    wanted = _PROVIDER_IDS.get(provider, provider)
    # By exact id: the list's own matching takes any name that contains "openai" for OpenAI.
    owner = next((candidate for candidate in _snapshot().providers if candidate.id == wanted), None)
    if owner is None or not model:
        return None
    try:
        return _snapshot().find_provider_model(model, owner, None, None)
    except LookupError:
        return None


@lru_cache(maxsize=_MODELS_REMEMBERED)
def _flat_rates(provider: str, model: str, hour: int) -> tuple[_FlatRates, ...] | None:
    """Return the rates of a model, those for the longest inputs first: the length of the input decides for all tokens.

    The list's own calculation takes 0.2 ms a call; nearly all models need three products. None for the others.
    """
    found = _find(provider, model)
    if found is None:
        return None
    prices = found[1].get_prices(datetime.fromtimestamp(hour * _HOUR_S, tz=UTC))
    rates = {name: value for name, value in vars(prices).items() if value is not None}
    if {"input_mtok", "output_mtok"} - rates.keys() or rates.get("requests_kcount"):
        return None
    starts = {tier.start for value in rates.values() for tier in getattr(value, "tiers", ())}
    return tuple(_flat_from(rates, start) for start in (*sorted(starts, reverse=True), -1))


def _flat_from(listed: Mapping[str, Decimal | TieredPrices], start: int) -> _FlatRates:
    rates = {name: _beyond(value, start) for name, value in listed.items()}
    plain = rates["input_mtok"]
    written = rates.get("cache_write_mtok", plain)
    named = [
        plain,
        rates.get("cache_read_mtok", plain),
        written,
        rates.get("cache_write_1h_mtok", written),
        rates["output_mtok"],
    ]
    unit = _unit(named)
    whole = [int(rate * unit) for rate in named]
    return _FlatRates(
        start=start, input=whole[0], cached=whole[1], written=whole[2], written_1h=whole[3], output=whole[4], unit=unit
    )


def _beyond(value: Decimal | TieredPrices, start: int) -> Decimal:
    """Return the rate for inputs of more than so many tokens, up to the next step of any rate."""
    tiers: list[Tier] = getattr(value, "tiers", [])
    return next((tier.price for tier in reversed(tiers) if tier.start <= start), _base(value))


@lru_cache(maxsize=_MODELS_REMEMBERED)
def _rates(provider: str, model: str, plain: bool, hour: int) -> _Rates | None:
    found = _find(provider, model)
    if found is None:
        return None
    lists = list(_prices_in_force(found[1], hour, plain=plain))
    inputs = _dearest(step for prices in lists for step in _steps(prices, "input"))
    outputs = _dearest(step for prices in lists for step in _steps(prices, "output"))
    thousand = max((_highest(getattr(prices, "requests_kcount", None)) for prices in lists), default=Decimal(0))
    request = thousand / 1000 * _MICRO
    unit = _unit([request, *(rate for _, rate in (*inputs, *outputs))])
    return _Rates(
        input=tuple((start, int(rate * unit)) for start, rate in inputs),
        output=tuple((start, int(rate * unit)) for start, rate in outputs),
        request=int(request * unit),
        unit=unit,
    )


def _unit(rates: Iterable[Decimal]) -> int:
    """Return the smallest power of ten by which all rates are whole."""
    return int(10 ** max((max(0, -int(rate.as_tuple().exponent)) for rate in rates), default=0))


def _dearest(steps: Iterable[tuple[int, Decimal]]) -> tuple[tuple[int, Decimal], ...]:
    """Return one step for each number of tokens from which a rate counts: the dearest."""
    found: dict[int, Decimal] = {}
    for start, rate in steps:
        found[start] = max(rate, found.get(start, rate))
    return tuple(found.items())


def _prices_in_force(info: ModelInfo, hour: int, *, plain: bool) -> Iterator[ModelPrice]:
    start = datetime.fromtimestamp(hour * _HOUR_S, tz=UTC)
    # A call may be billed at its end: all rates of the next 24 hours count, such as those by time of day.
    for offset in range(25):
        yield info.get_prices(start + timedelta(hours=offset))
    if not plain:
        for variant in getattr(info, "price_variants", None) or ():
            yield variant.prices


def _steps(prices: ModelPrice, direction: str) -> Iterator[tuple[int, Decimal]]:
    for key, value in vars(prices).items():
        if value is None or not key.endswith("_mtok") or (direction == "output") != key.startswith("output_"):
            continue
        yield 0, _base(value)
        for tier in getattr(value, "tiers", ()):
            yield tier.start, tier.price


def _base(value: Decimal | TieredPrices) -> Decimal:
    return value if isinstance(value, Decimal) else value.base


def _highest(value: Decimal | TieredPrices | None) -> Decimal:
    if value is None:
        return Decimal(0)
    tiers: list[Tier] = getattr(value, "tiers", [])
    return max([_base(value), *(tier.price for tier in tiers)])


def _has_rate(prices: ModelPrice, direction: str, tokens: int) -> bool:
    # An audio model priced by the hour must not look free.
    return tokens == 0 or any(True for _ in _steps(prices, direction))


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def _check(*numbers: int) -> None:
    if min(numbers) < 0:
        msg = "a number of tokens can't be negative"
        raise ValueError(msg)
