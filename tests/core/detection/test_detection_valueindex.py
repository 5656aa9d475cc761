"""Very many registered values: found exactly, at borders, whatever stands around; nothing of them is kept."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.valueindex import MIN_LENGTH, ValueIndex

VALUES = st.lists(
    st.text(st.sampled_from("ABab012-_ .éß王小"), min_size=MIN_LENGTH, max_size=12)
    | st.from_regex(r"\AC-[0-9]{6}\Z")
    | st.sampled_from(["Müller, Anna", "王小明先生", "O'Brien", "顧客 12345", "00-11-22"]),
    min_size=1,
    max_size=30,
).filter(lambda values: all(_is_good(value) for value in values))


def _is_good(value: str) -> bool:
    view = canonicalise(value).text
    return len(view) >= MIN_LENGTH and any(letter.isalnum() for letter in view[:-1])


@given(VALUES, st.data())
def test_every_value_is_found_when_nothing_touches_it(values: list[str], data: st.DataObject) -> None:
    """Whatever the values, each is found between borders, and its span is the value."""
    index = ValueIndex(values, type="CUSTOMER_ID")
    value = data.draw(st.sampled_from(values))
    before, after = data.draw(st.sampled_from([("", ""), ("(", ")"), ("see ", ", please"), ("客", "様"), ("\n", "\n")]))
    text = f"{before}{value}{after}"
    found = index.find(text)
    covered = {place for one in found for place in range(one.start, one.end)}
    wanted = canonicalise(value).text.strip()
    start = len(before) + value.index(value.strip()) if value.strip() else len(before)
    assert set(range(start, start + len(value.strip()))) <= covered, (wanted, found)
    assert {one.type for one in found} == {"CUSTOMER_ID"}


@given(VALUES, st.text(st.sampled_from("ABab012-_ .éß王小C"), max_size=40))
def test_nothing_else_is_found(values: list[str], text: str) -> None:
    """A finding is made of values: each of its characters lies in a value that stands there between borders."""
    index = ValueIndex(values, type="ID")
    view = canonicalise(text)
    folded = {canonicalise(value).text for value in values}
    allowed: set[int] = set()
    for value in folded:
        at = view.text.find(value)
        while at >= 0:
            allowed |= set(range(at, at + len(value)))
            at = view.text.find(value, at + 1)
    if view.text == text:
        assert {place for one in index.find(text) for place in range(one.start, one.end)} <= allowed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C-00004711", True),
        ("顧客C-00004711様", True),
        ("id=C-00004711&x", True),
        ("C-000047110", False),
        ("XC-00004711", False),
        ("c-00004711", False),
        ("C\u200b-0000\u200b4711", True),
        ("Ｃ-００００4711", True),
        ("C-00004712", False),
    ],
)
def test_value_is_found_at_borders_only(text: str, found: bool) -> None:
    """Longer numbers, glued letters and other case are other values; invisible and full-width characters hide nothing."""
    index = ValueIndex((f"C-{number:08d}" for number in range(4700, 4712)), type="CUSTOMER_ID")
    assert bool(index.find(text)) is found


@pytest.mark.parametrize("text", ["CUST4711-123", "312-CUST4711-12", "12-CUST4711-1", "XCUST4711-12", "12-CUST4711X"])
def test_value_is_not_found_when_its_short_parts_go_on(text: str) -> None:
    """Borders count at both ends, also where the part that goes on isn't the longest."""
    index = ValueIndex(["CUST4711-12", "12-CUST4711"], type="ID")
    assert index.find("(CUST4711-12)")
    assert index.find("(12-CUST4711)")
    found = [text[one.start : one.end] for one in index.find(text)]
    assert found == (
        ["12-CUST4711"] if text.startswith("12-CUST4711-") else ["CUST4711-12"] if text.startswith("312-") else []
    )


def test_a_hundred_thousand_values_are_found_and_small() -> None:
    """Each of many is found, their neighbours aren't, and the index takes some bytes a value."""
    index = ValueIndex((f"C-{number * 3:08d}" for number in range(100_000)), type="CUSTOMER_ID")
    assert len(index) == 100_000
    for number in range(0, 300_000, 997):
        assert bool(index.find(f"customer C-{number:08d}.")) is (number % 3 == 0)
    assert sys.getsizeof(index._field) + sys.getsizeof(index._hashes) < 100_000 * 24


def test_values_are_not_kept() -> None:
    """Neither `repr` nor attributes nor pickles hold a value."""
    index = ValueIndex(["Anna-4711-Secret"], type="NAME")
    assert "Anna" not in repr(index)
    assert "Secret" not in "".join(repr(getattr(index, name)) for name in ("_frames", "_hashes", "_mask", "type"))
    with pytest.raises(TypeError):
        pickle.dumps(index)


@pytest.mark.parametrize("value", ["abc", "", "a\u200bb\u200bc", "----"])
def test_value_is_refused_when_it_stands_in_every_text(value: str) -> None:
    """Too short a value, or one without letters and digits, is an error that doesn't repeat it."""
    with pytest.raises(ValueError, match="registered value"):
        ValueIndex([value], type="ID")


def test_empty_index_finds_nothing() -> None:
    """No values, no findings."""
    assert ValueIndex([], type="ID").find("C-00004711") == ()
