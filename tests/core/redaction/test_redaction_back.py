"""Placeholders as models mangle them."""

from __future__ import annotations

import pytest
from awkward_texts import texts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safellm._core.placeholder import PATTERN
from safellm._core.redaction.back import MAX_LENGTH, find, open_from, put_back
from safellm._core.redaction.memory import Memory
from safellm._core.restore import text_position

KEY = b"k" * 32
MEMORY = Memory("s")
CARD = MEMORY.hide(KEY, "CREDIT_CARD", "4111")
MAIL = MEMORY.hide(KEY, "EMAIL", "a@b.c")
FAKE = "lena.holm1234@example.com"
MEMORY.remember_fake("EMAIL", "d@e.f", FAKE)
D = CARD[-16:]
MANGLED = [
    CARD.lower(), CARD.title(), f"X-CREDIT\\_CARD-{D}", f"X\\-CREDIT\\_CARD\\-{D}", f"X - CREDIT_CARD - {D}",
    f"X-CREDIT_CARD- {D}",
    f"X-CARTE-{D}", f"X-Kreditkarte-{D}", f"X-信用卡-{D}", f"X-КАРТА-{D}", f"X\u2011CREDIT_CARD\u2011{D}",
    f"X\u2013CREDIT_CARD\u2013{D}",
    f"X-**CREDIT_CARD**-{D}", f"X_CREDIT_CARD_{D}", f"CREDIT_CARD-{D}", D, f"X-{D}", f"X-CREDIT_CARD-{D.lower()}",
    f"X-CREDIT-CARD-{D}", f"X-Numero-de-Carte-{D}", f"CREDIT-CARD-{D}", f"x-credit_card_{D}",
    CARD.replace("1", "l").replace("0", "o"),
]  # fmt: skip


@pytest.mark.parametrize("written", MANGLED)
@pytest.mark.parametrize("around", ["{}", "the card {}.", "**{}**", "[{}]", "`{}`", "({}), ok", '"{}"', "<{}>", "_{}_"])
def test_mangled_placeholders_come_back(written: str, around: str) -> None:
    """Other case, escapes, spaces, hyphens, marks, a translated or lost type: the digits say which value it is."""
    text, kept, unknown = put_back(MEMORY, around.format(written), allowed=text_position)
    assert (text, kept, unknown) == (around.format("4111"), 0, 0)


@pytest.mark.parametrize(
    "written",
    [
        CARD[:-1], CARD + "0", CARD + "a", "0" + D, D[:8] + " " + D[8:], D.lower(), f"x{D}", CARD[:-1] + "U",
        CARD[:-1] + ("0" if D[-1] != "0" else "2"),
    ],
)  # fmt: skip
def test_r_3_what_could_be_another_value_stays(written: str) -> None:
    """A wrong, missing or further digit, digits in lower case alone, a longer word: never restored."""
    assert put_back(MEMORY, f"see {written} ok", allowed=text_position)[0] == f"see {written} ok"


@pytest.mark.parametrize("written", [CARD.lower(), f"X-CREDIT\\_CARD-{D}", D])
@pytest.mark.parametrize(
    "around", ["https://e.example/?q={}", "![x](//e.example/{})", "<img src='{}'>", "{}.evil.example"]
)
def test_r_7_mangled_placeholders_stay_where_they_would_be_sent_away(written: str, around: str) -> None:
    """The position rule knows no difference between a mangled and a true placeholder."""
    assert put_back(MEMORY, around.format(written), allowed=text_position)[0] == around.format(written)


@settings(max_examples=300)
@given(texts(CARD, MAIL, CARD.lower(), f"X-CREDIT\\_CARD-{D}", D, D[:8]))
def test_tolerance_finds_all_that_strictness_finds(text: str) -> None:
    """Accepting mangled forms loses no true placeholder."""
    strict = {(one.start, one.end) for one in find(MEMORY, text, tolerant=False) if one.value is not None}
    assert strict <= {(one.start, one.end) for one in find(MEMORY, text) if one.value is not None}


@settings(max_examples=500)
@given(texts(CARD, *MANGLED, FAKE, FAKE[:9], FAKE.upper(), "X-EMAIL-", "X - ", "X-**", "x\\"), st.integers(0, 200))
@example(f"X-Kreditkarte-{D}-", 31)  # what ends with a hyphen behind its digits is whole, and nothing else begins there
def test_r_5_what_is_let_go_stands_alone(text: str, cut: int) -> None:
    """Nothing that is found in the whole text begins in what `open_from` lets go and ends behind the cut, and little is held."""
    cut = min(cut, len(text))
    certain = open_from(MEMORY, text[:cut])
    assert cut - certain <= MAX_LENGTH
    for one in find(MEMORY, text):
        if one.value is not None or PATTERN.fullmatch(text[one.start : one.end]):
            assert not (one.start < certain < one.end)
            assert not (one.start < certain and one.end > cut)


@pytest.mark.parametrize(
    "before", ["X", "DE8937040044053", "A-", "X-A-", "EMAIL-", "X-EMAIL-", "x - ", "A_B-C-", "X-" * 9]
)
def test_p6_what_is_written_right_takes_nothing_with_it(before: str) -> None:
    """Words before an exact placeholder are text, even when they look like a part of one."""
    assert put_back(MEMORY, f"{before}{CARD}", allowed=lambda *_: True)[0] == f"{before}4111"


@settings(max_examples=300)
@given(texts(CARD, *MANGLED, FAKE))
def test_without_values_nothing_is_held_or_found(text: str) -> None:
    """An empty memory costs no latency but for what has exactly the form of a placeholder."""
    assert all(one.value is None for one in find(Memory("empty"), text))
