"""Numbers with rules of their own: payment cards, IBANs, US social security numbers."""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - number plans are made of numbers
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from safellm._core.detection.belonging import is_of
from safellm._core.detection.checkdigits import luhn, mod97
from safellm._core.detection.context import Spans, is_decimal, is_glued, is_letter_or_digit
from safellm._core.detection.tables import label_of
from safellm._core.detection.words import OTHER, label_before

_CARD_DIGITS = range(13, 20)
_STEP = 16  # between neighbours of a table
_DECIMALS = frozenset("0123456789")
_HEX = "0123456789abcdefABCDEF"
_DIGEST, _AROUND_DIGEST = (
    64,
    12,
)  # characters that are looked at, and hex digits around a number that make it part of a digest
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


_TAXPAYERS = ("taxpayer", "tax id", "tin", "tax identification")  # a person's number of that kind in the United States
_BEGINS = ("18", "2", "3", "4", "5", "6", "97")  # of numbers of any issuer below


def _issuer(digits: str) -> bool:
    # Ranges as the networks publish them: Visa 4, Mastercard 51-55 and 2221-2720, Amex 34 37, Discover 6011 622 644-649 65,
    # Diners 30 36 38 39, JCB 35, UnionPay 62, Maestro 50 56-58 6, Mir 2200-2204, Troy 9792.
    four, size = int(digits[:4]), len(digits)
    if digits[0] == "4":
        return size in {13, 16, 19}
    if 5100 <= four <= 5599 or 2221 <= four <= 2720 or four == 9792:
        return size == 16
    if 2200 <= four <= 2204:
        return 16 <= size <= 19
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
        # Only the first group can be one that somebody calls a card: in front of the others stand digits.
        if begin >= after and 2 <= len(group) <= _CARD_DIGITS[-1] and (not rank or group.startswith(_BEGINS)):
            after = _card_end(text, start + begin, groups[rank : rank + 5], may_be_called=not rank) - start
            if after > begin:
                found.append((start + begin, start + after))
        begin += len(group) + 1
    return found


def _card_end(text: str, start: int, groups: Sequence[str], *, may_be_called: bool) -> int:
    """Return where the longest card that begins with the first group ends, or -1."""
    digits, stop, best = "", start - 1, -1
    separator = text[start + len(groups[0]) : start + len(groups[0]) + 1]
    for count, group in enumerate(groups, 1):
        if digits and (text[stop : stop + 1] != separator or len(group) < 2):
            break
        digits, stop = digits + group, stop + 1 + len(group)
        if len(digits) > _CARD_DIGITS[-1]:
            break
        if len(digits) < 12:
            continue
        # One long group is the form of ids that count time (Twitter, Discord), one in ten of which fits.
        issued = (
            len(digits) in _CARD_DIGITS
            and _issuer(digits)
            and (len(digits) not in {17, 18} or len(group) < len(digits))
        )
        if not (issued or may_be_called) or len(set(digits)) == 1 or not luhn(digits) or is_decimal(text, start, stop):
            continue
        if separator and _counts(groups[:count]):
            continue
        # Old Maestro cards are too short, and new issuers unknown, unless somebody calls the number a card.
        if (issued and not _is_in_digest(text, start, stop)) or (may_be_called and _is_called_card(text, start)):
            best = stop
    return best


def _counts(groups: Sequence[str]) -> bool:
    """Return whether groups of digits count upwards, as a table of code points does."""
    return len(groups) >= 3 and all(0 < int(second) - int(first) <= _STEP for first, second in pairwise(groups))


def _is_in_digest(text: str, start: int, end: int) -> bool:
    """Return whether digits are a part of a long run of hex digits with letters in it."""
    if text[start - 1 : start] not in _HEX and text[end : end + 1] not in _HEX:
        return False  # nearly always: it stands between other signs
    before, after = text[max(0, start - _DIGEST) : start], text[end : end + _DIGEST]
    left, right = len(before) - len(before.rstrip(_HEX)), len(after) - len(after.lstrip(_HEX))
    return left + right >= _AROUND_DIGEST


def _is_called_card(text: str, start: int) -> bool:
    label = label_before(text, start)
    return label is not None and label.type == "CREDIT_CARD" and label.is_direct


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
    if len(number) != length or is_letter_or_digit(text[position : position + 1]):
        return ()
    return ((start, position),) if mod97(number) else ()


def us_ssn(text: str, start: int, end: int, countries: frozenset[str] = frozenset()) -> Spans:
    """Accept numbers that can have been issued (SSA: no area 000, 666, 9xx; no group 00; no serial 0000)."""
    run = text[start:end]
    digits = run if run.isdigit() else "".join(filter(str.isdigit, run))
    if (
        len(digits) != 9
        or digits[:3] in {"000", "666"}
        or digits[0] == "9"
        or digits[3:5] == "00"
        or digits[5:] == "0000"
    ):
        return ()
    same = digits[3] == digits[4] and len(set(digits[:3])) == len(set(digits[5:])) == 1  # 111-22-3333
    if digits == "123456789" or same or is_glued(text, start, end):
        return ()
    label = label_of(text, start, end)
    if label is not None and label.type == "US_SSN":
        return ((start, end, 1.0),)
    if not is_of("us", countries):
        return ()
    separators = set(run) - _DECIMALS
    dashed = separators == {"-"}
    if dashed and label is not None and label.word in _TAXPAYERS:
        return ((start, end, 0.9),)
    if not separators or (label is not None and (label.is_direct or (label.type == OTHER and not dashed))):
        return ()  # another country's number of the same form, a sum, an order
    return ((start, end, 0.9 if dashed else 0.6),)
