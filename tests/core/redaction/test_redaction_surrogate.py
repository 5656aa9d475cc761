"""Surrogates look right, belong to nobody, and are the same within a conversation only."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import iban, luhn
from stdnum.iso7064 import mod_97_10

from safellm._core.redaction.surrogate import SURROGATE_TYPES, iban_digits, luhn_digit, make_surrogate

KEY = b"k" * 32
SAMPLES = {
    "EMAIL": ["alice@corp.test", "A.B+c@x.io"],
    "CREDIT_CARD": ["4111 1111 1111 1111", "378282246310005", "5555-5555-5555-4444", "6011111111111117"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "NO9386011117947", "FR1420041010050500013M02606"],
    "PHONE": [
        "+1 (212) 555-7890",
        "212-555-7890",
        "+44 20 7123 4567",
        "07911 123456",
        "+49 30 901820",
        "+447911123456",
    ],
    "US_SSN": ["123-45-6789", "123456789"],
    "IP_ADDRESS": ["10.1.2.3", "fe80::1"],
    "MAC_ADDRESS": ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e"],
}
ALL = [(kind, value) for kind, values in SAMPLES.items() for value in values]


def surrogate(kind: str, value: str, scope: str = "s", attempt: int = 0) -> str:
    """Return a surrogate that there must be."""
    made = make_surrogate(KEY, scope, kind, value, attempt)
    assert made is not None
    return made


def test_every_type_has_samples() -> None:
    """No type is left out below."""
    assert set(SAMPLES) == SURROGATE_TYPES


@pytest.mark.parametrize(("kind", "value"), ALL)
def test_a21_surrogates_have_the_form_and_are_keyed(kind: str, value: str) -> None:
    """Same value, same fake; another conversation, key or attempt, another one."""
    made = surrogate(kind, value)
    assert made == surrogate(kind, value)
    assert len({made, value, *(surrogate(kind, value, attempt=n) for n in (1, 2))}) >= 3
    assert any(surrogate(kind, value, scope=f"t{n}") != made for n in range(3))
    assert any(make_surrogate(bytes([n]) * 32, "s", kind, value) != made for n in range(3))
    if kind not in ("EMAIL", "IP_ADDRESS") and value != "+49 30 901820":
        assert re.sub(r"[0-9A-Za-z]", "0", made) == re.sub(r"[0-9A-Za-z]", "0", value)


@given(st.sampled_from(ALL), st.text(max_size=5), st.integers(0, 50))
def test_a21_surrogates_are_valid_and_belong_to_nobody(case: tuple[str, str], scope: str, attempt: int) -> None:
    """Right check digits, and ranges that are reserved."""
    kind, value = case
    made = surrogate(kind, value, scope, attempt)
    digits = re.sub(r"\D", "", made)
    match kind:
        case "EMAIL":
            assert re.fullmatch(r"[a-z]+\.[a-z]+[0-9]{4}@example\.com", made)
        case "CREDIT_CARD":
            assert luhn.is_valid(digits)
            assert digits.startswith(("400000", "378282", "371449", "555555", "222300", "601111", "353011"))
        case "IBAN":
            compact = made.replace(" ", "")
            assert iban.is_valid(compact, check_country=False)
            assert compact[4:8] in ("0000", "XXXX")
        case "PHONE":
            assert re.fullmatch(
                r"1?[2-9][0-8][2-9]55501[0-9]{2}|447700900[0-9]{3}|442079460[0-9]{3}|07700900[0-9]{3}", digits
            )
        case "US_SSN":
            assert re.fullmatch(r"9[0-9]{2}(0[1-9]|[1-4][0-9])[0-9]{4}", digits)
        case "IP_ADDRESS":
            address = ipaddress.ip_address(made)
            assert any(address in ipaddress.ip_network(one) for one in ("198.18.0.0/15", "2001:db8::/32"))
        case "MAC_ADDRESS":
            assert int(re.sub(r"\W", "", made)[:2], 16) & 3 == 2


@given(st.text(max_size=40), st.sampled_from([*SAMPLES, "PERSON"]))
def test_any_text_has_a_surrogate_or_none(value: str, kind: str) -> None:
    """What a detector calls a card may have no card's form: then there is no surrogate, and never an error."""
    made = make_surrogate(KEY, "s", kind, value)
    assert made is None or made.isascii()


@given(st.from_regex(r"[0-9]{1,18}", fullmatch=True), st.from_regex(r"[A-Z0-9]{11,30}", fullmatch=True))
def test_check_digits_agree_with_the_standard_library_of_numbers(digits: str, account: str) -> None:
    """Luhn and MOD 97-10 as others compute them."""
    assert luhn.is_valid(digits + luhn_digit(digits))
    assert mod_97_10.is_valid(f"{account}XX{iban_digits('XX', account)}")
