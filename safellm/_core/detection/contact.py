"""Ways to reach a person: mail addresses and telephone numbers."""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - number plans are made of numbers
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

from safellm._core.detection.belonging import is_of
from safellm._core.detection.context import REACH, Spans, is_after_escape, is_decimal, is_glued, is_version
from safellm._core.detection.tables import label_of
from safellm._core.detection.words import OTHER, Label, label_before

_PHONE = "PHONE"
_APART = str.maketrans(dict.fromkeys(" .-/()", " "))
_ASCII = "\x7f"
_PHONE_LENGTH = 60  # characters: 15 digits with three separators each
# Country codes in use (ITU-T E.164, list of assigned codes), by their number of digits.
_CODES = {
    1: frozenset("17"),
    2: frozenset(
        "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 "
        "91 92 93 94 95 98".split()
    ),
    3: frozenset(
        "21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99".split()
    ),  # the first two of three
}
# Endings of file and unit names that aren't top-level domains; .rs, .py, .md, .sh and .zip are, and have mail.
_FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp ico bmp css scss js mjs cjs ts tsx jsx json html htm xml yaml yml toml txt rb php java go cpp hpp "
    "cs kt swift bat service socket timer mount path slice scope lock log pdf gz tar tgz whl min".split()
)
# What stands after a spoken "at" when no address follows.
_NO_DOMAINS = frozenset(
    "the a an this that my our your his her their its all least most first last home work once".split()
)


# Local parts that stand for no person: placeholders at domains that stand for none, and machines anywhere.
_PLACEHOLDERS = frozenset(
    "user username you your yourname your.name your-name your_name your.email youremail name email mail me someone somebody anyone "
    "dev test tester testing foo bar baz admin root malicious attacker hacker "
    "hello info support contact team sales security developer "
    "first.last firstname.lastname john.doe jane.doe".split()
)
_MACHINES = frozenset("noreply no-reply do-not-reply donotreply mailer-daemon postmaster abuse".split())
_NO_DOMAIN = frozenset("domain.com yourdomain.com your-domain.com yourcompany.com mydomain.com company.com".split())
_METADATA = 120  # characters before an author's address in a package's description


def _is_nobody(text: str, start: int, local: str, domain: str) -> bool:
    """Return whether an address is a placeholder, a machine's, or one that a package publishes as its author's."""
    local, domain = local.lower(), domain.lower()
    if local in _MACHINES or local.endswith(("-conduct", ".conduct")) or local == "conduct":
        return True
    labels = domain.split(".")
    if local in _PLACEHOLDERS and (domain in _NO_DOMAIN or "example" in labels[-2:]):
        return True
    line = text[max(0, start - _METADATA) : start].rpartition("\n")[2].lower()
    if "copyright" in line and line.endswith("<"):
        return True
    return line.rstrip("\"' ").endswith("email =") and ("{ name =" in line or "{name =" in line)


def email(text: str, start: int, end: int) -> Spans:
    """Reject what only looks like an address: file names, user info of URLs, version-control remotes.

    The ending of a file that is named after an address isn't part of it: `ann@mail.test.txt` holds `ann@mail.test`.
    """
    value = text[start:end]
    local, _, domain = value.rpartition("@")
    while local and local[0] in ".-'+%":  # a quote or a dash before it
        start, local = start + 1, local[1:]
    if is_after_escape(text, start + 1) and len(local) > 1:
        start, local = start + 1, local[1:]
    while "." in domain and domain.rsplit(".", 1)[-1].lower() in _FILE_ENDINGS:
        shorter = domain.rsplit(".", 1)[0]
        end, domain = end - len(domain) + len(shorter), shorter
    top = domain.rsplit(".", 1)[-1]
    if not local or ".." in domain or "." not in domain or len(top) < 2 or any(map(str.isdigit, top)):
        return ()
    before, after = text[max(0, start - REACH) : start], text[end : end + 1]
    _, scheme, authority = before.rpartition("://")
    if scheme and not any(character in "/?" or character.isspace() for character in authority):
        return ()  # user or password of a URL; the password has its own rule
    if (local.lower() in {"git", "hg", "svn"} and after in {":", "/"}) or _is_nobody(text, start, local, domain):
        return ()
    return ((start, end),)


def email_spelled(text: str, start: int, end: int) -> Spans:
    """Reject spelled-out addresses whose end is a file name, and sentences with "at" and "dot" in them."""
    value = text[start:end].lower()
    words = value.replace("[", " ").replace("]", " ").replace("(", " ").replace(")", " ").split()
    if words[-1].rsplit(".", 1)[-1] in _FILE_ENDINGS:
        return ()
    return () if "at" in words and words[words.index("at") + 1] in _NO_DOMAINS else ((start, end),)


def phone_international(text: str, start: int, end: int) -> Spans:
    """Accept +, an assigned country code, 8 to 15 digits (ITU-T E.164), with no digit, letter or sum around."""
    digits = _digits(text, start, end)
    number = text[start:end].lower().partition("x")[0].partition("e")[0]
    size = sum(map(str.isdigit, number))
    if not 8 <= size <= 15 or len(set(digits)) < 3 or is_glued(text, start, end):
        return ()
    if digits[0] == "1" and (size != 11 or digits[1] in "01"):
        return ()
    assigned = digits[0] in _CODES[1] or digits[:2] in _CODES[2] or digits[:2] in _CODES[3]
    return ((start, end),) if assigned else ()


def phone_nanp(text: str, start: int, end: int, countries: frozenset[str] = frozenset()) -> Spans:
    """Accept a North American number in its usual groups, if nothing is glued to it and it isn't called something else."""
    if is_glued(text, start, end) or is_version(text, start):
        return ()
    marks = [character for character in text[start:end] if character in ".-"]
    if marks[:2] == [".", "-"] and len(marks) == 2:  # a clause: 252.227-7013
        return ()
    label = label_before(text, start)
    if not is_of("us", countries) and not is_of("ca", countries) and (label is None or label.type != _PHONE):
        return ()
    return () if _called_otherwise(label) else ((start, end),)


def phone_national(text: str, start: int, end: int) -> Spans:
    """Accept numbers of other plans: with a word for telephone before them, or with the groups of a telephone number."""
    if end - start > _PHONE_LENGTH:
        return ()
    run = text[start:end]
    groups = [run] if run.isdigit() else run.translate(_APART).split()
    digits = "".join(groups)
    if not 6 <= len(digits) <= 15 or len(set(digits)) < 3 or is_glued(text, start, end):
        return ()
    if _dated(groups) or (len(groups) == 2 and run.count(".") == 1):
        return ()
    label = label_of(text, start, end)
    if label is not None and label.type == _PHONE and (len(digits) >= 7 or (len(groups) > 2 and label.is_direct)):
        return ((start, end, 0.95),)
    is_bare = label is None and len(groups) == 1 and digits[0] != "0"  # as most numbers of a table are
    if is_bare or len(digits) < 7 or _called_otherwise(label) or is_decimal(text, start, end):
        return ()
    if list(map(len, groups)) == [5, 4] and text[start + 5] == "-":  # a postcode of the United States
        return ()
    if sure := _usual_groups(text, start, groups):
        return ((start, end, sure),)
    if digits[0] != "0" or digits[1] == "0":
        return ()
    if len(groups) == 1:
        return ((start, end, 0.6),) if len(digits) == 11 and digits[1] in "156789" else ()  # mobile numbers
    inner = groups[1:] if groups[0] == "0" else groups
    usual = 9 <= len(digits) <= 12 and len(groups) <= 5 and all(2 <= len(group) <= 8 for group in inner)
    return ((start, end, 0.8),) if usual and text[start:end].count(".") in {0, len(groups) - 1} else ()


def _usual_groups(text: str, start: int, groups: Sequence[str]) -> float:
    """Return how sure groups alone say a telephone number: as in Turkey, Russia and Chinese texts, or behind 00."""
    if len(groups) < 3:
        return 0.0
    sizes = list(map(len, groups))
    if sizes in ([3, 3, 2, 2], [4, 3, 2, 2]) and groups[0][0] != "1":
        return 0.7
    if sizes == [1, 3, 3, 2, 2] and groups[0] == "8":
        return 0.7
    chinese = sizes == [3, 4, 4] and "13" <= groups[0][:2] <= "19" and text[max(0, start - 1) : start] > _ASCII
    return 0.6 if chinese or _is_dialled(groups) else 0.0


def _is_dialled(groups: Sequence[str]) -> bool:
    """Return whether groups are 00, a country's code and a number: `0061 412 348 290`."""
    number = "".join(groups)[2:]
    if not groups[0].startswith("00") or len(groups) < 3 or not 9 <= len(number) <= 13 or len(groups[0]) > 6:
        return False
    if any(part[0] == "0" for part in groups[1:]):  # code points
        return False
    return number[0] in _CODES[1] or number[:2] in _CODES[2] or number[:2] in _CODES[3]


def _called_otherwise(label: Label | None) -> bool:
    return label is not None and label.type != _PHONE and (label.is_direct or label.type == OTHER)


def _dated(groups: Sequence[str]) -> bool:
    if len(groups) == 1:  # packed, as by far the most are
        return len(groups[0]) in {8, 12, 14} and groups[0][:2] in {"19", "20"}
    sizes = list(map(len, groups))
    year_first = sizes[0] == 4 and groups[0][:2] in {"19", "20"} and max(sizes[1:3]) <= 2
    year_last = len(sizes) >= 3 and sizes[2] == 4 and groups[2][:2] in {"19", "20"} and max(sizes[:2]) <= 2
    years = sizes[-2:] == [4, 4] and all(group[:2] in {"19", "20"} for group in groups[-2:])
    return year_first or year_last or years


def _digits(text: str, start: int, end: int) -> str:
    return "".join(filter(str.isdigit, text[start:end]))
