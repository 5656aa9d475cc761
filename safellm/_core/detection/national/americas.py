"""North and South America."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.checkdigits import is_date, luhn, weighted

_CURP = "0123456789ABCDEFGHIJKLMN~OPQRSTUVWXYZ"  # ~ stands for N with tilde
_MEXICAN_STATES = frozenset(
    ["AS", "BC", "BS", "CC", "CL", "CM", "CS", "CH", "DF", "DG", "GT", "GR", "HG", "JC", "MC", "MN", "MS", "NT", "NL", "OC",
     "PL", "QT", "QR", "SP", "SL", "SR", "TC", "TS", "TL", "VZ", "YN", "ZS", "NE"]
)  # fmt: skip


def br_cpf(number: str) -> bool:
    """Brazil, CPF (Receita Federal): two mod 11 digits."""
    if len(set(number)) == 1:
        return False
    first = weighted(number[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    if number[9] != str(first):
        return False
    return number[10:] == str(weighted(number[:10], range(11, 1, -1)) * 10 % 11 % 10)


def br_cnpj(number: str) -> bool:
    """Brazil, CNPJ (Receita Federal): two mod 11 digits."""
    if len(set(number)) == 1:
        return False
    first = 11 - weighted(number[:12], (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    second = 11 - weighted(number[:13], (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return number[12:] == f"{first if first < 10 else 0}{second if second < 10 else 0}"


def ca_sin(number: str) -> bool:
    """Canada, SIN (Service Canada): Luhn; no number begins with 0 or 8."""
    return number[0] not in "08" and len(set(number)) > 1 and luhn(number)


def mx_curp(number: str) -> bool:
    """Mexico, CURP (RENAPO): date, sex, state, and a mod 10 digit over letters."""
    if not is_date(int(number[4:6]), int(number[6:8]), int(number[8:10])) or number[10] not in "HMX":
        return False
    if number[11:13] not in _MEXICAN_STATES:
        return False
    total = sum(_CURP.index(character) * (18 - place) for place, character in enumerate(number[:17]))
    return number[17] == str(-total % 10)


def mx_rfc(number: str) -> bool:
    """Mexico, RFC (SAT): letters, a date and three characters."""
    at = len(number) - 9
    return is_date(int(number[at : at + 2]), int(number[at + 2 : at + 4]), int(number[at + 4 : at + 6]))


def ar_cuit(number: str) -> bool:
    """Argentina, CUIT and CUIL (AFIP): known prefix and a mod 11 digit."""
    if number[:2] not in {"20", "23", "24", "27", "30", "33", "34", "50", "51", "55"}:
        return False
    check = -weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return check < 10 and number[10] == str(check)


def cl_rut(number: str) -> bool:
    """Chile, RUT (SII): mod 11, K for 10."""
    if len(set(number[:-1])) == 1:
        return False
    check = -weighted(number[-2::-1], (2, 3, 4, 5, 6, 7, 2, 3, 4)) % 11
    return number[-1] == "0123456789K"[check]


def co_nit(number: str) -> bool:
    """Colombia, NIT (DIAN): mod 11."""
    check = weighted(number[-2::-1], (3, 7, 13, 17, 19, 23, 29, 37, 41, 43)) % 11
    return number[-1] == "01987654321"[check]


def ec_cedula(number: str) -> bool:
    """Ecuador, cedula (Registro Civil): province, then Luhn's digit."""
    return (1 <= int(number[:2]) <= 24 or number[:2] == "30") and number[2] < "7" and luhn(number)


def pe_ruc(number: str) -> bool:
    """Peru, RUC (SUNAT): known prefix and a mod 11 digit."""
    if number[:2] not in {"10", "15", "16", "17", "20"}:
        return False
    return number[10] == str((11 - weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11) % 10)


def us_itin(number: str) -> bool:
    """United States, ITIN (IRS): area 9xx and the groups that are given out."""
    group = int(number[3:5])
    return number[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def us_ein(number: str) -> bool:
    """United States, EIN (IRS): prefixes of the campuses."""
    return number[:2] not in {
        "00",
        "07",
        "08",
        "09",
        "17",
        "18",
        "19",
        "28",
        "29",
        "49",
        "69",
        "70",
        "78",
        "79",
        "89",
        "96",
        "97",
    }


def us_aba(number: str) -> bool:
    """United States, routing number (ABA): prefix of a reserve district, weights 3 7 1."""
    prefix = int(number[:2])
    district = 1 <= prefix <= 12 or 21 <= prefix <= 32 or 61 <= prefix <= 72 or prefix == 80
    return district and weighted(number, (3, 7, 1) * 3) % 10 == 0


def mx_clabe(number: str) -> bool:
    """Mexico, CLABE (Banxico): weights 3 7 1 over digits, modulo 10."""
    total = sum(int(digit) * weight % 10 for digit, weight in zip(number[:17], (3, 7, 1) * 6, strict=False))
    return number[17] == str(-total % 10)


AMERICAS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "br_cpf": br_cpf,
        "br_cnpj": br_cnpj,
        "ca_sin": ca_sin,
        "mx_curp": mx_curp,
        "mx_rfc": mx_rfc,
        "ar_cuit": ar_cuit,
        "cl_rut": cl_rut,
        "co_nit": co_nit,
        "ec_cedula": ec_cedula,
        "pe_ruc": pe_ruc,
        "us_itin": us_itin,
        "us_ein": us_ein,
        "us_aba": us_aba,
        "mx_clabe": mx_clabe,
    }
)
