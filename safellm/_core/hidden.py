r"""Characters that a person can't see or that drive a terminal, and how text is rid of them, in any chunking.

* Hidden: tag characters, zero-width, bidirectional controls, variation selectors used as data, fillers (THREATS O.4).
* Terminal: C0 and C1 controls except newline, tab and CR LF (THREATS O.3). They become visible: ESC reads `\x1b`.

Kept, because scripts and emoji need them: ZWJ and ZWNJ between two visible characters that aren't ASCII, one variation
selector 15 or 16 after a visible character, and the tag sequence of a flag emoji (UTS 51 ED-14a).

Of text that a person reads, typography is kept as well: a soft hyphen or ZWNJ inside of a word, Mongolian selectors behind
Mongolian letters, one of the first ideographic selectors behind an ideograph, direction marks in lines with a right-to-left letter.
But few to a line, and none in a line that holds a bracket of a link or from which anything was removed: who hides data needs many,
and breaks these rules. What is removed or kept never depends on where a stream was cut.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass, field

ZWNJ, ZWJ = "\u200c", "\u200d"
_PRESENTATION_SELECTORS = "\ufe0e\ufe0f"
_FLAG_BASE, _TAG_END = "\U0001f3f4", "\U000e007f"

# Code points that show nothing: Default_Ignorable_Code_Point (Unicode 15.1, DerivedCoreProperties) without ZWJ/ZWNJ/VS15/VS16,
# plus line and paragraph separators' bidi kin, interlinear annotation marks and the Braille blank's relatives that render empty.
_HIDDEN_RANGES = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0D),
    (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_JOINERS = ZWNJ + ZWJ + _PRESENTATION_SELECTORS
_HIDDEN_CLASS = "".join(f"{chr(low)}-{chr(high)}" for low, high in _HIDDEN_RANGES)
_TERMINAL_CLASS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"

# Single character classes: `re` is linear on them, whatever the text.
_NEEDS_LOOK = re.compile(f"[{_HIDDEN_CLASS}{_JOINERS}{_TERMINAL_CLASS}]")
_ORDINARY = b"\t\n" + bytes(range(0x20, 0x7F))  # stands for itself wherever it stands
_HIDDEN = re.compile(f"[{_HIDDEN_CLASS}]")
_ORDINARY_TEXT = re.compile(f"[^{_HIDDEN_CLASS}{_JOINERS}{_TERMINAL_CLASS}{_FLAG_BASE}]++")
_TERMINAL = re.compile(f"[{_TERMINAL_CLASS}]")


_SOFT_HYPHEN, _MONGOLIAN_SEPARATOR = "\u00ad", "\u180e"
_MARKS = "\u200e\u200f\u061c"
_MONGOLIAN_SELECTORS = "\u180b\u180c\u180d\u180f"
_TYPOGRAPHY = re.compile(
    f"[{_SOFT_HYPHEN}{ZWNJ}{_MARKS}{_MONGOLIAN_SELECTORS}{_MONGOLIAN_SEPARATOR}\U000e0100-\U000e011f]"
)
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# Letters of Hebrew, Arabic and their kin (Unicode 15.1, DerivedBidiClass R and AL), by block.
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_BRACKET = re.compile(r"[\[<]")  # a link may begin: what it shows must be what it is
_MOST_IN_A_LINE = 8
_AHEAD = 2  # characters behind one that decide about it


@dataclass(slots=True, kw_only=True)
class CharacterFilter:
    """Cleans one channel of text. `feed` any pieces, then `finish`; `removed` and `escaped` count what was done.

    Args:
        hidden: Remove hidden characters.
        terminal: Make terminal controls visible.
        typography: Keep what the typography of a language needs; for text that is shown to people.
    """

    hidden: bool = True
    terminal: bool = True
    typography: bool = False
    removed: int = 0
    escaped: int = 0
    # The last character handed on: what a joiner may attach to; "" right after a selector or joiner.
    _before: str = "\n"
    _held: str = field(default="")  # a joiner, CR or flag whose next character decides
    _earlier: str = "\n"  # the character before `_before`
    # Of the line so far:
    _right_to_left: bool = False  # it holds a letter of such a script
    _kept: int = 0  # characters of typography
    _spoiled: bool = False  # none is kept any more

    def feed(self, text: str) -> str:
        """Return the text that is certain by now; at most a joiner, a CR, one flag sequence, or two characters more are held."""
        if not self._held and not _NEEDS_LOOK.search(text):
            if text:
                if text[-1] == _FLAG_BASE:
                    self._held, text = _FLAG_BASE, text[:-1]
                if self.typography:
                    self._note(text)
                self._before = text[-1:] or self._before
            return text
        return self._walk(self._held + text, last=False)

    def finish(self) -> str:
        """Return what was held back: the text is over."""
        return self._walk(self._held, last=True)

    def _walk(self, text: str, *, last: bool) -> str:  # noqa: C901, PLR0912 - one case after another
        out: list[str] = []
        self._held = ""
        position = 0
        while position < len(text):
            ordinary = _ORDINARY_TEXT.match(text, position)
            if ordinary is not None:
                out.append(ordinary[0])
                if self.typography:
                    self._note(ordinary[0])
                position = ordinary.end()
                self._before = text[position - 1]
                continue
            character = text[position]
            if character == _FLAG_BASE:
                end = position + 1
                while end < len(text) and end - position <= 7 and "\U000e0020" <= text[end] <= "\U000e007e":  # noqa: PLR2004 - longest flag in use has 6 tags
                    end += 1
                if end == len(text) and end - position <= 7 and not last:  # noqa: PLR2004
                    self._held = text[position:]
                    break
                if end < len(text) and text[end] == _TAG_END and end - position >= 3:  # noqa: PLR2004 - shortest has 3 tags
                    out.append(text[position : end + 1])
                    position = end + 1
                else:
                    out.append(character)
                    position += 1
                self._before = _FLAG_BASE
                continue
            behind = text[position + 1 : position + 1 + _AHEAD]
            may_be = self.typography and self.hidden and _TYPOGRAPHY.match(character) is not None
            if may_be and len(behind) < _AHEAD and not last:
                self._held = text[position:]
                break
            if may_be and self._is_typography(character, behind):
                self._kept += 1
                self._earlier, self._before = self._before, character
                out.append(character)
            elif character in (ZWJ, ZWNJ) or (character == "\r" and self.terminal):
                if position + 1 == len(text) and not last:
                    self._held = character
                    break
                after = behind[:1]
                out.append(self._joiner(character, after) if character != "\r" else self._carriage_return(after))
            else:
                out.append(self._plain(character))
            position += 1
        return "".join(out)

    def _plain(self, character: str) -> str:
        if self.hidden and (
            _HIDDEN.match(character) or (character in _PRESENTATION_SELECTORS and not _is_visible(self._before))
        ):
            self.removed += 1
            self._spoiled = True
            return ""
        if character in _PRESENTATION_SELECTORS:
            self._before = ""  # a second selector on the same character would carry data
            return character
        if self.terminal and _TERMINAL.match(character):
            self.escaped += 1
            self._before = "\\"
            return _visible(character)
        if self.typography:
            self._note(character)
        self._before = character
        return character

    def _note(self, text: str) -> None:
        """Take in text that is handed on as it is, and holds nothing hidden."""
        end = text.rfind("\n")
        if end >= 0:
            self._right_to_left, self._kept, self._spoiled = False, 0, False
            text = text[end:]
        if not self._spoiled and _BRACKET.search(text):
            self._spoiled = True
        if not self._right_to_left and not text.isascii() and _RIGHT_TO_LEFT.search(text):
            self._right_to_left = True
        self._earlier = text[-2:-1] or self._before

    def _is_typography(self, character: str, behind: str) -> bool:
        """Return whether a hidden character has a job in the line that it stands in."""
        if self._spoiled or self._kept >= _MOST_IN_A_LINE or _TYPOGRAPHY.match(self._before):
            return False
        before, after = self._before, behind[:1]
        if character in _MARKS:
            return bool(before) and (self._right_to_left or _RIGHT_TO_LEFT.match(after) is not None)
        if character in _MONGOLIAN_SELECTORS:
            return _MONGOLIAN.match(before) is not None
        if character == _MONGOLIAN_SEPARATOR:
            return _MONGOLIAN.match(before) is not None and _MONGOLIAN.match(after) is not None
        if character in (_SOFT_HYPHEN, ZWNJ):
            inside = before.isalpha() and len(behind) == _AHEAD and behind.isalpha()
            return inside and (character == _SOFT_HYPHEN or self._earlier.isalpha())
        return _IDEOGRAPH.match(before) is not None

    def _joiner(self, character: str, after: str) -> str:
        if not self.hidden:
            return character
        # An emoji may carry a presentation selector before the joiner; `_before` is empty then.
        attached = not self._before or (not self._before.isascii() and _is_visible(self._before))
        if attached and after and not after.isascii() and _is_visible(after):
            self._before = ""
            return character
        self.removed += 1
        self._spoiled = True
        return ""

    def _carriage_return(self, after: str) -> str:
        self._before = "\r"
        if after == "\n":
            return "\r"
        self.escaped += 1
        return _visible("\r")


def clean(text: str, *, hidden: bool = True, terminal: bool = True, typography: bool = False) -> str:
    """Return the whole text cleaned; see `CharacterFilter`."""
    if not _NEEDS_LOOK.search(text):
        return text
    cleaner = CharacterFilter(hidden=hidden, terminal=terminal, typography=typography)
    return cleaner.feed(text) + cleaner.finish()


def needs_cleaning(text: str) -> bool:
    """Return whether the text holds any character that a filter would have to look at; false is the usual, fast case."""
    rest = text.encode("utf-8", "surrogatepass").translate(
        None, _ORDINARY
    )  # what remains is little, of most texts nothing
    return bool(rest) and _NEEDS_LOOK.search(rest.decode("utf-8", "surrogatepass")) is not None


def _is_visible(character: str) -> bool:
    return bool(character) and not _NEEDS_LOOK.match(character) and not character.isspace()


def _visible(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) <= 0xFF else f"\\u{ord(character):04x}"  # noqa: PLR2004
