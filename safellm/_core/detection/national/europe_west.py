"""Western and southern Europe."""

# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.checkdigits import is_date, luhn, mod11_10, weighted

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
# Italian fiscal code: values of characters in odd places (D.M. 23/12/1976); letters that replace digits for namesakes.
_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
            22,
            25,
            24,
            23,
        ),
        strict=True,
    )
)
_NAMESAKE = str.maketrans("LMNPQRSTUV", "0123456789")
_GERMAN = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NINO_NEVER = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})


def es_dni(number: str) -> bool:
    """Spain, DNI (Ministerio del Interior): mod 23 to a letter; a leading zero may be left out."""
    return number[-1] == _DNI[int(number[:-1]) % 23]


def es_nie(number: str) -> bool:
    """Spain, NIE: X, Y, Z as 0, 1, 2, then as the DNI."""
    return number[8] == _DNI[int(str("XYZ".index(number[0])) + number[1:8]) % 23] if number[0] in "XYZ" else False


def es_cif(number: str) -> bool:
    """Spain, NIF of firms: Luhn to a digit or a letter."""
    if number[0] not in "ABCDEFGHJNPQRSUVW":
        return False
    total = sum(map(int, number[2:8:2])) + sum(sum(map(int, str(2 * int(digit)))) for digit in number[1:8:2])
    check = -total % 10
    return number[8] in {str(check), "JABCDEFGHI"[check]}


def it_fiscal_code(number: str) -> bool:
    """Italy, codice fiscale: date and mod 26 letter, digits replaced by letters for namesakes."""
    digits = (number[6:8] + number[9:11] + number[12:15]).translate(_NAMESAKE)
    if not digits.isdigit() or number[8] not in "ABCDEHLMPRST" or not 1 <= int(digits[2:4]) % 40 <= 31:
        return False
    total = sum(_ODD[character] for character in number[0:15:2])
    total += sum(int(character, 36) - (10 if character.isalpha() else 0) for character in number[1:15:2])
    return number[15] == chr(65 + total % 26)


def it_vat(number: str) -> bool:
    """Italy, partita IVA: office and Luhn."""
    return (
        number[:7] != "0000000"
        and (1 <= int(number[7:10]) <= 100 or number[7:10] in {"120", "121", "888", "999"})
        and luhn(number)
    )


def fr_nir(number: str) -> bool:
    """France, NIR (INSEE): sex, month, mod 97; Corsica's A and B as 0 with an offset."""
    body = number[:13]
    shift = 0
    if body[6] in "AB":
        shift, body = (1_000_000 if body[6] == "A" else 2_000_000), body.replace(body[6], "0")
    month = int(number[3:5]) if number[3:5].isdigit() else 0
    if not body.isdigit() or number[0] not in "123478" or not (1 <= month <= 12 or 20 <= month <= 42 or month >= 50):
        return False
    return int(number[13:]) == 97 - (int(body) - shift) % 97


def fr_siren(number: str) -> bool:
    """France, SIREN and SIRET (INSEE): Luhn."""
    return len(set(number)) > 2 and luhn(number)


def fr_tax(number: str) -> bool:
    """France, numero fiscal (DGFiP): first digit 0 to 3, mod 511."""
    return number[0] in "0123" and int(number[:10]) % 511 == int(number[10:])


def de_idnr(number: str) -> bool:
    """Germany, IdNr (Bundeszentralamt fuer Steuern): one digit two or three times, MOD 11,10."""
    if number[0] == "0" or not 8 <= len(set(number[:10])) <= 9:  # that one digit comes again leaves so many
        return False
    counts = Counter(number[:10]).values()
    return max(counts) in {2, 3} and list(counts).count(1) >= 7 and mod11_10(number)


def de_vat(number: str) -> bool:
    """Germany, USt-IdNr: DE and nine digits, MOD 11,10."""
    return mod11_10(number[2:]) and number[2] != "0"


def de_document(number: str) -> bool:
    """Germany, identity card and passport (ICAO 9303): weights 7 3 1 over digits and letters; never vowels."""
    if any(character in "AEIOUBDQS" for character in number):
        return False
    values = [_GERMAN.index(character) for character in number]
    return values[-1] == sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values[:-1])) % 10


def de_pension(number: str) -> bool:
    """Germany, RVNR (VKVV): office, date, letter, mod 10 over cross sums."""
    day = int(number[2:4])
    if not is_date(int(number[6:8]), int(number[4:6]), day - 50 if day > 50 else day):
        return False
    digits = number[:8] + f"{ord(number[8]) - 64:02}" + number[9:11]
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    total = sum(sum(map(int, str(int(digit) * weight))) for digit, weight in zip(digits, weights, strict=True))
    return number[11] == str(total % 10)


def de_health(number: str) -> bool:
    """Germany, KVNR (GKV-Spitzenverband): letter as two digits, weights 1 2, cross sums."""
    digits = f"{ord(number[0]) - 64:02}" + number[1:9]
    total = sum(sum(map(int, str(int(digit) * (1 + place % 2)))) for place, digit in enumerate(digits))
    return number[9] == str(total % 10)


def at_svnr(number: str) -> bool:
    """Austria, SVNR: mod 11 in the fourth place, date of birth behind it."""
    check = weighted(number[:3] + number[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11
    return number[0] != "0" and number[3] == str(check) and int(number[4:6]) <= 31 and 1 <= int(number[6:8]) <= 15


def ch_ahv(number: str) -> bool:
    """Switzerland, AHV number: 756 and the check digit of EAN-13."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(number[:12]))
    return number[:3] == "756" and number[12] == str(-total % 10)


def ch_uid(number: str) -> bool:
    """Switzerland, UID: CHE, mod 11."""
    check = (11 - weighted(number[3:11], (5, 4, 3, 2, 7, 6, 5, 4)) % 11) % 11
    return number[:3] == "CHE" and number[11] == str(check)


def nl_bsn(number: str) -> bool:
    """Netherlands, BSN: the eleven test with -1 at the end."""
    digits = number.rjust(9, "0")
    return int(digits) > 9_999_999 and len(set(digits)) > 2 and weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def nl_vat(number: str) -> bool:
    """Netherlands, BTW number: NL, nine digits, B, two digits; BSN test or MOD 97."""
    value = int("".join(str(int(character, 36)) for character in number))
    return number[:2] == "NL" and number[11] == "B" and (nl_bsn(number[2:11]) or value % 97 == 1)


def be_nrn(number: str) -> bool:
    """Belgium, national register: date, mod 97 with or without a 2 before it."""
    if int(number[2:4]) > 12 and not 20 <= int(number[2:4]) <= 52:
        return False
    body, check = int(number[:9]), int(number[9:])
    return int(number[4:6]) <= 31 and check in {97 - body % 97, 97 - (2_000_000_000 + body) % 97}


def be_vat(number: str) -> bool:
    """Belgium, enterprise number: mod 97."""
    return number[:2] == "BE" and number[2] in "01" and int(number[10:]) == 97 - int(number[2:10]) % 97


def gb_nino(number: str) -> bool:
    """United Kingdom, national insurance number (HMRC, NIM39110): letters that are used, suffix A to D."""
    prefix = number[:2]
    return not set(prefix) & set("DFIQUV") and prefix[1] != "O" and prefix not in _NINO_NEVER and number[8] in "ABCD"


def gb_driver(number: str) -> bool:
    """United Kingdom, driver number (DVLA): five characters of the name, decade, month (plus 50 for women), day."""
    month, day = int(number[6:8]), int(number[8:10])
    return 1 <= month % 50 <= 12 and 1 <= day <= 31 and number[:5].rstrip("9").isalpha()


def gb_utr(number: str) -> bool:
    """United Kingdom, UTR (HMRC): mod 11 in front."""
    rest = weighted(number[1:], (6, 7, 8, 9, 10, 5, 4, 3, 2)) % 11
    return number[0] == "21987654321"[rest]


def ie_pps(number: str) -> bool:
    """Ireland, PPS number: mod 23."""
    extra = (ord(number[8]) - 64) * 9 if len(number) == 9 and number[8] != "W" else 0
    return number[7] == "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(number[:7], (8, 7, 6, 5, 4, 3, 2)) + extra) % 23]


def pt_nif(number: str) -> bool:
    """Portugal, NIF: mod 11."""
    check = 11 - weighted(number, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return number[0] != "0" and number[8] == str(check if check < 10 else 0)


def pt_card(number: str) -> bool:
    """Portugal, cartao de cidadao: Luhn over letters and digits."""
    total = 0
    for place, character in enumerate(reversed(number)):
        value = int(character, 36) * (1 + place % 2)
        total += value - 9 if value > 9 and place % 2 else value
    return total % 10 == 0


def gr_afm(number: str) -> bool:
    """Greece, AFM: powers of two, mod 11."""
    return number != "000000000" and number[8] == str(weighted(number[:8], (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10)


def gr_amka(number: str) -> bool:
    """Greece, AMKA: date and Luhn."""
    return is_date(int(number[4:6]), int(number[2:4]), int(number[:2])) and luhn(number)


def es_ccc(number: str) -> bool:
    """Spain, bank account (CCC): two mod 11 digits."""
    weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)
    checks = (weighted("00" + number[:8], weights), weighted(number[10:], weights))
    return number[8:10] == "".join("01987654321"[total % 11] for total in checks)


EUROPE_WEST: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            es_dni,
            es_nie,
            es_cif,
            es_ccc,
            it_fiscal_code,
            it_vat,
            fr_nir,
            fr_siren,
            fr_tax,
            de_idnr,
            de_vat,
            de_document,
            de_pension,
            de_health,
            at_svnr,
            ch_ahv,
            ch_uid,
            nl_bsn,
            nl_vat,
            be_nrn,
            be_vat,
            gb_nino,
            gb_driver,
            gb_utr,
            ie_pps,
            pt_nif,
            pt_card,
            gr_afm,
            gr_amka,
        )
    }
)
