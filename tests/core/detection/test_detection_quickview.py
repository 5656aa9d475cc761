"""The quick view: the bytes of the canonical text, or a mark that says that the whole work is needed."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import compile_pattern, view_bytes
from safellm._core.detection.quickview import SPECIAL_PATTERN, quick_view
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
