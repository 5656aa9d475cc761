"""Nordic countries."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.checkdigits import is_date, luhn, weighted

_FINNISH = "0123456789ABCDEFHJKLMNPRSTUVWXY"


def se_personal(number: str) -> bool:
    """Sweden, personnummer of ten or twelve digits (day plus 60 for coordination numbers): date, Luhn."""
    short = number[-10:]
    if len(number) == 12 and number[:2] not in {"18", "19", "20"}:
        return False
    day = int(short[4:6])
    year = int(number[:4]) if len(number) == 12 else int(short[:2])
    return is_date(year, int(short[2:4]), day - 60 if day > 60 else day) and luhn(short)


def se_organisation(number: str) -> bool:
    """Sweden, organisationsnummer: third digit at least 2, Luhn."""
    return number[2] >= "2" and number[0] in "2356789" and luhn(number)


def no_birth_number(number: str) -> bool:
    """Norway, foedselsnummer (day plus 40 for D-numbers): date and two mod 11 digits."""
    day, month = int(number[:2]), int(number[2:4])
    if not is_date(int(number[4:6]), month - 40 if month > 40 else month, day - 40 if day > 40 else day):
        return False
    first = -weighted(number[:9], (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
    if number[9] != str(first):
        return False
    return number[10:] == str(-weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11)


def no_organisation(number: str) -> bool:
    """Norway, organisasjonsnummer: 8 or 9 first, mod 11."""
    return number[0] in "89" and number[8] == str(-weighted(number[:8], (3, 2, 7, 6, 5, 4, 3, 2)) % 11)


def dk_cpr(number: str) -> bool:
    """Denmark, CPR: a date; the check digit is no longer kept."""
    return is_date(int(number[4:6]), int(number[2:4]), int(number[:2]))


def fi_hetu(number: str) -> bool:
    """Finland, henkilotunnus: date, century sign, mod 31; the sign is left out of the compact form when it is no letter."""
    serial = number[-4:]
    if not is_date(int(number[4:6]), int(number[2:4]), int(number[:2])) or int(serial[:3]) < 2:
        return False
    return serial[3] == _FINNISH[int(number[:6] + serial[:3]) % 31] and (
        len(number) == 10 or number[6] in "ABCDEFYXWVU"
    )


def fi_business(number: str) -> bool:
    """Finland, Y-tunnus: mod 11."""
    check = -weighted(number[:7], (7, 9, 10, 5, 8, 4, 2)) % 11
    return number[7] == str(check)


def is_kennitala(number: str) -> bool:
    """Iceland, kennitala: date, mod 11, century."""
    day = int(number[:2])
    return (
        is_date(int(number[4:6]), int(number[2:4]), day - 40 if day > 40 else day)
        and number[9] in "890"
        and number[8] == str(-weighted(number[:8], (3, 2, 7, 6, 5, 4, 3, 2)) % 11)
    )


NORDIC: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            se_personal,
            se_organisation,
            no_birth_number,
            no_organisation,
            dk_cpr,
            fi_hetu,
            fi_business,
            is_kennitala,
        )
    }
)
