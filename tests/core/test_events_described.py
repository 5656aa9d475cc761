"""The published schema of audit records says exactly what is written."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import jsonschema
import pytest
from trail_schema import problems

from safellm._core.events_described import EVENTS, FIELDS, schema
from safellm._core.record import GENESIS

CHAIN = {
    "v": 1, "chain.uid": "a" * 32, "seq": 1, "prev": GENESIS, "hash": "b" * 64, "time": "2026-01-02T03:04:05.000000006Z",
    "time_ns": "1767323045000000006", "event.id": "x",
}  # fmt: skip
REVOKED = {**CHAIN, "event.name": "grant.revoke", "policy.digest": "c" * 64, "safellm.grant.id": "g"}


def test_the_schema_is_a_schema() -> None:
    """Draft 2020-12 accepts it, and every field of the table is used by an event."""
    jsonschema.Draft202012Validator.check_schema(schema())
    used = {name for event in EVENTS for name in (*event.always, *event.may)} | set(CHAIN) | {"event.name"}
    assert set(FIELDS) == used


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"safellm.new": 1}, "Additional properties"),
        ({"event.name": "grant.lost"}, "is not one of"),
        ({"seq": 0}, "less than the minimum"),
        ({"seq": 1.5}, "is not of type 'integer'"),
        ({"time": "2026-01-02"}, "does not match"),
        ({"policy.digest": None}, "is not of type"),
    ],
)
def test_what_is_not_described_does_not_fit(change: dict[str, object], words: str) -> None:
    """An unknown field or event, and a value of another form, are each named."""
    assert problems(REVOKED) == []
    assert any(words in one for one in problems({**REVOKED, **change}))


def test_missing_field_does_not_fit() -> None:
    """What an event always has is required."""
    assert any("required" in one for one in problems({k: v for k, v in REVOKED.items() if k != "safellm.grant.id"}))
