"""The tests of each row of the threat model: found by their names, `test_k_3…` for K.3."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
PAGE = Path(__file__).with_name("threats.md")
_TEST = re.compile(r"^ *(?:async )?def test_([a-z])_(\d+)_?(\w*)\(", re.MULTILINE)
_ROW = re.compile(r"^\| ([A-Z])\.(\d+) \|", re.MULTILINE)


def tests_by_row() -> dict[str, dict[str, int]]:
    """Return, by row, how many test functions of its name each file has."""
    found: dict[str, dict[str, int]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for letter, number, _ in _TEST.findall(file.read_text("utf-8")):
            files = found.setdefault(f"{letter.upper()}.{number}", {})
            name = file.relative_to(TESTS.parent).as_posix()
            files[name] = files.get(name, 0) + 1
    return found


def render() -> str:
    """Return the table of rows and tests."""
    found = tests_by_row()
    rows = [
        f"{letter}.{number}" for letter, number in _ROW.findall(PAGE.read_text("utf-8").partition("<!-- generated")[0])
    ]
    lines = ["| | Tests | Files |", "|---|---|---|"]
    for row in rows:
        files = found.get(row, {})
        named = ", ".join(f"`{name}`" for name in files)
        lines.append(f"| {row} | {sum(files.values())} | {named} |")
    return "\n".join(lines)
