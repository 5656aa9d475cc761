"""A secret shows nothing, however it is printed, copied or compared (THREATS K.4)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.secret import Secret

# Long enough that no fragment of it turns up in a repr by chance.
TEXTS = st.text(min_size=8, max_size=80).filter(lambda text: text not in repr(Secret("")))
LONG = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=20, max_size=80)


@given(TEXTS, st.sampled_from(["", "s", ">40", "<3", "^10s"]))
def test_k_4_no_way_of_printing_shows_the_secret(text: str, spec: str) -> None:
    """repr, str, format with any specification, %-formatting, inside containers."""
    secret = Secret(text)
    shown = [
        repr(secret),
        str(secret),
        f"{secret:{spec}}",
        f"{secret!r:>30}",
        f"{secret} {secret!r}",
        str([secret]),
    ]
    assert len({s.count("Secret('…')") >= 1 for s in shown}) == 1
    assert shown == [s.replace(text, "") for s in shown]


@given(TEXTS)
def test_k_4_secret_can_not_leave_by_copying(text: str) -> None:
    """No pickle of any protocol, no JSON, no `vars`; copies are the object itself."""
    secret = Secret(text)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as caught:
            pickle.dumps({"key": secret}, protocol)
        assert text not in str(caught.value)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@given(TEXTS, TEXTS)
def test_secrets_compare_only_with_secrets(one: str, other: str) -> None:
    """Equality is that of the texts; a plain text is never equal; no hash, no order."""
    assert (Secret(one) == Secret(other)) == (one == other)
    assert Secret(one) == Secret(one)
    assert Secret(one) != one
    with pytest.raises(TypeError):
        hash(Secret(one))
    with pytest.raises(TypeError):
        sorted([Secret(one), Secret(other)])  # type: ignore[type-var]


@given(LONG)
def test_hint_shows_four_characters_of_a_long_secret_only(text: str) -> None:
    """Enough to tell two keys apart, too little to use."""
    assert Secret(text).hint() == "…" + text[-4:]
    assert Secret(text[:19]).hint() == "…"


def test_k_4_traceback_with_locals_and_log_show_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A crash reporter that prints local variables, and a debug log, see the wrapper."""
    text = "test-" + "A1b2" * 10
    secret = Secret(text)
    try:
        secret.missing  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        captured = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).stack.format())
    del text
    assert "secret = Secret('…')" in captured
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("key %s %r", secret, {"k": secret})
    assert secret.reveal() not in caplog.text
    assert "Secret('…')" in caplog.text


def test_reveal_returns_the_text() -> None:
    """The one way out."""
    assert Secret("abc").reveal() == "abc"
