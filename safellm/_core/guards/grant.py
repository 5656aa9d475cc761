"""Stage 2: the call stays within its grant and the scopes around it, in every mode (THREATS K.7-K.10).

What the request itself says is decided before any other guard works on it; what is known only after them (the output ceiling
that was put in, the data that was found, the price) is decided last, and still before a byte leaves.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

from safellm._core import named
from safellm._core.adapter import Billing
from safellm._core.call import Bounds, Call, RequestHead
from safellm._core.caveats import Attempt
from safellm._core.effects import Unit
from safellm._core.grant import PREFIX
from safellm._core.guards.ceiling import choices, is_count
from safellm.errors import Reason, Refused

NAME = "grant"
_KEY_HEADERS = ("authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization", "cookie")
_UNBOUNDED = 1 << 60  # more than any ceiling allows
_WHAT = {
    "key": "another key",
    "origin": "another address",
    "operation": "another operation",
    "model": "this model",
    "expires": "a later time: it has ended",
    "max_output_tokens": "more output tokens, or an output that can't be bounded",
    "tool": "other tools",
    "stream": "another way of answering (streamed or whole)",
    "without": "data of a type that may not be in it, or that can't be searched",
    "uid": "another user",
}


def check_head(head: RequestHead, bounds: Bounds) -> None:
    """Refuse a request that would carry a grant to the provider: it is a credential of this machine.

    Raises:
        Refused: `grant.invalid`.
    """
    if head.known.get(NAME) is bounds:
        return
    for name in _KEY_HEADERS:
        value = head.header(name)
        if PREFIX in value and not any(key.placeholder in value for key in bounds.managed):
            raise Refused(
                "A grant stands where a key belongs, and this client was not made with it",
                guard=NAME,
                reason=Reason.GRANT_INVALID,
                remedy="Make a client with the grant as its api_key; a grant itself is never sent.",
            )
    head.known[NAME] = bounds


def check(call: Call) -> None:
    """Decide by what the request says.

    Raises:
        Refused: `grant.denied` or `grant.invalid`.
    """
    standing = call.standing
    if standing is None:
        return
    if standing.problem:
        raise Refused(
            standing.problem,
            guard=NAME,
            reason=Reason.GRANT_INVALID,
            remedy="Ask for a new grant: safellm grant new.",
        )
    call.attempt = Attempt(
        now_s=standing.now_s,
        key=standing.key,
        origin=str(call.head.origin),
        operation=call.route.operation,
        models=named.models(call.body, _path_model(call), call.tools.adapter.table) if standing.has("model") else (),
        streams=_streams(call),
        tools=named.tools(call.body, call.tools.adapter.table) if standing.has("tool") else (),
        uid=standing.uid,
    )
    _decide(call, call.attempt)


def check_settled(call: Call) -> None:
    """Decide by what is known after the other guards.

    Raises:
        Refused: `grant.denied`, `budget.unbounded` or `budget.unpriced`.
    """
    standing, attempt = call.standing, call.attempt
    if standing is None or attempt is None:
        return
    if standing.has("without") and (call.body.binary_bytes or not call.policy.redaction.enabled):
        raise denied("without")
    if standing.has("max_output_tokens") or standing.has("without"):
        output, findings = _output_tokens(call), frozenset(call.findings)
        _decide(call, replace(attempt, output_tokens=output, findings=findings))
    units = {limit.unit for limit in standing.limits}
    if call.route.billing is Billing.OTHER and units & {Unit.TOKENS, Unit.MICRO_USD}:
        raise Refused(
            f"The cost of {call.route.operation} isn't known before it is done, and the grant or scope has a budget",
            guard=NAME,
            reason=Reason.BUDGET_UNBOUNDED,
            remedy="Use a grant that limits calls instead.",
            status=429,
        )
    if Unit.MICRO_USD in units and call.amounts.micro_usd is None:
        raise Refused(
            f"No price is known for the model {call.model!r}, and the grant or scope has a budget in money",
            guard=NAME,
            reason=Reason.BUDGET_UNPRICED,
            remedy="Use a model with a known price, or a budget in tokens.",
            status=429,
        )


def _decide(call: Call, attempt: Attempt) -> None:
    standing = call.standing
    caveat = None if standing is None else standing.denies(attempt)
    if caveat is not None:
        raise denied(caveat)


def denied(caveat: str) -> Refused:
    """Return the refusal of a call that a caveat doesn't allow."""
    return Refused(
        f"The grant or scope of this call doesn't allow {_WHAT.get(caveat, caveat)} (caveat {caveat!r})",
        guard=NAME,
        reason=Reason.GRANT_DENIED,
        remedy="Stay within it (safellm grant show GRANT), or ask for one that allows this.",
    )


def _path_model(call: Call) -> str:
    if call.route.model:
        return call.route.model
    segments = call.head.path.split("/")
    return segments[segments.index("deployments") + 1] if "deployments" in segments[:-1] else ""


def _streams(call: Call) -> bool:
    value = call.body.value
    # Whatever a lenient server may take for "yes" counts.
    return call.route.streams or (isinstance(value, dict) and value.get("stream") not in (None, False))


def _output_tokens(call: Call) -> int:
    """Return the most that the request lets the model write, over all names and places of a ceiling in it."""
    if call.route.billing is Billing.FREE:
        return 0
    if call.route.billing is Billing.OTHER:
        return _UNBOUNDED
    ceiling = call.tools.adapter.ceiling(call.route, call.head.origin)
    if ceiling is None:
        return 0  # embeddings, moderations
    body = call.body.value
    if not isinstance(body, dict):
        return _UNBOUNDED
    places: list[Any] = (
        [body] if not ceiling.within else [one for name in ceiling.within if isinstance(one := body.get(name), dict)]
    )
    given = [place[key] for place in places for key in ceiling.keys if place.get(key) is not None]
    if not given or not all(is_count(one) for one in given):
        return _UNBOUNDED
    return max(map(int, given)) * max(choices(ceiling, place) for place in places)
