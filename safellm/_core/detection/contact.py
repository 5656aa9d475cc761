"""Ways to reach a person: mail addresses and telephone numbers."""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - number plans are made of numbers
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

from safellm._core.detection.context import (
    REACH,
    Spans,
    is_after_escape,
    is_decimal,
    is_glued,
    is_named,
    is_said,
    is_version,
)

_PHONE_LENGTH = 60  # characters: 15 digits with three separators each
_PHONE_WORDS = frozenset(
    "phone phones telephone tel mobile mobil mob cell cellphone celular fax whatsapp call calls called "
    "calling dial hotline sms text reach ring handy rufnummer anrufen telefon telefonnummer telefono "
    "teléfono telefone móvil movil tlf tlfn téléphone appelez appeler puhelin puhelinnumero gsm portable "
    "contact kontakt kontaktnummer ligue ligar numerem zadzwoń chiamare chiama bel телефон тел "
    "позвоните τηλ τηλέφωνο هاتف فون phonenumber".split()
)
_PHONE_PARTS = ("phone", "telef", "电话", "手机", "致电", "拨打", "電話", "携帯", "전화", "फोन", "โทร", "هاتف")
_OTHER_WORDS = frozenset(
    "order invoice account acct ticket isbn issn serial tracking id ids ref reference sku zip card iban "
    "passport license licence ssn bank uuid hash version port case vin routing aba npi tax nhs mrn "
    "medical patient member policy document item part model bytes timestamp epoch size count total lines "
    "line page pages pid seed width height".split()
)
# Endings of file and unit names that aren't top-level domains; .rs, .py, .md, .sh and .zip are, and have mail.
_FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp ico bmp css scss js mjs cjs ts tsx jsx json html htm xml yaml yml toml txt rb php java go cpp hpp "
    "cs kt swift bat service socket timer mount path slice scope lock log pdf gz tar tgz whl min".split()
)


def email(text: str, start: int, end: int) -> Spans:
    """Reject what only looks like an address: file names, user info of URLs, version-control remotes."""
    value = text[start:end]
    local, _, domain = value.rpartition("@")
    while local and local[0] in ".-'+%":  # a quote or a dash before it
        start, local = start + 1, local[1:]
    if is_after_escape(text, start + 1) and len(local) > 1:
        start, local = start + 1, local[1:]
    if not local or ".." in domain or domain.rsplit(".", 1)[-1].lower() in _FILE_ENDINGS:
        return ()
    before, after = text[max(0, start - REACH) : start], text[end : end + 1]
    _, scheme, authority = before.rpartition("://")
    if scheme and not any(character in "/?" or character.isspace() for character in authority):
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
    if not 8 <= len(digits) <= 15 or digits.startswith("0") or len(set(digits)) < 3 or is_glued(text, start, end):
        return ()
    return ((start, end),)


def phone_nanp(text: str, start: int, end: int) -> Spans:
    """Accept a North American number in its usual groups, if nothing is glued to it and it isn't called something else."""
    if is_glued(text, start, end) or is_version(text, start):
        return ()
    named_otherwise = is_said(text, start, _OTHER_WORDS, reach=20) and not is_said(text, start, _PHONE_WORDS)
    return () if named_otherwise else ((start, end),)


def phone_national(text: str, start: int, end: int) -> Spans:
    """Accept numbers of other plans: with a word for telephone before them, or with a leading 0 in telephone groups."""
    if end - start > _PHONE_LENGTH:
        return ()
    digits = _digits(text, start, end)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3 or is_glued(text, start, end):
        return ()
    groups = "".join(character if character.isdigit() else " " for character in text[start:end]).split()
    if _dated(groups) or is_said(text, start, _OTHER_WORDS, reach=20):
        return ()
    if is_said(text, start, _PHONE_WORDS) or is_named(text, start, _PHONE_PARTS):
        return ((start, end),)
    trunk = digits[0] == "0" and digits[1] != "0" and is_decimal(text, start, end) is False
    if not trunk or is_said(text, start, _OTHER_WORDS):
        return ()
    if len(groups) == 1:
        return ((start, end),) if len(digits) == 11 and digits[1] in "156789" else ()  # mobile numbers
    inner = groups[1:] if groups[0] == "0" else groups
    usual = 9 <= len(digits) <= 11 and len(groups) <= 5 and all(2 <= len(group) <= 8 for group in inner)
    return ((start, end),) if usual and text[start:end].count(".") in {0, len(groups) - 1} else ()


def _dated(groups: Sequence[str]) -> bool:
    sizes = [len(group) for group in groups]
    year_first = sizes[0] == 4 and groups[0][:2] in {"19", "20"} and len(sizes) > 1 and max(sizes[1:3]) <= 2
    year_last = len(sizes) >= 3 and sizes[2] == 4 and groups[2][:2] in {"19", "20"} and max(sizes[:2]) <= 2
    packed = len(sizes) == 1 and sizes[0] in {8, 12, 14} and groups[0][:2] in {"19", "20"}
    return year_first or year_last or packed


def _digits(text: str, start: int, end: int) -> str:
    return "".join(character for character in text[start:end] if character.isdigit())
