"""Forged delimiters in text of others: what a model's own format uses to say who speaks is made harmless text.

Only marks that have no use in ordinary text are changed, and each stays readable: `<|im_start|>` becomes `<¦im_start¦>`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

_LONGEST = 40  # characters of a special token's name
_PIPES = re.compile(rf"<[|\uff5c]([\w/ .\u2581-]{{1,{_LONGEST}}})[|\uff5c]>")
_BRACKETS = re.compile(r"\[(/?INST|/?SYSTEM_PROMPT|/?AVAILABLE_TOOLS|/?TOOL_RESULTS|TOOL_CALLS)\]|<<(/?SYS)>>")
_TURNS = re.compile(
    r"<((?:start|end)_of_turn|/?(?:system|function_calls|antml:\w{1,32}|tool_call|tool_response|invoke))>"
)
_SPEAKERS = re.compile(r"\n\n(Human|Assistant|System):")


def defuse(text: str) -> str:
    """Return a text without the special tokens of chat formats."""
    if "<" in text:
        text = _TURNS.sub("<\u00a6\\1\u00a6>", _PIPES.sub("<\u00a6\\1\u00a6>", text))
    if "[" in text or "<<" in text:
        text = _BRACKETS.sub(lambda match: f"[\u00a6{match[1] or match[2]}\u00a6]", text)
    return _SPEAKERS.sub("\n\u00a6\\1:", text) if "\n\n" in text else text
