"""Asia, the Pacific, the Middle East and Africa."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.checkdigits import is_date, luhn, verhoeff, weighted

_PROVINCES = frozenset(  # GB/T 2260, first two digits
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91]
)
_NO_PLACES = frozenset({"00", "17", "18", "19", "20", "69", "70", "73", "80", "81", "94", "95", "96", "97"})  # Malaysia
_THAI_PROVINCES = frozenset(
    [*range(10, 28), *range(30, 59), *range(60, 68), *range(70, 78), *range(80, 87), *range(90, 97)]
)
_TAIWAN = "ABCDEFGHJKLMNPQRSTUVXYWZIO"  # the letter's value is its place + 10
_UAE, _CREDIT_CODE = "784", "0123456789ABCDEFGHJKLMNPQRTUWXY"


def cn_id(number: str) -> bool:
    """China, resident identity number (GB 11643): province, date, ISO 7064 MOD 11-2."""
    if int(number[:2]) not in _PROVINCES or not "1900" <= number[6:10] <= "2099":
        return False
    if not is_date(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    return number[17] == "10X98765432"[weighted(number[:17], [pow(2, 17 - place, 11) for place in range(17)]) % 11]


def cn_uscc(number: str) -> bool:
    """China, unified social credit code (GB 32100): MOD 31."""
    if any(character not in _CREDIT_CODE for character in number) or not number[2:8].isdigit():
        return False
    total = sum(_CREDIT_CODE.index(character) * pow(3, place, 31) for place, character in enumerate(number[:17]))
    return number[17] == _CREDIT_CODE[-total % 31]


def in_aadhaar(number: str) -> bool:
    """India, Aadhaar (UIDAI): first digit 2 to 9, Verhoeff, no palindrome."""
    return number[0] > "1" and number != number[::-1] and verhoeff(number)


def in_pan(number: str) -> bool:
    """India, PAN (Income Tax Department): the fourth letter is the kind of holder."""
    return number[3] in "ABCFGHLJPT" and number[5:9] != "0000"


def in_gstin(number: str) -> bool:
    """India, GSTIN (GSTN): state, PAN of the holder, entity, Z."""
    return (
        ("01" <= number[:2] <= "38" or number[:2] in {"97", "99"})
        and number[13] == "Z"
        and number[5] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


def kr_rrn_form(number: str) -> bool:
    """Korea, resident and foreigner registration: date and century digit. Numbers given since October 2020 have no check digit."""
    century = {"1": 1900, "2": 1900, "3": 2000, "4": 2000, "5": 1900, "6": 1900, "7": 2000, "8": 2000}.get(number[6])
    return century is not None and is_date(century + int(number[:2]), int(number[2:4]), int(number[4:6]))


def kr_rrn(number: str) -> bool:
    """Korea, the same with the check digit, for residents or for foreigners."""
    check = (11 - weighted(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    return kr_rrn_form(number) and number[12] in {str(check), str((check + 2) % 10)}


def kr_brn(number: str) -> bool:
    """Korea, business registration (NTS): weights 1 3 7."""
    total = weighted(number, (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(number[8]) * 5 // 10
    return number[3:5] != "00" and number[9] == str(-total % 10)


def kr_licence(number: str) -> bool:
    """Korea, driving licence: region 11 to 28."""
    return 11 <= int(number[:2]) <= 28


def kr_passport(number: str) -> bool:
    """Korea, passport since 2021: kind, three digits, a letter, four digits."""
    return number[0] in "MSRODG"


def jp_my_number(number: str) -> bool:
    """Japan, My Number (Act 27 of 2013, ordinance 85): mod 11."""
    rest = weighted(number, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return number[11] == str(0 if rest <= 1 else 11 - rest)


def tw_id(number: str) -> bool:
    """Taiwan, identity card: letter of the county, sex, mod 10."""
    value = _TAIWAN.index(number[0]) + 10
    return (value // 10 + value % 10 * 9 + weighted(number[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def hk_id(number: str) -> bool:
    """Hong Kong, identity card (Immigration Department): mod 11 over letters and digits."""
    letters = number[:-7].rjust(2)
    values = [36 if letter == " " else ord(letter) - 55 for letter in letters] + [int(digit) for digit in number[-7:-1]]
    check = -sum(value * (9 - place) for place, value in enumerate(values)) % 11
    return number[-1] == "0123456789A"[check]


def sg_nric(number: str) -> bool:
    """Singapore, NRIC and FIN (ICA): mod 11 to a letter."""
    total = weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(number[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(number[0], "XWUTRQPNMLK")
    place = total % 11
    return number[8] == (letters[10 - place] if number[0] == "M" else letters[place])


def sg_uen(number: str) -> bool:
    """Singapore, UEN (ACRA): businesses, companies, other entities."""
    if number[0].isalpha():
        return number[:1] in "TSR"
    if len(number) == 9:
        return number[8] == "XMKECAWLJDB"[weighted(number, (10, 4, 9, 3, 8, 2, 7, 1)) % 11]
    return (
        "1900" <= number[:4] <= "2099"
        and number[9] == "ZKCMDNERGWH"[weighted(number, (10, 8, 6, 4, 9, 7, 5, 3, 1)) % 11]
    )


def my_nric(number: str) -> bool:
    """Malaysia, MyKad: date and place of birth."""
    return number[6:8] not in _NO_PLACES and is_date(int(number[:2]), int(number[2:4]), int(number[4:6]))


def id_nik(number: str) -> bool:
    """Indonesia, NIK: province, and a date whose day is 40 higher for women."""
    day = int(number[6:8])
    return 11 <= int(number[:2]) <= 94 and is_date(int(number[10:12]), int(number[8:10]), day - 40 if day > 40 else day)


def th_id(number: str) -> bool:
    """Thailand, citizen number: kind 1 to 8, province, mod 11."""
    if number[0] not in "12345678" or int(number[1:3]) not in _THAI_PROVINCES or len(set(number)) == 1:
        return False
    return number[12] == str((11 - weighted(number[:12], range(13, 1, -1)) % 11) % 10)


def vn_id(number: str) -> bool:
    """Vietnam, CCCD: province 001 to 096, century and sex, year."""
    return 1 <= int(number[:3]) <= 96


def ph_tin(number: str) -> bool:
    """Philippines, TIN: nine digits or twelve with a branch."""
    return number[:9] != "000000000"


def pk_cnic(number: str) -> bool:
    """Pakistan, CNIC (NADRA): province 1 to 7."""
    return number[0] in "1234567" and len(set(number)) > 2


def ir_id(number: str) -> bool:
    """Iran, national code: mod 11."""
    rest = weighted(number, range(10, 1, -1)) % 11
    return len(set(number)) > 1 and number[9] == str(rest if rest < 2 else 11 - rest)


def il_id(number: str) -> bool:
    """Israel, identity number: Luhn from the left."""
    return number != "000000000" and luhn(number)


def sa_id(number: str) -> bool:
    """Saudi Arabia, national id and iqama: first digit 1 or 2, Luhn."""
    return number[0] in "12" and luhn(number)


def ae_id(number: str) -> bool:
    """United Arab Emirates, Emirates ID: 784, year, Luhn."""
    return number[:3] == _UAE and "1900" <= number[3:7] <= "2099" and luhn(number)


def eg_id(number: str) -> bool:
    """Egypt, national number: century, date, governorate."""
    if number[0] not in "23" or not (1 <= int(number[7:9]) <= 35 or number[7:9] == "88"):
        return False
    century = 1900 if number[0] == "2" else 2000
    return is_date(century + int(number[1:3]), int(number[3:5]), int(number[5:7]))


def za_id(number: str) -> bool:
    """South Africa, identity number: date, citizenship, Luhn."""
    year = int(number[:2])
    exists = is_date(1900 + year, int(number[2:4]), int(number[4:6])) or is_date(
        2000 + year, int(number[2:4]), int(number[4:6])
    )
    return exists and number[10] in "012" and number[11] in "89" and luhn(number)


def kz_iin(number: str) -> bool:
    """Kazakhstan, IIN: date, century, mod 11 in two turns."""
    if not is_date(int(number[:2]), int(number[2:4]), int(number[4:6])) or number[6] > "6":
        return False
    check = weighted(number, range(1, 12)) % 11
    if check == 10:
        check = weighted(number, (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2)) % 11
    return number[11] == str(check)


def au_tfn(number: str) -> bool:
    """Australia, TFN (ATO): mod 11."""
    return weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 and len(set(number)) > 1


def au_abn(number: str) -> bool:
    """Australia, ABN (ABR): mod 89."""
    return number[0] != "0" and (weighted(number, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) - 10) % 89 == 0


def au_acn(number: str) -> bool:
    """Australia, ACN (ASIC): mod 10."""
    return number[8] == str(-weighted(number, range(8, 0, -1)) % 10) and number != "000000000"


def au_medicare(number: str) -> bool:
    """Australia, Medicare card (Services Australia): first digit 2 to 6, mod 10 in the ninth place."""
    return number[0] in "23456" and number[8] == str(weighted(number, (1, 3, 7, 9, 1, 3, 7, 9)) % 10)


def nz_ird(number: str) -> bool:
    """New Zealand, IRD number: mod 11 in two turns."""
    digits = number.rjust(9, "0")
    check = -weighted(digits, (3, 2, 7, 6, 5, 4, 3, 2)) % 11
    if check == 10:
        check = -weighted(digits, (7, 4, 3, 2, 5, 2, 7, 6)) % 11
    return 10_000_000 <= int(digits) <= 150_000_000 and digits[8] == str(check)


ASIA: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            cn_id,
            cn_uscc,
            in_aadhaar,
            in_pan,
            in_gstin,
            kr_rrn,
            kr_rrn_form,
            kr_brn,
            kr_licence,
            kr_passport,
            jp_my_number,
            tw_id,
            hk_id,
            sg_nric,
            sg_uen,
            my_nric,
            id_nik,
            th_id,
            vn_id,
            ph_tin,
            pk_cnic,
            ir_id,
            il_id,
            sa_id,
            ae_id,
            eg_id,
            za_id,
            kz_iin,
            au_tfn,
            au_abn,
            au_acn,
            au_medicare,
            nz_ird,
        )
    }
)
