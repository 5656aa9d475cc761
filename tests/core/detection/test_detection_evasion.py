"""Other ways to write a value: encodings, look-alike letters, spacing, splits over adjacent texts."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection import decoded
from safellm._core.detection.confusables import LOOK_ALIKES, fold_look_alikes
from safellm._core.detection.crossing import crossing_findings
from safellm._core.detection.registered import RegisteredSecrets
from safellm._core.detection.rules import load_rules
from safellm._core.detection.scanner import compile_scanner

MAIL = "ann.lee@" + "mail.test"
CARD = "4111 1111 " + "1111 1111"
CODERS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "hex": lambda text: text.encode().hex(),
    "spaced hex": lambda text: text.encode().hex(" "),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "quoted": lambda text: urllib.parse.quote(text),
    "decimal entities": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "hex entities": lambda text: "".join(f"&#x{ord(character):x};" for character in text),
    "unicode escapes": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "byte escapes": lambda text: "".join(f"\\x{ord(character):02x}" for character in text),
    "at and dot": lambda text: text.replace("@", " [at] ").replace(".", " (dot) "),
    "letters apart": lambda text: " ".join(text),
}
ANY = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("%&#;\\xu40=ABab01 .@{}"))


@pytest.mark.parametrize("coder", CODERS)
def test_r_2_value_is_found_when_encoded(coder: str) -> None:
    """The whole encoded run of a mail address is covered, with the type of what is in it."""
    written = CODERS[coder](MAIL)
    text = f"note <{written}> end"
    (finding,) = compile_scanner().scan(text)
    assert finding.type == "EMAIL"
    assert text[finding.start : finding.end].rstrip("=") == written.rstrip("=")


@given(st.text("abcdefghijklmnop \n,-", max_size=40), st.text("abcdefghijklmnop \n,-", max_size=40))
def test_r_2_value_is_found_when_deep_in_base64(before: str, after: str) -> None:
    """Whatever stands around it in the encoded text, and however the run is aligned, a value is found."""
    run = base64.b64encode(f"{before} {MAIL} {after}".encode()).decode()
    text = f"data: {run}"
    assert any(
        finding.end == len(text.rstrip("=")) or finding.end == len(text) for finding in compile_scanner().scan(text)
    )


@pytest.mark.parametrize("glued", ["", "v", "v2", "key"])
def test_r_2_value_is_found_when_letters_stand_before_base64(glued: str) -> None:
    """Letters that are glued to the front of a run don't shift it out of sight."""
    run = base64.b64encode(f"call {MAIL} now".encode()).decode()
    personal = compile_scanner([rule for rule in load_rules() if rule.type != "SECRET"])  # those see a token in the run
    assert [finding.type for finding in personal.scan(f"see {glued}{run} end")] == ["EMAIL"]


def test_label_counts_when_the_value_is_encoded() -> None:
    """Words in front of an encoded run say what is in it."""
    written = " ".join("53622" + "8714")
    assert [finding.type for finding in compile_scanner().scan(f"my SSN is {written}, ok")] == ["US_SSN"]
    assert compile_scanner().scan(f"row {written}, ok") == ()


@pytest.mark.parametrize("name", decoded.DECODERS)
@given(text=ANY, data=st.data())
def test_decoders_take_any_text(name: str, text: str, data: st.DataObject) -> None:
    """A decoder returns nothing or a run inside the text that holds the match, whatever the text is."""
    text += "ab"
    start = data.draw(st.integers(0, len(text) - 2))
    end = data.draw(st.integers(start + 2, len(text)))
    run = decoded.DECODERS[name](text, start, end)
    assert run is None or (0 <= run[0] <= start < end <= run[1] <= len(text))


@given(ANY)
def test_scanner_takes_any_encoded_text(text: str) -> None:
    """Broken escapes and half encodings never stop the scan."""
    for finding in compile_scanner().scan(text):
        assert 0 <= finding.start < finding.end <= len(text)


def test_decoding_is_bounded_when_text_is_hostile() -> None:
    """A text of nothing but encoded text costs no more plain text than the budget."""
    run = base64.b64encode(b"words and more words, " * 200_000).decode()
    assert compile_scanner().scan(run) == ()


@given(st.lists(st.booleans(), min_size=len(MAIL), max_size=len(MAIL)))
def test_r_2_look_alikes_never_hide(swapped: list[bool]) -> None:
    """A mail address with any of its letters replaced by look-alikes of other scripts is covered."""
    back = {target: source for source, target in LOOK_ALIKES.items()}
    written = "".join(back.get(letter, letter) if swap else letter for letter, swap in zip(MAIL, swapped, strict=True))
    text = f"see {written} now"
    assert [(found.start, found.end) for found in compile_scanner().scan(text)] == [(4, 4 + len(written))]


def test_r_2_look_alikes_never_hide_letters_of_a_number() -> None:
    """An account number whose letters are Cyrillic is covered: nothing but the fold makes it one."""
    text = "to D\u0415" + "89 3704 0044 " + "0532 0130 00 today"
    assert [(found.type, found.start, found.end) for found in compile_scanner().scan(text)] == [("IBAN", 3, 30)]


@pytest.mark.parametrize("text", ["СССР и Москва", "Привет мир", "οικος και λογος", "Wörter über Maß", "café naïve"])
def test_other_scripts_stay_when_a_word_is_not_mixed(text: str) -> None:
    """Words of one script are read as they are."""
    assert fold_look_alikes(text) == text


@given(ANY)
def test_look_alikes_keep_the_length(text: str) -> None:
    """Folding look-alikes moves no index, and folding again changes nothing."""
    folded = fold_look_alikes(text)
    assert len(folded) == len(text)
    assert fold_look_alikes(folded) == folded


SPLIT = {
    "mail": MAIL,
    "card": CARD,
    "iban": "DE89 3704 0044 " + "0532 0130 00",
    "phone": "+44 20 7946 " + "0958",
    "key": "sk-" + "proj-" + "A1b2" * 12,
    "url": "postgres://app:" + "Blu3Heron42" + "@db.internal",
    "block": "-----BEGIN RSA PRI"
    "VATE KEY-----\n" + "Zk3fQ9vLr0Tm2XcWb8NyUa5Hd7Je1G\n" * 50 + "-----END RSA PRI" + "VATE KEY-----",
}
HIDDEN = {"url": (15, 26)}  # of these, only a part is a secret


@given(st.sampled_from(sorted(SPLIT)), st.data())
def test_r_2_value_is_found_when_split_over_adjacent_texts(name: str, data: st.DataObject) -> None:
    """However a value is cut into adjacent texts, its parts together cover it."""
    value = SPLIT[name]
    text = f"see {value} now"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    crossing = crossing_findings(pieces, compile_scanner())
    covered: set[int] = set()
    offset = 0
    for piece, findings in zip(pieces, crossing, strict=True):
        for finding in [*findings, *compile_scanner().scan(piece)]:
            assert 0 <= finding.start < finding.end <= len(piece)
            covered |= set(range(offset + finding.start, offset + finding.end))
        offset += len(piece)
    low, high = HIDDEN.get(name, (0, len(value)))
    assert covered >= {4 + at for at in range(low, high) if value[at].isalnum()}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("my passport number is ", "X123" + "4567"),
        ("the password: ", "Blu3!Heron" + "42"),
        ("NINO ", "AB 12 34 " + "56 C and more"),
    ],
)
def test_r_2_value_is_found_when_its_label_is_in_the_text_before(first: str, second: str) -> None:
    """A value whose name stands in the part before is found in the part that holds it alone, and not twice."""
    scanner = compile_scanner()
    parts = crossing_findings([first, second], scanner)
    whole = scanner.scan(first + second)
    covered = {at for one in (*parts[1], *scanner.scan(second)) for at in range(one.start, one.end)}
    assert covered >= {at for one in whole for at in range(one.start - len(first), one.end - len(first))}
    assert not parts[0]


@given(st.integers(1, 600))
def test_r_2_registered_value_is_found_when_split(cut: int) -> None:
    """A value that is searched exactly is found wherever it is cut, however long it is, also with no rules at all."""
    value = "the next product " * 36
    text = f"see {value}now"
    pieces = [text[: 4 + cut], text[4 + cut :]]
    first, second = crossing_findings(pieces, None, [RegisteredSecrets([value]).find])
    assert [(found.start, found.end) for found in first] == [(4, 4 + cut)]
    assert [(found.start, found.end) for found in second] == [(0, len(value) - cut)]


def test_crossing_returns_nothing_when_values_are_whole() -> None:
    """A value within one text is left to the scan of that text."""
    assert crossing_findings([f"see {MAIL} now", f"or {CARD}", ""], compile_scanner()) == [[], [], []]


@given(st.lists(ANY, max_size=6))
def test_crossing_takes_any_texts(texts: list[str]) -> None:
    """Any texts get a list each, with spans inside them."""
    crossing = crossing_findings(texts, compile_scanner())
    assert len(crossing) == len(texts)
    for text, findings in zip(texts, crossing, strict=True):
        assert all(0 <= finding.start < finding.end <= len(text) for finding in findings)
