"""What a guarded client does to a reply's text, for text that comes another way.

    safe = safellm.neutralise(answer)

The policy in force decides (`output.*`). For a page, a terminal or a table use `safellm.sinks` besides: they know their context.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from safellm._core.hidden import clean
from safellm._core.neutral.gate import may_need
from safellm._core.neutral.links import defang

if TYPE_CHECKING:
    from safellm._core.policy import Policy

_READ = ("SAFELLM_", "XDG_", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")


def neutralise(text: str) -> str:
    """Return a reply's text made inert: what was changed is still readable, and code stays as it is.

    * Terminal controls become visible, hidden characters are removed.
    * Markdown and HTML that would load or run something when rendered become text.
    * A link becomes text when its address carries packed data, runs a script or pretends to be another one.

    Args:
        text: What a model wrote, in Markdown or plain.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    environ = {name: value for name, value in os.environ.items() if name.startswith(_READ)}
    policy = _policy(tuple(sorted(environ.items())))
    if policy.observes:
        return text
    output = policy.output
    hidden, terminal = output.hidden_characters == "remove", output.terminal_controls == "escape"
    if hidden or terminal:
        text = clean(text, hidden=hidden, terminal=terminal, typography=True)
    judge = policy.judge()
    return text if judge is None or not may_need(text, judge) else defang(text, judge)


@lru_cache(maxsize=8)
def _policy(variables: tuple[tuple[str, str], ...]) -> Policy:
    from safellm.stores.settings import load_policy  # noqa: PLC0415 - reads files, when it is needed

    return load_policy(environ=dict(variables)).policy
