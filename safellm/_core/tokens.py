"""How many tokens an input has: an upper bound without a tokenizer, and which tokenizer counts exactly.

Every token of a byte-level BPE (the family of cl100k and o200k) stands for at least one byte of UTF-8, so a text never
has more tokens than bytes. Tokenizers with byte fallback (SentencePiece: Llama, Gemma and by all that is known Gemini) give
one token to a known piece of at least one byte and one to each byte of an unknown one; a blank that some put in front is among
the marks below. A tokenizer may first bring a text into Unicode's form NFKC, as Anthropic's published one did, and that form can
be longer: then the bytes of that form count (`byte_bound`).

Around the texts a provider puts marks of its own: per message a start, a role, a name, a separator and an end, and per request the
opening of the answer and of the tool list. Images, audio and what a provider adds on its side are in `safellm._core.media`
(THREATS B.7).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Published chat formats need 3 to 7: three or four special tokens, the role, an optional channel and name.
TOKENS_PER_MESSAGE = 8
# The opening of the answer needs 3, the frame around tool definitions about a dozen; the rest is reserve.
TOKENS_PER_REQUEST = 64

O200K, CL100K = "o200k_base", "cl100k_base"
# From tiktoken's own table (`tiktoken.model`), and the models that came after it or that it leaves out. The longest name counts.
_ENCODINGS = {
    **dict.fromkeys(
        ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4", "codex-mini", "computer-use-preview",
         "gpt-realtime", "gpt-audio", "gpt-image", "chatgpt-image"),
        O200K,
    ),
    **dict.fromkeys(
        ("gpt-4", "gpt-3.5", "gpt-35-turbo", "davinci-002", "babbage-002", "text-embedding-ada-002", "text-embedding-3"), CL100K
    ),
}  # fmt: skip
_NAMES = sorted(_ENCODINGS, key=len, reverse=True)
_NAME = re.compile("|".join(re.escape(name) for name in _NAMES))
# What may follow a name: a date, a size, a version after a dot; not another number or word.
_REST = re.compile(r"(?:[-.:@_].*)?", re.DOTALL)
_MODELS_REMEMBERED = 512


def input_bound(text_bytes: int, messages: int) -> int:
    """Return a number of tokens that the input of one request can't exceed.

    Args:
        text_bytes: UTF-8 bytes of all texts that are sent: messages, names, tool definitions, schemas. The length of
            the whole JSON body is a valid, larger value.
        messages: How many messages or input items the request has.

    Raises:
        ValueError: a number is negative.

    Source: THREATS B.7.
    """
    if text_bytes < 0 or messages < 0:
        msg = "a number of bytes or messages can't be negative"
        raise ValueError(msg)
    return text_bytes + messages * TOKENS_PER_MESSAGE + TOKENS_PER_REQUEST


@lru_cache(maxsize=_MODELS_REMEMBERED)
def encoding_of(model: str) -> str | None:
    """Return the encoding of a model by its name, or None where its tokenizer is not public or not among ours.

    Args:
        model: As requests and answers name it: `gpt-4o-2024-11-20`, `ft:gpt-4o-mini:org`, `openai/gpt-oss-20b`.
    """
    name = model.lower().removeprefix("models/").removeprefix("openai/").removeprefix("ft:")
    found = _NAME.match(name)
    if found is None or _REST.fullmatch(name, found.end()) is None:
        return None
    return _ENCODINGS[found[0]]


def byte_length(text: str) -> int:
    """Return the UTF-8 bytes of a text; a lone surrogate counts as the three bytes of its replacement."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def byte_bound(text: str) -> int:
    """Return a number of tokens that no tokenizer described above gives for a text."""
    plain = byte_length(text)
    return plain if text.isascii() else max(plain, byte_length(unicodedata.normalize("NFKC", text)))


def normalized_excess(texts: Iterable[str]) -> int:
    """Return how many bytes texts may gain when a tokenizer brings them into NFKC."""
    return sum(byte_bound(text) - byte_length(text) for text in texts if not text.isascii())
