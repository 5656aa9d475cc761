"""Text of others: how much it looks like orders to the model, and a mark around it.

score = safellm.injection_score(page)
prompt = f"Summarise this: {safellm.untrusted(page, source='web page')}"
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets

from safellm._core.injection import marks
from safellm._core.injection.engine import look

_KEY = secrets.token_bytes(32)


def injection_score(text: str) -> float:
    """Return how much a text looks like an attempt to give a model orders, from 0 (nothing) to 1.

    A signal, not a promise: attacks that nobody has seen get through, and honest texts about attacks score higher than others.
    From 0.5 on about one honest text in a hundred is hit. Nothing leaves the machine.

    Args:
        text: Anything; what stands in it in base64, hex, look-alike letters and the like is read, too. A page of 4 KB takes less
            than a millisecond; call it in a thread for texts that are much longer, where other tasks wait.
    """
    return look(text).score


def untrusted(text: str, source: str = "") -> str:
    """Return a text with a mark around it that says: this came from somewhere else.

    A guarded client takes the mark out again, or shows the model where the text begins and ends (`untrusted.spotlight`). It removes
    hidden characters from the text, makes forged delimiters harmless, scores it, and records score and source. The mark is plain
    text, so it survives f-strings, templates and JSON; the text can't end it, because it doesn't know its name.

    Args:
        text: Anything that the program only passes on: a web page, a mail, a row of a table.
        source: What it is, in a few words for the record: letters, digits, blanks, dots, slashes, hyphens.
    """
    return marks.wrap(str(text), source, _KEY)
