"""What a page says about the differences is what its list of promises says, which the comparison holds to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from drop_in_suites import SUITES

every_suite = pytest.mark.parametrize("one", SUITES, ids=lambda one: one.sdk)


def row(promise):
    return f"| {promise['differs']} | {promise['why']} | {promise['count']} |"


@every_suite
def test_every_difference_is_a_row_of_the_page(one):
    """The page has one row for each promise, as written in the list, and none besides."""
    lines = one.page.read_text("utf-8").splitlines()
    start = lines.index("| What differs | Why | Tests |") + 2
    table = [line for line in lines[start:] if line.startswith("|")]
    assert table == [row(promise) for promise in one.listed["promise"]]


@every_suite
def test_the_numbers_of_the_page_add_up(one):
    """Passed without, passed with, and the differences between them."""
    suite, page = one.listed["suite"], one.page.read_text("utf-8")
    assert suite["passed_plain"] - suite["passed_guarded"] == sum(promise["count"] for promise in one.listed["promise"])
    for number in (
        suite["version"],
        suite.get("commit", "")[:12],
        f"{suite['passed_plain']:,}",
        f"{suite['passed_guarded']:,}",
    ):
        assert str(number) in page
