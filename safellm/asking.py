"""One guarded question to a model of any provider, and what the guards did on the way: for the command line and notebooks.

The model's name says which SDK asks: `claude-…` Anthropic's, `gemini-…` Google's, everything else OpenAI's; a profile (`ollama`,
`groq`, …) is a server that speaks OpenAI's dialect.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from safellm.errors import ConfigurationError

_FAMILIES: Final = {"claude": "anthropic", "gemini": "google", "gemma": "google"}
_OWN_CEILING: Final = "max_completion_tokens"  # OpenAI's newer name; servers of its dialect know the older one
_COMMON_CEILING: Final = "max_tokens"
_LAST_RECORD_S: Final = 1.0
_MAX_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        text: The user's text.
        model: As the provider names it; empty: the one that a local server has.
        profile: Name of a server of OpenAI's dialect, such as `ollama`.
        system: Instructions for the model.
        max_tokens: Longest answer, in tokens.
        base_url: Another server of OpenAI's dialect.
    """

    text: str
    model: str = ""
    profile: str = ""
    system: str = ""
    max_tokens: int = _MAX_TOKENS
    base_url: str = ""

    @property
    def provider(self) -> str:
        """The SDK that asks: `openai`, `anthropic` or `google`."""
        if self.profile or self.base_url:
            return "openai"
        family = self.model.partition("-")[0].removeprefix("models/")
        return _FAMILIES.get(family, "openai")


@dataclass(slots=True)
class Told:
    """What the guards recorded of one question, once the answer is whole.

    Attributes:
        model: As the provider answered.
        hidden: Number of hidden values by type.
        restored: Number of placeholders that became values again.
        input_tokens, output_tokens: As billed; None when the provider didn't say.
        micro_usd: Cost in millionths of a US dollar; None without a price.
        changed: Number of changes to the answer by kind (controls, links, ...).
    """

    model: str = ""
    hidden: dict[str, int] = field(default_factory=dict)
    restored: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    micro_usd: int | None = None
    changed: dict[str, int] = field(default_factory=dict)


class Asking:
    """Asks a question: iterate for the pieces of the answer, then read `told`.

    Raises (while iterating):
        ConfigurationError: no model is named, or the SDK isn't installed.
        Refused: a guard refused; it is the SDK's own error too.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.told = Told()
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[str]:
        from safellm.stores.journal.background import on_event  # noqa: PLC0415 - starts threads

        ask = {"openai": _openai, "anthropic": _anthropic, "google": _google}[self.question.provider]
        stop = on_event(self._take)
        try:
            yield from ask(self.question)
            self._ended.wait(_LAST_RECORD_S)  # records reach listeners a moment after they are written
        finally:
            stop()

    def _take(self, event: dict[str, Any]) -> None:
        told = self.told
        if event["event.name"] == "call.intent":
            told.hidden = dict(event.get("safellm.redaction.counts") or {})
        elif event["event.name"] == "call.outcome":
            actions = dict(event.get("safellm.output.actions") or {})
            told.restored = int(actions.pop("restored", 0))
            told.changed = {kind: int(count) for kind, count in actions.items()}
            told.model = str(event.get("gen_ai.response.model") or event.get("gen_ai.request.model") or "")
            told.input_tokens = event.get("gen_ai.usage.input_tokens")
            told.output_tokens = event.get("gen_ai.usage.output_tokens")
            told.micro_usd = (event.get("safellm.budget.charged") or {}).get("micro_usd")
            self._ended.set()


def _openai(question: Question) -> Iterator[str]:
    from safellm.openai import OpenAI  # noqa: PLC0415 - one SDK of three

    options: dict[str, Any] = {}
    if question.profile:
        options["profile"] = question.profile
    if question.base_url:
        options["base_url"] = question.base_url
    with OpenAI(**options) as client:
        own = client.base_url.host.endswith("openai.com")
        messages: list[Any] = [{"role": "user", "content": question.text}]
        if question.system:
            messages.insert(0, {"role": "system", "content": question.system})
        ceiling: dict[str, Any] = {_OWN_CEILING if own else _COMMON_CEILING: question.max_tokens}
        model = question.model or _only_model(client, question)
        with client.chat.completions.create(model=model, messages=messages, stream=True, **ceiling) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content


def _only_model(client: Any, question: Question) -> str:
    """Return the model of a local server that has just one in mind: the first of its list."""
    if not (question.profile and client.base_url.host in ("127.0.0.1", "localhost", "::1")):
        raise ConfigurationError("No model is named", remedy="Name one, such as gpt-5-mini or claude-sonnet-5-5.")
    known = [one.id for one in client.models.list()]
    if not known:
        raise ConfigurationError(
            f"The server of the profile {question.profile!r} has no model", remedy="Load one there first."
        )
    return str(known[0])


def _anthropic(question: Question) -> Iterator[str]:
    from safellm.anthropic import Anthropic  # noqa: PLC0415 - one SDK of three

    options: dict[str, Any] = {"system": question.system} if question.system else {}
    messages: list[Any] = [{"role": "user", "content": question.text}]
    with (
        Anthropic() as client,
        client.messages.stream(
            model=question.model, max_tokens=question.max_tokens, messages=messages, **options
        ) as stream,
    ):
        yield from stream.text_stream


def _google(question: Question) -> Iterator[str]:
    from safellm.google import genai  # noqa: PLC0415 - one SDK of three

    wanted = {"max_output_tokens": question.max_tokens}
    config: Any = wanted | ({"system_instruction": question.system} if question.system else {})
    with closing(genai.Client()) as client:
        for chunk in client.models.generate_content_stream(model=question.model, contents=question.text, config=config):
            if chunk.text:
                yield chunk.text
