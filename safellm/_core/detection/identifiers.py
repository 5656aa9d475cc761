"""Numbers with a check of their own: cards, bank accounts, US social security numbers, IP addresses."""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from safellm._core.detection.context import Spans, is_decimal, is_glued, is_named, is_said, is_version

_CARD_DIGITS = range(13, 20)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # Luhn: digit sum of the doubled digit (ISO/IEC 7812-1 annex B)
_CARD_WORDS = frozenset(["card", "cards", "credit", "debit", "cc", "maestro", "visa", "mastercard"])
_SSN_NAMES = ("ssn", "social security", "social-security", "social_security", "soc sec")
_IBAN_LENGTHS: Mapping[str, int] = MappingProxyType({
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FO FI GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ TL OM SO",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "PT ST LY", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC", "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
})  # fmt: skip


def luhn(digits: str) -> bool:
    """Return whether a number's last digit is its Luhn check digit."""
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def _issuer(digits: str) -> bool:
    # Ranges as the networks publish them: Visa 4, Mastercard 51-55 and 2221-2720, Amex 34 37, Discover 6011 622 644-649 65,
    # Diners 30 36 38 39, JCB 35, UnionPay 62, Maestro 50 56-58 6.
    four, size = int(digits[:4]), len(digits)
    if digits[0] == "4":
        return size in {13, 16, 19}
    if 5100 <= four <= 5599 or 2221 <= four <= 2720:
        return size == 16
    if four // 100 in {34, 37}:
        return size == 15
    if four // 100 in {30, 36, 38, 39}:
        return size in {14, 16}
    if 3500 <= four <= 3589:
        return size in {16, 19}
    if four in {1800, 2131}:
        return size == 15
    return size in {12, 16, 17, 18, 19} and (four // 100 in {50, 56, 57, 58, 60, 62, 63, 64, 65, 67})


def card(text: str, start: int, end: int) -> Spans:
    """Find card numbers in a run of digits with single separators.

    A card is one group of digits, or two to five groups of two or more with one kind of separator between them; its issuer's
    length and Luhn's digit must be right. Each group is tried as a beginning, with at most five groups: linear in the run.
    """
    run = text[start:end]
    groups = run.replace("-", " ").replace(".", " ").split(" ")
    found: list[tuple[int, int]] = []
    begin = after = 0
    for rank, group in enumerate(groups):
        if begin >= after and 2 <= len(group) <= _CARD_DIGITS[-1]:
            after = _card_end(text, start + begin, groups[rank : rank + 5]) - start
            if after > begin:
                found.append((start + begin, start + after))
        begin += len(group) + 1
    return found


def _card_end(text: str, start: int, groups: Sequence[str]) -> int:
    """Return where the longest card that begins with the first group ends, or -1."""
    digits, stop, best = "", start - 1, -1
    separator = text[start + len(groups[0]) : start + len(groups[0]) + 1]
    for group in groups:
        if digits and (text[stop : stop + 1] != separator or len(group) < 2):
            break
        digits, stop = digits + group, stop + 1 + len(group)
        if len(digits) > _CARD_DIGITS[-1]:
            break
        named = len(digits) == 12 and is_said(text, start, _CARD_WORDS)  # old Maestro, too short to stand alone
        if (
            (named or len(digits) in _CARD_DIGITS)
            and _issuer(digits)
            and len(set(digits)) > 1
            and luhn(digits)
            and not is_decimal(text, start, stop)
        ):
            best = stop
    return best


def iban(text: str, start: int, end: int) -> Spans:
    """Cut a run of IBAN characters to its country's length and test ISO 13616 (mod 97-10)."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return ()
    kept: list[str] = []
    position = start
    while position < end and len(kept) < length:
        if text[position].isalnum():
            kept.append(text[position].upper())
        position += 1
    number = "".join(kept)
    if len(number) != length or text[position : position + 1].isalnum():
        return ()
    value = int("".join(str(int(character, 36)) for character in number[4:] + number[:4]))
    return ((start, position),) if value % 97 == 1 else ()


def us_ssn(text: str, start: int, end: int) -> Spans:
    """Accept numbers that can have been issued (SSA: no area 000, 666, 9xx; no group 00; no serial 0000)."""
    digits = "".join(character for character in text[start:end] if character.isdigit())
    if (
        len(digits) != 9
        or digits[:3] in {"000", "666"}
        or digits[0] == "9"
        or digits[3:5] == "00"
        or digits[5:] == "0000"
    ):
        return ()
    if digits == "123456789" or len(set(digits)) == 1 or is_glued(text, start, end):
        return ()
    separators = {character for character in text[start:end] if not character.isdigit()}
    if separators == {"-"}:
        return ((start, end),)
    return ((start, end),) if is_named(text, start, _SSN_NAMES) else ()


def ipv4(text: str, start: int, end: int) -> Spans:
    """Accept an address that can identify a machine: not 0/8, loopback, a netmask, a version or an object identifier."""
    octets = text[start:end].replace("[", "").replace("]", "").split(".")
    if octets[0] in {"0", "127", "255"} or len(set(octets)) == 1:
        return ()
    if any(len(octet) > 1 and octet[0] == "0" for octet in octets) or is_glued(text, start, end):
        return ()
    return () if is_version(text, start) else ((start, end),)


def ipv6(text: str, start: int, end: int) -> Spans:
    """Accept what parses as IPv6 (RFC 4291), isn't loopback or unspecified, and isn't a slice or a C++ name."""
    value = text[start:end].rstrip(":.") if not text[start:end].endswith("::") else text[start:end]
    end = start + len(value)
    groups = [group for group in value.split(":") if group]
    if len(groups) < 2 or not any(character.isdigit() for character in value):
        return ()
    if len(groups) < 4 and not any(len(group) >= 3 for group in groups):  # a[1::2], 1::2
        return ()
    if (
        text[max(0, start - 1) : start].isalnum()
        or text[max(0, start - 1) : start] == ":"
        or text[end : end + 1].isalnum()
        or is_decimal("0" + text[end : end + 2], 1, 1)
    ):
        return ()
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return ()
    return () if address.is_loopback or address.is_unspecified else ((start, end),)
