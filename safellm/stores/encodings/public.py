"""`safellm.count_tokens`: what a text or a chat has, before it is sent."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from safellm._core import jsontext
from safellm._core.measure import measure
from safellm._core.media import extra_tokens
from safellm._core.tokens import byte_bound, byte_length, encoding_of, input_bound, normalized_excess
from safellm.stores.encodings import shared


class TokenCount(int):
    """A number of tokens.

    Attributes:
        exact: It is the very number; otherwise it is an upper bound or estimate, because the model's tokenizer or the provider's
            way to write tools, parts and schemas is not public.
    """

    exact: bool

    def __new__(cls, tokens: int, *, exact: bool) -> Self:
        """Make one."""
        made = super().__new__(cls, tokens)
        made.exact = exact
        return made


def count_tokens(content: str | Sequence[Mapping[str, Any]] | Mapping[str, Any], *, model: str) -> TokenCount:
    """Return how many tokens a text, chat messages or a whole request have as input of a model. Nothing is sent.

    The first count for a model takes about 0.2 s, in which its vocabulary is loaded.

    Args:
        content: A text; or messages, as for `chat.completions.create(messages=…)`; or a request with all its arguments.
        model: Name of the model, as in a request.
    """
    encoding = encoding_of(model)
    counted: int | None
    if isinstance(content, str):
        counted = None if encoding is None else shared().count(encoding, (content,))
        return TokenCount(byte_bound(content), exact=False) if counted is None else TokenCount(counted, exact=True)
    body: Any = dict(content) if isinstance(content, Mapping) else {"messages": list(content)}
    measured = measure(body, model)
    if measured is not None and encoding is not None:
        counted = shared().count(encoding, measured.texts)
        if counted is not None:
            return TokenCount(counted + measured.marks, exact=measured.exact)
    written = jsontext.dumps(body).decode("utf-8", "surrogatepass")
    bound = input_bound(byte_length(written), 1) + extra_tokens(body, model) + normalized_excess((written,))
    return TokenCount(bound, exact=False)
