"""What is known of one call when it is over, without its content: the source of `response.safellm` and `safellm.report`.

Where a value that came back had come from is told by place and type, never by the value.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safellm._core.injection.entered import MARKED, untrusted_fields

if TYPE_CHECKING:
    from safellm._core.call import Call
    from safellm._core.effects import JSON
    from safellm._core.fields import Field
    from safellm._core.placeholder import Mapping

URL = re.compile(r"https?://[^\s<>\"'`\\)\]}]+")
ENDS = ".,;:!?*_"  # of a sentence, not of an address
_MOST_TEXT = 1 << 18  # characters of a request that are searched for addresses; of longer ones nothing is said
_MOST = 256  # values of one answer whose places are told
_LONGEST = 200  # characters of a place or a source, both of which may hold names that somebody else chose


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A hidden value that stands in an answer, and where the conversation had it from.

    Attributes:
        type: Of the value, as in its placeholder: `EMAIL`.
        count: How many times it came back in this answer.
        where: Its first place in the request, as `messages[2].content`; empty where that isn't known any more.
        source: Who wrote that text: a role (`user`, `system`), `tool:NAME`, `document`, `file`, `marked:SOURCE` for what
            `safellm.untrusted` marked, or empty.
        call_id: The call whose request first held it, as the audit trail names it.
    """

    type: str
    count: int
    where: str = ""
    source: str = ""
    call_id: str = ""


@dataclass(slots=True, kw_only=True)
class Account:
    """One call: filled in while it goes on, complete once its outcome is recorded.

    Attributes:
        call_id: As the audit trail names it.
        request_id: As the provider does, by a header of its answer.
        intent: Fields of `call.intent`.
        outcome: Fields of `call.outcome`; empty while the call goes on.
        restored: Where the values that came back had come from.
        urls: Addresses in the request; None where it isn't the whole conversation, or is very long.
    """

    call_id: str
    request_id: str = ""
    intent: MappingABC[str, JSON] = field(default_factory=dict)
    outcome: MappingABC[str, JSON] = field(default_factory=dict)
    restored: tuple[Restored, ...] = ()
    urls: tuple[str, ...] | None = field(default=None, repr=False)


def urls_of(texts: Iterable[str]) -> tuple[str, ...] | None:
    """Return the addresses in the texts of a request; None where there is too much to search."""
    holding = [text for text in texts if "://" in text]
    if not holding:
        return ()
    if sum(map(len, holding)) > _MOST_TEXT:
        return None
    return tuple(dict.fromkeys(match[0] for text in holding for match in URL.finditer(text)))


def note_origins(call: Call) -> None:
    """Have the conversation remember where each value stood first that this request hid."""
    if not call.hidden_at:
        return
    origins = call.mapping.origins
    sources = {id(one): source for source, one in untrusted_fields(call)} if call.untrusted_sources else {}
    for value, kind, one in call.hidden_at:
        if value not in origins:
            source = _marked(call, one, value) or sources.get(id(one)) or _role(call.body.value, one.path)
            origins[value] = Restored(
                type=kind, count=0, where=_place(one.path), source=source[:_LONGEST], call_id=call.call_id
            )


def restored_of(mapping: Mapping, came_back: MappingABC[str, int]) -> tuple[Restored, ...]:
    """Return where the values of an answer had come from.

    Args:
        mapping: Of the conversation.
        came_back: The values, and how many times each stands in the answer.
    """
    out = []
    for value, count in list(came_back.items())[:_MOST]:
        known = mapping.origins.get(value)
        kind = mapping.type_of(value) if known is None else known.type
        where, source, call_id = ("", "", "") if known is None else (known.where, known.source, known.call_id)
        out.append(Restored(type=kind, count=count, where=where, source=source, call_id=call_id))
    return tuple(out)


def _marked(call: Call, one: Field, value: str) -> str:
    return next(
        (f"{MARKED}:{source}" for place, source, text in call.marked if place is one and value in text),
        "",
    )


def _role(value: JSON, path: tuple[str | int, ...]) -> str:
    """Return the role of the innermost message around a place; what stands beside all messages has its key for a name."""
    role = ""
    here = value
    for step in path:
        if isinstance(here, dict) and isinstance(said := here.get("role"), str):
            role = said
        try:
            here = here[step]  # type: ignore[index]  # what doesn't fit raises
        except (KeyError, IndexError, TypeError):
            break
    first = path[0] if path else ""
    if role or first in ("messages", "input", "contents"):
        return role or "user"
    return "system" if first in ("instructions", "system", "systemInstruction", "system_instruction") else ""


def _place(path: tuple[str | int, ...]) -> str:
    """Return a place as programs write it: `messages[2].content[0].text`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")[:_LONGEST]
