"""Markdown that is shown: no picture, no HTML, no link whose address can't be seen.

Sources: CommonMark 0.31; THREATS O.2.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Collection

from safellm._core.hidden import clean
from safellm._core.neutral.addresses import Judge, parse_allowed
from safellm._core.neutral.links import defang
from safellm._core.sinks.escaped import Markdown, done_already


def markdown(text: str, *, allow_origins: Collection[str] = ()) -> Markdown:
    """Return Markdown that a CommonMark renderer shows without loading or running anything.

    HTML, pictures and links that name another origin stay readable as text, with their addresses; code stays as it is. A
    relative link is shown as text too, one within the page (`#…`) stays a link.

    Args:
        text: What a model wrote.
        allow_origins: Where links may lead, as `https://host[:port]`; with a path, only what lies below it.

    Raises:
        ValueError: an origin isn't written like one.
    """
    known = done_already(text, Markdown)
    if known is not None:
        return known
    judge = Judge(tuple(map(parse_allowed, allow_origins)), strict=True, pictures=False)
    return Markdown(defang(clean(text), judge))
