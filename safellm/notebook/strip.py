"""The line under an answer: what was hidden, tokens, cost, what is left. Inert: text in one element with a style."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from safellm.cli.ask import words
from safellm.errors import GuardFailure
from safellm.sinks import html

if TYPE_CHECKING:
    from safellm.asking import Told

_STYLE: Final = (
    "font:12px/1.6 system-ui,sans-serif;opacity:.65;border-top:1px solid rgba(128,128,128,.35);"
    "margin-top:.6em;padding-top:.3em"
)
_DOT: Final = " · "


class Strip:
    """Shows itself in notebooks and in terminals."""

    def __init__(self, told: Told, *, covered: int = 0) -> None:
        self.words = [*words(told), *left()]
        if covered:
            values = "1 value isn't" if covered == 1 else f"{covered} values aren't"
            self.words.append(f"{values} shown here, so that no file holds more: %safellm show")

    def _repr_html_(self) -> str:
        return f'<div style="{_STYLE}">{html(_DOT.join(self.words))}</div>'

    def __repr__(self) -> str:
        return _DOT.join(self.words)


def left() -> list[str]:
    """Return what is left of each limit, in words; nothing without limits."""
    from safellm.cli.budget import limit_text, room, standings  # noqa: PLC0415 - rich
    from safellm.cli.show import amount  # noqa: PLC0415
    from safellm.cli.world import look  # noqa: PLC0415

    try:
        standing = standings(look())
    except GuardFailure:
        return ["what is left isn't known: the ledger can't be read (safellm doctor)"]
    return [f"{amount(room(one), one.limit.unit.value)} left of {limit_text(one.limit)}" for _, one in standing]
