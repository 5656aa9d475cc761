"""What happens to each text of an answer: made harmless first, while it still holds placeholders, then restored.

A whole text and the same text in pieces go through the same two filters, so streaming equals not streaming.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from safellm._core import jsontext
from safellm._core.arguments import ParameterTracker, is_declared
from safellm._core.canary import CanaryEcho
from safellm._core.echo import Echo, Filter
from safellm._core.effects import JSON
from safellm._core.fields import Field, Kind, Table, Trust, read
from safellm._core.hidden import CharacterFilter, needs_cleaning
from safellm._core.neutral import diagrams, directives, lists
from safellm._core.neutral.addresses import Judge
from safellm._core.neutral.gate import has_marks, may_need
from safellm._core.neutral.links import LinkFilter
from safellm._core.personalecho import PersonalEcho
from safellm._core.placeholder import PREFIX, Mapping, has_prefix
from safellm._core.plugged import SETTINGS
from safellm._core.policy import Policy
from safellm._core.redaction.back import may_hold
from safellm._core.restore import JSON_AFTER, Restorer, json_position, text_position
from safellm._core.valueecho import ValueEcho

# Escapes of a JSON text that say something else than a line end, a tab or themselves. An escaped backslash may look like one,
# which only costs the walk.
_RARE_ESCAPE = re.compile(rb"\\[^n\"t/\\]")
_APART = re.compile(rb"\](?: |\\t)+\(")  # a link for some renderers
_PREFIX = PREFIX.encode()
_FIRST = _PREFIX[:1]
_SHORT = 64  # characters of a string that is more likely an identifier than a text

# Kinds whose text a program may show: no identifier or address needs a control or a hidden character.
_READ = frozenset({Kind.TEXT, Kind.NAME, Kind.TOKEN, Kind.IDENTIFIER, Kind.URL})
# A file's name is shown as the text around it is, and somebody else chose it.
_SHOWN = frozenset({Kind.TEXT, Kind.NAME})
_WRITTEN = frozenset({Kind.TEXT, Kind.NAME, Kind.ARGUMENTS, Kind.TOOL_INPUT})


def may_change(data: bytes) -> bool:
    """Return whether any string of a JSON text could need treating; false is the usual, fast case.

    Args:
        data: JSON that was read, so there are no control characters in it but U+007F.
    """
    # Single bytes are searched many times faster than anything else, and nearly always that is enough.
    if not data.isascii() or b"\x7f" in data or (_FIRST in data and _PREFIX in data):
        return True
    if b"<" in data or (b"(" in data and (b"](" in data or _APART.search(data))) or b"]:" in data:
        return True
    if b"!" in data and (b"![" in data or b"!\\\\" in data):
        return True
    if (b"=" in data and lists.may_hold_json(data)) or directives.may_hold_json(data) or diagrams.may_hold_json(data):
        return True
    return b"\\" in data and _RARE_ESCAPE.search(data) is not None


def _gather(value: JSON) -> tuple[list[str], list[str], list[str]]:
    """Return the long strings of a JSON value, the short ones, and the names in it."""
    long: list[str] = []
    short: list[str] = []
    names: list[str] = []
    todo: list[Any] = [[value]]
    for several in todo:
        inside = several
        if type(several) is dict:
            names += several
            inside = several.values()
        for one in inside:
            made = type(one)
            if made is str:
                (long if len(one) > _SHORT else short).append(one)
            elif made is dict or made is list:
                todo.append(one)  # the list is read to its new end
    return long, short, names


@dataclass(slots=True)
class Counts:
    """What was done to an answer, for the audit record."""

    removed: int = 0
    escaped: int = 0
    restored: int = 0
    kept: int = 0
    unknown: int = 0
    defanged: int = 0
    secrets: int = 0
    canaries: int = 0
    values: int = 0
    came_back: dict[str, int] = field(default_factory=dict, repr=False)  # values, and how many times each

    @property
    def changed(self) -> bool:
        """Whether any text differs from what the provider sent."""
        return bool(
            self.removed
            or self.escaped
            or self.restored
            or self.defanged
            or self.secrets
            or self.canaries
            or self.values
        )

    def as_record(self) -> dict[str, JSON]:
        """Return the counts that aren't zero."""
        named = {
            "hidden_removed": self.removed,
            "control_escaped": self.escaped,
            "link_defanged": self.defanged,
            "secret_removed": self.secrets,
            "canary_removed": self.canaries,
            "value_removed": self.values,
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
    links: LinkFilter | None = None
    echo: Sequence[Filter] = ()
    heard: list[str] | None = None  # what came out, for guards of the whole text; None: nobody asks

    def feed(self, text: str) -> str:
        """Return what is certain by now."""
        if self.heard is not None:
            self.heard.append(out := self._feed(text))
            return out
        return self._feed(text)

    def _feed(self, text: str) -> str:
        if self.cleaner is not None:
            text = self.cleaner.feed(text)
        if self.links is not None:
            text = self.links.feed(text)
        for one in self.echo:
            text = one.feed(text)
        return self.restorer.feed(text) if self.restorer is not None else text

    def whole(self, text: str) -> str:
        """Return a whole text as it comes out."""
        return self.feed(text) + self.finish()

    def finish(self) -> str:
        """Return what was held back, and add up the counts."""
        text = self.cleaner.finish() if self.cleaner is not None else ""
        if self.cleaner is not None:
            self.counts.removed += self.cleaner.removed
            self.counts.escaped += self.cleaner.escaped
        if self.links is not None:
            text = self.links.feed(text) + self.links.finish()
            self.counts.defanged += self.links.changed
        for one in self.echo:
            text = one.feed(text) + one.finish()
            if isinstance(one, CanaryEcho):
                self.counts.canaries += one.removed
            elif isinstance(one, ValueEcho | PersonalEcho):
                self.counts.values += one.removed
            else:
                self.counts.secrets += one.removed
        if self.restorer is not None:
            text = self.restorer.feed(text) + self.restorer.finish()
            self.counts.restored += self.restorer.restored
            self.counts.kept += self.restorer.kept
            self.counts.unknown += self.restorer.unknown
        if self.heard is not None:
            self.heard.append(text)
        return text


@dataclass(slots=True, kw_only=True)
class AnswerRules:
    """Makes channels and treats whole bodies, by the policy of one call.

    Args:
        policy: What to clean, whether and where to restore.
        mapping: Hidden values of the conversation; None when there is nothing to restore.
        structured: The answer's text is JSON, so a value is written as inside a JSON string.
        table: How to read JSON bodies.
        echo: What the answer may not give away.
    """

    policy: Policy
    mapping: Mapping | None
    structured: bool
    table: Table
    echo: Echo | None = None
    counts: Counts = field(default_factory=Counts)
    # Texts of a stream in their pieces, for guards of whole answers; None: nobody asks.
    heard: list[list[str]] | None = None
    _judge: Judge | None = None
    _is_asked: bool = False
    _ready: Channel | None = None

    @property
    def judge(self) -> Judge | None:
        """Who decides about addresses; made when a text is treated, which most answers don't need."""
        if not self._is_asked:
            # Text that is JSON isn't rendered, and must stay the JSON that it is.
            self._judge, self._is_asked = None if self.structured else self.policy.judge(), True
        return self._judge

    def channel(self, kind: Kind, tool: str | None, parameter: str | None = None) -> Channel:
        """Return fresh filters for one running text."""
        ready = self._ready if kind is Kind.TEXT else None
        if ready is None:
            channel = self._filters(kind, tool, parameter, shown=True)
        else:
            channel, self._ready = ready, None
        if self.heard is not None and kind is Kind.TEXT:
            channel.heard = []
            self.heard.append(channel.heard)
        return channel

    def expect_text(self) -> None:
        """Make the filters of the first running text, which nearly every answer has."""
        self._ready = self._filters(Kind.TEXT, None, None, shown=True)

    def _filters(self, kind: Kind, tool: str | None, parameter: str | None, *, shown: bool) -> Channel:
        links = LinkFilter(judge=self.judge) if shown and kind in _SHOWN and self.judge is not None else None
        echo = (
            ()
            if self.echo is None
            else self.echo.filters(kind, shown=shown, is_json=self.structured and kind is Kind.TEXT)
        )
        return Channel(self.counts, self._cleaner(kind), self._restorer(kind, tool, parameter), links, echo)

    def whole(
        self, text: str, kind: Kind, tool: str | None, parameter: str | None = None, *, shown: bool = True
    ) -> str:
        """Return a whole text as the program gets it; `shown` says that a program may render it."""
        if self.echo is not None and not shown and self.echo.canary is not None:
            text = text.replace(self.echo.canary.planted, "")  # the provider repeats the system text
        if kind in _READ and needs_cleaning(text) and (cleaner := self._cleaner(kind)) is not None:
            text = Channel(self.counts, cleaner, None).whole(text)
        linked = shown and kind in _SHOWN and self._may_link(text)
        if not linked and not (self.echo is not None and self.echo.may_hold(text)) and not self._may_hold(text):
            return text
        filters = self._filters(kind, tool, parameter, shown=shown)
        filters.cleaner = None
        filters.links = filters.links if linked else None
        return filters.whole(text)

    def document(self, value: JSON, *, skip: Callable[[Field], bool] | None = None, tool: str | None = None) -> bool:
        """Treat every text of a parsed answer in place; return whether anything changed."""
        changed = False
        for one in read(value, self.table).fields:
            if skip is not None and skip(one):
                continue
            # What the program wrote itself and the provider repeats (instructions, tools) must stay as it is.
            shown = one.trust is Trust.UNTRUSTED and not one.is_key
            text = self.whole(one.text, one.kind, one.tool or tool, one.parameter, shown=shown)
            if self.heard is not None and shown and one.kind is Kind.TEXT and one.key not in SETTINGS:
                self.heard.append([text])
            if text != one.text:
                one.put(text)
                changed = True
        return changed

    def lines(self, data: bytes, *, max_depth: int, download: bool = False) -> bytes:
        """Return JSON lines as the program gets them; if not every line is JSON, the whole is plain text.

        Args:
            data: The answer's body.
            max_depth: Deepest nesting that is read.
            download: It is a file, which isn't shown as a reply.
        """
        out: list[bytes] = []
        for line in data.split(b"\n"):
            if not line.strip():
                out.append(line)
                continue
            try:
                value = jsontext.loads(line, max_depth=max_depth)
            except jsontext.Malformed:
                return self.text(data, download=download)
            out.append(jsontext.dumps(value) if self.may_change(line) and self.document(value) else line)
        return b"\n".join(out)

    def stays(self, value: JSON) -> bool:
        """Return whether `document` would surely change nothing in a parsed answer, and nobody asks for its texts.

        It reads every string alike, whatever its field is for, so it says no to some that stay.
        """
        if self.heard is not None:
            return False
        long, short, names = _gather(value)
        # Each of these looks for characters and words, which no line end can be part of.
        few = "\n".join(short)
        whole = "\n".join((few, *long, *names))
        if self.mapping is not None and may_hold(self.mapping, whole):
            return False
        if self.echo is not None and self.echo.may_hold(whole):
            return False
        if needs_cleaning(whole) and not all(self._is_clean(one) for one in (*short, *long, *names)):
            return False
        judge = self.judge
        if judge is None:
            return True
        texts = [*short, *long] if has_marks(few) else long
        return not any(may_need(one, judge) for one in texts)

    def _is_clean(self, text: str) -> bool:
        cleaner = self._cleaner(Kind.TEXT) if needs_cleaning(text) else None
        return cleaner is None or cleaner.feed(text) + cleaner.finish() == text

    def may_change(self, data: bytes) -> bool:
        """Return whether any string of a JSON text could need cleaning or restoring."""
        if self.heard is not None or (self.echo is not None and self.echo.may_hold(data)):
            return True
        return may_change(data) or (self.mapping is not None and may_hold(self.mapping, data.decode("ascii")))

    def _may_link(self, text: str) -> bool:
        return self.judge is not None and may_need(text, self.judge)

    def _may_hold(self, text: str) -> bool:
        return has_prefix(text) if self.mapping is None else may_hold(self.mapping, text)

    def text(self, data: bytes, *, download: bool = False) -> bytes:
        """Return a plain-text answer as the program gets it."""
        text = data.decode("utf-8", "replace")
        treated = self.whole(text, Kind.TEXT, None, shown=not download)
        if self.heard is not None and not download:
            self.heard.append([treated])
        return data if treated == text else treated.encode("utf-8")

    def _cleaner(self, kind: Kind) -> CharacterFilter | None:
        output = self.policy.output
        hidden, terminal = output.hidden_characters == "remove", output.terminal_controls == "escape"
        if kind not in _READ or self.policy.observes or not (hidden or terminal):
            return None
        return CharacterFilter(hidden=hidden, terminal=terminal, typography=True)

    def _restorer(self, kind: Kind, tool: str | None, parameter: str | None) -> Restorer | None:
        if self.mapping is None or not self.policy.redaction.restore or kind not in _WRITTEN:
            return None
        came_back = self.counts.came_back
        if kind in (Kind.TEXT, Kind.NAME):
            if self.structured and kind is Kind.TEXT:
                return Restorer(
                    mapping=self.mapping,
                    allowed=json_position,
                    write=jsontext.quote,
                    came_back=came_back,
                    reach=JSON_AFTER,
                )
            return Restorer(mapping=self.mapping, allowed=text_position, tolerant=True, came_back=came_back)
        declared = self.policy.redaction.restore_tool_arguments
        if kind is Kind.TOOL_INPUT:
            may = is_declared(tool, parameter, declared)
            return Restorer(
                mapping=self.mapping,
                allowed=lambda before, after: may and text_position(before, after),
                came_back=came_back,
            )
        tracker = ParameterTracker()

        def allowed(_: str, after: str) -> bool:
            # A declared parameter may still be a URL: the position rule holds inside it as well.
            if not (tracker.in_value and is_declared(tool, tracker.parameter, declared)):
                return False
            return json_position(tracker.string, after)

        return Restorer(
            mapping=self.mapping, allowed=allowed, write=jsontext.quote, passed=tracker.pass_by, came_back=came_back,
            reach=JSON_AFTER,
        )  # fmt: skip
