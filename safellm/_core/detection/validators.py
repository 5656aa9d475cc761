"""Checks on what a pattern matched: checksums, number plans, placeholders, context.

A check gets the canonical text and the span of a match, and returns the spans that hold: none, the same, narrower or wider.
Checks look at bounded windows around the span, never at the whole text, so that the scan stays linear.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from safellm._core.detection.secretlike import (
    assigned_key,
    assigned_password,
    assigned_secret,
    header_token,
    looks_random,
    mixed_token,
    not_sample,
    url_password,
)

Spans = Sequence[tuple[int, int]]
Check = Callable[[str, int, int], Spans]

_SEPARATORS = " -."
_CARD_DIGITS = range(13, 20)
_CONTEXT = 48  # characters before a number in which its name may stand
_ALNUM = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_GLUE_LEFT, _GLUE_RIGHT = _ALNUM | set("_#$/"), _ALNUM | {"_"}
_TO_SPACE = str.maketrans(dict.fromkeys((chr(code) for code in range(128) if not chr(code).isalnum()), " "))
_JOINS = frozenset("-.+*^")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # Luhn: digit sum of the doubled digit (ISO/IEC 7812-1 annex B)


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
        if begin >= after and 2 <= len(group) <= _CARD_DIGITS[-1]:  # noqa: PLR2004
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
        if digits and (text[stop : stop + 1] != separator or len(group) < 2):  # noqa: PLR2004
            break
        digits, stop = digits + group, stop + 1 + len(group)
        if len(digits) > _CARD_DIGITS[-1]:
            break
        named = len(digits) == 12 and _said(text, start, _CARD_WORDS)  # noqa: PLR2004 - old Maestro, too short to stand alone
        if (named or len(digits) in _CARD_DIGITS) and _issuer(digits) and len(set(digits)) > 1 and luhn(digits) and not _decimal(text, start, stop):
            best = stop
    return best


def _decimal(text: str, start: int, end: int) -> bool:
    """Return whether a decimal point joins the span to more digits."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return (before[1:] == "." and before[0].isdigit()) or (after[:1] == "." and after[1:].isdigit())


def iban(text: str, start: int, end: int) -> Spans:
    """Cut a run of IBAN characters to its country's length and test ISO 13616 (mod 97-10)."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return ()
    kept, position = [], start
    while position < end and len(kept) < length:
        if text[position].isalnum():
            kept.append(text[position].upper())
        position += 1
    number = "".join(kept)
    if len(number) != length or text[position : position + 1].isalnum():
        return ()
    value = int("".join(str(int(character, 36)) for character in number[4:] + number[:4]))
    return ((start, position),) if value % 97 == 1 else ()


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


def us_ssn(text: str, start: int, end: int) -> Spans:
    """Accept numbers that can have been issued (SSA: no area 000, 666, 9xx; no group 00; no serial 0000)."""
    digits = "".join(character for character in text[start:end] if character.isdigit())
    if len(digits) != 9 or digits[:3] in {"000", "666"} or digits[0] == "9" or digits[3:5] == "00" or digits[5:] == "0000":  # noqa: PLR2004
        return ()
    if digits in {"123456789"} or len(set(digits)) == 1 or _glued(text, start, end):
        return ()
    separators = {character for character in text[start:end] if not character.isdigit()}
    if separators == {"-"}:
        return ((start, end),)
    return ((start, end),) if _named(text, start, _SSN_NAMES) else ()


def ipv4(text: str, start: int, end: int) -> Spans:
    """Accept an address that can identify a machine: not 0/8, loopback, a netmask, a version or an object identifier."""
    octets = text[start:end].replace("[", "").replace("]", "").split(".")
    if octets[0] in {"0", "127", "255"} or len(set(octets)) == 1:
        return ()
    if any(len(octet) > 1 and octet[0] == "0" for octet in octets) or _glued(text, start, end):
        return ()
    return () if _is_version(text, start) else ((start, end),)


def ipv6(text: str, start: int, end: int) -> Spans:
    """Accept what parses as IPv6 (RFC 4291), isn't loopback or unspecified, and isn't a slice or a C++ name."""
    value = text[start:end].rstrip(":.") if not text[start:end].endswith("::") else text[start:end]
    end = start + len(value)
    groups = [group for group in value.split(":") if group]
    if len(groups) < 2 or not any(character.isdigit() for character in value):  # noqa: PLR2004
        return ()
    if len(groups) < 4 and not any(len(group) >= 3 for group in groups):  # noqa: PLR2004 - a[1::2], 1::2
        return ()
    if text[max(0, start - 1) : start].isalnum() or text[max(0, start - 1) : start] == ":" or text[end : end + 1].isalnum() or _decimal("0" + text[end : end + 2], 1, 1):
        return ()
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return ()
    return () if address.is_loopback or address.is_unspecified else ((start, end),)


def email(text: str, start: int, end: int) -> Spans:
    """Reject what only looks like an address: file names, user info of URLs, version-control remotes."""
    value = text[start:end]
    local, _, domain = value.rpartition("@")
    while local and local[0] in ".-'+%&=":  # a query's separator or a quote
        start, local = start + 1, local[1:]
    if not local or ".." in domain or domain.rsplit(".", 1)[-1].lower() in _FILE_ENDINGS:
        return ()
    before, after = text[max(0, start - _CONTEXT) : start], text[end : end + 1]
    token = before.split()[-1] if before and not before[-1].isspace() else ""
    if "://" in token and "?" not in token and not token.endswith("mailto:"):
        return ()  # user or password of a URL; the password has its own rule
    if local.lower() in {"git", "hg", "svn"} and after in {":", "/"}:
        return ()
    return ((start, end),)


def email_spelled(text: str, start: int, end: int) -> Spans:
    """Reject spelled-out addresses whose end is a file name."""
    ending = text[start:end].rstrip().rsplit(" ", 1)[-1].lower()
    return () if ending in _FILE_ENDINGS else ((start, end),)


def phone_international(text: str, start: int, end: int) -> Spans:
    """Accept +, 8 to 15 digits (ITU-T E.164), with no digit, letter or sum around."""
    digits = _digits(text, start, end)
    if not 8 <= len(digits) <= 15 or digits.startswith("0") or len(set(digits)) < 3 or _glued(text, start, end):  # noqa: PLR2004
        return ()
    return ((start, end),)


def phone_nanp(text: str, start: int, end: int) -> Spans:
    """Accept a North American number in its usual groups, if nothing is glued to it and it isn't called something else."""
    if _glued(text, start, end) or _is_version(text, start):
        return ()
    named_otherwise = _said(text, start, _OTHER_WORDS, reach=20) and not _said(text, start, _PHONE_WORDS)
    return () if named_otherwise else ((start, end),)


def phone_national(text: str, start: int, end: int) -> Spans:
    """Accept numbers of other plans: with a word for telephone before them, or with a leading 0 in telephone groups."""
    if end - start > _PHONE_LENGTH:
        return ()
    digits = _digits(text, start, end)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3 or _glued(text, start, end):  # noqa: PLR2004
        return ()
    groups = "".join(character if character.isdigit() else " " for character in text[start:end]).split()
    if _dated(groups) or _said(text, start, _OTHER_WORDS, reach=20):
        return ()
    if _said(text, start, _PHONE_WORDS) or _named(text, start, _PHONE_PARTS):
        return ((start, end),)
    trunk = digits[0] == "0" and digits[1] != "0" and _decimal(text, start, end) is False
    if not trunk or _said(text, start, _OTHER_WORDS):
        return ()
    if len(groups) == 1:
        return ((start, end),) if len(digits) == 11 and digits[1] in "156789" else ()  # noqa: PLR2004 - mobile numbers
    inner = groups[1:] if groups[0] == "0" else groups
    usual = 9 <= len(digits) <= 11 and len(groups) <= 5 and all(2 <= len(group) <= 8 for group in inner)  # noqa: PLR2004
    return ((start, end),) if usual and text[start:end].count(".") in {0, len(groups) - 1} else ()


def _dated(groups: Sequence[str]) -> bool:
    sizes = [len(group) for group in groups]
    year_first = sizes[0] == 4 and groups[0][:2] in {"19", "20"} and len(sizes) > 1 and max(sizes[1:3]) <= 2  # noqa: PLR2004
    year_last = len(sizes) >= 3 and sizes[2] == 4 and groups[2][:2] in {"19", "20"} and max(sizes[:2]) <= 2  # noqa: PLR2004
    packed = len(sizes) == 1 and sizes[0] in {8, 12, 14} and groups[0][:2] in {"19", "20"}
    return year_first or year_last or packed


def _digits(text: str, start: int, end: int) -> str:
    return "".join(character for character in text[start:end] if character.isdigit())


def _glued(text: str, start: int, end: int) -> bool:
    """Return whether the number goes on beyond the span, or is part of a word, path or identifier."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if _GLUE_LEFT.issuperset(before[-1:]) and before or _GLUE_RIGHT.issuperset(after[:1]) and after:
        return True
    joined_left = len(before) == 2 and before[1] in _JOINS and _ALNUM.issuperset(before[0])  # noqa: PLR2004
    return joined_left or (len(after) == 2 and after[0] in _JOINS and after[1].isdigit())  # noqa: PLR2004


def _named(text: str, start: int, names: Sequence[str], reach: int = _CONTEXT) -> bool:
    before = text[max(0, start - reach) : start].lower()
    return any(name in before for name in names)


def _said(text: str, start: int, words: frozenset[str], reach: int = _CONTEXT) -> bool:
    return not words.isdisjoint(_words(text[max(0, start - reach) : start]))


def _words(text: str) -> list[str]:
    return text.lower().translate(_TO_SPACE).split()


def _is_version(text: str, start: int) -> bool:
    before = text[max(0, start - _CONTEXT) : start].lower()
    if before.rstrip(" \"'").endswith(("==", ">=", "<=", "~=", "^", "~", "@", " v", "(v", "@v")) or before == "v":
        return True
    words = [word for word in _words(before) if not word.isdigit()]
    if any(word in _VERSION_WORDS or word.endswith("version") for word in words[-2:]):
        return True
    return words[-1:] in (["from"], ["to"]) and not _VERSION_WORDS.isdisjoint(words[-4:])


def whole_key(text: str, start: int, end: int) -> Spans:
    """Widen the first line of a private key to its last line, or to the end of its letters when it is cut off."""
    window = text[end : end + _KEY_REACH]
    stop, next_key = window.find("-----END"), window.find("-----BEGIN")
    if stop >= 0 and not 0 <= next_key < stop:
        close = window.find("-----", stop + 8)
        line = close + 5 if 0 <= close - stop <= 64 else stop + 8  # noqa: PLR2004
        return ((start, end + line),) if stop >= _LEAST_KEY else ()
    window = window[:next_key] if next_key >= 0 else window
    body = window[: len(window) - len(window.lstrip(_KEY_CHARACTERS))].rstrip()
    return ((start, end + len(body)),) if len(body) >= _LEAST_KEY else ()


_KEY_REACH = 16_384  # characters; a 16,384-bit RSA key has 12,700
_LEAST_KEY = 20  # characters between the lines; less is the name of a format, not a key
_KEY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \r\n\t:,-\"'"

_PHONE_LENGTH = 60  # characters: 15 digits with three separators each
_CARD_WORDS = frozenset("card cards credit debit cc maestro visa mastercard".split())
_SSN_NAMES = ("ssn", "social security", "social-security", "social_security", "soc sec")
_VERSION_WORDS = frozenset(
    "version versions ver v release releases build firmware rev revision driver upgrade upgraded upgrading downgrade downgraded "
    "update updated bump bumped bumps section oid".split()
)
_PHONE_WORDS = frozenset(
    "phone phones telephone tel mobile mobil mob cell cellphone celular fax whatsapp call calls called calling dial hotline sms text "
    "reach ring handy rufnummer anrufen telefon telefonnummer telefono teléfono telefone móvil movil tlf tlfn téléphone appelez "
    "appeler puhelin puhelinnumero gsm portable contact kontakt kontaktnummer ligue ligar numerem zadzwoń chiamare chiama bel belt "
    "ring телефон тел позвоните τηλ τηλέφωνο هاتف فون phonenumber".split()
)
_PHONE_PARTS = ("phone", "telef", "电话", "手机", "致电", "拨打", "電話", "携帯", "전화", "फ़ोन", "फोन", "โทร", "هاتف")
_OTHER_WORDS = frozenset(
    "order invoice account acct ticket isbn issn serial tracking id ids ref reference sku zip card iban passport license licence ssn "
    "bank uuid hash version port case vin routing aba npi tax nhs mrn medical patient member policy document item part model "
    "bytes timestamp epoch size count total lines line page pages pid seed width height".split()
)
_FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp ico bmp css scss js mjs cjs ts tsx jsx json html htm xml yaml yml toml txt md py rb php java go rs "
    "c h cpp hpp cs kt swift sh bat ps1 service socket timer target mount path slice scope lock log pdf zip gz tar tgz whl min".split()
)

CHECKS: Mapping[str, Check] = MappingProxyType({
    "card": card, "iban": iban, "us_ssn": us_ssn, "ipv4": ipv4, "ipv6": ipv6, "email": email, "email_spelled": email_spelled,
    "phone_international": phone_international, "phone_nanp": phone_nanp, "phone_national": phone_national,
    "whole_key": whole_key, "not_sample": not_sample, "looks_random": looks_random, "mixed_token": mixed_token,
    "assigned_secret": assigned_secret, "assigned_password": assigned_password, "assigned_key": assigned_key,
    "header_token": header_token, "url_password": url_password,
})  # fmt: skip
