"""A cell that holds a key doesn't run: it would be in the history and in the saved file (THREATS K.4).

Only what is certainly a credential stops a cell: the form of a provider's key, or a private key. The person is asked whether the
key shall go into the key store; then the cell is shown without it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from safellm.notebook import keys

if TYPE_CHECKING:
    from safellm._core.detection.finding import Finding

_ORIGINAL: Final = "_safellm_run_cell_async"
_CALL_ARGUMENT: Final = re.compile(r"[(,]\s*\w+\s*=\s*[rbu]?['\"]\Z")
_MOST: Final = 1_000_000  # characters of a cell that are searched; a longer one holds data


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A key in a cell's source: where, and whose."""

    start: int
    end: int
    rule: str
    provider: str


def start(shell: Any) -> None:
    """Look at each cell before it runs."""
    from IPython.core.error import UsageError  # noqa: PLC0415 - only where there is IPython

    original = shell.run_cell_async

    async def run_cell_async(raw_cell: str, *arguments: Any, **options: Any) -> Any:
        found = find_keys(raw_cell)
        if not found:
            return await original(raw_cell, *arguments, **options)
        # Neither the history nor a traceback gets the text; the front end's cell is replaced where the person agrees.
        shown = without(raw_cell, found)
        moved = _offer(raw_cell, found)
        if moved:
            shell.set_next_input(shown, replace=True)
        said = "the key is in the key store now; run the cell again" if moved else _refusal(found)
        error = UsageError(f"safellm: this cell held {_names(found)} and was not run; {said}")
        options |= {
            "transformed_cell": shown,
            "preprocessing_exc_tuple": (UsageError, error, None),
            "store_history": False,
        }
        return await original(shown, **options)

    setattr(shell, _ORIGINAL, original)
    shell.run_cell_async = run_cell_async


def stop(shell: Any) -> None:
    """Look no more."""
    if hasattr(shell, _ORIGINAL):
        del shell.run_cell_async
        delattr(shell, _ORIGINAL)


def find_keys(source: str) -> list[Literal]:
    """Return the keys in a cell's source."""
    if len(source) > _MOST:
        return []
    from safellm.redaction import detect  # noqa: PLC0415 - loads the engine

    return [
        Literal(start=one.start, end=one.end, rule=one.rule, provider=_certain()[one.rule])
        for one in detect(source, types=["SECRET"])
        if one.rule in _certain() and _is_sure(one)
    ]


def without(source: str, found: list[Literal]) -> str:
    """Return the source with each key taken out; an argument becomes None, so that the key store is asked."""
    for one in reversed(found):
        start, end = one.start, one.end
        quote = source[start - 1 : start]
        quoted = quote in ("'", '"') and source[end : end + 1] == quote
        if quoted and _CALL_ARGUMENT.search(source[:start]):
            before = source[: start - 1].rstrip("rbu")
            source = f"{before}None{source[end + 1 :]}"
        else:
            source = f"{source[:start]}<a key was here>{source[end:]}"
    return source


def _offer(source: str, found: list[Literal]) -> bool:
    """Ask whether the first key shall be stored; without a person to ask it isn't."""
    one = found[0]
    if len(found) > 1 or not one.provider:
        return False
    answer = keys.ask_person(f"This cell holds {_names(found)}. Move it into the key store as {one.provider!r}? [Y/n] ")
    if answer is None or answer.strip().lower() not in ("", "y", "yes"):
        return False
    keys.store(one.provider, source[one.start : one.end])
    return True


def _names(found: list[Literal]) -> str:
    rules = sorted({one.rule for one in found})
    return f"a credential ({rules[0]})" if len(found) == 1 else f"{len(found)} credentials ({', '.join(rules)})"


def _refusal(found: list[Literal]) -> str:
    name = found[0].provider or "NAME"
    return f"take it out, and store it with: %safellm key {name}. If it was ever saved or shared, revoke it"


def _is_sure(one: Finding) -> bool:
    return one.confidence >= 0.9  # noqa: PLR2004 - as sure as a form without context can be


@lru_cache(maxsize=1)
def _certain() -> dict[str, str]:
    """Return the rules whose finds stop a cell, with the provider that a key is stored for ("" for none)."""
    from safellm._core.detection.rules import load_rules  # noqa: PLC0415
    from safellm.auto.targets import is_provider  # noqa: PLC0415

    return {
        rule.id: rule.provider.lower() if is_provider(rule.provider.lower()) else ""
        for rule in load_rules()
        if rule.provider or rule.id == "private-key"
    }
