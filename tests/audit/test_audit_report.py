"""The report says what the trail says, as a page that can't do anything."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import safellm
from safellm._core.record import GENESIS, Unsealed
from safellm.audit import plots
from safellm.audit.plots import make_axis, nice, short_number
from safellm.audit.summary import Spent, Summary, class_ms
from safellm.audit.walk import sum_up
from safellm.stores.journal.checkpoints import make_checkpoint, signing_key
from safellm.stores.journal.files import find


class Outline(HTMLParser):
    """What a browser sees: tags, attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("workers", [1, 2])
def test_sums_are_those_of_the_records(trail: Path, home: Path, workers: int) -> None:
    """In one process or in one for each file, with intents and outcomes in different files."""
    assert len(find(trail)) > 2
    found, integrity = sum_up(trail, home, workers=workers)
    assert integrity.ok
    assert found.total() == Spent(3, 132, 750)
    assert found.by_name(found.users) == {"g1": Spent(2, 120, 700), "g2": Spent(1, 12, 50)}
    assert found.by_name(found.models)["gpt-5"] == Spent(2, 120, 700)
    assert (found.refused, dict(found.reasons)) == (2, {"budget.exceeded": 2})
    assert dict(found.findings) == {"EMAIL": 6}
    assert dict(found.errors) == {"500": 1}
    assert list(found.intents) == ["call2"]
    assert sum(found.latency.values()) == 2
    assert 1500 <= (found.latency_ms(0.99) or 0) < 1500 * 1.3
    assert 90 <= (found.latency_ms(0.5) or 0) < 90 * 1.3


def test_page_has_no_script_and_loads_nothing(trail: Path) -> None:
    """A model's name that is HTML stands there as text; no tag or attribute comes from a record (L.6, O.1)."""
    report = safellm.report_page()
    page = Outline(report.page)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "a", "form"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "href", "srcset"}}
    assert "url(" not in report.page
    assert "@import" not in report.page
    assert "\x1b" not in report.page
    assert any("<script>alert(1)</script>" in text for text in page.text)
    policy = next(attributes["content"] for _, attributes in page.tags if attributes.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_notebook_shows_it_in_a_frame_without_rights(trail: Path, tmp_path: Path) -> None:
    """The frame holds exactly the page, and `save` writes it."""
    report = safellm.report_page(trail)
    ((tag, attributes),) = Outline(report._repr_html_()).tags
    assert (tag, attributes["sandbox"]) == ("iframe", None)
    assert attributes["srcdoc"] == report.page
    assert report.save(tmp_path / "page.html").read_text("utf-8") == report.page
    assert "</" not in repr(report)


@pytest.mark.parametrize("workers", [1, 2])
def test_l_1_report_of_an_edited_trail_says_so(trail: Path, home: Path, workers: int) -> None:
    """One digit in one record of one file."""
    path = find(trail)[1].path
    path.write_bytes(re.sub(rb'"seq":(\d)', rb'"seq":1\1', path.read_bytes(), count=1))
    _, integrity = sum_up(trail, home, workers=workers)
    assert not integrity.ok
    assert "BROKEN" in safellm.report_page(trail).page


@pytest.mark.parametrize("workers", [1, 2])
def test_l_2_report_of_a_cut_trail_says_so(trail: Path, home: Path, workers: int) -> None:
    """The last file is gone, and a checkpoint covered it."""
    assert make_checkpoint(trail, signing_key(home), now_ns=1) is not None
    find(trail)[-1].path.unlink()
    _, integrity = sum_up(trail, home, workers=workers)
    assert not integrity.ok
    assert "cut off" in integrity.signed


def test_empty_trail_is_a_page_too(home: Path) -> None:
    """Nothing to plot is no error."""
    (home / "audit").mkdir(parents=True)
    assert "no records" in safellm.report_page().page


def test_l_7_records_of_other_forms_are_counted_as_odd() -> None:
    """Whoever writes the trail can seal anything; the report doesn't stop at it."""
    found = Summary()
    for fields in ({"safellm.redaction.counts": 3}, {"safellm.redaction.counts": {"A": "b"}}, {"time_ns": "x"}):
        whole = {"time_ns": "1", **fields}
        found.add(
            Unsealed(chain_uid="", seq=1, prev=GENESIS, hash="", event="call.intent", event_id="i", fields=whole)  # type: ignore[arg-type]
        )
    assert found.odd == 3


@given(st.integers(0, 10**13))
def test_latency_class_holds_its_value(ms: int) -> None:
    """The upper end of a class is at most a quarter above what is in it."""
    from safellm.audit.summary import _class

    top = class_ms(_class(ms))
    assert max(1, ms) <= top <= max(2, ms * 1.25 + 1)


@given(st.integers(0, 4 * 10**9), st.integers(0, 10**9))
def test_axis_covers_its_time_in_few_steps(first: int, span: int) -> None:
    """Both ends have a place of their own kind, and there are never too many bars."""
    axis = make_axis(first, first + span)
    assert axis.start <= first
    assert 1 <= axis.count <= plots._MOST_BARS + 1
    assert axis.start + axis.step * axis.count > first + span
    assert 0 <= axis.place(first) <= axis.place(first + span) < axis.count


def test_numbers_are_short() -> None:
    """For axes."""
    assert [short_number(one) for one in (0, 950, 12_345, 3_400_000, 10**10)] == ["0", "950", "12.3k", "3.4M", "10G"]
    assert [nice(one) for one in (0, 1, 3, 7, 41, 999)] == [1, 1, 4, 10, 50, 1000]
