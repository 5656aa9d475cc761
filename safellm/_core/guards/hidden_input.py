"""Stage 5: characters that nobody sees are removed from text that the program only passes on (THREATS O.4, R.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.call import Call, Tools
from safellm._core.fields import Kind, Trust
from safellm._core.hidden import CharacterFilter, needs_cleaning

NAME = "hidden_input"
_KINDS = frozenset({Kind.TEXT, Kind.NAME})


def may_act(tools: Tools) -> bool:
    """Return whether hidden characters are to be removed at all."""
    return tools.policy.input.hidden_characters != "pass"


def guard(call: Call) -> None:
    """Remove hidden characters from untrusted text. Terminal controls stay: a log may be what the model shall read."""
    for one in call.fields:
        if one.text.isascii() or one.trust is Trust.OWN or one.kind not in _KINDS or one.is_key:
            continue  # no ASCII character is hidden
        if needs_cleaning(one.text):
            cleaner = CharacterFilter(hidden=True, terminal=False)
            text = cleaner.feed(one.text) + cleaner.finish()
            if cleaner.removed:
                call.hidden_removed += cleaner.removed
                call.change(one, text)
