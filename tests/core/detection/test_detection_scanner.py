"""The scanner: spans in the original text, nothing hidden by invisible characters, linear time, closed on failure."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection import scanner as scanner_module
from safellm._core.detection.canonical import canonicalise, fold
from safellm._core.detection.confusables import LOOK_ALIKES, fold_look_alikes
from safellm._core.detection.context import Spans
from safellm._core.detection.engine import view_bytes
from safellm._core.detection.gates import build_gates
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.scanner import RuleScanner, compile_scanner, make_scanner, merge, plan_of
from safellm._core.detection.validators import CHECKS, NATIONAL, Check, check_of
from safellm.errors import GuardFailure, Reason

KEY = "sk-" + "proj-" + "A1b2" * 10
VALUES = {
    "EMAIL": "ann.lee@" + "mail.test",
    "CREDIT_CARD": "4111 1111 " + "1111 1111",
    "SECRET": KEY,
    "IBAN": "DE89 3704 0044 " + "0532 0130 00",
    "US_SSN": "536-22-" + "8714",
    "IP_ADDRESS": "203.0." + "113.7",
    "PHONE": "+44 20 7946 " + "0958",
}
# Zero-width, joiners, soft hyphen, grapheme joiner, bidi, selectors, tags, combining marks, fillers, BOM, NUL, half a pair.
IGNORED = (
    "\u200b\u200c\u200d\u2060\u00ad\u034f\u202e\u2066\u200e\ufe0f\ufe00\U000e0041\U000e0100\u0301\u20dd\u3164\u115f"
    "\u180e\ufeff\x00\ud800\u061c"
)
ANY_TEXT = st.text(
    st.characters() | st.characters(categories=["Cs"]) | st.sampled_from(IGNORED + "@.-+/:='\" 0123456789skAIeyJ")
)


@pytest.mark.parametrize(("kind", "value"), VALUES.items())
@given(data=st.data())
def test_r_2_ignored_characters_never_hide(kind: str, value: str, data: st.DataObject) -> None:
    """A value with ignored characters between any of its characters is found, whole, with its type."""
    fillings = data.draw(st.lists(st.text(IGNORED, max_size=3), min_size=len(value) - 1, max_size=len(value) - 1))
    hidden = "".join(map("".join, zip(value, [*fillings, ""], strict=True)))
    text = f"see {hidden} now"
    (finding,) = compile_scanner().scan(text)
    assert (finding.type, text[finding.start : finding.end]) == (kind, hidden)


@pytest.mark.parametrize(("kind", "value"), VALUES.items())
@given(data=st.data())
def test_r_2_full_width_never_hides(kind: str, value: str, data: st.DataObject) -> None:
    """Any part of a value may be in full-width characters."""
    wide = data.draw(st.lists(st.booleans(), min_size=len(value), max_size=len(value)))
    written = "".join(
        chr(ord(character) + 0xFEE0) if as_wide and "!" <= character <= "~" else character
        for character, as_wide in zip(value, wide, strict=True)
    )
    text = f"see {written} now"
    assert [(found.type, text[found.start : found.end]) for found in compile_scanner().scan(text)] == [(kind, written)]


@given(st.lists(st.sampled_from(sorted(VALUES.values())) | ANY_TEXT, max_size=8).map(" ".join))
def test_findings_are_ordered_and_apart_when_text_is_any(text: str) -> None:
    """For any text, lone surrogates included: no crash, and spans are inside the text, ordered, without overlap."""
    findings = compile_scanner().scan(text)
    ends = [0, *(finding.end for finding in findings)]
    assert all(end <= finding.start < finding.end <= len(text) for end, finding in zip(ends, findings, strict=False))


@given(ANY_TEXT, ANY_TEXT, st.sampled_from(sorted(VALUES.items())))
def test_span_leads_back_when_text_surrounds_a_value(before: str, after: str, item: tuple[str, str]) -> None:
    """Between lines of any text a value is covered, and its original characters fold to it."""
    kind, value = item
    prefix = before + "\nnote\n"
    text = f"{prefix}{value}\nnote\n{after}"
    (finding,) = (found for found in compile_scanner().scan(text) if found.start <= len(prefix) < found.end)
    assert value in canonicalise(text[finding.start : finding.end]).text
    assert finding.type == kind or finding.end - finding.start > len(value)


@given(ANY_TEXT)
def test_canonical_spans_lead_back_when_text_is_any(text: str) -> None:
    """Each character of the view comes from the original character that folds to it, in order; folding again changes nothing."""
    view = canonicalise(text)
    assert len(view.text) == len("".join(map(fold, text)))
    assert fold_look_alikes("".join(map(fold, text))) == view.text
    assert canonicalise(view.text).text == view.text
    assert len(view_bytes(view.text)) == len(view.text)
    position = 0
    for index in range(len(view.text)):
        start, end = view.original_span(index, index + 1)
        assert end == start + 1
        assert view.text[index] in fold(text[start]) or view.text[index] == LOOK_ALIKES.get(fold(text[start]))
        assert start >= position
        position = start
    if view.text:
        low, high = view.original_span(0, len(view.text))
        assert canonicalise(text[low:high]).text == view.text


@given(ANY_TEXT | st.text(st.characters(min_codepoint=0x80, max_codepoint=0x600)))
def test_view_has_a_byte_for_each_character(text: str) -> None:
    """ASCII stays, letters of scripts with case are 0xFF, anything else is 0xFE, lone surrogates included."""
    assert view_bytes(text) == bytes(
        ord(letter) if letter.isascii() else 0xFF if ord(letter) < 0x590 and letter.isalpha() else 0xFE
        for letter in text
    )


def test_canonical_view_is_the_text_when_ascii() -> None:
    """Plain text is its own view, without a copy."""
    text = "plain text,\nwith lines\tand tabs"
    assert canonicalise(text).text is text


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("ﬁle", "file"),
        ("…", "..."),
        ("①②", "12"),
        ("٠١٢", "012"),
        ("a\u2013b\u2212c", "a-b-c"),
        ("e\u0301", "e"),
        ("é", "é"),
        ("a\xa0b", "a b"),
    ],
)
def test_canonical_view_folds(written: str, folded: str) -> None:
    """Ligatures, dots, digits of other scripts, dashes and spaces read as ASCII; composed letters stay."""
    assert canonicalise(written).text == folded


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.integers(1, 9),
            st.integers(0, 3),
            st.sampled_from("AB"),
            st.just("r"),
            st.floats(0, 1),
        )
    )
)
def test_merge_covers_everything_when_spans_overlap(spans: list[tuple[int, int, int, str, str, float]]) -> None:
    """Merging neither loses nor adds a character, and leaves no overlap."""
    spans = [(start, start + size, *rest) for start, size, *rest in spans]
    merged = list(merge(spans))
    covered = {index for start, end, *_ in spans for index in range(start, end)}
    assert sorted(index for found in merged for index in range(found.start, found.end)) == sorted(covered)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://api.test/users/bob@mail.test/orders", ["bob@mail.test"]),
        ("see https://a.test and x=bob@mail.test&y", ["bob@mail.test"]),
        ("postgres://app:Blu3Heron42@db.internal/x", ["Blu3Heron42"]),
        ("\x1b[31m203.0.113.7\x1b[0m", ["203.0.113.7"]),
        (
            "a\\nbob@mail.test\\n+44 20 7946 0958\\nDE89370400440532013000",
            ["bob@mail.test", "+44 20 7946 0958", "DE89370400440532013000"],
        ),
    ],
)
def test_span_is_the_value_alone_when_in_an_address(text: str, found: list[str]) -> None:
    """What surrounds a value in a URL, query or coloured log stays."""
    assert [text[finding.start : finding.end] for finding in compile_scanner().scan(text)] == found


def test_longest_finding_gives_the_name_when_rules_overlap() -> None:
    """A password that is an address's first half doesn't cut the address in two."""
    rules = [
        Rule(id=name, type=name.upper(), pattern=pattern, keywords=("a",))
        for name, pattern in (("short", "ab"), ("long", "bcd"))
    ]
    (finding,) = compile_scanner(rules).scan("xabcdx")
    assert (finding.type, finding.start, finding.end) == ("LONG", 1, 5)


def test_private_key_is_found_whole_when_long_or_cut() -> None:
    """The whole block is covered, also with escaped line ends, and what is left of it when it is cut off."""
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0B" + "AQEFAASCBKcw" * 3] * 24)
    head, tail = "-----BEGIN " + "PRIVATE KEY-----", "-----END " + "PRIVATE KEY-----"
    for block in (f"{head}\n{body}\n{tail}", f"{head}\n{body}\n{tail}".replace("\n", "\\n"), f"{head}\n{body}"):
        (finding,) = compile_scanner().scan(f"key: <<{block}")
        assert (finding.start, finding.end) == (7, 7 + len(block))


HOSTILE = (
    "eyJ", "a@", "1234 ", "4234 ", "key=", "api_key=", "a@a.aa ", "-----BEGIN " + "PRIVATE KEY-----", "password=", "12.",
    "1.2.3.4 ",
    "0", "sk-", "a:", "+1 ", "://a:b", "\u200b", "a\u200b", "é ", "(0 ", "curl -u a:b ", "x [at] ", "DE89 ", "\ud800", "a1b",
    "a1-", "=a1bcdefghijk", "token " + "9f8e7d6c" * 4 + " ", "api_key=" + "Zk3fQ9vLr0Tm ", "the password is ", "пароль: ", "密码",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_work_is_linear_when_text_is_hostile(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule's favourite beginning, again and again: checks are asked in proportion to the length, and see bounded pieces."""
    asked = dict.fromkeys(CHECKS, 0)

    def counted(name: str) -> Check:
        real = check_of(name)

        def check(text: str, start: int, end: int) -> Spans:
            asked[name] += 1
            assert real is not None
            return real(text, start, end)

        return check

    monkeypatch.setattr(scanner_module, "check_of", {"": None, **{name: counted(name) for name in CHECKS}}.get)
    scanner = compile_scanner()
    rules = len(scanner.rules)
    for size in (20_000, 80_000):
        asked.update(dict.fromkeys(CHECKS, 0))
        scanner.scan(unit * (size // len(unit)))
        assert sum(asked.values()) <= rules * 1_000 + 8 * size // 4  # eight rules could open on one text
        assert max(asked.values()) <= 8 * (1_000 + size // 4)


def test_every_match_is_checked_when_nearly_none_is_a_find() -> None:
    """A table of ten thousand numbers or hashes is no list of finds, however long it is; a find at its end is one."""
    generator = random.Random(7)
    numbers = "\n".join(",".join(str(generator.randrange(10**8, 10**9)) for _ in range(8)) for _ in range(1_200))
    hashes = "\n".join(f"{generator.getrandbits(256):064x}" for _ in range(2_000))
    for text in (numbers, hashes):
        assert len(compile_scanner().scan(text)) < 3
    text = f"{numbers}\nmail {VALUES['EMAIL']}"
    assert compile_scanner().scan(text)[-1].end == len(text)


@pytest.mark.parametrize(("accepts", "hidden"), [(True, 3_001), (False, 0)])
def test_matches_count_unasked_when_very_many_were_finds(
    monkeypatch: pytest.MonkeyPatch, *, accepts: bool, hidden: int
) -> None:
    """Behind the cap of a rule for secrets a match counts as it stands, if most before it were finds; else it is checked."""
    asked = 0

    def check(_: str, start: int, end: int) -> Spans:
        nonlocal asked
        asked += 1
        return ((start, end),) if accepts else ()

    monkeypatch.setattr(scanner_module, "check_of", {"mixed_token": check}.get)
    rule = Rule(id="number", type="SECRET", pattern="[0-9]{6}", keywords=("1",), check="mixed_token")
    scanner = compile_scanner([rule])
    asked = 0
    assert len(scanner.scan("123456 " * 3_001)) == hidden
    assert asked < 1_000 if accepts else asked == 3_001


def test_private_keys_hide_the_rest_when_there_are_very_many() -> None:
    """A rule whose finds go on behind the match takes everything behind the cap."""
    block = "-----BEGIN " + "PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0B\n"
    text = block + "-----BEGIN " * 1 + ("PRIVATE KEY-----\n" + "-----BEGIN ") * 4_000 + "and this"
    found = compile_scanner().scan(text)
    assert found[-1].end == len(text)


@pytest.mark.parametrize("size", [10, 200])
def test_secret_is_found_again_when_it_stands_without_its_name(size: int) -> None:
    """What is a secret beside its name is one everywhere in the text."""
    value = "9f8e7d6c5b4a3f2e" + "1d0c9b8a7f6e5d4c"
    assert compile_scanner().scan(f"then ({value}) again") == ()
    text = f"api_key = '{value}'\n" + "text without it\n" * size + f"then ({value}) again"
    found = compile_scanner().scan(text)
    assert [text[one.start : one.end] for one in found] == [value, value]


@given(st.permutations(range(12)))
def test_order_of_rules_changes_nothing(order: list[int]) -> None:
    """The same rules in another order find the same."""
    rules = [rule for rule in load_rules() if not rule.decode][:: max(1, len(load_rules()) // 12)][:12]
    text = " and ".join(rule.matches[0] for rule in rules)
    shuffled = [rules[index] for index in order if index < len(rules)]
    first = RuleScanner(rules=tuple(shuffled), filters=build_gates(plan_of(shuffled)))
    second = RuleScanner(rules=tuple(rules), filters=build_gates(plan_of(rules)))
    assert first.scan(text) == second.scan(text)


@pytest.mark.parametrize(
    ("given_spans", "expected"),
    [
        ([(0, 4)], [("WORD", 0.7)]),
        ([(0, 4, 0.9)], [("WORD", 0.9)]),
        ([(0, 4, 0.4)], []),
        ([(0, 4, 0.8, "OTHER")], [("OTHER", 0.8)]),
        ([(0, 2, 0.6), (1, 4, 0.9)], [("WORD", 0.9)]),
    ],
)
def test_check_says_confidence_and_type(
    given_spans: list[tuple[object, ...]], expected: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span may carry how sure it is and what it is; what is too unsure isn't reported, overlaps are as sure as their surest."""
    monkeypatch.setattr(scanner_module, "check_of", {"given": lambda *_: given_spans}.get)
    rule = Rule(id="word", type="WORD", pattern="[a-z]+", keywords=("w",), check="given", confidence=0.7)
    found = compile_scanner([rule]).scan("word")
    assert [(one.type, one.confidence) for one in found] == expected


def test_scanner_refuses_when_a_pattern_is_wrong() -> None:
    """A rule that the engine can't compile stops the scanner from being made."""
    with pytest.raises(GuardFailure) as caught:
        compile_scanner([Rule(id="bad", type="SECRET", pattern="(", keywords=("a",))])
    assert caught.value.reason is Reason.GUARD_ERROR


def test_scanner_refuses_when_a_check_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside a check becomes a refusal, without the text in it."""

    def broken(text: str, start: int, end: int) -> tuple[tuple[int, int], ...]:
        raise ValueError(text)

    monkeypatch.setattr(scanner_module, "check_of", {"broken": broken}.get)
    rule = Rule(id="bad", type="IBAN", pattern="DE[0-9]+", keywords=("DE",), check="broken")
    with pytest.raises(GuardFailure) as caught:
        compile_scanner([rule]).scan("my DE1234")
    assert "DE1234" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_canary_fails_when_the_filters_are_blind() -> None:
    """The proof at start sees filters that let everything through unseen."""

    class Blind:
        def opened(self, data: bytes) -> list[int]:
            return []

    with pytest.raises(GuardFailure):
        RuleScanner(rules=(), filters=Blind()).prove()


def test_canary_is_not_reported_when_in_a_text() -> None:
    """The engine's own canary in a user's text is no finding."""
    assert compile_scanner().scan("safellm-canary-" + "abcd" * 3) == ()


@pytest.mark.parametrize(
    "text",
    [
        "Order 4711-2024-000123 shipped on 2024-01-31, tracking 1Z999AA10123456784, total 1,234,567.89 EUR.",
        "uuid 123e4567-e89b-12d3-a456-426614174000 sha256:" + "9f86d081884c7d65" * 4,
        "Upgrade from 1.4.12.6 to 10.12.0.1 (build 20240131), Python 3.11.7, python==3.11.7.1",
        "def token(self): return self.tokens[0]  # secret_name = config.secret_name_for(env)",
        "api_key: ${API_KEY}\npassword: <your password>\ntoken = os.environ['TOKEN_2']\nsecret=changeme",
        "git clone git@github.com:org/repo.git && npm i @types/node@20.1.0 lodash@4.17.21",
        "std::vector<int> a; x[1::2]; 12:30:45; aa:bb:cc:dd:ee:ff; localhost 127.0.0.1:8080 ::1",
        "".join(string.printable),
    ],
)
def test_scanner_is_silent_when_text_is_harmless(text: str) -> None:
    """Order numbers, versions, digests, identifiers and placeholders aren't findings."""
    assert compile_scanner().scan(text) == ()


@pytest.mark.parametrize("name", [*CHECKS, *(f"{name}:DE,FR" for name in sorted(NATIONAL))])
def test_checks_are_where_the_table_says(name: str) -> None:
    """Each check that a rule may name is found in its module, also those that are told countries."""
    check = check_of(name)
    assert getattr(check, "func", check).__name__ == name.partition(":")[0]


def test_unknown_check_is_an_error_when_a_scanner_is_made() -> None:
    """A name that no module has never counts as a rule without a check: not when it is made, nor when a match asks."""
    assert check_of("") is None
    with pytest.raises(KeyError):
        check_of("nothing_of_the_kind")
    rule = Rule(id="number", type="SECRET", pattern="[0-9]{6}", keywords=("1",), check="nothing_of_the_kind")
    with pytest.raises(GuardFailure):
        compile_scanner([rule])
    with pytest.raises(GuardFailure):
        make_scanner((rule,)).scan("123456")
