"""What a call is charged: what the provider says it bills, and more where it doesn't say (THREATS B.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Seen
from safellm._core.call import Call
from safellm._core.effects import Amounts
from safellm._core.recording import FIRST_ERROR


def billed(call: Call, seen: Seen, status: int, cut_tokens: int | None = None) -> Amounts | None:
    """Return what a call is charged; None charges the whole reservation.

    Args:
        call: The request.
        seen: What the answer said of itself.
        status: HTTP status of the answer.
        cut_tokens: Output tokens until its stream was ended here; None where it wasn't.
    """
    if cut_tokens is not None:
        return _until_cut(call, seen, cut_tokens)
    if status >= FIRST_ERROR:  # an error answer is not billed
        return Amounts(input_tokens=0, output_tokens=0, micro_usd=0, requests=1)
    usage = seen.usage
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    provider, prices = call.labels["provider"], call.tools.prices
    if usage.audio_tokens:
        # Which of all tokens were cheaper, cached or text, isn't told apart: the dearest rate counts for each.
        cost = prices.bound(provider, call.model, usage.input_tokens, usage.output_tokens)
        return Amounts(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, micro_usd=cost, requests=1)
    cost = prices.price(provider, seen.model or call.model, usage, call.service_tier)
    if cost is None and seen.model not in (None, call.model):
        cost = prices.price(provider, call.model, usage, call.service_tier)
    return Amounts(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, micro_usd=cost, requests=1)


def _until_cut(call: Call, seen: Seen, tokens: int) -> Amounts:
    # What the provider says at the end isn't known: all that was held, and what came besides.
    given = None if seen.usage is None else seen.usage.input_tokens
    given = call.amounts.input_tokens if given is None else given
    output = max(tokens, call.amounts.output_tokens)
    cost = call.tools.prices.bound(call.labels["provider"], call.model, given, output)
    return Amounts(input_tokens=given, output_tokens=output, micro_usd=cost, requests=1)
