"""Check digit methods that many numbers share. All take strings of digits, or of capitals and digits where said."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from operator import mul

_PLAIN = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(
    b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9))
)  # Luhn: its digit sum (ISO/IEC 7812-1 annex B)
# Verhoeff: J. Verhoeff, Error Detecting Decimal Codes, 1969: the dihedral group of order ten and its permutation.
_DIHEDRAL_ROWS = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTATION_ROWS = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_DIHEDRAL = tuple(tuple(map(int, row)) for row in _DIHEDRAL_ROWS)
_PERMUTATION = tuple(tuple(map(int, row)) for row in _PERMUTATION_ROWS)
# What two digits add, the second at an odd place: the operation is associative.
_PAIRS = tuple(
    tuple(tuple(_DIHEDRAL[first][second] for second in _PERMUTATION[place + 1]) for first in _PERMUTATION[place])
    for place in range(0, 8, 2)
)


def luhn(digits: str) -> bool:
    """Return whether a number's last digit is its Luhn check digit."""
    data = digits.encode("ascii")
    return (sum(data[-1::-2].translate(_PLAIN)) + sum(data[-2::-2].translate(_DOUBLED))) % 10 == 0


def verhoeff(digits: str) -> bool:
    """Return whether a number's last digit is its Verhoeff check digit."""
    check = 0
    backwards = digits.encode("ascii").translate(_PLAIN)[::-1]
    even, odd = backwards[::2], backwards[1::2]
    for pairs, first, second in zip(cycle(_PAIRS), even, odd, strict=False):
        check = _DIHEDRAL[check][pairs[first][second]]
    if len(even) > len(odd):
        check = _DIHEDRAL[check][_PERMUTATION[(len(odd) * 2) % 8][even[-1]]]
    return check == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    """Return the sum of digit times weight, over the shorter of the two."""
    return sum(map(mul, digits.encode("ascii").translate(_PLAIN), weights))  # a table has many numbers of many kinds


def mod11_10(digits: str) -> bool:
    """Return whether ISO/IEC 7064 MOD 11,10 holds: German and Croatian numbers."""
    check = 5
    for digit in digits[:-1]:
        check = (((check or 10) * 2) % 11 + int(digit)) % 10
    return ((check or 10) * 2 % 11 + int(digits[-1])) % 10 == 1


def mod97(text: str) -> bool:
    """Return whether ISO 13616 holds for capitals and digits, the country and check digits standing first."""
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_date(year: int, month: int, day: int) -> bool:
    """Return whether a day exists; the year may be one of any century (29 February is allowed if it can exist)."""
    if not 1 <= month <= 12:  # noqa: PLR2004
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0 or year < 100)  # noqa: PLR2004
    return 1 <= day <= (29 if month == 2 and leap else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1])  # noqa: PLR2004
