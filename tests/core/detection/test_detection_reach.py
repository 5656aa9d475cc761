"""How far rules reach: what their patterns can hold, and that reading lines or words finds what reading the whole text does."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.engine import compile_pattern, public_search, search_of, view_bytes
from safellm._core.detection.reach import Reach, gate_ends, joined, lines_around, reach_of, windows
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
        (r"a(?:[^a-z]|\z)b", Reach.LINES),
        (r"a\s+b", Reach.TEXT),
        (r"a\s{0,3}b", Reach.TEXT),
        (r"a\s{0,2}b", Reach.LINES),
        (r"a\s{1,}b", Reach.TEXT),
        (r"(?:a\s?){3}b", Reach.TEXT),
        (r"(?:a\s?b|\n\n)(?i:c)?", Reach.LINES),
        (r"(?:\n|(\s\s))\n", Reach.TEXT),
        (r"(?:a|\n)*", Reach.TEXT),
        (r"[^a]", Reach.LINES),
        (r"[^a]*?", Reach.TEXT),
        (r"[\x00-\x1f]", Reach.LINES),
        (r"[\t-\r]{2}", Reach.LINES),
        (r"\W|\D", Reach.LINES),
        (r"(?s:.)", Reach.TEXT),
        (r"[[:space:]]", Reach.TEXT),
        (r"\pZ", Reach.TEXT),
        (r"\Q(\E\s*", Reach.TEXT),
        ("\n", Reach.LINES),
        (r"\n", Reach.LINES),
        (r"\x0a", Reach.LINES),
        (r"[]\n]", Reach.LINES),
    ],
)
def test_reach_is_what_a_pattern_can_hold(pattern: str, reach: Reach) -> None:
    """Words hold no space, lines no line end; what isn't understood may hold anything."""
    assert reach_of(pattern) is reach


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_stays_in_its_reach_when_its_examples_are_cut(rule: Rule) -> None:
    """No match of a rule over its examples, put together in any way, goes beyond the line or word that its reach says."""
    pattern = compile_pattern(rule.pattern, ignore_case=rule.ignore_case)
    reach = reach_of_rule(rule)
    ends = {Reach.TEXT: "", Reach.LINES: "", Reach.LINE: "\n", Reach.WORD: "\n "}[reach]
    for text in (*rule.matches, *rule.ignores):
        for joint in ("\n", " ", ""):
            data = joint.join((text, text[: len(text) // 2], text)).encode("latin-1", "replace")
            for match in pattern.finditer(data):
                assert not set(match.group().decode("latin-1")) & set(ends)
                assert reach is not Reach.LINES or match.group().count(b"\n") <= 2


def test_most_rules_read_lines_or_words() -> None:
    """Rules that read the whole text cost most: they are few, and named here."""
    whole = {rule.id for rule in RULES if reach_of_rule(rule) is Reach.TEXT}
    assert "random-token" not in whole
    assert len(whole) <= 10


@given(
    LINES, st.sampled_from([Reach.LINE, Reach.WORD, Reach.LINES]), st.sampled_from(["a1", "[ab]@", "1a(?:[^a]|\\z)"])
)
def test_windows_hold_every_match_when_text_is_any(text: str, reach: Reach, gate: str) -> None:
    """Each match of a pattern that has the gate in it is found in the windows as it is in the text."""
    pattern = "[ab1@]+(?:\n[ab1@]+\n[ab1@]+){0,1}" if reach is Reach.LINES else "[ab1@]+"
    rule = Rule(id="r", type="T", pattern=pattern, gate=gate)
    data = text.encode()
    places = windows(data, gate_ends(filter_of(rule), data, reach), reach)
    assert places == sorted(places)
    assert all(low <= high for low, high in places)
    found = {match[0] for match in matches_of(rule, data, places)} if places else set()
    everywhere = {match[0] for match in matches_of(rule, data)}
    if reach is Reach.LINES:  # what comes first may be another match there, but all of each is read
        for start, end in everywhere:
            if compile_pattern(gate).search(data[start:end]):
                assert any(low <= start and end <= high for low, high in places)
        return
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


@given(LINES, st.lists(st.integers(1, 200), max_size=9), st.integers(0, 40))
def test_lines_around_are_whole_lines_that_hold_every_place(text: str, ends: list[int], before: int) -> None:
    """Each place and what stands so far before its line is covered, by whole lines that lie apart."""
    data = text.encode()
    ends = sorted(end for end in ends if end <= len(data))
    stretches = lines_around(data, ends, before)
    assert all(high <= low for (_, high), (low, _) in zip(stretches, stretches[1:], strict=False))
    for low, high in stretches:
        assert low == 0 or data[low - 1 : low] == b"\n"
        assert high == len(data) or data[high - 1 : high] == b"\n"
    for end in ends:
        line = data.rfind(b"\n", 0, end - 1) + 1
        covered = {at for low, high in stretches for at in range(low, high)}
        assert covered.issuperset(range(max(0, line - before), end))


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
