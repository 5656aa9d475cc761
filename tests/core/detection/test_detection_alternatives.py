"""Patterns taken apart: the parts match where the pattern does, and only what is understood is touched."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from safellm._core.detection.alternatives import take_apart
from safellm._core.detection.engine import NOWHERE, search_of, view_bytes
from safellm._core.detection.rules import load_rules
from safellm._core.detection.scanner import plan_of

WORDS = "|".join(f"w{number}" for number in range(40))
FILTERS = [one.pattern for one in plan_of(load_rules()).numbered if len(take_apart(one.pattern)) > 1]


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches somewhere."""
    data = view_bytes(text)
    return search_of(pattern)(data, 0, len(data))[0] != NOWHERE


def test_big_filters_are_taken_apart() -> None:
    """The filters of labels are, so what follows is about something."""
    assert len(FILTERS) > 1


@pytest.mark.parametrize("pattern", FILTERS)
def test_parts_match_what_the_filter_matches(pattern: str) -> None:
    """On every example of every rule, a part matches where the whole does."""
    parts = take_apart(pattern)
    for text in {text for rule in load_rules() for text in (*rule.matches, *rule.ignores)}:
        assert any(matches(part, text) for part in parts) == matches(pattern, text), text


def test_flags_and_what_stands_around_stay_with_each_part() -> None:
    """Letter case and borders hold for every alternative of a group."""
    parts = take_apart(rf"(?i:(?:\b|_)(?:{WORDS}))[ :]\d")
    assert len(parts) == 40
    assert parts[7] == r"(?i:(?:\b|_)(?:w7))[ :]\d"


@pytest.mark.parametrize(
    "pattern",
    [f"(?:{WORDS})+x", f"(?:{WORDS}){{2}}", f"({WORDS})x", r"[|(a]b\|c[]|)]", "abc|def", f"(?s:{WORDS})"],
)
def test_what_repeats_or_is_captured_stays_whole(pattern: str) -> None:
    """Repeated groups, groups that say what the value is, unknown flags, classes, escapes and few alternatives stay as they are."""
    assert take_apart(pattern) == [pattern]


def test_alternatives_in_classes_and_escapes_part_nothing() -> None:
    """Only real alternatives part a pattern."""
    odd = r"a[|(]\|[^]|)]\("
    assert take_apart(f"{WORDS}|{odd}")[-1] == odd
