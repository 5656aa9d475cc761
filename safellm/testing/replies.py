"""What the loopback provider answers: scripted replies, and the echo assistant that answers when nothing is scripted.

* Everything is deterministic: the same request gets the same text, the same cuts and the same token counts.
* The echo assistant quotes the last user message, so that a placeholder in the prompt comes back in the answer and
  restoring can be seen.
* Tokens are counted by a simple rule, not by a model's tokenizer: up to four letters or digits, or one other character,
  make one token.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safellm.testing.http_server import SeenRequest

_TOKEN = re.compile(r"\s?\w{1,4}|\s?[^\w\s]|\s")
_QUOTE_LIMIT = 4_000  # characters; of a longer message both ends are quoted
_SCHEMA_DEPTH = 16  # levels of a JSON schema that are followed; a recursive one ends there


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of one function that the assistant asks for; arguments as JSON text (sent as it is) or as a mapping."""

    name: str
    arguments: str | Mapping[str, Any] = "{}"
    id: str | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON text."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the assistant.

    Attributes:
        text: What it says; None with tool calls or a refusal only.
        tool_calls: Functions that it wants called.
        refusal: Text of a refusal, in its own field.
        finish_reason: In the words of chat completions; None chooses `stop`, `tool_calls` or `length`.
        reasoning: Text of the reasoning (summary of a reasoning item; `reasoning_content` in chat).
        chunks: How a stream cuts the text into deltas; must join to `text` (or gives it, when `text` is None).
        usage: Replaces the counted usage; an empty mapping leaves the field out.
        status: HTTP status; from 400 on, the body is an error in the provider's form.
        headers: Added to those of the answer.
        raw_body: Sent as the whole body, instead of everything above.
        choices: With `n` above 1: one reply for each choice. Empty: all choices say the same.
        within_limit: Whether the text is cut at the request's limit of output tokens, as a real provider does.
    """

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    reasoning: str | None = None
    chunks: tuple[str, ...] | None = None
    usage: Mapping[str, Any] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_body: bytes | None = None
    choices: tuple[Reply, ...] = ()
    within_limit: bool = False

    def __post_init__(self) -> None:
        if self.chunks is None:
            return
        joined = "".join(self.chunks)
        if self.text is not None and joined != self.text:
            message = "Reply.chunks must join to Reply.text"
            raise ValueError(message)
        object.__setattr__(self, "text", joined)

    @property
    def deltas(self) -> tuple[str, ...]:
        """The text as a stream sends it."""
        return self.chunks if self.chunks is not None else tokens_of(self.text or "")

    @property
    def output_tokens(self) -> int:
        """Tokens of everything that the assistant wrote in this reply, reasoning too."""
        arguments = (call.name + call.arguments_text for call in self.tool_calls)
        return sum(
            count_tokens(part) for part in (self.text or "", self.refusal or "", self.reasoning or "", *arguments)
        )


Rule = str | Reply | Callable[[SeenRequest], "Reply | str"]


def tokens_of(text: str) -> tuple[str, ...]:
    """Return the text cut into tokens; they join to the text again."""
    return tuple(_TOKEN.findall(text))


def count_tokens(text: str) -> int:
    """Return the number of tokens of a text by the rule of this module."""
    return len(tokens_of(text))


def count_request_tokens(body: Any) -> int:
    """Return the tokens of all texts that a request gives to the model."""
    parts = [body.get(name) for name in ("instructions", "messages", "input", "prompt", "tools")]
    return sum(count_tokens(text) for part in parts for text in _texts(part))


def apply_rule(rule: Rule, request: SeenRequest) -> Reply:
    """Return the reply that a rule gives for a request."""
    answer = rule(request) if callable(rule) else rule
    return Reply(text=answer) if isinstance(answer, str) else answer


def echo(request: SeenRequest) -> Reply:
    """Return the echo assistant's reply: it quotes the last user message.

    A function that the request forces is called with that text; an answer in a JSON schema carries it in its strings.
    """
    body = request.json
    said = last_user_text(body)
    forced = _forced_function(body)
    if forced is not None:
        name, schema = forced
        return Reply(tool_calls=(ToolCall(name=name, arguments=_arguments(schema, said)),))
    schema = _answer_schema(body)
    if schema is not None:
        return Reply(text=json.dumps(example_of(schema, said), ensure_ascii=False))
    return Reply(text=f'You wrote: "{_shorten(said)}"', within_limit=True)


def at_limit(reply: Reply, body: Mapping[str, Any]) -> Reply:
    """Return the reply cut at the request's limit of output tokens, if it minds that limit."""
    given = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    limit = next((value for value in given if isinstance(value, int)), None)
    if limit is None or not reply.within_limit or reply.text is None or count_tokens(reply.text) <= limit:
        return reply
    return replace(reply, text="".join(tokens_of(reply.text)[:limit]), chunks=None, finish_reason="length")


def last_user_text(body: Any) -> str:
    """Return the text of the last message of the user, whichever of the three request forms is used."""
    turns = body.get("messages", body.get("input", body.get("prompt", "")))
    if isinstance(turns, str):
        return turns
    if not isinstance(turns, list):
        return ""
    if turns and all(isinstance(turn, str) for turn in turns):
        return str(turns[-1])
    for turn in reversed(turns):
        if isinstance(turn, dict) and turn.get("role", "user") == "user":
            return " ".join(_content_texts(turn.get("content", turn.get("output", ""))))
    return ""


def example_of(schema: Any, text: str) -> Any:
    """Return a value that fits a JSON schema (as structured outputs allow it), with `text` in every free string."""
    root = schema if isinstance(schema, dict) else {}
    return _example(root, root, text, 0)


def _example(  # noqa: PLR0911 - one return for each kind of schema
    schema: dict[str, Any], root: dict[str, Any], text: str, depth: int
) -> Any:
    if "$ref" in schema:
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            target = target.get(step, {}) if step else target
        return _example(target, root, text, depth + 1) if depth < _SCHEMA_DEPTH else None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            # Beyond the depth limit the last branch is taken: that is where optional recursion has its `null`.
            return _example(schema[union][0 if depth < _SCHEMA_DEPTH else -1], root, text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _example(part, root, text, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema.get("items", {}), root, text, depth + 1)] if depth < _SCHEMA_DEPTH else []
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    return {"boolean": True, "null": None}.get(kind, text)


def _arguments(schema: Any, text: str) -> str:
    return json.dumps(example_of(schema, text), ensure_ascii=False)


def _forced_function(body: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return name and parameter schema of the function that `tool_choice` forces, in either API's form."""
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    functions = [tool.get("function", tool) for tool in tools if tool.get("type") == "function"]
    if choice == "required" and functions:
        return functions[0]["name"], functions[0].get("parameters")
    if isinstance(choice, dict):
        name = choice.get("function", choice).get("name")
        return next(((name, made.get("parameters")) for made in functions if made.get("name") == name), None)
    return None


def _answer_schema(body: Mapping[str, Any]) -> Any:
    wanted = body.get("response_format") or (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        return wanted.get("json_schema", wanted).get("schema", {})
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None


def _content_texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _shorten(text: str) -> str:
    if len(text) <= _QUOTE_LIMIT:
        return text
    # Cut at white space, so that no placeholder is cut.
    begin, end = text[: _QUOTE_LIMIT // 2], text[-_QUOTE_LIMIT // 2 :]
    return f"{begin.rsplit(None, 1)[0]} ... {end.split(None, 1)[-1]}"
