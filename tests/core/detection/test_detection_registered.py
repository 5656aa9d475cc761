"""Registered values are found wherever they stand, in every form that is promised."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import copy
import json
import pickle
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.registered import RegisteredSecrets

VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=8, max_size=40).filter(
    lambda value: len(canonicalise(value).text) >= 8
)
AROUND = st.text(st.characters(codec="utf-8"), max_size=20)
ENCODINGS = {
    "raw": lambda value: value,
    "json": lambda value: json.dumps(value)[1:-1],
    "json_unicode": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "json_twice": lambda value: json.dumps(json.dumps(value)[1:-1])[1:-1],
    "url": lambda value: quote(value, safe=""),
    "url_path": quote,
    "url_form": quote_plus,
    "hex": lambda value: value.encode().hex(),
    "hex_upper": lambda value: value.encode().hex().upper(),
}


@pytest.mark.parametrize("name", ENCODINGS)
@given(value=VALUE, before=AROUND, after=AROUND)
def test_r_1_value_is_found_when_encoded(name: str, value: str, before: str, after: str) -> None:
    """Each form is found and covered at any place in any text."""
    form = ENCODINGS[name](value)
    text = f"{before}{form}{after}"
    findings = RegisteredSecrets([value]).find(text)
    assert any(found.start <= len(before) and len(before) + len(form) <= found.end for found in findings)
    assert {found.type for found in findings} == {"REGISTERED"}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@given(value=VALUE, before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_r_1_value_is_found_when_inside_base64(encode: type, value: str, before: bytes, after: bytes) -> None:
    """A value inside longer Base64 is covered at each alignment, down to the letters that hold some of its bits."""
    data = value.encode()
    text = encode(before + data + after).decode()
    findings = RegisteredSecrets([value]).find(f"x {text} y")
    first, last = len(before) * 8 // 6, ((len(before) + len(data)) * 8 - 1) // 6
    assert any(found.start - 2 <= first and last < found.end - 2 for found in findings)


@given(value=st.text("abcdefghij0123456789-_", min_size=8, max_size=30), data=st.data())
def test_r_1_value_is_found_when_invisible_characters_are_inside(value: str, data: st.DataObject) -> None:
    """Invisible characters inside a value don't hide it."""
    fillings = data.draw(
        st.lists(st.sampled_from(["", "\u200b", "\u00ad", "\U000e0041"]), min_size=len(value), max_size=len(value))
    )
    text = "a " + "".join(map("".join, zip(value, [*fillings[1:], ""], strict=True))) + " b"
    (finding,) = RegisteredSecrets([value]).find(text)
    assert canonicalise(text[finding.start : finding.end]).text == value


@given(values=st.lists(VALUE, max_size=3), text=st.text(st.characters() | st.characters(categories=["Cs"])))
def test_findings_are_apart_when_text_is_any(values: list[str], text: str) -> None:
    """For any text: no crash, spans ordered and without overlap."""
    findings = RegisteredSecrets(values).find(text + "".join(values) * 2)
    assert all(left.end <= right.start for left, right in pairwise(findings))
    assert bool(findings) == bool(values)


@given(value=VALUE, text=AROUND)
def test_nothing_is_found_when_value_is_absent(value: str, text: str) -> None:
    """Text shorter than the value and its forms holds no finding."""
    assert RegisteredSecrets([value]).find(text[: len(canonicalise(value).text) - 1][:7]) == ()


def test_short_value_is_refused() -> None:
    """A value below eight characters would be found by chance; the error doesn't show it."""
    with pytest.raises(ValueError, match="fewer than 8") as caught:
        RegisteredSecrets(["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_set_is_frozen_and_shows_nothing() -> None:
    """Equal sets are equal and hash alike; nothing can be changed, printed or pickled."""
    value = "blue-heron" + "-42"
    secrets = RegisteredSecrets([value])
    assert {secrets} == {RegisteredSecrets([value, value])}
    assert secrets != RegisteredSecrets().with_values([value, value + "x"])
    assert value not in repr(secrets)
    with pytest.raises(AttributeError):
        secrets.extra = 1  # type: ignore[attr-defined]
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secrets)


def test_many_values_are_found_when_the_alternation_is_split() -> None:
    """Two thousand values fit the engine's memory."""
    values = [f"value-number-{number:06}" for number in range(2000)]
    secrets = RegisteredSecrets(values)
    text = f"a {values[7]} b {values[1999]}"
    assert [text[found.start : found.end] for found in secrets.find(text)] == [values[7], values[1999]]
