"""An upper bound of input tokens without a tokenizer.

Every token of a byte-level BPE (the family of cl100k and o200k) stands for at least one byte of UTF-8, so a text never
has more tokens than bytes. Around the texts a provider puts marks of its own: per message a start, a role, a name,
a separator and an end, and per request the opening of the answer and of the tool list.

The bound covers text. Images, audio and what a provider adds on its side (files, search results, stored
conversations) are not text of the request; the caller adds its own estimate for them (THREATS B.7).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

# Published chat formats need 3 to 7: three or four special tokens, the role, an optional channel and name.
TOKENS_PER_MESSAGE = 8
# The opening of the answer needs 3, the frame around tool definitions about a dozen; the rest is reserve.
TOKENS_PER_REQUEST = 64


def input_bound(text_bytes: int, messages: int) -> int:
    """Return a number of tokens that the input of one request can't exceed.

    Args:
        text_bytes: UTF-8 bytes of all texts that are sent: messages, names, tool definitions, schemas. The length of
            the whole JSON body is a valid, larger value.
        messages: How many messages or input items the request has.

    Raises:
        ValueError: a number is negative.

    Source: DESIGN 8, THREATS B.7.
    """
    if text_bytes < 0 or messages < 0:
        msg = "a number of bytes or messages can't be negative"
        raise ValueError(msg)
    return text_bytes + messages * TOKENS_PER_MESSAGE + TOKENS_PER_REQUEST
