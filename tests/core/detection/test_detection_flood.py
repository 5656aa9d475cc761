"""Floods: texts made to be costly. What saves work on them loses no find, and what is found out once holds for every asker."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.context import Text
from safellm._core.detection.scanner import compile_scanner
from safellm._core.detection.tables import label_above, label_of
from safellm._core.detection.words import Label, label_before, label_words

PIECES = st.sampled_from([
    "name", "passport", "Phone", "SSN", "md5", "06-nummer", "order no. ", "id", "12345678", "555-0100", "x", "\n", "\n\n", "\t",
    ",", ", ", " ", ": ", "é", "|",
])  # fmt: skip


def is_covered(text: str, start: int, end: int) -> bool:
    """Return whether findings cover a span."""
    return any(found.start <= start and end <= found.end for found in compile_scanner().scan(text))


@given(st.lists(PIECES, max_size=60), st.lists(st.integers(0, 200), min_size=1, max_size=40))
def test_labels_are_the_same_when_they_are_remembered(pieces: list[str], places: list[int]) -> None:
    """A text that remembers answers as one that doesn't, in whatever order it is asked."""
    plain = "".join(pieces)
    text = Text(plain)
    for place in places:
        start, end = min(place, len(plain)), min(place + 3, len(plain))
        assert told(label_before(text, start)) == told(label_before(plain, start))
        assert label_above(text, start, end) == label_above(plain, start, end)
        assert told(label_of(text, start, end)) == told(label_of(plain, start, end))


def told(label: Label | None) -> tuple[str, str, bool] | None:
    """Return what callers read of a label; the digits between it and its value are none of it."""
    return (label.type, label.word, label.is_direct) if label is not None else None


def test_labels_are_the_same_when_a_table_is_long() -> None:
    """The heading of a column holds for every row near it, and for no other block."""
    rows = [f"{number}\t555{number:04d}\t{number}" for number in range(400)]
    plain = "id\tphone\tssn\n" + "\n".join(rows) + "\n\nsize\tpassport\n" + "\n".join(rows)
    text = Text(plain)
    values = [at for at in range(len(plain)) if plain.startswith("555", at)]
    answers = [label_above(text, at, at + 7) for at in values]
    assert answers == [label_above(plain, at, at + 7) for at in values]
    assert {answer.type for answer in answers if answer} == {"PHONE", "PASSPORT"}


def test_no_label_holds_the_digit_that_stands_for_all() -> None:
    """Digits before a value are read as 9, so no label may have one."""
    assert not [word for _, word in label_words() if "9" in word]


@pytest.mark.parametrize("flood", ["0 ", "1234 ", "12-34 ", "123456789\n", "1 2 3 4 - "])
def test_a_find_of_another_kind_is_found_when_a_flood_ends_the_search(flood: str) -> None:
    """Filters that share a pass with one that reports a flood of places are asked all the same."""
    before = f"{flood * (30_000 // len(flood))}\n"
    value = "DE89 3704 0044" + " 0532 0130 00"
    for text in (f"{before}iban {value}\n", f"iban {value}\n{before}"):
        at = text.index(value)
        assert is_covered(text, at, at + len(value))


def test_numbers_are_covered_to_the_end_when_they_are_a_flood() -> None:
    """Of thousands of numbers that are finds, each is found, also behind those that were checked."""
    generator = random.Random(3)
    numbers = [f"212-{generator.randint(201, 999)}-{generator.randint(1000, 9999)}" for _ in range(6_000)]
    found = compile_scanner().scan("\n".join(numbers))
    assert [(one.start, one.end, one.type) for one in found] == [
        (at * 13, at * 13 + 12, "PHONE") for at in range(6_000)
    ]


@pytest.mark.parametrize("shift", range(0, 140, 7))
def test_a_spaced_number_is_covered_wherever_it_stands_in_a_flood(shift: int) -> None:
    """A card whose digits stand one by one among thousands of others is redacted in full, also across two runs."""
    card = " ".join("4111" + "1111" * 3)
    before = "- " * (9_000 + shift)
    assert is_covered(f"{before}{card} {'- ' * 500}", len(before), len(before) + len(card))
