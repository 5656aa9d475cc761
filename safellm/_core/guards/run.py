"""The breaker of loops: what one `with safellm.run(...)` may do, whatever a model asks for (THREATS B.9).

Counted are calls, what they cost, runs inside one another, and how often the very same request was made: an agent that sends the
same bytes again has not got further. A wire attempt that the SDK repeats after an error is a call and no repetition.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from safellm._core.budget import STATUS_TOO_MANY_REQUESTS, show_amount
from safellm._core.effects import Amounts, Unit
from safellm.errors import Reason, Refused

NAME = "run"


class Breaker(Protocol):
    """The run that a call is made in."""

    def admit(self, call_id: str, amounts: Amounts, state: str | None) -> None:
        """Count a call before it is sent.

        Args:
            call_id: Name of this wire attempt.
            amounts: The most that it can cost.
            state: Digest of the request; None for one that repeats another by intention.

        Raises:
            Refused: `run.exceeded`.
        """
        ...

    def settle(self, call_id: str, charged: Amounts | None) -> None:
        """Replace the bound by what was charged; None keeps the bound."""
        ...

    def drop(self, call_id: str) -> None:
        """Forget a call that was not sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCeilings:
    """What a run may do; None is no limit."""

    calls: int | None = None
    micro_usd: int | None = None
    tokens: int | None = None
    depth: int | None = None
    repeats: int | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run has done."""

    calls: int = 0
    micro_usd: int = 0
    tokens: int = 0
    states: Counter[str] = field(default_factory=Counter)


def decide(  # noqa: PLR0913 - what a run may do, has done, and is asked for
    name: str, most: RunCeilings, tally: Tally, *, depth: int, amounts: Amounts, state: str | None
) -> None:
    """Refuse a call that goes beyond what its run may do.

    Args:
        name: Of the run.
        most: What it may do.
        tally: What it has done.
        depth: How many runs are inside one another, from this one to that of the call.
        amounts: The most that the call can cost.
        state: Digest of the request; None for a repetition by intention.

    Raises:
        Refused: `run.exceeded`.
    """
    if most.depth is not None and depth > most.depth:
        raise _broken(name, f"{depth} runs are inside one another, and {most.depth} may be", "depth")
    if most.calls is not None and tally.calls + 1 > most.calls:
        raise _broken(name, f"it has made {tally.calls} calls, and may make {most.calls}", "calls")
    times = 0 if state is None else tally.states[state]
    if most.repeats is not None and times + 1 > most.repeats:
        raise _broken(name, f"the very same request was made {times} times", "repeats")
    if most.micro_usd is not None and tally.micro_usd + (amounts.micro_usd or 0) > most.micro_usd:
        parts = [show_amount(Unit.MICRO_USD, one) for one in (tally.micro_usd, amounts.micro_usd or 0, most.micro_usd)]
        raise _broken(name, "it has used {}, asks for at most {}, and may use {}".format(*parts), "usd")
    asked = amounts.of(Unit.TOKENS)
    if most.tokens is not None and tally.tokens + asked > most.tokens:
        parts = [show_amount(Unit.TOKENS, one) for one in (tally.tokens, asked, most.tokens)]
        raise _broken(name, "it has used {}, asks for at most {}, and may use {}".format(*parts), "tokens")
    if most.micro_usd is not None and amounts.micro_usd is None:
        raise Refused(
            f"The run '{name}' has a money limit, and no price is known for this call",
            guard=NAME,
            reason=Reason.BUDGET_UNPRICED,
            remedy="Use a model with a known price, or limit the run's tokens or calls instead.",
            status=STATUS_TOO_MANY_REQUESTS,
        )


def _broken(name: str, why: str, setting: str) -> Refused:
    return Refused(
        f"The run '{name}' was stopped: {why}",
        guard=NAME,
        reason=Reason.RUN_EXCEEDED,
        remedy=f"If this is no loop, give the run more `{setting}`.",
        status=STATUS_TOO_MANY_REQUESTS,
    )
