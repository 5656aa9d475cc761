"""What happens to each text of an answer: made harmless first, while it still holds placeholders, then restored.

A whole text and the same text in pieces go through the same two filters, so streaming equals not streaming.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from safellm._core import jsontext
from safellm._core.arguments import ParameterTracker, is_declared
from safellm._core.effects import JSON
from safellm._core.fields import Field, Kind, Table, read
from safellm._core.hidden import CharacterFilter, needs_cleaning
from safellm._core.placeholder import PREFIX, Mapping
from safellm._core.policy import Policy
from safellm._core.restore import Restorer, text_position

# A JSON text in which no string can need a change: printable ASCII, no escape but the commonest ones, no beginning of a
# placeholder. It is one pass over bytes; an escaped backslash may look like another escape, which only costs the walk.
_MAY_CHANGE = re.compile(rb"[^\x20-\x7e\r\n\t]|\\[^n\"t/\\]|" + PREFIX.encode())

# Kinds whose text a program may show: no identifier or address needs a control or a hidden character.
_READ = frozenset({Kind.TEXT, Kind.NAME, Kind.TOKEN, Kind.IDENTIFIER, Kind.URL})
_WRITTEN = frozenset({Kind.TEXT, Kind.NAME, Kind.ARGUMENTS, Kind.TOOL_INPUT})


def may_change(data: bytes) -> bool:
    """Return whether any string of a JSON text could need cleaning or restoring; false is the usual, fast case."""
    return _MAY_CHANGE.search(data) is not None


@dataclass(slots=True)
class Counts:
    """What was done to an answer, for the audit record."""

    removed: int = 0
    escaped: int = 0
    restored: int = 0
    kept: int = 0
    unknown: int = 0

    @property
    def changed(self) -> bool:
        """Whether any text differs from what the provider sent."""
        return bool(self.removed or self.escaped or self.restored)

    def as_record(self) -> dict[str, JSON]:
        """Return the counts that aren't zero."""
        named = {
            "hidden_removed": self.removed,
            "control_escaped": self.escaped,
            "restored": self.restored,
            "placeholder_kept": self.kept,
            "placeholder_unknown": self.unknown,
        }
        return {name: count for name, count in named.items() if count}


@dataclass(slots=True)
class Channel:
    """The filters of one text. With none of them the text passes."""

    counts: Counts
    cleaner: CharacterFilter | None
    restorer: Restorer | None

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        if self.cleaner is not None:
            text = self.cleaner.feed(text)
        return self.restorer.feed(text) if self.restorer is not None else text

    def finish(self) -> str:
        """Return what was held back, and add up the counts."""
        text = self.cleaner.finish() if self.cleaner is not None else ""
        if self.cleaner is not None:
            self.counts.removed += self.cleaner.removed
            self.counts.escaped += self.cleaner.escaped
        if self.restorer is not None:
            text = self.restorer.feed(text) + self.restorer.finish()
            self.counts.restored += self.restorer.restored
            self.counts.kept += self.restorer.kept
            self.counts.unknown += self.restorer.unknown
        return text


@dataclass(slots=True, kw_only=True)
class AnswerRules:
    """Makes channels and treats whole bodies, by the policy of one call.

    Args:
        policy: What to clean, whether and where to restore.
        mapping: Hidden values of the conversation; None when there is nothing to restore.
        structured: The answer's text is JSON, so a value is written as inside a JSON string.
        table: How to read JSON bodies.
    """

    policy: Policy
    mapping: Mapping | None
    structured: bool
    table: Table
    counts: Counts = field(default_factory=Counts)

    def channel(self, kind: Kind, tool: str | None) -> Channel:
        """Return fresh filters for one running text."""
        return Channel(self.counts, self._cleaner(kind), self._restorer(kind, tool))

    def whole(self, text: str, kind: Kind, tool: str | None) -> str:
        """Return a whole text as the program gets it."""
        if PREFIX not in text and (kind not in _READ or not needs_cleaning(text)):
            return text
        channel = self.channel(kind, tool)
        return channel.feed(text) + channel.finish()

    def document(self, value: JSON, *, skip: Callable[[Field], bool] | None = None, tool: str | None = None) -> bool:
        """Treat every text of a parsed answer in place; return whether anything changed."""
        changed = False
        for one in read(value, self.table).fields:
            if skip is not None and skip(one):
                continue
            text = self.whole(one.text, one.kind, one.tool or tool)
            if text != one.text:
                one.put(text)
                changed = True
        return changed

    def text(self, data: bytes) -> bytes:
        """Return a plain-text answer as the program gets it."""
        text = data.decode("utf-8", "replace")
        treated = self.whole(text, Kind.TEXT, None)
        return data if treated == text else treated.encode("utf-8")

    def _cleaner(self, kind: Kind) -> CharacterFilter | None:
        output = self.policy.output
        hidden, terminal = output.hidden_characters == "remove", output.terminal_controls == "escape"
        if kind not in _READ or self.policy.observes or not (hidden or terminal):
            return None
        return CharacterFilter(hidden=hidden, terminal=terminal)

    def _restorer(self, kind: Kind, tool: str | None) -> Restorer | None:
        if self.mapping is None or not self.policy.redaction.restore or kind not in _WRITTEN:
            return None
        if kind in (Kind.TEXT, Kind.NAME):
            write = jsontext.quote if self.structured and kind is Kind.TEXT else str
            return Restorer(mapping=self.mapping, allowed=text_position, write=write)
        declared = self.policy.redaction.restore_tool_arguments
        if kind is Kind.TOOL_INPUT:
            may = is_declared(tool, None, declared)
            return Restorer(mapping=self.mapping, allowed=lambda before, after: may and text_position(before, after))
        tracker = ParameterTracker()

        def allowed(before: str, after: str) -> bool:
            # A declared parameter may still be a URL: the position rule holds inside it as well.
            return tracker.in_value and is_declared(tool, tracker.parameter, declared) and text_position(before, after)

        return Restorer(mapping=self.mapping, allowed=allowed, write=jsontext.quote, passed=tracker.pass_by)
