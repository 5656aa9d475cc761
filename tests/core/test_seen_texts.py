"""Findings of texts that come again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core import seen_texts
from safellm._core.detection.finding import Finding
from safellm._core.seen_texts import SeenTexts
from safellm.errors import GuardFailure, Reason


class Counting:
    """Finds every `@`, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> tuple[Finding, ...]:
        """Search a text."""
        self.asked.append(text)
        places = [index for index, character in enumerate(text) if character == "@"]
        return tuple(Finding(type="EMAIL", rule="at", start=place, end=place + 1) for place in places)


def test_history_costs_nothing() -> None:
    """From its third time on a text isn't searched."""
    search = Counting()
    seen = SeenTexts(search)
    assert [seen.scan("a@b") for _ in range(10)] == [Counting()("a@b")] * 10
    assert len(search.asked) == 2


@given(st.lists(st.text(alphabet="@ab\ud800é", max_size=4), max_size=60))
def test_remembered_findings_are_the_search_s_own(texts: list[str]) -> None:
    """Whatever comes in whatever order, the answer is what a search would say."""
    seen = SeenTexts(Counting())
    for text in texts:
        assert seen.scan(text) == Counting()(text)


def test_equal_hashes_are_not_equal_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's hash decides about time only: two texts with the same one keep their own findings."""
    monkeypatch.setattr(seen_texts, "hash", lambda _: 1, raising=False)
    seen = SeenTexts(Counting())
    for _ in range(3):
        assert seen.scan("none here") == ()
        assert len(seen.scan("a@b@c")) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old texts are forgotten, new ones are still right, and many findings in one text aren't kept at all."""
    monkeypatch.setattr(seen_texts, "_MOST", 10)
    monkeypatch.setattr(seen_texts, "_MOST_ONCE", 30)
    seen = SeenTexts(Counting())
    for number in range(200):
        for _ in range(3):
            assert len(seen.scan(f"{number}@")) == 1
    assert len(seen._known) <= 10
    assert len(seen._older) <= 10
    assert len(seen._once) <= 30
    many = "@" * 100
    assert [len(seen.scan(many)) for _ in range(4)] == [100] * 4
    assert all(len(found) < 100 for found in (*seen._known.values(), *seen._older.values()))


def test_no_text_is_kept() -> None:
    """What is remembered is digests and places."""
    seen = SeenTexts(Counting())
    for _ in range(3):
        seen.scan("my mail is a@b")
    kept = repr((seen._once, seen._known, seen._older))
    assert "mail" not in kept


def test_a_broken_search_is_asked_again() -> None:
    """An error isn't an answer."""

    def broken(_: str) -> tuple[Finding, ...]:
        raise GuardFailure("broke", guard="redaction", reason=Reason.GUARD_ERROR, remedy="")

    seen = SeenTexts(broken)
    for _ in range(3):
        with pytest.raises(GuardFailure):
            seen.scan("text")
