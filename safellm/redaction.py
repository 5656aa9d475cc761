"""Redaction without a client: `detect`, `redact` and `restore` on your own texts, by the policy in force.

    hidden = safellm.redact("Mail to jane@example.com")    # a str: "Mail to X-EMAIL-7QK3ZB9XW2M4T6RP"
    answer = any_model(hidden)
    print(safellm.restore(answer))

Values belong to the conversation that `with safellm.conversation("id"):` names, the same as a guarded client's, or else to this
process. Nothing is sent anywhere.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, Self

from safellm._core.detection.finding import Finding, Scanner
from safellm._core.policy import Action, Redaction
from safellm._core.redaction.back import put_back
from safellm._core.redaction.hide import Change, hide, rank_of
from safellm._core.redaction.memory import Memory
from safellm._core.redaction.spots import LOOK_ALIKE_RULE, Finder, Spot, find_look_alikes, find_spots
from safellm._core.redaction.view import render_html
from safellm._core.restore import text_position
from safellm._core.textrules import misspelt
from safellm.errors import ConfigurationError
from safellm.stores.conversations import Conversations, current_conversation
from safellm.stores.marked import MarksOf

_MOST = 200_000  # values of this process outside conversations; then a new memory begins
_lock = threading.Lock()
_process: Memory | None = None


class Redacted(str):
    """A text as it may leave: a `str`, with what was found and the way back.

    Attributes:
        changes: What was done to each finding, and where it stands in this text. Findings count in the text that was given.
    """

    __slots__ = ("_memory", "changes")

    changes: tuple[Change, ...]
    _memory: Memory

    def __new__(cls, text: str, changes: tuple[Change, ...], memory: Memory) -> Self:
        """Return the text; `redact` calls this."""
        made = super().__new__(cls, text)
        made.changes = changes
        made._memory = memory
        return made

    @property
    def findings(self) -> list[Finding]:
        """What was found, in code points of the text that was given to `redact`."""
        return [change.finding for change in self.changes]

    def restore(self, answer: str | None = None) -> str:
        """Return a text with its values.

        Args:
            answer: What a model made of this text: values come back where text is read, not inside URLs, link targets or
                HTML tags, where they would be sent away. None for this very text, which comes back whole.
        """
        allowed = _anywhere if answer is None else text_position
        return put_back(self._memory, str(self) if answer is None else answer, allowed=allowed)[0]

    def _repr_html_(self) -> str:
        return render_html(str(self), self.changes)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(str(self)), "text/html": self._repr_html_()}

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # a pickle holds the redacted text, never the values


def detect(text: str, types: Collection[str] | None = None) -> list[Finding]:
    """Return what the detectors, registered values and marks find in a text, whatever the policy does about it.

    Args:
        text: Any text.
        types: Only these types; None for all.

    Returns:
        Findings in order, without overlaps; `start` and `end` count code points of `text`.

    Raises:
        ConfigurationError: the settings are wrong.
        GuardFailure: the detection engine can't be trusted.
    """
    tools = load_tools()
    found = find_spots(
        text,
        scanner=tools.scanner,
        registered=registered_values(),
        marks=_open(tools).marks,
        own=tools.own,
        rank=rank_of(tools.redaction),
    )
    return [spot.finding for spot in found if types is None or spot.finding.type in types]


def redact(text: str, types: Collection[str] | Mapping[str, str] | None = None) -> Redacted:
    """Return a text with everything hidden that the policy hides.

    Args:
        text: Any text.
        types: Only these types (what you register or mark is hidden always); or a table of actions that comes before the
            policy's: `{"EMAIL": "surrogate", "PHONE": "block"}`. None for the policy alone.

    Raises:
        ConfigurationError: the settings or the actions are wrong.
        Refused: a type that the policy blocks was found.
        GuardFailure: the detection engine can't be trusted, or the values can't be stored.
    """
    tools = load_tools()
    memory = _open(tools)
    redacted = redact_with(tools, text, memory, types=types)
    if current_conversation() is not None:
        tools.conversations.keep()
    return redacted


def restore(text: str) -> str:
    """Return a text with the values of this conversation or process.

    What `redact` returned comes back whole. In any other text a value comes back where text is read, and not inside URLs, link
    targets or HTML tags, where it would be sent away. What is unknown stays as it is.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    if isinstance(text, Redacted):
        return text.restore()
    return put_back(_open(load_tools()), text, allowed=text_position)[0]


def redact_with(
    tools: Tools, text: str, memory: Memory, *, types: Collection[str] | Mapping[str, str] | None = None
) -> Redacted:
    """Return a text with everything hidden, remembered in `memory`; see `redact`."""
    redaction = _with_types(tools.redaction, types)
    spots = find_spots(
        text,
        scanner=tools.scanner,
        registered=registered_values(),
        marks=memory.marks,
        own=tools.own,
        rank=rank_of(redaction),
    )
    if types is not None and not isinstance(types, Mapping):
        spots = [spot for spot in spots if spot.finding.type in types or _is_told(spot)]
    lower = text.lower()
    # What the new placeholders will be isn't known yet, but a text that held one before it was made is a look-alike all the same.
    covered = [(spot.finding.start, spot.finding.end) for spot in spots]
    look_alikes = [
        spot
        for spot in find_look_alikes(text, memory)
        if not any(start < spot.finding.end and spot.finding.start < end for start, end in covered)
    ]
    both = sorted((*spots, *look_alikes), key=lambda spot: spot.finding.start)
    new, changes = hide(
        text, both, redaction=redaction, mapping=memory, key=tools.key, is_taken=lambda fake: fake.lower() in lower
    )
    told = tuple(change for change in changes if change.finding.rule != LOOK_ALIKE_RULE)
    return Redacted(new, told, memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the functions of this module work with."""

    redaction: Redaction
    scanner: Scanner
    key: bytes
    conversations: Conversations
    own: Finder | None = None


def load_tools() -> Tools:
    """Return what the settings in force give; equal settings share one."""
    environ = {name: value for name, value in os.environ.items() if name.startswith(_READ)}
    return _tools_for(tuple(sorted(environ.items())))


# The variables that decide where files are and what the policy says.
_READ = ("SAFELLM_", "XDG_", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")


@lru_cache(maxsize=8)
def _tools_for(variables: tuple[tuple[str, str], ...]) -> Tools:
    # Late: a program that only marks values needs none of this.
    from safellm import client  # noqa: PLC0415
    from safellm._core.detection.countries import for_countries  # noqa: PLC0415
    from safellm.stores.detection_cache import cached_scanner  # noqa: PLC0415
    from safellm.stores.places import find_places  # noqa: PLC0415
    from safellm.stores.settings import load_policy  # noqa: PLC0415

    environ = dict(variables)
    policy = load_policy(environ=environ).policy
    places = find_places(environ)
    return Tools(
        redaction=policy.hiding,
        scanner=for_countries(cached_scanner(places.cache), policy.redaction.countries),
        key=client.installation_key(places.state),
        conversations=client.conversations_for(policy, environ),
        own=client.own_finder(policy),
    )


def registered_values() -> Finder | None:
    """Return what `register_secret` was given."""
    from safellm import client  # noqa: PLC0415 - loaded by `load_tools` already

    return client.registered_values()


def _open(tools: Tools) -> Memory:
    if current_conversation() is not None:
        return tools.conversations.open(None, None)
    global _process  # noqa: PLW0603 - one for each process
    with _lock:
        if _process is None or _process.size > _MOST:
            # A name that no other process has: its placeholders can't be linked with another's (THREATS R.8).
            _process = Memory(f"process:{secrets.token_hex(16)}", marks=MarksOf(None))
        return _process


def _with_types(redaction: Redaction, types: Collection[str] | Mapping[str, str] | None) -> Redaction:
    if isinstance(types, str):
        _wrong_types()
    for name in types or ():
        if (meant := misspelt(name)) is not None:
            raise ConfigurationError(f"There is no type {name!r}", remedy=f"Did you mean {meant!r}?")
    if types is None:
        return redaction
    if isinstance(types, Mapping):
        try:
            actions = {name: Action(action) for name, action in types.items()}
        except ValueError:
            _wrong_types()
        return redaction.model_copy(update={"types": {**redaction.types, **actions}})
    asked = {name: Action.MASK for name in types if redaction.types.get(name, redaction.default) is Action.ALLOW}
    return redaction.model_copy(update={"types": {**redaction.types, **asked}})


def _is_told(spot: Spot) -> bool:
    return spot.is_mark or spot.finding.type == "REGISTERED"


def _anywhere(_before: str, _after: str) -> bool:
    return True


def _wrong_types() -> NoReturn:
    raise ConfigurationError(
        "types is neither a list of types nor a table of actions",
        remedy=f"Write ['EMAIL', 'PHONE'] or {{'EMAIL': 'remove'}}; actions are {', '.join(Action)}.",
    )
