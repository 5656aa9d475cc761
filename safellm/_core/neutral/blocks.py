"""Which lines of a Markdown text are code, for sure.

Renderers disagree about odd cases, and an attacker would use them: a fence that is one for us and none for the renderer turns
text into code in our eyes. So where it is uncertain whether a line opens or ends a fence, both are held possible from there on,
and a line is code only if it is code in every case. Simple, well-formed text has one case.

Sources: CommonMark 0.31, 4.4 (indented code), 4.5 (fences), 4.6 (HTML blocks), 5 (containers).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

LONGEST_LINE: Final = 600  # characters of a line that begins like a fence; a longer one is uncertain
_MOST_CASES: Final = 4
_INDENT: Final = 3  # more before a mark and it is none

# Where blocks of HTML end.
COMMENT: Final = "-->"
PRE: Final = "</pre>"
BLANK: Final = "\n"
_NOTHING: Final[frozenset[str]] = frozenset()

_MATH: Final = ("math", "Math", "katex")
NO_CODE: Final = ("{", *_MATH)  # behind a fence's marks
PREFIX = re.compile(r"(?:[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*")
_MARKER = re.compile(r"[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])")
_EMPTY_ITEM = re.compile(r"(?:[-+*]|(?<!\d)\d{1,9}[.)])[ \t]*\Z")  # its text begins on the next line
_MARKED = re.compile(r"(?:[-+*]|(\d{1,9})[.)]) {1,4}\Z")
_QUOTE = re.compile(r" {0,3}>")
_ENDING = {mark: re.compile(rf"[\r\n][ \t]*{mark}{{3}}") for mark in "`~"}
_FENCE = re.compile(r"(`{3,}+)([^`\r\n]*)\Z|(~{3,}+)[^\r\n]*\Z")
# Begin something that goes on in indented lines, in one dialect or another: footnotes, definitions, admonitions.
_CONTAINER = re.compile(r"\[\^|:|!!!|\?\?\?|===")
_CONTAINERS: Final = frozenset("[:!?=")


class Fence(NamedTuple):
    """An open fence."""

    character: str
    length: int
    quotes: int  # block quotes around it
    indent: int
    floor: int  # a line with less indentation may end it, with the list that it stands in
    math: bool = False  # of TeX, which for some ends at the next such marks, whatever stands behind them


Case = Fence | None
_PLAIN: Final[frozenset[Case]] = frozenset({None})


@dataclass(slots=True)
class Blocks:
    """Reads a text line by line."""

    html: frozenset[str] = _NOTHING  # what ends each HTML block that the text may be in: COMMENT, PRE or BLANK
    cases: frozenset[Case] = _PLAIN
    after_blank: bool = True
    math: bool = False  # "$$" was opened: some renderers read no Markdown up to the next
    doubtful: bool = False  # the next line may be an address that belongs to a definition
    _offsets: tuple[int, ...] = ()  # columns where the content of list items begins
    _indented: bool = False
    _lost: bool = False
    _ended: frozenset[str] = _NOTHING  # of these, what was seen on the line before

    def skip(self, text: str, at: int) -> int:
        """Return the beginning of the last line that is surely in the same fence as the line at `at`, or `at`."""
        if len(self.cases) != 1:
            return at
        (fence,) = self.cases
        if fence is None or fence.floor or fence.quotes:
            return at
        # What has three of its characters at its beginning may end the fence; that line is read, and so is one that is cut off.
        found = _ENDING[fence.character].search(text, at)
        end = found.start() if found is not None else max(text.rfind("\n", at), text.rfind("\r", at), at)
        return max(text.rfind("\n", at, end) + 1, text.rfind("\r", at, end) + 1, at)

    def begin_html(self, end: str) -> None:
        """Take note that an HTML block may begin on this line; in another one it wouldn't, but who knows."""
        self.html |= {end}

    def end_html(self, end: str) -> None:
        """Take note that the end of an HTML block stands on this line."""
        self._ended |= {end}

    @property
    def is_plain(self) -> bool:
        """Whether no fence is open for sure."""
        return self.cases is _PLAIN

    @property
    def may_open(self) -> bool:
        """Whether the next line may open a fence, for some renderer."""
        return None in self.cases

    @property
    def is_settled(self) -> bool:
        """Whether nothing is open that would make a fence uncertain."""
        return self.is_plain and not (self.html or self.math or self.doubtful or self._ended)

    def prose(self) -> None:
        """Take a line that begins with its text, which is no code; see `is_plain`."""
        self._leave_html()
        if self.after_blank:
            self._offsets = ()
        self.after_blank = self.doubtful = self._indented = False

    def blank(self) -> None:
        """Take an empty line; see `is_plain`."""
        self._leave_html()
        if self.html:
            self.html -= {BLANK}
        self._indented, self.after_blank = False, True

    def line(self, line: str, rest: int, *, complete: bool) -> bool:
        """Take the next line; return whether it is code.

        Args:
            line: The line without its end, or its beginning.
            rest: Where in it the text begins, behind quote marks, list markers and spaces.
            complete: The line's end is known, or doesn't matter because it begins no fence.
        """
        self._leave_html()
        head = line[rest:]
        blank = not head.strip(" \t")  # of other spaces, a line is blank for some alone
        if self.cases is _PLAIN and head[:1] not in ("`", "~"):
            return self._text_line(line, rest, head, blank=blank)
        cases: set[Case] = set()
        code = True
        for case in self.cases:
            if case is None:
                code = False
                cases |= self._opened(line, rest, complete=complete)
            else:
                after = self._inside(case, line, rest, complete=complete)
                code = code and after == {case}
                cases |= after
        if len(cases) > _MOST_CASES:
            cases, self._lost = {None}, True
        self.cases = frozenset(cases) if cases != _PLAIN else _PLAIN
        if code:
            self.doubtful = self.doubtful and not head.strip()
            return not self._lost
        return self._text_line(line, rest, head, blank=blank)

    def _leave_html(self) -> None:
        if self._ended:
            self.html, self._ended = self.html - self._ended, _NOTHING

    def _text_line(self, line: str, rest: int, head: str, *, blank: bool) -> bool:
        self.doubtful = self.doubtful and not head.strip()
        indented = self._is_indented_code(line, blank=blank)
        self._note(line, rest, head, blank=blank)
        self._indented = indented
        return indented

    def _opened(self, line: str, rest: int, *, complete: bool) -> set[Case]:
        found = _FENCE.match(line, rest)
        if found is None:
            return {None}
        marks = found[1] or found[3]
        lead = line[:rest]
        column = _width(lead.rpartition(">")[2])
        listed = bool(self._offsets) or _MARKER.search(lead) is not None
        offset = max((one for one in self._offsets if one <= column), default=0)
        marker = _MARKED.search(lead)
        near = column - offset <= _INDENT if not listed or marker is None else self._begins_item(marker, lead, offset)
        # Some renderers know no fence of tildes, and for some what stands in "```{note}" is text, or TeX in "```math".
        named = (found[2] or "").lstrip(" \t")
        odd = marks[0] == "~" or "|" in found[0] or named.startswith(NO_CODE)
        # A quote in a list ends with the list, whatever marks the next lines have.
        odd = odd or (">" in lead and (bool(self._offsets) or _MARKER.search(lead.rpartition(">")[0]) is not None))
        certain = complete and near and not odd and not (self.html or self.math or self.doubtful)
        fence = Fence(marks[0], len(marks), lead.count(">"), column, column if listed else 0, named.startswith(_MATH))
        return {fence} if certain else {None, fence}

    def _begins_item(self, marker: re.Match[str], lead: str, offset: int) -> bool:
        """Return whether a list item begins here and the fence with it, whatever stands above."""
        column = _width(lead[: marker.start()].rpartition(">")[2])
        follows = self.after_blank or bool(self._offsets) or marker[1] is None or int(marker[1]) == 1
        return follows and column <= offset + _INDENT and marker.end() == len(lead)

    def _inside(self, fence: Fence, line: str, rest: int, *, complete: bool) -> set[Case]:
        start = 0
        for _ in range(fence.quotes):
            mark = _QUOTE.match(line, start)
            if mark is None:
                return self._opened(line, rest, complete=complete)  # the quote is over, and the fence with it
            start = mark.end()
        after = line[start:]
        body = after.strip(" \t")
        if not body:
            return {fence}
        indent = _width(after[: len(after) - len(after.lstrip(" \t"))])
        if len(body) >= fence.length and not body.strip(fence.character):
            if not complete or indent < fence.floor:
                return {None, *self._opened(line, rest, complete=complete)}
            top = not fence.floor and not fence.quotes and indent <= _INDENT
            return {None} if top or indent == fence.indent else {None, fence}
        if indent < fence.floor:
            return {fence, *self._opened(line, rest, complete=complete)}
        return {fence, None} if fence.math and body.startswith(fence.character * 3) else {fence}

    def _is_indented_code(self, line: str, *, blank: bool) -> bool:
        if blank or line[:1] not in (" ", "\t"):
            return False
        lead = line[: len(line) - len(line.lstrip(" \t"))]
        starts = self.after_blank or self._indented
        alone = self.cases is _PLAIN and not (self._lost or self.html or self.math or self._offsets)
        # Behind a quote, some renderers take the mark of the next line for one wherever it stands.
        return alone and starts and _width(lead) > _INDENT and line[len(lead) : len(lead) + 1] != ">"

    def _note(self, line: str, rest: int, head: str, *, blank: bool) -> None:
        """Keep what the next lines depend on."""
        if blank:
            if not line.strip(" \t"):  # in a block of HTML, a quote mark is no mark
                self.html -= {BLANK}
            empty = _EMPTY_ITEM.search(line)
            if empty is None and _MARKER.search(line, 0, rest) is None:
                self.after_blank = True
                return
            rest = empty.end() if empty is not None else rest
        elif rest < len(line) and (empty := _EMPTY_ITEM.match(line, rest)) is not None:
            rest = empty.end()
        outer, _, lead = line[:rest].rpartition(">")
        if self.after_blank and self._offsets:
            column = _width(lead[: len(lead) - len(lead.lstrip(" \t"))])
            self._offsets = tuple(one for one in self._offsets if one <= column)
        for marker in (*(_MARKER.finditer(outer) if outer else ()), *(_MARKER.finditer(lead + " ") if lead else ())):
            offset = _width(marker.string[: marker.end()]) + 1
            self._offsets = (*(one for one in self._offsets if one < offset), offset)
        if head[:1] in _CONTAINERS and _CONTAINER.match(head):
            self._offsets = (*self._offsets, 4) if not self._offsets or self._offsets[-1] < 4 else self._offsets  # noqa: PLR2004
        self.after_blank = False


def _width(text: str) -> int:
    """Return the width of a beginning of a line in columns, tabs to the next fourth."""
    return len(text.expandtabs(4))
