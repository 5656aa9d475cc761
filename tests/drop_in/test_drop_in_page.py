"""What a page says about the differences is what its list of promises says, which the comparison holds to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from drop_in_suites import SUITES

every_suite = pytest.mark.parametrize("one", SUITES, ids=lambda one: one.sdk)


def versions(one):
    return [suite["version"] for suite in one.listed["suite"]]


def heads(one):
    # Of one version its table says how many tests, of more than one how many in each.
    return ["Tests"] if len(versions(one)) == 1 else [f"Tests, {version}" for version in versions(one)]


def cells(*texts):
    return f"| {' | '.join(map(str, texts))} |"


def row(one, promise):
    return cells(promise["differs"], promise["why"], *(promise["count"].get(version, 0) for version in versions(one)))


@every_suite
def test_every_difference_is_a_row_of_the_page(one):
    """The page has one row for each promise, as written in the list, and none besides."""
    lines = one.page.read_text("utf-8").splitlines()
    start = lines.index(cells("What differs", "Why", *heads(one))) + 2
    table = [line for line in lines[start:] if line.startswith("|")]
    assert table == [row(one, promise) for promise in one.listed["promise"]]


@every_suite
def test_the_numbers_of_the_page_add_up(one):
    """Passed without, passed with, and the differences between them, of every version in a line of its own."""
    lines, promises = one.page.read_text("utf-8").splitlines(), one.listed["promise"]
    assert {version for promise in promises for version in promise["count"]} == set(versions(one))
    for suite in one.listed["suite"]:
        counts = [promise["count"].get(suite["version"], 0) for promise in promises]
        assert suite["passed_plain"] - suite["passed_guarded"] == sum(counts)
        kinds = sum(map(bool, counts))
        told = f"| {suite['passed_plain']:,} | {suite['passed_guarded']:,} | {sum(counts):,}, of {kinds} kinds |"
        found = [line for line in lines if line.endswith(told)]
        assert len(found) == 1
        assert suite["version"] in found[0]
        assert suite.get("commit", "")[:12] in found[0]
