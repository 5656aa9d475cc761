"""An exchange over plain values: no client, no network, stores as lists."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm._core.adapter import UsageSeen
from safellm._core.call import Bounds, RequestHead, Tools
from safellm._core.detection.finding import Finding
from safellm._core.effects import Decision, Effect, Forward, Record, Settle
from safellm._core.exchange import Exchange
from safellm._core.origin import Origin
from safellm._core.placeholder import Mapping as Values
from safellm._core.policy import Policy
from safellm_openai.adapter import ADAPTER

ORIGIN = Origin("https", "api.openai.com", 443)
KEY = b"k" * 32
HIDDEN = ("alice@example.com", "4111111111111111")


class WordScanner:
    """Finds given words: detection itself is tested elsewhere."""

    def __init__(self, *words: str) -> None:
        self.words = words or HIDDEN

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return every place of every word."""
        found = []
        for word in self.words:
            start = text.find(word)
            while start != -1:
                kind = "EMAIL" if "@" in word else "SECRET" if word.startswith("key") else "CREDIT_CARD"
                found.append(Finding(type=kind, rule="word", start=start, end=start + len(word)))
                start = text.find(word, start + len(word))
        return tuple(sorted(found, key=lambda one: one.start))


class Prices:
    """Two micro-dollars a token for models that are known."""

    def bound(self, provider: str, model: str, inputs: int, outputs: int) -> int | None:
        """Return the most."""
        return None if model == "unknown" else 2 * (inputs + outputs)

    def price(self, provider: str, model: str, usage: UsageSeen, tier: str | None = None) -> int | None:
        """Return the price."""
        return self.bound(provider, model, usage.input_tokens or 0, usage.output_tokens or 0)


@dataclass
class World:
    """What an exchange lives in, and everything that it asked for."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    scanner: Any = field(default_factory=WordScanner)
    effects: list[Effect] = field(default_factory=list)
    answers: dict[type, Any] = field(default_factory=dict)
    values: Values = field(default_factory=lambda: Values("test"))
    remembered: list[str] = field(default_factory=list)
    secrets: Any = None  # registered ones

    def exchange(self, bounds: Bounds | None = None) -> Exchange:
        """Return a fresh exchange."""
        tools = Tools(
            policy=Policy.model_validate(self.settings),
            adapter=ADAPTER,
            scanner=self.scanner,
            registered=None,
            key=KEY,
            prices=Prices(),
            policy_digest="0" * 64,
            sdk="test",
            secrets=None if self.secrets is None else lambda: self.secrets,
        )
        return Exchange(
            tools=tools,
            bounds=bounds or Bounds(origins=frozenset({ORIGIN})),
            conversation=lambda *_: self.values,
            remember=lambda name, _: self.remembered.append(name),
            call_id="call-1",
        )

    def run(self, effects: Generator[Effect, Any, Any]) -> Any:
        """Carry out effects by noting them; an answer that is an exception is thrown in."""
        try:
            effect = next(effects)
            while True:
                self.effects.append(effect)
                answer = self.answers.get(type(effect))
                if isinstance(effect, Settle) and answer is None:
                    answer = effect.amounts
                effect = effects.throw(answer) if isinstance(answer, Exception) else effects.send(answer)
        except StopIteration as done:
            return done.value

    def begin(
        self, body: Any, path: str = "/v1/chat/completions", exchange: Exchange | None = None, **head: Any
    ) -> tuple[Exchange, Decision]:
        """Run `begin` for a JSON body."""
        exchange = exchange or self.exchange()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        parts: dict[str, Any] = {
            "method": "POST",
            "origin": ORIGIN,
            "path": path,
            "query": "",
            "headers": (("content-type", "application/json"),),
        }
        return exchange, self.run(exchange.begin(RequestHead(**{**parts, **head}), data))

    @property
    def names(self) -> list[str]:
        """The effects by name, records by their event."""
        return [one.event if isinstance(one, Record) else type(one).__name__ for one in self.effects]

    def record(self, event: str) -> Mapping[str, Any]:
        """Return the fields of the first record of an event."""
        return next(one.fields for one in self.effects if isinstance(one, Record) and one.event == event)


def chat(text: str, **more: Any) -> dict[str, Any]:
    """Return a chat request with one user message."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def sent(decision: Decision, original: Any) -> Any:
    """Return the JSON that goes out."""
    assert isinstance(decision, Forward), decision
    return original if decision.body is None else json.loads(decision.body)


def answer(exchange: Exchange, pieces: list[bytes], content_type: str = "application/json", status: int = 200) -> bytes:
    """Feed an answer and return what the program gets."""
    exchange.response(status, (("content-type", content_type),))
    return b"".join([*(exchange.feed(piece) for piece in pieces), exchange.end()])
