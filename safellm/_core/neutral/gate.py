r"""Whether a whole reply holds anything that `links.LinkFilter` would change: asked of each reply, and nearly always answered no.

The text is searched in one go for marks that may be more than text. What such a mark does is decided by the filter's own methods,
each mark by itself, as if nothing were code: so the answer is never softer than the filter's. Where one would be changed, it may
stand in code after all: in a fence that is one for sure, which is passed, or in a paragraph, which the filter then reads by itself.
Whatever isn't certain is left to the filter, which reads the whole.

Sources: CommonMark 0.31, 4.5 (fences); `blocks` for what is sure about them.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from safellm._core.neutral import diagrams, directives, lists, tex
from safellm._core.neutral.addresses import Judge
from safellm._core.neutral.blocks import NO_CODE, PREFIX
from safellm._core.neutral.links import TARGET, LinkFilter
from safellm._core.neutral.tags import Verdict, judge_tag

_NOT_SURE: Final = -1
_NEAR: Final = 300  # characters before a mark that are looked at

# A link whose address has no room for anything, and whose text names no address; and an address that is linked as it stands.
_LINK = rf"\[(?:[^\[\]<:!@\\{{}}=~$`\nwW]++|`(?!``)|[wW](?![wW]))*+\]\({TARGET}(?=[ )])"
_AUTOLINK = r"<https?://[\w.\-/?&=#%]*+>"
# Characters that are marks only before some others, the frequent ones first.
_PASSED = (
    r":(?!:|target:)|`(?!``)|\](?![(:]|[ \t]++\()|<(?![A-Za-z/!?])|!(?!\\{0,9}\[)|@(?!\[)|~(?!~~)"
    rf"|\\(?!{tex.NAMES})"
)
# Braces: of a directive behind three other marks, of an attribute list before "=". Few of either have that, so few are looked at.
_NO_LIST = r"(?![^\n=]{0,200}+(?:=|[^\n=]))"
_NO_DIRECTIVE = r"(?<=[^`~: \t]\{)|(?<=[^`~: \t][ \t]\{)|(?<=[^:]:\{)|(?<=[^:]:[ \t]\{)"
_FENCE: Final = "```"
# One whose first line says nothing but the language, and that ends with the next three marks, at the beginning of a line, or never.
_SURE_FENCE = (
    rf"```(?<=\n```)(?!{'|'.join(map(re.escape, NO_CODE))}|(?i:[^\n]*?mermaid))[A-Za-z0-9+#.\-]*+\n"
    r"(?:[^`]++|`(?!``))*+(?:\Z|(?<=\n)```[ \t]*+(?=\n|\Z))"
)
_EMPTY_LINE = re.compile(r"\n[ \t]++\n")
_INFO = re.compile(r"(?:[^<\[\]!@:{}\\$~|]|:(?![:t]))*+")  # behind a fence's marks: no marks, and nothing odd
_LETTER = re.compile(r"[^\W\d_]")
# Frequent tags that `tags.judge_tag` passes whatever is allowed, and a picture's, if its address may be fetched. In a value nothing
# has room for a style or an address.
_VALUE = r"\"(?:[\w .%,#]|-(?!set))*+\""
_SAID = rf"(?: (?:align|valign|width|height|border|class|id|alt|title|colspan|rowspan|dir|lang|name)={_VALUE})*+"
_EASY_TAG = re.compile(
    rf"</[A-Za-z][A-Za-z0-9:-]*+>|<(?:(?:a|b|big|blockquote|br|center|code|dd|del|details|div|dl|dt|em|figcaption|figure|h[1-6]"
    rf"|hr|i|ins|kbd|li|mark|ol|p|s|section|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var"
    rf"|a href=\"https?://[\w.\-]+(?:/[\w.\-/~]*+)?(?:#[\w\-.]{{0,120}}+)?\"){_SAID}"
    rf"|img{_SAID} src=\"([\w.\-/~%?=&+,:]++)\"{_SAID})(?: ?/)?>"
)
# A picture whose name and address have no marks in them.
_EASY_PICTURE = re.compile(r"!\[[\w .,;'\"()+*/|#%&?\-]{0,200}+\]\((https?://[\w.\-/%?=&+,#]{1,1000}+)\)")
_COMMENT: Final = "<!--"
_COMMENT_ENDS: Final = "-->"
_NO_COMMENT = re.compile(r"[<\\\[]|```|\n[ \t>]*(?:\n|\Z)|\A-?>")  # in what stands in one
_PLAIN_LINKS: Final = ("<http:", "<https:", "<mailto:")  # begin no block of HTML
# A line end of its own kind, a fence that some don't know, mathematics: from there on no fence is sure.
_DOUBTS: Final = ("\r", "~~~", "$$", "\\[", "\\]", "\\begin", "\\end")


@lru_cache(maxsize=8)
def _pattern(*, braces: bool, strict: bool, sure: bool) -> re.Pattern[str]:
    """Return what matches all up to the next mark.

    Args:
        braces: There are any.
        strict: No link passes.
        sure: It is certain so far which lines are code.
    """
    marks, passed = r"<\]!@:`~\\", _PASSED
    if sure:
        passed = rf"{passed}|{_SURE_FENCE}"
    if not strict:
        marks, passed = marks + r"\[", rf"{_LINK}|\[|{passed}|{_AUTOLINK}"
    if braces:
        marks, passed = marks + "{", rf"{passed}|\{{{_NO_LIST}(?:{_NO_DIRECTIVE})"
    return re.compile(rf"[^{marks}]*+(?:(?:{passed})[^{marks}]*+)*+")


def may_need(text: str, judge: Judge) -> bool:
    """Return whether a whole text may hold anything that would be changed outside code; false is the usual, fast case.

    Never false where `links.defang` changes the text. True may be said of a text that stays.
    """
    if not has_marks(text):
        return False
    braces, size, known = "{" in text, len(text), _known(text)
    passed = _pattern(braces=braces, strict=judge.strict, sure=known == size)
    at = _end(passed, text, 0)
    if at == size:
        return False
    marks = _Marks(text, judge, known)
    while at < size:
        at = marks.read(at)
        if at == _NOT_SURE:
            return True
        if known == size > marks.known:
            known = marks.known
            passed = _pattern(braces=braces, strict=judge.strict, sure=False)
        at = _end(passed, text, at)
    return False


def has_marks(text: str) -> bool:
    """Return whether a text, or one of several joined by line ends, holds any mark at all."""
    # One character is searched much faster than two, or one of several.
    some = "[" in text or "`" in text or "<" in text or "]" in text or "\\" in text or "{" in text or "~" in text
    return some or (":" in text and ("::" in text or ":target:" in text))


def _known(text: str) -> int:
    """Return up to where fences are sure, whatever the marks before them do."""
    known = len(text)
    for doubt in _DOUBTS:
        if doubt[0] in text and (at := text.find(doubt)) >= 0:
            known = min(known, text.rfind("\n", 0, at) + 1)
    return known


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _end(passed: re.Pattern[str], text: str, at: int) -> int:
    found = passed.match(text, at)
    return at if found is None else found.end()


class _Marks:
    """Reads the marks of one text, in order.

    Args:
        text: The reply.
        judge: Decides about addresses.
        known: Up to where it is certain which lines are code.
    """

    __slots__ = ("_filter", "_judge", "_line", "_settled", "_text", "known")

    def __init__(self, text: str, judge: Judge, known: int) -> None:
        self._text = text
        self._judge = judge
        self._filter: LinkFilter | None = None  # few need one
        self._line = 0  # the end of a line whose attributes were judged
        self._settled = 0  # the end of a paragraph, in which no fence begins or ends from the last tag on
        self.known = known

    @property
    def _links(self) -> LinkFilter:
        if self._filter is None:
            self._filter = LinkFilter(judge=self._judge, _text=self._text)
        return self._filter

    def read(self, at: int) -> int:
        """Return where to look on behind a mark that stays as it is, or is code; negative if that isn't sure."""
        text, mark = self._text, self._text[at]
        special = {"`": self._fence, "~": self._fence, "<": self._tag, "{": self._brace}.get(mark)
        if special is not None:
            return special(at)
        if mark == ":":
            if text.startswith(":::", at) and diagrams.opened(text, at, _line_end(text, at)) is not None:
                return _NOT_SURE
            if not text.startswith(":target:", at) and text.find("..", max(0, at - _NEAR), at) < 0:
                return at + 1
        if mark == "!" and (end := self._picture(at)) > 0:
            return end
        after = self._links.judged_alone(at + (mark in "!@"))
        if after < 0:
            return self._paragraph(at)
        below = mark == "]" and text[at + 1] == ":" and not text[at + 2 : _line_end(text, at)].strip()
        if below or (mark == "!" and "\n" in text[at:after]):
            self._doubt(at)  # the next line may belong to it
        return at + 1

    def _doubt(self, at: int) -> None:
        self.known = min(self.known, at)

    def _picture(self, at: int) -> int:
        """Return where a picture ends that may be fetched, if it is a simple one; 0 if that isn't known so quickly."""
        found = _EASY_PICTURE.match(self._text, at)
        return found.end() if found is not None and self._judge.may_fetch(found[1]) else 0

    def _tag(self, at: int) -> int:
        text = self._text
        if text[at + 1] in "!?":
            is_comment = text.startswith(_COMMENT, at) and not self._judge.strict
            return self._comment(at) if is_comment else self._paragraph(at)
        after = self._judged_tag(at)
        if after < 0:
            return self._paragraph(at)
        if at >= self.known or text.startswith(_PLAIN_LINKS, at) or self._is_within(at, after):
            return at + 1
        if not self._ends_with_paragraph(at, after):
            end = self._paragraph(at)
            if end >= 0:
                return end
            self._doubt(at)  # it may begin a block of HTML
        return at + 1

    def _judged_tag(self, at: int) -> int:
        """Return where to read on behind a tag that would stay if it were no code; negative if it wouldn't."""
        easy = None if self._judge.strict else _EASY_TAG.match(self._text, at)
        if easy is not None and (easy[1] is None or self._judge.may_fetch(easy[1])):
            return easy.end()
        verdict, after = judge_tag(self._text, at, self._judge, last=True)
        return after if verdict is Verdict.PASS else _NOT_SURE

    def _ends_with_paragraph(self, at: int, after: int) -> bool:
        """Return whether a block of HTML that a tag may begin ends with the paragraph, and leaves no fence in doubt until then."""
        text = self._text
        if at >= self._settled:
            below = text.find("\n\n", at)
            end = below if below >= 0 else len(text)
            if text.find(_FENCE, at, end) >= 0:
                return False
            self._settled = end
        return after <= self._settled and text[at + 1 : at + 4].lower() != "pre"

    def _comment(self, at: int) -> int:
        """Return where to look on behind the beginning of a comment, in which every mark counts as anywhere else."""
        if at < self.known:
            end = self._text.find(_COMMENT_ENDS, at + len(_COMMENT))
            if end < 0 or _NO_COMMENT.search(self._text, at + len(_COMMENT), end) is not None:
                self._doubt(at)  # nobody knows which fences it takes in
        return at + len(_COMMENT)

    def _is_within(self, begin: int, end: int) -> bool:
        """Return whether something is on one line, behind other text."""
        text, line = self._text, max(0, begin - _NEAR)
        line = max(line, text.rfind("\n", line, begin))
        return _LETTER.search(text, line, begin) is not None and "\n" not in text[begin:end]

    def _brace(self, at: int) -> int:
        text = self._text
        if directives.begins(text[max(0, at - _NEAR) : at]) and self._links.judged_alone(at) < 0:
            return self._paragraph(at)
        if at >= self._line:
            self._line = _line_end(text, at)
            equals = text.find("=", at, self._line)
            while equals >= 0:
                named = text[equals - 1].isalpha() and lists.name_before(text[max(0, equals - _NEAR) : equals])
                if named and self._links.judged_alone(equals) < 0:
                    return self._paragraph(at)
                equals = text.find("=", equals + 1, self._line)
        return at + 1

    def _fence(self, at: int) -> int:
        """Return where to look on behind three marks that may open a fence: behind the fence, if it is sure that it is code."""
        text = self._text
        line = _line_end(text, at)
        if diagrams.opened(text, at, line) is not None and not self._is_harmless_drawing(at):
            return _NOT_SURE
        said = text[at:line].lstrip(text[at])
        after = line - len(said)
        if text[at] != "`" or at >= self.known:
            return after
        begin = text.rfind("\n", 0, at) + 1
        if begin < at:
            if PREFIX.fullmatch(text, begin, at) is not None:
                self._doubt(begin)  # in a list, in a quote, or indented
            return after
        if "`" in said:
            return after  # a code span
        if _INFO.fullmatch(said) is None or said.lstrip().startswith(NO_CODE):
            self._doubt(at)
            return after
        return self._fence_end(line, text[at:after])

    def _is_harmless_drawing(self, at: int) -> bool:
        """Return whether a fence that is drawn stands by itself, and loads and runs nothing."""
        text = self._text
        found = diagrams.opened(text, at, _line_end(text, at))
        if found is None or text[at] != "`" or at >= self.known or text[at - 1 : at] not in ("", "\n"):
            return False
        window = text[at : at + diagrams.LONGEST]
        end = diagrams.end_of(window, 0, "", found[1])
        whole = end >= 0 or len(window) < diagrams.LONGEST
        return whole and not diagrams.is_harmful(text[found.end() : at + end if end >= 0 else len(text)], self._judge)

    def _fence_end(self, at: int, marks: str) -> int:
        """Return where to look on, behind the first line of a fence that ends at `at`: what can't be but its code is passed."""
        text = self._text
        at = text.find(_FENCE, at)
        while at >= 0:
            begin, end = text.rfind("\n", 0, at) + 1, _line_end(text, at)
            if not text[begin:at].strip(" \t"):
                if begin < at or not text.startswith(marks, at) or text[at:end].strip("` \t"):
                    self._doubt(begin)  # perhaps its end
                break
            at = text.find(_FENCE, end)
        return min(self.known, end if at >= 0 else len(text))

    def _paragraph(self, at: int) -> int:
        """Let the filter read the paragraph around a mark; return where it ends, negative if something may be changed.

        What the filter carries over a blank line, `known` vouches for.
        """
        text = self._text
        if at >= self.known:
            return _NOT_SURE
        fence = text.rfind(_FENCE, 0, at)  # the end of one, or a code span
        floor = 0 if fence < 0 else text.find("\n", fence, at)
        above, below = text.rfind("\n\n", max(floor, 0), at), text.find("\n\n", at)
        if floor < 0 or above < 0 < floor:
            return _NOT_SURE
        begin = above + 2 if above >= 0 else 0
        end = min(self.known, below + 2 if below >= 0 else len(text))
        fence = text.find(_FENCE, at, end)
        if fence >= 0:
            end = text.rfind("\n", 0, fence) + 1
        if end <= at or _EMPTY_LINE.search(text, begin, end) is not None or not self._links.read_alone(begin, end):
            return _NOT_SURE
        return end
