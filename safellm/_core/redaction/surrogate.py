"""Surrogates: fakes of the same form, for models and tools that need a value that looks right.

Every one lies in a range that belongs to nobody, so that what a model does with it reaches nobody:

| type | range | source |
|---|---|---|
| EMAIL | `example.com` | RFC 2606 3 |
| CREDIT_CARD | test prefix of the same brand, right Luhn digit | published test numbers of the card brands |
| IBAN | same country and length, bank code of zeros, right check digits | ISO 13616; no bank has a code of zeros |
| PHONE | +1 ... 555 01xx; +44 7700 900xxx, 20 7946 0xxx | NANPA 555 line numbers; Ofcom numbers for drama |
| US_SSN | area 900-999, group 01-49 | SSA never issues 9xx; the IRS uses groups 50-99 only |
| IP_ADDRESS | 198.18.0.0/15; 2001:db8::/32 | RFC 2544, RFC 3849 |
| MAC_ADDRESS | locally administered | IEEE 802 |

They are keyed and the same within a conversation. Unlike placeholders they can be guessed and may stand in a text by chance,
so whoever uses one checks that it stands in no text yet. Types without a row get a placeholder.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Iterator

_FIRST = (
    "alva", "bodo", "cleo", "dara", "edda", "finn", "gael", "hale", "ines", "jori", "kira", "lena", "milo", "nora", "odin", "pia",
    "quin", "rhea", "sami", "tara", "ulla", "vera", "wynn", "xena", "yara", "zeno", "arlo", "bela", "cora", "dion", "elio", "faye",
)  # fmt: skip
_LAST = (
    "adler", "berg", "cole", "dorn", "eke", "frost", "glen", "holm", "iver", "jade", "kern", "lind", "marsh", "nord",
    "oaks", "pike", "quill", "reed", "stone", "thorn", "urban", "vale", "wood", "xu", "york", "zorn", "ash", "birch",
    "clay", "dale", "elm", "fern",
)  # fmt: skip
# First digits by which brands are told apart, and a prefix of published test numbers of that brand.
_CARDS = (
    ("34", "378282"), ("37", "371449"), ("4", "400000"), ("5", "555555"), ("2", "222300"), ("6", "601111"), ("3", "353011"),
)  # fmt: skip
_DIGIT = re.compile(r"[0-9]")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class _Stream:
    """Numbers that depend on the key, the conversation, the value and the attempt, and on nothing else."""

    def __init__(self, key: bytes, *parts: str) -> None:
        message = "\x00".join(parts).encode("utf-8", "surrogatepass")
        self._seed = hmac.new(key, b"surrogate\x00" + message, hashlib.sha256).digest()
        self._count = 0

    def below(self, limit: int) -> int:
        """Return the next number, 0 <= n < limit; the bias of 128 bits over a small limit is nothing."""
        self._count += 1
        block = hmac.new(self._seed, self._count.to_bytes(4, "big"), hashlib.sha256).digest()
        return int.from_bytes(block[:16], "big") % limit

    def digits(self, count: int) -> str:
        """Return so many digits."""
        return str(self.below(10**count)).zfill(count) if count else ""


def make_surrogate(key: bytes, scope: str, kind: str, value: str, attempt: int = 0) -> str | None:
    """Return a fake of the same form, or None when there is none for this type or form.

    Args:
        key: Secret of this installation.
        scope: The conversation.
        kind: Type of the finding.
        value: What is hidden. Spaces and punctuation don't count: one number written twice has one fake, written twice.
        attempt: For another fake, when one is taken.
    """
    maker = _MAKERS.get(kind)
    if maker is None or not value.isascii():
        return None
    same = "".join(letter for letter in value if letter.isalnum()) if kind != "EMAIL" else value
    return maker(value, _Stream(key, scope, kind, same.lower(), str(attempt)))


def written_otherwise(kind: str, fake: str) -> Iterator[str]:
    """Yield other ways in which a model may write a surrogate."""
    if kind in {"CREDIT_CARD", "IBAN"}:
        compact = re.sub(r"[ -]", "", fake)
        groups = [compact[start : start + 4] for start in range(0, len(compact), 4)]
        yield from {compact, " ".join(groups), "-".join(groups)} - {fake}
    digits = re.sub(r"[^0-9]", "", fake)[-10:]
    if kind == "PHONE" and digits[3:8] == "55501":
        area, office, line = digits[:3], digits[3:6], digits[6:]
        yield from {f"{area} {office} {line}", f"{area}-{office}-{line}", f"({area}) {office}-{line}"} - {fake}


def luhn_digit(digits: str) -> str:
    """Return the check digit that makes `digits` plus it a valid number (ISO/IEC 7812-1 annex B)."""
    doubled = [int(digit) * (2 - index % 2) for index, digit in enumerate(reversed(digits))]
    return str(-sum(number - 9 * (number > 9) for number in doubled) % 10)  # noqa: PLR2004 - digit sum of 10 to 18


def iban_digits(country: str, account: str) -> str:
    """Return the check digits of an IBAN (ISO 7064 MOD 97-10)."""
    number = "".join(str(int(letter, 36)) for letter in f"{account}{country}00")
    return f"{98 - int(number) % 97:02d}"


def _email(_: str, stream: _Stream) -> str:
    first, last = _FIRST[stream.below(len(_FIRST))], _LAST[stream.below(len(_LAST))]
    return f"{first}.{last}{stream.digits(4)}@example.com"


def _card(value: str, stream: _Stream) -> str | None:
    digits = "".join(_DIGIT.findall(value))
    if not 13 <= len(digits) <= 19 or re.search(r"[^0-9 .\-]", value):  # noqa: PLR2004 - ISO/IEC 7812
        return None
    prefix = next((test for first, test in _CARDS if digits.startswith(first)), "400000")
    body = prefix + stream.digits(len(digits) - len(prefix) - 1)
    return _laid_out(value, body + luhn_digit(body))


def _iban(value: str, stream: _Stream) -> str | None:
    compact = "".join(letter for letter in value if letter.isalnum()).upper()
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", compact):
        return None
    bank, rest = compact[4:8], compact[8:]
    account = "".join("0" if letter.isdigit() else "X" for letter in bank) + "".join(
        stream.digits(1) if letter.isdigit() else _LETTERS[stream.below(26)] for letter in rest
    )
    return _laid_out(value, compact[:2] + iban_digits(compact[:2], account) + account)


def _phone(value: str, stream: _Stream) -> str | None:
    if re.search(r"[^0-9 ()+./\-]", value):
        return None
    digits = "".join(_DIGIT.findall(value))
    # 200 to 989 without N11; the lines 555-0100 to 555-0199 are free in each area.
    area = f"{2 + stream.below(8)}{stream.below(9)}{2 + stream.below(8)}"
    line = stream.digits(3)
    for form, fake in (
        (r"1[0-9]{10}", f"1{area}55501{line[:2]}"),
        (r"447[0-9]{9}", f"447700900{line}"),
        (r"44[0-9]{10}", f"442079460{line}"),
        (r"07[0-9]{9}", f"07700900{line}"),
        (r"[2-9][0-9]{9}", f"{area}55501{line[:2]}"),
    ):
        if re.fullmatch(form, digits):
            return _laid_out(value, fake)
    return f"+1 {area} 555 01{line[:2]}" if value.lstrip().startswith(("+", "00")) else None


def _ssn(value: str, stream: _Stream) -> str | None:
    digits = _DIGIT.findall(value)
    if len(digits) != 9:  # noqa: PLR2004 - area, group, serial
        return None
    serial = 1 + stream.below(9999)
    return _laid_out(value, f"9{stream.digits(2)}{1 + stream.below(49):02d}{serial:04d}")


def _ip(value: str, stream: _Stream) -> str | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return str(ipaddress.IPv4Address(int(ipaddress.IPv4Address("198.18.0.0")) + stream.below(2**17)))
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001:db8::")) + stream.below(2**96)))


def _mac(value: str, stream: _Stream) -> str | None:
    if len([letter for letter in value if letter.isalnum()]) != 12:  # noqa: PLR2004 - 48 bits
        return None
    number = f"02{stream.below(2**40):010x}"
    return _laid_out(value, number.upper() if value.upper() == value else number)


def _laid_out(value: str, letters: str) -> str:
    """Return the new letters and digits with the old one's spaces and punctuation."""
    new = iter(letters)
    return "".join(next(new, "") if letter.isalnum() else letter for letter in value) + "".join(new)


_MAKERS: dict[str, Callable[[str, _Stream], str | None]] = {
    "EMAIL": _email,
    "CREDIT_CARD": _card,
    "IBAN": _iban,
    "PHONE": _phone,
    "US_SSN": _ssn,
    "IP_ADDRESS": _ip,
    "MAC_ADDRESS": _mac,
}
SURROGATE_TYPES = frozenset(_MAKERS)
