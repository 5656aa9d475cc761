"""The quick view: the bytes of the canonical text, or a mark that says that the whole work is needed."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import compile_pattern, view_bytes
from safellm._core.detection.pages import Pages
from safellm._core.detection.quickview import SPECIAL_PATTERN, new_pages, quick_view, read
from safellm._core.detection.scanner import compile_scanner

# Look-alikes, full-width, marks, expansions, invisible ones, Latin-1 of all kinds, line ends, halves of pairs.
ODD = "аеоΑο\uff21\uff10\u0301\u200b\u2026\ufb01\u00ad\u00bd\u00aa\u00b2\u00a0é\u0085\u2028\u2014密ปี日\x00\x7f\ud800🙂\ufe0f"
TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from(ODD + "abc XYZ019 @.-\n"))


def is_special(data: bytes) -> bool:
    """Return whether the bytes say that they aren't the whole view."""
    return compile_pattern(SPECIAL_PATTERN).search(data) is not None


@given(TEXTS)
def test_quick_view_is_the_canonical_view_when_nothing_is_special(text: str) -> None:
    """For any text the bytes are exactly those of the canonical text, or marked."""
    quick = quick_view(text)
    assert is_special(quick) or quick == view_bytes(canonicalise(text).text)


@given(TEXTS, st.booleans())
def test_pages_read_the_canonical_view_when_nothing_is_special(text: str, met: bool) -> None:
    """The tables of the pages give the same bytes as the whole work, for characters that were met before and for new ones."""
    pages: Pages = new_pages()
    if met:
        pages.read(ODD)
    data = pages.read(text)
    assert data is None or is_special(data) or data == view_bytes(canonicalise(text).text)


SCRIPTS = {
    "Russian": "Съешь ещё этих мягких французских булок, да выпей чаю: «раз — два»… ",
    "Greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, και πάλι από την αρχή. ",
    "Hindi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश १२३ ",
    "Arabic": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب ٤٥٦ ",
    "Japanese": "いろはにほへと、ちりぬるを！ 我が世たれぞ（常）ならむ ＡＢＣ ",
    "with emoji": "Привет 🙂 мир, ещё раз 🎉 здравствуй 👍 ",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_of_many_words_in_other_scripts_are_read_by_pages(script: str) -> None:
    """Long texts in any script are read at once and without a mark, and exactly."""
    text = "".join(f"{SCRIPTS[script]}({number}) " for number in range(60))
    assert read(text)[1:] == ([], b"")
    data = quick_view(text)
    assert not is_special(data)
    assert data == view_bytes(canonicalise(text).text)


def test_text_of_very_many_pages_is_special() -> None:
    """A text with characters of more pages than are read is left to the whole work."""
    text = "".join(chr(page * 256 + place) for page in range(1, 0x30) for place in range(0x40, 0x50))
    assert new_pages().read(text) is None
    assert is_special(quick_view(text))


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "déjà vu\u00a0…",
        "Привет, мир",
        "日本語、テスト",
        "สวัสดีครับ",
        "ｆｕｌｌ－ｗｉｄｔｈ １２３",
        "a\u200bb",
        "🙂\ufe0f",
    ],
)
def test_usual_texts_are_not_special(text: str) -> None:
    """Texts of all scripts are read in one pass; only what is odd costs more."""
    assert not is_special(quick_view(text))


@pytest.mark.parametrize("text", ["p\u0430ypal", "а1", "b\u00adc", "x\x00y", "1\u00bd"])
def test_odd_texts_are_special(text: str) -> None:
    """Mixed scripts, soft hyphens, controls and fractions need the whole work."""
    assert is_special(quick_view(text))


def test_the_mark_is_never_in_a_canonical_view() -> None:
    """After the whole work nothing is special, so it is done once."""
    everything = "".join(map(chr, range(0x3100)))
    assert not is_special(view_bytes(canonicalise(everything).text))


@given(TEXTS, TEXTS)
def test_value_is_found_in_any_text(before: str, after: str) -> None:
    """Whichever way a text is read, a value in it is found at its place."""
    value = "ann.lee@" + "mail.test"
    text = f"{before}\nnote\n{value}\nnote\n{after}"
    start = len(before) + 6
    assert any(one.start <= start and start + len(value) <= one.end for one in compile_scanner().scan(text))
