"""The first stage: both engines open the same rules, a stored database is the same as a fresh one, threads don't meet."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection import filters as filters_module
from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import view_bytes
from safellm._core.detection.filters import (
    Filter,
    Filters,
    MultiPart,
    Plan,
    build_filters,
    engine_version,
)
from safellm._core.detection.gates import build_gates
from safellm._core.detection.reach import Reach, windows
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.scanner import (
    RuleScanner,
    View,
    compile_scanner,
    make_scanner,
    plan_of,
    rule_hits,
)
from safellm.errors import GuardFailure, Reason

pytest.importorskip("hyperscan")

RULES = load_rules()
EXAMPLES = sorted({text for rule in RULES for text in (*rule.matches, *rule.ignores)})
PLAN = plan_of(RULES)
MULTI = compile_scanner().filters


GATE = build_gates(PLAN)
BY_GATES = RuleScanner(rules=RULES, filters=GATE)


def is_compiled(filters: Filters) -> bool:
    """Return whether Hyperscan serves the filters."""
    return any(isinstance(part, MultiPart) for part in (*filters.first, *filters.second))


PIECES = (
    st.sampled_from(EXAMPLES)
    | st.text(max_size=30)
    | st.sampled_from([" ", "\n", "é", "密", "\u200b", "'", "=", "sk-", "key: "])
)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_both_engines_find_the_same_when_text_is_any(text: str) -> None:
    """Hyperscan and RE2 lead to equal findings, in equal order, whatever the text."""
    assert compile_scanner().scan(text) == BY_GATES.scan(text)


@pytest.mark.parametrize("number", range(0, len(EXAMPLES), 40))
def test_both_engines_find_the_same_when_examples_stand_together(number: int) -> None:
    """The same over all examples of all rules, forty to a text."""
    text = "\n".join(EXAMPLES[number : number + 40])
    assert compile_scanner().scan(text) == BY_GATES.scan(text)


@given(st.lists(PIECES, max_size=4).map("".join))
def test_filters_never_miss_what_a_rule_finds(text: str) -> None:
    """Each rule for secrets that finds something when it is asked is opened by both engines (others also want a label)."""
    view = View(text)
    view.fold()
    data = view.data
    opened, gated = set(MULTI.opened(data)), set(GATE.opened(data))
    for number, rule in enumerate(RULES):
        if rule.type == "SECRET" and not rule.decode and (number not in opened or number not in gated):
            assert list(rule_hits(rule, view)) == [], rule.id


@given(st.lists(PIECES, max_size=6).map("".join))
def test_both_engines_lead_to_the_same_places_when_text_is_any(text: str) -> None:
    """The lines and words that each rule reads are the same, whichever engine names them, and whatever it reports."""
    data = view_bytes(canonicalise(text).text)
    places = []
    for filters in (MULTI, GATE):
        opened = filters.opened(data)
        places.append(
            {
                number: windows(data, ends, PLAN.numbered[number].reach)
                for number, ends in opened.items()
                if PLAN.numbered[number].reach is not Reach.TEXT
            }
        )
    assert {number: read for number, read in places[1].items() if number in places[0]} == places[1]
    for number, read in places[1].items():
        assert places[0][number] == read, number


def test_places_are_the_same_when_a_text_floods_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reported beyond the limit is only counted, and the lines of it are read all the same."""
    text = view_bytes("\n".join(("bob@mail.test 203.0.113.7", "nothing", "x" * 400)) * 40)
    expected = {
        number: windows(text, ends, PLAN.numbered[number].reach) for number, ends in MULTI.opened(text).items() if ends
    }
    monkeypatch.setattr(filters_module, "_KEPT", 3)
    monkeypatch.setattr(filters_module, "_MOST_KEPT", 3)
    flooded = MULTI.opened(text)
    assert expected == {
        number: windows(text, ends, PLAN.numbered[number].reach) for number, ends in flooded.items() if ends
    }


LATE = [rule for rule in RULES if rule.late]
FILLER = "nothing to see here, and nothing there\n" * 9
WHOLE_MULTI = replace(MULTI, near=None)


@pytest.mark.parametrize("rule", LATE, ids=lambda rule: rule.id)
def test_late_filters_lead_to_the_same_in_long_texts_when_they_search_near_digits(rule: Rule) -> None:
    """What the rule's examples open far apart in a long text is what they open when all of it is searched."""
    everywhere = RuleScanner(rules=RULES, filters=WHOLE_MULTI)
    for joint in ("\n", " "):
        pieces = [f"{FILLER}{joint}{example}{joint}" for example in (*rule.matches, *rule.ignores, "order 5551200")]
        text = "".join(pieces * (20_000 // len("".join(pieces)) + 1))
        assert len(View(text).data) > 16_384
        assert compile_scanner().scan(text) == BY_GATES.scan(text) == everywhere.scan(text)


@given(st.lists(PIECES | st.sampled_from(["12 34 56 78", "1 @ b c", "AB1 2CD", "ID 1234-5678", "\n\n"]), max_size=9))
def test_late_filters_find_the_same_in_long_texts_when_text_is_any(pieces: list[str]) -> None:
    """Whatever stands far apart in a long text is found as if all of it was searched for numbers."""
    text = "".join(f"{FILLER * 6}{piece}" for piece in pieces) + FILLER * 48 + "order 5551200\n"
    whole = RuleScanner(rules=RULES, filters=WHOLE_MULTI)
    assert compile_scanner().scan(text) == whole.scan(text)


def test_label_counts_in_long_texts_when_it_stands_in_the_line_above() -> None:
    """A line without a digit that names the number in the next one is searched, too."""
    text = FILLER * 60 + "passport number\nX123" + "4567\n" + FILLER
    (found,) = compile_scanner().scan(text)
    assert text[found.start : found.end].startswith("X123")
    number = next(at for at, rule in enumerate(RULES) if rule.id == "identifier-labelled")
    assert number in MULTI.opened(view_bytes(text))


def test_late_filters_search_all_when_digits_are_everywhere() -> None:
    """A flood of what the late filters need ends the look for it, and changes no find."""
    text = "1234567 bob\n" * 3_000 + "passport X1234567 and 4111 1111 1111 1111\n"
    assert compile_scanner().scan(text) == RuleScanner(rules=RULES, filters=WHOLE_MULTI).scan(text)


def test_stored_database_finds_the_same_when_loaded() -> None:
    """A database that went through bytes opens the same rules."""
    again = build_filters(PLAN, MULTI.database())
    for text in EXAMPLES[::7]:
        data = view_bytes(canonicalise(text).text)
        assert again.opened(data) == MULTI.opened(data)


@pytest.mark.parametrize("damage", [b"", b"no database at all", b"\0" * 5_000], ids=["empty", "text", "zeros"])
def test_filters_refuse_when_the_database_is_damaged(damage: bytes) -> None:
    """Bytes that are no database are an error, or (none at all) compiled anew; never filters that find nothing."""
    if not damage:
        assert make_scanner(RULES[:3], damage or None).filters
        return
    with pytest.raises(GuardFailure) as caught:
        build_filters(PLAN, damage)
    assert caught.value.reason is Reason.GUARD_ERROR


def test_scanner_refuses_when_the_database_is_of_other_rules() -> None:
    """A database whose filters are others misses the canary, and the scanner isn't made."""
    other = build_filters(Plan(tuple(Filter(f"never-in-a-text-{number}") for number in range(9))))
    assert is_compiled(other)
    with pytest.raises(GuardFailure):
        make_scanner((), other.database())


def test_scanner_refuses_when_a_filter_is_beyond_the_engine() -> None:
    """A gate that the engine can't compile stops the scanner from being made."""
    bad = Rule(id="bad", type="SECRET", pattern="a", gate="(a)(?=b)")
    for rules in ([bad], [*RULES[:9], bad]):
        with pytest.raises(GuardFailure):
            compile_scanner(rules)


def test_scan_refuses_when_the_engine_breaks() -> None:
    """An engine error is a refusal, not a text without findings."""

    class Broken:
        def opened(self, data: bytes) -> list[int]:
            raise RuntimeError(data)

    with pytest.raises(GuardFailure) as caught:
        RuleScanner(rules=RULES, filters=Broken()).scan("a text that nobody may see")
    assert "nobody" not in str(caught.value)


def test_threads_find_the_same_when_they_scan_at_once() -> None:
    """One scanner for many threads: each scan has its own scratch space, and there are no more than scans at once."""
    texts = [("filler text " * 500) + example for example in EXAMPLES[::11]]
    expected = [compile_scanner().scan(text) for text in texts]
    work = list(range(len(texts))) * 4
    random.Random(1).shuffle(work)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: compile_scanner().scan(texts[number]), work))
    assert found == [expected[number] for number in work]
    assert is_compiled(MULTI)
    assert len(MULTI._idle) <= 9


def test_scanner_refuses_when_stored_filters_are_cut_or_longer() -> None:
    """Stored filters in several parts are those of the same rules, to the byte, or refused."""
    stored = MULTI.database()
    for damaged in (stored[:-100], stored + stored[:200], stored[:9]):
        with pytest.raises(GuardFailure):
            make_scanner(RULES, damaged)


def test_gates_serve_when_hyperscan_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the scanner is made over RE2 gates, and its stored form is its own."""
    monkeypatch.setattr(filters_module, "hyperscan", None)
    scanner = make_scanner(RULES[:20])
    assert not is_compiled(scanner.filters)
    assert engine_version() == "re2"
    assert scanner.scan(RULES[0].matches[0])


def test_gates_serve_when_the_processor_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that Hyperscan can't use is treated as a platform without the wheel; other errors stay errors."""

    def refused(*_: object) -> None:
        raise filters_module.hyperscan.ArchitectureError

    monkeypatch.setattr(filters_module, "_compile", refused)
    scanner = make_scanner(RULES[:20])
    assert not is_compiled(scanner.filters)
    assert scanner.scan(RULES[0].matches[0])
