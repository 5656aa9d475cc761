"""Numbers of patients and of those who treat them, and of vehicles."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import mul
from types import MappingProxyType

from safellm._core.detection.checkdigits import luhn, weighted

_MBI_LETTERS = frozenset("ACDEFGHJKMNPQRTUVWXY")
_VIN_VALUES = bytes.maketrans(
    b"0123456789ABCDEFGHJKLMNPRSTUVWXYZ",
    bytes((*range(10), 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9)),
)
_NO_VIN = frozenset("IOQ")
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def gb_nhs(number: str) -> bool:
    """United Kingdom, NHS number: mod 11."""
    check = 11 - weighted(number[:9], range(10, 1, -1)) % 11
    return len(set(number)) > 1 and check != 10 and number[9] == str(check % 11)


def us_npi(number: str) -> bool:
    """United States, NPI (CMS): 1 or 2 first, Luhn behind 80840."""
    return number[0] in "12" and luhn("80840" + number)


def us_dea(number: str) -> bool:
    """United States, DEA registration: odd places plus twice the even ones."""
    digits = number[2:]
    return number[0] in "ABCDEFGHJKLMPRSTUX" and digits[6] == str(
        (sum(map(int, digits[0:5:2])) + 2 * sum(map(int, digits[1:6:2]))) % 10
    )


def us_mbi(number: str) -> bool:
    """United States, Medicare beneficiary identifier (CMS): positions of letters and digits."""
    letters = all(number[place] in _MBI_LETTERS for place in (1, 4, 7, 8))
    mixed = all(number[place].isdigit() or number[place] in _MBI_LETTERS for place in (2, 5))
    digits = all(number[place].isdigit() for place in (3, 6, 9, 10))
    return number[0] in "123456789" and letters and mixed and digits


def vin(number: str) -> bool:
    """Vehicle identification (ISO 3779; check digit 49 CFR 565): 17 characters without I, O, Q."""
    if number[8] not in "0123456789X" or not number[13:].isdigit() or not _NO_VIN.isdisjoint(number):
        return False
    total = sum(map(mul, number.encode("ascii").translate(_VIN_VALUES), _VIN_WEIGHTS))
    return number[8] == "0123456789X"[total % 11]


MEDICAL: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {function.__name__: function for function in (gb_nhs, us_npi, us_dea, us_mbi, vin)}
)
