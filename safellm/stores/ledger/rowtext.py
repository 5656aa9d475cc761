"""A reservation as the text that an engine keeps; id, state, nonce and windows lie beside it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Sequence

from safellm._core.effects import Amounts
from safellm.stores.ledger.engine import EngineFailure, Row, State

_STATES: dict[str, State] = {"held": "held", "settled": "settled", "swept": "swept", "released": "released"}


def to_text(row: Row) -> str:
    """Return what is kept as one text."""
    amounts = row.amounts
    numbers = [amounts.input_tokens, amounts.output_tokens, amounts.micro_usd, amounts.requests]
    parts = [row.created_us, numbers, row.labels, row.accounts, row.day]
    return json.dumps(parts, separators=(",", ":"))


def from_text(reservation_id: str, text: str | bytes, *, state: str, nonce: str, windows: Sequence[int]) -> Row:
    """Return a reservation.

    Raises:
        EngineFailure: the text isn't one of ours.
    """
    try:
        created_us, (tokens_in, tokens_out, micro_usd, requests), labels, accounts, day = json.loads(text)
        return Row(
            id=reservation_id,
            nonce=nonce,
            state=_STATES[state],
            created_us=created_us,
            amounts=Amounts(
                input_tokens=tokens_in, output_tokens=tokens_out, micro_usd=micro_usd, requests=requests
            ),
            labels=tuple(labels),
            accounts=tuple((name, cost_us) for name, cost_us in accounts),
            windows=tuple(windows),
            day=day,
        )  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise EngineFailure(
            f"its contents are not as expected ({type(error).__name__})",
            remedy="Another program may have written to it; run `safellm budget rearm` to begin a new ledger.",
        ) from None
