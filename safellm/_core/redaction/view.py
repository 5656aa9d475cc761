"""A redacted text for people: HTML in which every character of the text is data, and what was done is marked."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
from collections.abc import Sequence

from safellm._core.redaction.hide import Change

_LONGEST = 20_000  # characters; a notebook is saved with what it shows
_STYLE = (
    "padding:0 .25em;border-radius:.25em;background:color-mix(in srgb,{colour} 22%,transparent);"
    "border-bottom:2px solid {colour}"
)
_COLOURS = {"mask": "#0a7", "surrogate": "#07c", "remove": "#a60", "block": "#c33", "allow": "#888"}


def render_html(text: str, changes: Sequence[Change]) -> str:
    """Return the text as HTML, with the findings marked by what was done to them; hidden values are not in it."""
    out: list[str] = ['<pre style="white-space:pre-wrap;overflow-wrap:anywhere">']
    position = 0
    for change in changes:
        if change.end > _LONGEST:
            break
        finding = change.finding
        title = f"{finding.type}: {change.action}, rule {finding.rule}, confidence {finding.confidence:.2f}"
        style = _STYLE.format(colour=_COLOURS[change.action])
        out += (
            _shown(text[position : change.start]),
            f'<span style="{style}" title="{_shown(title)}">{_shown(text[change.start : change.end])}</span>',
        )
        position = change.end
    out.append(_shown(text[position:_LONGEST]))
    if len(text) > _LONGEST:
        out.append(f"\n… {len(text) - _LONGEST} more characters")
    return "".join((*out, "</pre>"))


def _shown(text: str) -> str:
    """Return text for HTML; controls and what can't be seen become visible escapes."""
    visible = "".join(
        letter if letter.isprintable() or letter in "\n\t" else f"\\u{{{ord(letter):x}}}" for letter in text
    )
    return html.escape(visible, quote=True)
