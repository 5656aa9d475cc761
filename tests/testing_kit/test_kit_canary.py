"""Canaries are found in every form and place, and nowhere else."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm.testing.canary import encodings, make_canary, sweep

HIDE: dict[str, Callable[[str], str]] = {
    "raw": str,
    "json": json.dumps,
    "json in json": lambda canary: json.dumps({"a": json.dumps([canary])}),
    "json, unicode kept": lambda canary: json.dumps(canary, ensure_ascii=False),
    "json, slashes escaped": lambda canary: json.dumps(canary).replace("/", "\\/"),
    "url": lambda canary: quote(canary, safe=""),
    "url, slashes kept": quote,
    "url, lower case": lambda canary: quote(canary, safe="").lower(),
    "url, form": quote_plus,
    "url, every byte": lambda canary: "".join(f"%{byte:02X}" for byte in canary.encode()),
    "hex": lambda canary: canary.encode().hex(),
    "hex, upper case": lambda canary: canary.encode().hex().upper(),
    "repr": repr,
}


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("form", HIDE)
def test_r_1_canary_is_found_in_each_form(form: str, special: bool) -> None:
    """Each way of writing the canary is found; another canary written that way is not."""
    canary, other = make_canary(special=special), make_canary(special=special)
    text = f"before{HIDE[form](canary)}after"
    assert sweep(canary, texts=[text])
    assert sweep(other, texts=[text]) == []


@given(before=st.binary(max_size=20), after=st.binary(max_size=20), url=st.booleans(), special=st.booleans())
def test_r_1_canary_is_found_in_base64(before: bytes, after: bytes, url: bool, special: bool) -> None:
    """Inside base64 the canary is found at every alignment, whatever stands around it, in both alphabets."""
    canary = make_canary(special=special)
    raw = before + canary.encode() + after
    coded = (base64.urlsafe_b64encode if url else base64.b64encode)(raw)
    (place, *_) = sweep(canary, texts=[coded])
    assert f"alignment {len(before) % 3}" in place


def test_forms_of_a_special_canary_all_differ() -> None:
    """With `special` no form hides behind another one, so each finding names the encoding."""
    forms = encodings(make_canary(special=True))
    plain = [form for name, form in forms.items() if not name.startswith("base64 for urls")]
    assert len(set(plain)) >= len(plain) - 1  # JSON with and without escaped unicode differ from `repr` by quotes only


def test_canaries_differ() -> None:
    """Two canaries are never the same."""
    assert len({make_canary() for _ in range(100)}) == 100


def test_short_canary_is_refused() -> None:
    """A short text would be found by chance."""
    with pytest.raises(ValueError, match="8 characters"):
        sweep("short", texts=[])


def test_files_are_searched_with_everything_below(tmp_path: Path) -> None:
    """Folders are searched to the bottom; the place names file and form."""
    canary = make_canary()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "log.jsonl").write_text(json.dumps({"x": canary.encode().hex()}), encoding="utf-8")
    (tmp_path / "clean.bin").write_bytes(bytes(range(256)) * 10)
    assert sweep(canary, paths=[tmp_path]) == [f"{tmp_path / 'a' / 'b' / 'log.jsonl'}: hex"]
    assert sweep(canary, paths=[tmp_path / "clean.bin"], texts=["", b"nothing"]) == []


@pytest.mark.parametrize("offset", [-40, -20, -1, 0, 1])
def test_canary_across_a_read_border_is_found_once(tmp_path: Path, offset: int) -> None:
    """A big file is read in pieces; a border hides nothing."""
    canary = make_canary()
    file = tmp_path / "big.bin"
    file.write_bytes(b"\0" * ((1 << 20) + offset) + canary.encode() + b"\0" * (1 << 20))
    assert sweep(canary, paths=[file]) == [f"{file}: raw"]


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    """A path that can't be searched proves nothing, so it is an error and not a clean result."""
    with pytest.raises(FileNotFoundError):
        sweep(make_canary(), paths=[tmp_path / "nothing"])


def test_places_count_texts_from_zero() -> None:
    """The index tells which text."""
    canary = make_canary()
    assert sweep(canary, texts=["", f"x{canary}"]) == ["text 1: raw"]
