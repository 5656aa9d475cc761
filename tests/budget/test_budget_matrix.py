"""What a call is charged when its answer is odd: the same matrix for each provider's SDK (B.3, B.4).

Every cell is a real call of the real SDK against a server that answers wrongly in one way; what counts is what the ledger has in
the end: what the provider says where that can be true, all that was held otherwise, and something for each attempt on the wire.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from billing import INPUT, OUTPUT, BillingServer

import safellm

PROVIDERS = ["openai", "anthropic", "google"]
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
CEILING = 50
LIMITS = {"budget.limits": [{"tokens": 1_000_000, "window": "total"}]}
# Google's JSON writes 64-bit integers as text, and leaves out zeros, so that the total tells what is missing.
SAID_ANOTHER_WAY = {("google", "text"): (7, INPUT + OUTPUT - 7), ("google", "half-negative"): (INPUT, OUTPUT)}
Ask = Callable[..., None]


@pytest.fixture(scope="module")
def server() -> Iterator[BillingServer]:
    """One server for all cells; each has a path of its own."""
    with BillingServer() as running:
        yield running


@pytest.fixture(params=PROVIDERS)
def ask(request: pytest.FixtureRequest, home: Any, server: BillingServer) -> Iterator[Ask]:
    """Make one call under a fault and read the answer to its end, or leave it; errors of the SDK are part of the cell."""
    name = request.param
    if name != "openai":
        pytest.importorskip("anthropic" if name == "anthropic" else "google.genai")
    module = importlib.import_module({"google": "safellm.google.genai"}.get(name, f"safellm.{name}"))
    clients: list[Any] = []

    def call(fault: str, *, stream: bool = False, leave: bool = False, retries: int = 0, timeout: float = 20) -> None:
        server.attempts.pop(fault, None)
        fault_header = {"x-fault": fault}
        if name == "openai":
            url, options = (
                f"{server.origin}/v1",
                {"max_retries": retries, "timeout": timeout, "default_headers": fault_header},
            )
            client = module.OpenAI(base_url=url, api_key="x", safellm=LIMITS, **options)
            asked = {"model": "gpt-4o", "max_tokens": CEILING, "messages": [{"role": "user", "content": "hi"}]}
            make = lambda: client.chat.completions.create(**asked, stream=stream)  # noqa: E731
        elif name == "anthropic":
            options = {"max_retries": retries, "timeout": timeout, "default_headers": fault_header}
            client = module.Anthropic(base_url=server.origin, api_key="x", safellm=LIMITS, **options)
            asked = {
                "model": "claude-sonnet-5-5",
                "max_tokens": CEILING,
                "messages": [{"role": "user", "content": "hi"}],
            }
            make = lambda: client.messages.create(**asked, stream=stream)  # noqa: E731
        else:
            http: dict[str, Any] = {"base_url": server.origin, "timeout": int(timeout * 1000), "headers": fault_header}
            if retries:
                http["retry_options"] = {"attempts": retries + 1, "initial_delay": 0.001, "max_delay": 0.002}
            client = module.Client(api_key="x", http_options=http, safellm=LIMITS)
            asked = {"model": "gemini-2.5-flash", "contents": "hi", "config": {"max_output_tokens": CEILING}}
            models = client.models
            make = lambda: (models.generate_content_stream if stream else models.generate_content)(**asked)  # noqa: E731
        clients.append(client)
        try:
            made = make()
            for _ in made if stream else ():
                if leave:
                    break
            if leave and hasattr(made, "close"):
                made.close()
            del made
        except Exception as error:
            assert not isinstance(error, (AssertionError, Warning, safellm.errors.ConfigurationError))
        if leave:
            gc.collect()

    call.provider = name  # type: ignore[attr-defined]
    yield call
    for client in clients:
        client.close()


def charged(records: Any) -> list[tuple[int, int]]:
    """Return input and output of each charge, after a look that nothing is left open."""
    found = records()
    intents = [one for one in found if one["event.name"] == "call.intent"]
    outcomes = [one for one in found if one["event.name"] == "call.outcome"]
    assert len(intents) == len(outcomes) > 0
    return [
        (one["safellm.budget.charged"]["input_tokens"], one["safellm.budget.charged"]["output_tokens"])
        for one in outcomes
    ]


def held(records: Any) -> tuple[int, int]:
    """Return what the first call held."""
    one = next(one for one in records() if one["event.name"] == "call.intent")["safellm.budget.reserved"]
    assert one["output_tokens"] == CEILING
    return one["input_tokens"], one["output_tokens"]


def ledger_says(home: Any) -> tuple[int, int, int]:
    """Return requests, used and held of the limit."""
    from safellm.stores.ledger.choose import file_ledger
    from safellm.stores.settings import load_policy

    ledger = file_ledger(home / "ledger.sqlite3")
    [rule] = load_policy(environ={}, overrides=LIMITS).policy.budget.rules
    [balance] = ledger.balances([rule.limit], now_ns=0)
    return sum(one.requests for one in ledger.usage()), balance.used, balance.held


@STREAMED
def test_b_3_usage_that_can_be_true_is_charged(ask: Ask, records: Any, home: Any, stream: bool) -> None:
    """What the provider says, also an explicit zero."""
    ask("whole", stream=stream)
    ask("zero", stream=stream)
    assert charged(records) == [(INPUT, OUTPUT), (0, 0)]
    assert ledger_says(home) == (2, INPUT + OUTPUT, 0)


@STREAMED
def test_b_3_usage_that_can_not_be_true_charges_the_hold(ask: Ask, records: Any, home: Any, stream: bool) -> None:
    """Absent, below nothing, beyond everything, or no number at all."""
    expected = []
    for fault in ("missing", "negative", "half-negative", "huge", "text", "fraction", "null", "list", "true"):
        ask(fault, stream=stream)
        expected.append(SAID_ANOTHER_WAY.get((ask.provider, fault)) or held(records))  # type: ignore[attr-defined]
        assert charged(records) == expected, fault
    assert ledger_says(home) == (len(expected), sum(map(sum, expected)), 0)


@STREAMED
def test_b_3_a_second_usage_never_lowers_the_charge(ask: Ask, records: Any, stream: bool) -> None:
    """A smaller one that comes later changes nothing; a body that says it twice can't be read, and charges the hold."""
    ask("twice", stream=stream)
    assert charged(records) == [(INPUT, OUTPUT) if stream else held(records)]


@STREAMED
def test_b_3_an_answer_that_breaks_off_charges_the_hold(ask: Ask, records: Any, home: Any, stream: bool) -> None:
    """Closed, reset, ended in the middle, or silent until the program's patience ends."""
    for number, fault in enumerate(("cut", "reset", "half-json", "stall"), start=1):
        ask(fault, stream=stream, timeout=0.3 if fault == "stall" else 20)
        assert charged(records) == [held(records)] * number, fault
    assert ledger_says(home) == (4, 4 * sum(held(records)), 0)


def test_b_3_a_stream_that_the_program_leaves_charges_the_hold(ask: Ask, records: Any, home: Any) -> None:
    """The provider may have written all of it."""
    ask("stall", stream=True, leave=True)
    assert charged(records) == [held(records)]
    assert ledger_says(home)[1:] == (sum(held(records)), 0)


def test_b_4_an_attempt_that_failed_counts_and_the_one_that_worked_is_charged(
    ask: Ask, records: Any, home: Any, server: BillingServer
) -> None:
    """The SDK tries again: two attempts on the wire, two requests in the ledger, one of them with tokens."""
    for number, fault in enumerate(("error-then-whole", "limit-then-whole", "overload-then-whole"), start=1):
        ask(fault, retries=1)
        assert server.attempts[fault] == 2
        assert charged(records) == [(0, 0), (INPUT, OUTPUT)] * number
    assert ledger_says(home) == (6, 3 * (INPUT + OUTPUT), 0)


def test_b_4_attempts_without_any_answer_each_charge_their_hold(
    ask: Ask, records: Any, home: Any, server: BillingServer
) -> None:
    """The request was sent, nothing came back: it may have been billed each time."""
    ask("nothing", retries=1)
    attempts = server.attempts["nothing"]
    assert attempts >= (1 if ask.provider == "google" else 2)  # type: ignore[attr-defined]
    assert charged(records) == [held(records)] * attempts
    assert ledger_says(home) == (attempts, sum(held(records)) * attempts, 0)
