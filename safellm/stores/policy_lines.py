"""On which line of a TOML file each key stands; `tomllib` itself only says what the values are."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import TypeAlias

Path: TypeAlias = tuple["str | int", ...]


def key_lines(text: str) -> dict[Path, int]:
    """Return for each key path of a valid TOML text the line, from 1, on which its statement begins.

    An array element's index is part of the path: `("budget", "limits", 0, "usd")`.

    The text is cut into statements by asking `tomllib` itself: a statement is the fewest lines, from where the last one
    ended, that parse on their own. That is exact, because a line end inside a statement only occurs inside a bracket
    or a multi-line string, and an open one never parses (TOML 1.0, "Key/Value Pair").
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(parsed, counts)
            _note(lines, table, number)
        else:
            for path in _paths(parsed, table):
                _note(lines, path, number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of `path`, or of the nearest key around it; None when nothing of it is in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    chunk: list[str] = []
    start = 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not chunk:
            start = number
        chunk.append(line)
        statement = "\n".join(chunk)
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        chunk = []
        if tomllib.loads(statement):  # not a comment or an empty line
            yield start, statement


def _header(parsed: dict[str, object], counts: dict[Path, int]) -> Path:
    """Return the path of a table header; each part that is an array of tables stands for its newest element."""
    path: Path = ()
    here: object = parsed
    while here:
        if isinstance(here, list):
            counts[path] = counts.get(path, 0) + 1
            return (*path, counts[path] - 1)
        if not isinstance(here, dict):
            break
        ((name, here),) = here.items()
        path = (*path, name)
        if path in counts and not isinstance(here, list):
            path = (*path, counts[path] - 1)
    return path


def _paths(value: object, path: Path) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _paths(part, (*path, index))


def _note(lines: dict[Path, int], path: Path, number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)
