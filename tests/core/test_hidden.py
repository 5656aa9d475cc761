"""Hidden characters and terminal controls."""

from __future__ import annotations

import unicodedata

import pytest
from awkward_texts import FLAG, cuts, texts
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.hidden import CharacterFilter, clean, needs_cleaning


@given(texts(), st.data())
def test_any_cut_equals_whole(text: str, data: st.DataObject) -> None:
    """Cutting a text anywhere changes neither the result nor the counts."""
    whole = CharacterFilter()
    expected = whole.feed(text) + whole.finish()
    pieces = CharacterFilter()
    assert "".join([*(pieces.feed(piece) for piece in cuts(text, data)), pieces.finish()]) == expected
    assert (pieces.removed, pieces.escaped) == (whole.removed, whole.escaped)
    assert clean(text) == expected


@given(texts())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    """A cleaned text is clean."""
    assert clean(clean(text)) == clean(text)


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
