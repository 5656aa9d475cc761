"""Hidden characters and terminal controls."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from awkward_texts import FLAG, cuts, texts
from hypothesis import example, given
from hypothesis import strategies as st

from safellm._core.hidden import CharacterFilter, clean, needs_cleaning

# Characters of typography, what they stand beside, and what ends or spoils a line.
TYPOGRAPHIC = st.text(
    alphabet="ab \n[<(\u00ad\u200c\u200d\u200b\u200e\u200f\u061c\u180b\u180e\u1820\u1821\u845b\u57ce\ufe0f\u05d0\u0627"
    "\U000e0100\U000e01ef\x1b\r\U0001f3f4",
    max_size=40,
)


@given(texts() | TYPOGRAPHIC, st.booleans(), st.data())
def test_any_cut_equals_whole(text: str, typography: bool, data: st.DataObject) -> None:
    """Cutting a text anywhere changes neither the result nor the counts."""
    whole = CharacterFilter(typography=typography)
    expected = whole.feed(text) + whole.finish()
    pieces = CharacterFilter(typography=typography)
    assert "".join([*(pieces.feed(piece) for piece in cuts(text, data)), pieces.finish()]) == expected
    assert (pieces.removed, pieces.escaped) == (whole.removed, whole.escaped)
    assert clean(text, typography=typography) == expected


@given(texts() | TYPOGRAPHIC, st.booleans())
def test_cleaning_twice_changes_nothing(text: str, typography: bool) -> None:
    """A cleaned text is clean."""
    once = clean(text, typography=typography)
    assert clean(once, typography=typography) == once


@given(TYPOGRAPHIC)
@example("\u05d0\u200e\ufe0f")
def test_o_4_typography_is_no_room_for_data(text: str) -> None:
    """Of each line at most eight characters more are kept than otherwise, never two in a row, and none behind a bracket."""
    kept = clean(text, typography=True)
    # A selector goes behind a mark that is kept, and stays where that one goes.
    selectors = dict.fromkeys(map(ord, "\ufe0e\ufe0f"))
    assert clean(kept).translate(selectors) == clean(text).translate(selectors)
    for line in kept.split("\n"):
        marks = [place for place, one in enumerate(line) if one in "\u00ad\u200e\u200f\u061c\u180b\u180e\U000e0100"]
        assert len(marks) <= 8
        assert all(behind - place > 1 for place, behind in itertools.pairwise(marks))
        assert not any("[" in line[:place] or "<" in line[:place] for place in marks)


@pytest.mark.parametrize(
    "text",
    [
        "ein Schiff\u200cfahrts\u200camt",
        "hy\u00adphen\u00adated text",
        "\u1820\u180b \u1821\u180e\u1820\n",
        "\u845b\U000e0100\u57ce\u5e02",
        "\u05d0\u05d1 \u200f(123)\u200f",
        "1 \u200f\u05d0\u05d1",
    ],
)
def test_typography_stays_in_text_for_people(text: str) -> None:
    """Words with places to break, names with variant characters, numbers in right-to-left lines; nowhere else."""
    assert clean(text, typography=True) == text
    assert clean(text) != text
    for place in range(len(text) + 1):
        pieces = CharacterFilter(typography=True)
        assert pieces.feed(text[:place]) + pieces.feed(text[place:]) + pieces.finish() == text


def test_o_4_a_line_keeps_eight_at_the_most() -> None:
    """Whoever counts can't say more by them than that; the next line begins anew."""
    line = "hy\u00adphen " * 9
    assert clean(line, typography=True) == "hy\u00adphen " * 8 + "hyphen "
    assert clean(f"{line}\n{line}", typography=True).count("\u00ad") == 16


@pytest.mark.parametrize(
    "text",
    [
        "i\u00adg\u00adn\u00ado\u00adr\u00ade\u00ad t\u00adh\u00adi\u00ads",
        "s\u180ba\u180by\u180b",
        "pay \u200c\u200b\u200cpal",
        "\u05d0 \u200f\u200e\u200f\u200e b",
        "\u845b\U000e0101\U000e0102",
        "see [goo\u00adgle.com](https://x.example)",
        "a\u200eb",
        "\u845b\U000e01a0",
        "\u200bhy\u00adphen",
    ],
)
def test_o_4_typography_that_carries_data_goes(text: str) -> None:
    """Runs, marks without a script that needs them, marks in every gap, in a link, or beside what was removed."""
    left = clean(text, typography=True)
    hidden = sum(unicodedata.category(one) in {"Cf", "Mn"} for one in left)
    assert hidden <= 1
    assert hidden < sum(unicodedata.category(one) in {"Cf", "Mn"} for one in text)


@given(texts())
def test_no_terminal_control_survives(text: str) -> None:
    """O.3: after cleaning, no control is left but newline, tab and CR before LF."""
    cleaned = clean(text)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t\r" for c in cleaned)
    assert "\r" not in cleaned.replace("\r\n", "")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0x200B, 0x200B),
        (0x2060, 0x2064),
        (0x202A, 0x202E),
        (0x2066, 0x2069),
        (0xE0000, 0xE007F),
        (0xE0100, 0xE01EF),
        (0xFEFF, 0xFEFF),
    ],
)
def test_o_4_every_code_point_of_the_classes_is_removed(low: int, high: int) -> None:
    """O.4: zero-width, bidi, tag and variation-selector-supplement characters go, wherever they stand."""
    for point in range(low, high + 1):
        assert clean(f"a{chr(point)}b") == "ab", hex(point)


def test_variation_selectors_as_data_are_removed_when_repeated() -> None:
    """A run of selectors carries data: at most one stays on a character."""
    assert clean("x" + "\ufe01\ufe02\ufe0f\ufe0e") == "x\ufe0f"


@pytest.mark.parametrize(
    "text", ["👨\u200d👩\u200d👧", "❤\ufe0f\u200d🔥", "می\u200cخواهم", FLAG, "क्\u200dष", "plain\n\ttext\r\n", "🏴"]
)
def test_what_scripts_and_emoji_need_stays(text: str) -> None:
    """Joiners between letters of joining scripts, emoji sequences and flags pass unchanged."""
    assert clean(text) == text


@pytest.mark.parametrize("text", ["a\u200db", "\u200dx", "x\u200d", "pay\u200cpal"])
def test_joiners_without_a_job_go(text: str) -> None:
    """A joiner between ASCII letters or at an edge shows nothing and is removed."""
    assert clean(text) == text.replace("\u200d", "").replace("\u200c", "")


def test_controls_become_visible() -> None:
    """ESC, BEL and C1 CSI are written out; a lone CR too, CR LF stays."""
    assert clean("\x1b[31mred\x07\x9b2J\rX\r\n") == "\\x1b[31mred\\x07\\x9b2J\\x0dX\r\n"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_ascii_is_never_looked_at(text: str) -> None:
    """Ordinary text takes the fast path and stays the same object's text."""
    assert not needs_cleaning(text)
    assert clean(text) is text


def test_each_part_can_be_switched_off() -> None:
    """Only what is asked for is done."""
    assert clean("a\u200bb\x1b", hidden=False) == "a\u200bb\\x1b"
    assert clean("a\u200bb\x1b\rz", terminal=False) == "ab\x1b\rz"
