"""Eastern Europe and Turkey."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.checkdigits import is_date, mod11_10, weighted

_THIS_CENTURY = 40  # the last year of this century that a number of a living person holds


def pl_pesel(number: str) -> bool:
    """Poland, PESEL: date with the century in the month, weights 1 3 7 9."""
    month = int(number[2:4])
    lives = 1 <= month <= 12 or (21 <= month <= 32 and int(number[:2]) <= _THIS_CENTURY)
    if not lives or not is_date(int(number[:2]), month % 20, int(number[4:6])):
        return False
    return number[10] == str(-weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def pl_nip(number: str) -> bool:
    """Poland, NIP: mod 11."""
    return number[0] != "0" and number[9] == str(weighted(number[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11)


def pl_regon(number: str) -> bool:
    """Poland, REGON of nine digits: mod 11."""
    return number[8] == str(weighted(number[:8], (8, 9, 2, 3, 4, 5, 6, 7)) % 11 % 10)


def pl_card(number: str) -> bool:
    """Poland, identity card: three letters, check digit, five digits; weights 7 3 1."""
    values = [int(character, 36) for character in number]
    total = sum(value * weight for value, weight in zip(values, (7, 3, 1, 9, 7, 3, 1, 7, 3), strict=True))
    return total % 10 == 0


def cz_birth_number(number: str) -> bool:
    """Czechia and Slovakia, birth number: date (month plus 50 for women, plus 20 when a day ran out), divisible by 11."""
    month = int(number[2:4]) % 50
    if not is_date(int(number[:2]), month - 20 if month > 20 else month, int(number[4:6])):
        return False
    return len(number) == 9 or int(number) % 11 == 0 or (int(number[:9]) % 11 == 10 and number[9] == "0")


def cz_ico(number: str) -> bool:
    """Czechia, ICO: mod 11."""
    return number[7] == str((11 - weighted(number[:7], (8, 7, 6, 5, 4, 3, 2)) % 11) % 10)


def hu_tax(number: str) -> bool:
    """Hungary, tax identification of a person: 8 first, mod 11."""
    return number[0] == "8" and number[9] == str(weighted(number[:9], range(1, 10)) % 11)


def hu_taj(number: str) -> bool:
    """Hungary, TAJ: weights 3 7, mod 10."""
    return number[8] == str(weighted(number[:8], (3, 7) * 4) % 10) and len(set(number)) > 1


def ro_cnp(number: str) -> bool:
    """Romania, CNP: sex, date, county, mod 11."""
    if number[0] == "0" or not is_date(int(number[1:3]), int(number[3:5]), int(number[5:7])):
        return False
    check = weighted(number[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return int(number[7:9]) <= 52 and number[12] == str(1 if check == 10 else check)


def bg_egn(number: str) -> bool:
    """Bulgaria, EGN: date with the century in the month, mod 11."""
    month = int(number[2:4])
    if not is_date(int(number[:2]), month % 20, int(number[4:6])) or month > 52:
        return False
    return number[9] == str(weighted(number[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10)


def hr_oib(number: str) -> bool:
    """Croatia, OIB: MOD 11,10."""
    return len(set(number)) > 1 and mod11_10(number)


def rs_jmbg(number: str) -> bool:
    """Successors of Yugoslavia, JMBG: date, region, mod 11."""
    year = int(number[4:7])
    if not is_date((2000 if year < 800 else 1000) + year, int(number[2:4]), int(number[:2])):
        return False
    check = 11 - weighted(number[:12], (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return number[12] == str(0 if check > 9 else check)


def baltic_id(number: str) -> bool:
    """Estonia and Lithuania, personal code: sex and century, date, mod 11 in two turns."""
    born = number[0] in "34" or (number[0] in "56" and int(number[1:3]) <= _THIS_CENTURY)
    if not born or not is_date(int(number[1:3]), int(number[3:5]), int(number[5:7])):
        return False
    check = weighted(number[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(number[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return number[10] == str(check)


def lv_code(number: str) -> bool:
    """Latvia, personal code: date, or 32 first, mod 11."""
    if number[:2] == "32":
        return True
    if not is_date(int(number[4:6]), int(number[2:4]), int(number[:2])) or number[6] not in "012":
        return False
    return number[10] == str((1101 - weighted(number[:10], (1, 6, 3, 7, 9, 10, 5, 8, 4, 2))) % 11 % 10)


def ru_inn(number: str) -> bool:
    """Russia, INN of ten or twelve digits: mod 11."""
    if number[:2] == "00":
        return False
    if len(number) == 10:
        return number[9] == str(weighted(number[:9], (2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10)
    first = weighted(number[:10], (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    second = weighted(number[:11], (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    return number[10:] == f"{first}{second}"


def ru_snils(number: str) -> bool:
    """Russia, SNILS: mod 101."""
    return number[:9] > "001001998" and int(number[9:]) == weighted(number[:9], range(9, 0, -1)) % 101 % 100


def ua_rnokpp(number: str) -> bool:
    """Ukraine, RNOKPP: days since 1900, mod 11."""
    return (
        number[9] == str(weighted(number[:9], (-1, 5, 7, 9, 4, 6, 10, 5, 7)) % 11 % 10)
        and 5000 < int(number[:5]) < 47000
    )


def tr_id(number: str) -> bool:
    """Turkey, T.C. kimlik: two digits over sums of places."""
    if number[0] == "0" or number[10] != str(weighted(number[:10], (1,) * 10) % 10):
        return False
    return number[9] == str(weighted(number[:9], (7, -1, 7, -1, 7, -1, 7, -1, 7)) % 10)


def tr_vkn(number: str) -> bool:
    """Turkey, VKN: powers of two, mod 9."""
    total = 0
    for place, digit in enumerate(number[:9]):
        value = (int(digit) + 9 - place) % 10
        product = value * pow(2, 9 - place) % 9
        total += 9 if value and not product else product
    return number[9] == str(-total % 10)


EUROPE_EAST: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            pl_pesel,
            pl_nip,
            pl_regon,
            pl_card,
            cz_birth_number,
            cz_ico,
            hu_tax,
            hu_taj,
            ro_cnp,
            bg_egn,
            hr_oib,
            rs_jmbg,
            baltic_id,
            lv_code,
            ru_inn,
            ru_snils,
            ua_rnokpp,
            tr_id,
            tr_vkn,
        )
    }
)
