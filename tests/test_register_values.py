"""Values that a program registers: many at once, of any type, for every client of the process."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

import safellm
from safellm.stores.registered import REGISTER

NUMBERS = [f"C-{number:05d}-{number * 7 % 97:02d}" for number in range(5_000)]


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an empty register, and leave none behind."""
    monkeypatch.setattr(REGISTER, "secrets", None)
    monkeypatch.setattr(REGISTER, "values", ())


def kinds(text: str) -> list[tuple[str, str]]:
    """Return type and text of what is registered and found."""
    return [(one.type, text[one.start : one.end]) for one in REGISTER.find(text)]


def test_values_are_found_when_they_were_registered_from_a_list() -> None:
    """Each of thousands of values is found with its type, and nothing that only resembles one."""
    safellm.register_values(NUMBERS, type="CUSTOMER_ID")
    assert kinds(f"order of {NUMBERS[4711]}, not {NUMBERS[4711]}0") == [("CUSTOMER_ID", NUMBERS[4711])]
    assert [one.type for one in safellm.detect(f"see {NUMBERS[17]}")] == ["CUSTOMER_ID"]


def test_values_are_found_when_they_were_registered_from_a_file(tmp_path: Path) -> None:
    """A file holds a value in each line; blank lines and line ends of any system don't count."""
    path = tmp_path / "customers.txt"
    path.write_bytes("\r\n".join([*NUMBERS, "", "  Zoë Ünal  "]).encode())
    safellm.register_values(path, type="CUSTOMER")
    assert kinds(f"{NUMBERS[3]} is Zoë Ünal") == [("CUSTOMER", NUMBERS[3]), ("CUSTOMER", "Zoë Ünal")]
    safellm.register_values(str(path), type="AGAIN")
    assert len(kinds(NUMBERS[3])) == 2


def test_registered_values_count_at_once() -> None:
    """A finder that a client already holds sees what is registered later, also in a text that it has searched before."""
    held = REGISTER
    text = "the moonshot plan for C-12345"
    for _ in range(3):
        assert held.find(text) == ()
    assert not held
    safellm.register_secret("moonshot plan")
    assert held
    assert [(one.type, one.start) for one in held.find(text)] == [("SECRET", 4)] or len(held.find(text)) == 1
    safellm.register_values(["C-12345"])
    assert [text[one.start : one.end] for one in held.find(text)] == ["moonshot plan", "C-12345"]


@pytest.mark.parametrize("type_", ["customer", "", "9A", "A-B", "A" * 33])
def test_a_type_is_refused_when_no_placeholder_could_hold_it(type_: str) -> None:
    """Types stand in placeholders: capitals, digits, underscores."""
    with pytest.raises(ValueError, match="capitals"):
        safellm.register_values(["value-1"], type=type_)


def test_values_are_refused_when_one_is_too_short() -> None:
    """A value that stands in every text isn't registered, nor those with it."""
    with pytest.raises(ValueError, match="characters"):
        safellm.register_values(["long enough", "ab"])
    assert not REGISTER
