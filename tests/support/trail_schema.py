"""Checks the trails that tests leave against the published schema: a new field or event fails until it is described."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from safellm._core.events_described import schema
from safellm._core.record import BadRecord, unseal

SEEN: set[str] = set()  # names of the events that were checked in this process
_SHAPES: set[tuple[str, frozenset[str]]] = set()


@cache
def validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(schema())


def problems(record: dict[str, Any]) -> list[str]:
    """Return what is wrong with a record."""
    return [f"{record.get('event.name')}: {error.message}" for error in validator().iter_errors(record)]


def check_trails(home: Path) -> None:
    """Fail if a sound record under a folder doesn't fit. One of each shape is looked at, so that large trails cost little."""
    found: list[str] = []
    for path in sorted(home.rglob("trail-*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                fields = orjson.loads(line)
                shape = (fields["event.name"], frozenset(fields))
                by_hand = "policy.digest" not in fields and not fields["event.name"].startswith("audit.")
                if shape in _SHAPES or by_hand:
                    continue
                unseal(line)
            except (BadRecord, ValueError, TypeError, KeyError):
                continue  # a test damaged it
            found += problems(fields)
            _SHAPES.add(shape)
            SEEN.add(shape[0])
    assert not found, f"{found}: describe it in safellm/_core/events_described.py, then run docs/generate.py"
