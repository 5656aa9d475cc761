"""What a request's input is made of, for an exact count: texts that a tokenizer counts, and the marks between them.

Chat messages of a role, a text and perhaps a name are counted as OpenAI does ("How to count tokens with tiktoken", OpenAI
Cookbook): three tokens a message, one more for a name, three for the opening of the answer. How tools, schemas and parts are
written for the model isn't published: their JSON is counted, which says more than what is written, and marks are counted by
the bounds of `safellm._core.tokens`. So a count is exact for plain chats and a close upper estimate for all else.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from safellm._core import jsontext
from safellm._core.media import extra_tokens
from safellm._core.tokens import TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST

_PER_MESSAGE, _PER_NAME, _OPENING = 3, 1, 3
_PLAIN = frozenset({"role", "content", "name"})
# Settings: nothing of them is shown to the model.
_SILENT = frozenset(
    {"model", "stream", "stream_options", "temperature", "top_p", "n", "best_of", "max_tokens", "max_completion_tokens",
     "max_output_tokens", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "stop",
     "store", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier",
     "parallel_tool_calls", "reasoning_effort", "verbosity", "modalities", "encoding_format", "dimensions", "truncation",
     "include", "background", "previous_response_id", "conversation", "echo"}
)  # fmt: skip
_JSON_KEYS = frozenset({"tools", "functions", "response_format", "text"})
_DATA_KEYS = frozenset(
    {"data", "file_data", "b64_json", "url", "image_url", "file_id", "id", "call_id", "tool_call_id"}
)
_LONGEST_ID = 128  # characters of an identifier; longer ones under these keys are data or text


@dataclass(slots=True)
class Measured:
    """An input, taken apart.

    Attributes:
        texts: What a tokenizer counts, each by itself.
        marks: Tokens besides.
        exact: The rule is the provider's published one.
    """

    texts: list[str] = field(default_factory=list)
    marks: int = 0
    exact: bool = True

    def loosely(self, value: Any, key: str = "") -> None:
        """Add all texts of a part whose form isn't published; numbers are tokens of their own."""
        if isinstance(value, str):
            if key not in _DATA_KEYS:
                self.texts.append(value)
            elif len(value) <= _LONGEST_ID:
                self.marks += len(value)
        elif isinstance(value, (int, float)):
            self.marks += 1 if isinstance(value, int) else len(repr(value))
        elif isinstance(value, list):
            for one in value:
                self.loosely(one, key)
        elif isinstance(value, dict):
            self.exact = False
            self.marks += TOKENS_PER_MESSAGE
            for name, one in value.items():
                self.loosely(one, name)


def measure(body: Any, model: str) -> Measured | None:
    """Return what to count of a request's body, or None when it isn't known what it means.

    Args:
        body: The parsed body, as it will be sent.
        model: As the request names it.
    """
    if not isinstance(body, dict):
        return None
    made = Measured()
    extra = extra_tokens(body, model)
    made.marks, made.exact = extra, extra == 0
    for key, value in body.items():
        if key in _SILENT or value is None:
            continue
        if key == "messages" and isinstance(value, list):
            made.marks += _OPENING
            for message in value:
                _message(message, made)
        elif key in ("input", "prompt") and (isinstance(value, str) or _is_batch(value)):
            made.loosely(value)
        elif key in _JSON_KEYS:
            made.exact = False
            made.marks += TOKENS_PER_REQUEST
            made.texts.append(_written(value))
        else:
            made.exact = False
            made.marks += TOKENS_PER_MESSAGE
            made.loosely(value) if key == "input" else made.texts.append(_written(value))
    if "input" in body or "prompt" in body:
        made.marks += TOKENS_PER_MESSAGE
    if not made.exact:
        made.marks += TOKENS_PER_REQUEST
    return made


def _message(message: Any, made: Measured) -> None:
    if isinstance(message, dict) and message.keys() <= _PLAIN and isinstance(message.get("content"), str):
        made.marks += _PER_MESSAGE + (_PER_NAME if "name" in message else 0)
        made.texts += [str(message[name]) for name in message]
    else:
        made.loosely(message)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.dumps(value).decode("utf-8", "replace")


def _is_batch(value: Any) -> bool:
    # Texts, tokens, or lists of tokens: what embeddings and legacy completions take.
    return isinstance(value, list) and not any(isinstance(one, dict) for one in value)
