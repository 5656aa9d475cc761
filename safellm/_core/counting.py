"""The second look at a call that a limit has no room for: its input counted exactly instead of by its bytes.

A bound that fits decides alone, and then an exact count would have fitted too; one that doesn't is replaced by the count, which is
never larger. So every decision is the one that counting always would have made, and a tokenizer is loaded only near a limit.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from safellm._core.adapter import Billing
from safellm._core.call import Call
from safellm._core.effects import Count, Effect, OverLimit, Unit
from safellm._core.measure import measure
from safellm._core.tokens import encoding_of

# Limits that a smaller input helps with.
_BY_INPUT = frozenset({Unit.TOKENS, Unit.INPUT_TOKENS, Unit.MICRO_USD})


def look_closer(call: Call, over: OverLimit) -> Generator[Effect, Any, bool]:
    """Count the input exactly; return whether `call.amounts` became smaller, so that it is worth to reserve again.

    Yields `Count`.
    """
    if over.limit.unit not in _BY_INPUT or call.route.billing is not Billing.TOKENS or call.counted:
        return False
    call.counted = True
    encoding = encoding_of(call.model)
    if encoding is None or call.tools.counter is None:
        return False
    if call.changed:
        call.body.encode()  # writes changed arguments of tools back into the body
    measured = measure(call.body.value, call.model)
    if measured is None:
        return False
    counted = yield Count(encoding=encoding, texts=tuple(measured.texts))
    if counted is None or counted + measured.marks >= call.amounts.input_tokens:
        return False
    tokens, output = counted + measured.marks, call.amounts.output_tokens
    provider = call.tools.adapter.provider_of(call.head.origin)
    cost = call.tools.prices.bound(provider, call.model, tokens, output)
    call.amounts = replace(call.amounts, input_tokens=tokens, micro_usd=cost)
    return True
