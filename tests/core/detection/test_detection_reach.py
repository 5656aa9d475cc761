"""How far rules reach: what their patterns can hold, and that reading lines or words finds what reading the whole text does."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.engine import compile_pattern, public_search, search_of, view_bytes
from safellm._core.detection.reach import Reach, gate_ends, joined, reach_of, windows
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.scanner import filter_of, matches_of, reach_of_rule, value_of

RULES = load_rules()
LINES = st.lists(st.text(st.sampled_from("ab1 @.\t"), max_size=30), max_size=12).map("\n".join)


@pytest.mark.parametrize(
    ("pattern", "reach"),
    [
        (r"sk-[A-Za-z0-9]{20}", Reach.WORD),
        (r"[^\s]+", Reach.WORD),
        (r"[^\s\"']{4}\t", Reach.WORD),
        (r"key = [a-z]+", Reach.LINE),
        (r"a.b", Reach.LINE),
        (r"[^\n]*", Reach.LINE),
        (r"[!-~ ]+", Reach.LINE),
        (r"\x20", Reach.LINE),
        (r"(?i:Api)(?m:$)", Reach.WORD),
        (r"a(?:[^a-z]|\z)", Reach.WORD),
        (r"a(?:[^a-z]|\z)b", Reach.TEXT),
        (r"a\s+b", Reach.TEXT),
        (r"[^a]", Reach.TEXT),
        (r"[\x00-\x1f]", Reach.TEXT),
        (r"[\t-\r]", Reach.TEXT),
        (r"\W|\D", Reach.TEXT),
        (r"(?s:.)", Reach.TEXT),
        (r"[[:space:]]", Reach.TEXT),
        (r"\pZ", Reach.TEXT),
        ("\n", Reach.TEXT),
        (r"\n", Reach.TEXT),
        (r"\x0a", Reach.TEXT),
        (r"[]\n]", Reach.TEXT),
    ],
)
def test_reach_is_what_a_pattern_can_hold(pattern: str, reach: Reach) -> None:
    """Words hold no space, lines no line end; what isn't understood may hold anything."""
    assert reach_of(pattern) is reach


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_stays_in_its_reach_when_its_examples_are_cut(rule: Rule) -> None:
    """No match of a rule over its examples, put together in any way, goes beyond the line or word that its reach says."""
    pattern = compile_pattern(rule.pattern, ignore_case=rule.ignore_case)
    ends = {Reach.TEXT: "", Reach.LINE: "\n", Reach.WORD: "\n "}[reach_of_rule(rule)]
    for text in (*rule.matches, *rule.ignores):
        for joint in ("\n", " ", ""):
            data = joint.join((text, text[: len(text) // 2], text)).encode("latin-1", "replace")
            for match in pattern.finditer(data):
                assert not set(match.group().decode("latin-1")) & set(ends)


def test_most_rules_read_lines_or_words() -> None:
    """Rules that read the whole text cost most: they are few, and named here."""
    whole = {rule.id for rule in RULES if reach_of_rule(rule) is Reach.TEXT}
    assert "random-token" not in whole
    assert len(whole) <= 20


@given(LINES, st.sampled_from([Reach.LINE, Reach.WORD]), st.sampled_from(["a1", "[ab]@", "1a(?:[^a]|\\z)"]))
def test_windows_hold_every_match_when_text_is_any(text: str, reach: Reach, gate: str) -> None:
    """Each match of a pattern that has the gate in it is found in the windows as it is in the text."""
    rule = Rule(id="r", type="T", pattern="[ab1@]+", gate=gate)
    data = text.encode()
    places = windows(data, gate_ends(filter_of(rule), data, reach), reach)
    assert places == sorted(places)
    assert all(low <= high for low, high in places)
    found = {match[0] for match in matches_of(rule, data, places)} if places else set()
    everywhere = {match[0] for match in matches_of(rule, data)}
    assert found <= everywhere
    inner = compile_pattern(gate)
    for start, end in everywhere:
        if inner.search(data[start:end]):
            assert (start, end) in found


@given(LINES, st.integers(0, 40), st.integers(1, 30))
def test_windows_reach_ahead_of_their_lines(text: str, place: int, ahead: int) -> None:
    """With `ahead`, so many characters behind the line of a gate are read, too, to the end of their line."""
    data = text.encode()
    if place >= len(data) or data[place : place + 1] == b"\n":
        return
    ((low, high),) = windows(data, [place + 1], Reach.LINE, ahead)
    line = data.find(b"\n", place)
    line = len(data) if line < 0 else line
    assert low == data.rfind(b"\n", 0, place) + 1
    assert high >= min(len(data), line + ahead)
    assert high == len(data) or data[high : high + 1] == b"\n"


def test_joined_windows_cover_both() -> None:
    """Two rows of windows become one that covers what either does."""
    assert joined([(0, 4), (10, 12)], [(3, 6), (12, 14), (20, 21)]) == [(0, 6), (10, 14), (20, 21)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_matches_are_those_of_the_binding(rule: Rule) -> None:
    """Spans of matches and of their values are what the binding's match objects say, with its own call and without."""
    pattern = compile_pattern(rule.pattern, ignore_case=rule.ignore_case)
    data = view_bytes("\n".join((*rule.matches, *rule.ignores)) * 2)
    expected = [(match.span(), match.span(match.lastindex or 0)) for match in pattern.finditer(data)]
    assert [(spans[0], value_of(spans)) for spans in matches_of(rule, data)] == expected
    by_hand = public_search(pattern)
    for low in range(0, len(data), 7):
        assert list(by_hand(data, low, len(data))) == list(
            search_of(rule.pattern, ignore_case=rule.ignore_case)(data, low, len(data))
        )
