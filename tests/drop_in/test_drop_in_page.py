"""What the page says about the differences is what `promises.toml` says, which the comparison holds to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "drop-in.md"
LISTED = tomllib.loads((HERE / "promises.toml").read_text("utf-8"))


def row(promise):
    return f"| {promise['differs']} | {promise['why']} | {promise['count']} |"


def test_every_difference_is_a_row_of_the_page():
    """`docs/drop-in.md` has one row for each promise, as written here, and none besides."""
    lines = PAGE.read_text("utf-8").splitlines()
    start = lines.index("| What differs | Why | Tests |") + 2
    table = [line for line in lines[start:] if line.startswith("|")]
    assert table == [row(promise) for promise in LISTED["promise"]]


def test_the_numbers_of_the_page_add_up():
    """Passed without, passed with, and the differences between them."""
    suite, page = LISTED["suite"], PAGE.read_text("utf-8")
    assert suite["passed_plain"] - suite["passed_guarded"] == sum(promise["count"] for promise in LISTED["promise"])
    for number in (
        suite["version"],
        suite["commit"][:12],
        f"{suite['passed_plain']:,}",
        f"{suite['passed_guarded']:,}",
    ):
        assert str(number) in page
