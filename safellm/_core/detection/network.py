"""Addresses of machines: IP, MAC, and URLs that lead to a person."""

# ruff: noqa: PLR2004 - address forms are made of numbers
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress

from safellm._core.detection.context import (
    REACH,
    Spans,
    is_after_escape,
    is_decimal,
    is_glued,
    is_in_row,
    is_letter_or_digit,
    is_version,
    words_of,
)

# Ends of hosts whose pages are of projects, and words in addresses of pages that are of people.
_PUBLIC_HOSTS = ("readthedocs.io", "readthedocs.org", "sourceforge.net")
_OWN_PAGES = ("hr/", "staff/", "employee", "patient")  # that no documentation has
_PEOPLE = (
    "user",
    "profile",
    "people",
    "person",
    "member",
    "customer",
    "account",
    "patient",
    "employee",
    "staff",
    "contact",
)
_MAIL_SIGN = "@"
_SEQUENCES = frozenset(
    {"aabbccddeeff", "001122334455", "0123456789ab", "112233445566", "123456789abc", "abcdef123456", "deadbeefcafe"}
)


_SAMPLES = frozenset({"1.2.3.4", "4.3.2.1", "8.8.4.4", "1.0.0.1"})  # everybody's examples and resolvers
_QUOTES = frozenset("\"'`")
# Words that say that four numbers are an address.
_MACHINES = frozenset(
    "ip ips ipv4 addr address addresses host hosts from server servers ping dns inet ssh src dst source client peer route gateway "
    "remote node via to at listen bind subnet nameserver resolver proxy adresse dirección indirizzo endereço".split()
)


def _is_private(octets: list[str]) -> bool:
    """Return whether an address is one of those that any network may use (RFC 1918)."""
    first, second = int(octets[0]), int(octets[1])
    return first == 10 or (first == 192 and second == 168) or (first == 172 and 16 <= second <= 31)


def ipv4(text: str, start: int, end: int) -> Spans:
    """Accept an address that can identify a machine: not 0/8, loopback, a netmask, a version or an object identifier."""
    octets = text[start:end].replace("[", "").replace("]", "").split(".")
    if octets[0] in {"0", "127", "255"} or len(set(octets)) == 1:
        return ()
    if any(len(octet) > 1 and octet[0] == "0" for octet in octets) or is_glued(text, start, end):
        return ()
    if text[end : end + 2] == "-." or ".".join(octets) in _SAMPLES:  # a path of a drawing
        return ()
    if text[end : end + 1] in _QUOTES and text[start - 1 : start] == text[end : end + 1] and _is_private(octets):
        return ()  # a private network's address as a value in code or its description
    if max(map(len, octets)) <= 2 and (_is_numbering(text, start, end, octets) or _is_drawing(text, start, end)):
        return ()
    return () if is_version(text, start) else ((start, end),)


def _is_drawing(text: str, start: int, end: int) -> bool:
    """Return whether decimal fractions stand on both sides, as in the path of a drawing, where a point begins the next number."""
    before = text[max(0, start - 8) : start].rpartition(" ")[0].rpartition(" ")[2]
    after = text[end + 1 : end + 8].partition(" ")[0]
    return all("." in part and not part.strip("-.0123456789") for part in (before[-6:], after))


def _is_numbering(text: str, start: int, end: int, octets: list[str]) -> bool:
    """Return whether small numbers count sections or releases: four single digits, or a heading behind them."""
    before = text[max(0, start - REACH) : start].rpartition("\n")[2]
    if not _MACHINES.isdisjoint(words_of(before)) or text[end : end + 1] in {":", "/"} or before.endswith(("://", "@")):
        return False
    after = text[end : end + 3].lstrip(".")
    heads = not any(map(str.isalnum, before)) or before.endswith(">")
    return max(map(len, octets)) == 1 or (heads and after[:1].isspace() and after[1:2].isalpha())


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
        (is_letter_or_digit(text[max(0, start - 1) : start]) and not is_after_escape(text, start))
        or (text[max(0, start - 1) : start] == ":" and is_in_row(text, start))
        or is_letter_or_digit(text[end : end + 1])
        or is_decimal("0" + text[end : end + 2], 1, 1)
    ):
        return ()
    if len(groups) == 8 and all(len(group) == 2 for group in groups):  # the serial number of a certificate
        return ()
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return ()
    return () if address.is_loopback or address.is_unspecified or address.is_multicast else ((start, end),)


def mac(text: str, start: int, end: int) -> Spans:
    """Accept a hardware address (IEEE 802) unless it is a sample, a broadcast, or part of a longer row of bytes."""
    value = "".join(character for character in text[start:end] if character.isalnum()).lower()
    if len(set(value)) < 3 or value in _SEQUENCES:
        return ()
    if (
        text[start + 4 : start + 5] == "." and sum(value[at : at + 2] == "00" for at in (0, 4, 8)) > 1
    ):  # weights in a table
        return ()
    before = text[max(0, start - 1) : start]
    if (before in {":", "-", "."} and is_in_row(text, start)) or (before != "-" and is_glued(text, start, end)):
        return ()
    after = text[end : end + 3]
    return () if after[:1] in {":", "-", "."} and after[1:2].isalnum() else ((start, end),)


def _is_public_page(url: str, host: str) -> bool:
    """Return whether a URL leads to documentation, a package or an entry that is counted, not to a person."""
    path = url.partition("://")[2].partition("/")[2].lower()
    if any(f"/{word}" in f"/{path}" for word in _OWN_PAGES):
        return False
    if host.startswith(("docs.", "developers.", "registry.", "cdn.", "unpkg.")) or host.endswith(_PUBLIC_HOSTS):
        return True
    if (
        path.partition("#")[0].endswith((".html", ".htm", ".md"))
        and not path.startswith(("~", "@"))
        and "/~" not in path
    ):
        return True
    page, _, query = path.partition("?")
    name, _, value = query.partition("=")
    return name == "id" and value.isdigit() and not any(word in page for word in _PEOPLE)


def personal_url(text: str, start: int, end: int) -> Spans:
    """Cut a URL that leads to a person's page at the end of its sentence; what runs on this machine is nobody's page."""
    host = text[start:end].partition("://")[2].partition("/")[0].partition(":")[0].lower()
    if host in {"localhost", "127.0.0.1"} or _MAIL_SIGN in text[start:end].replace("/@", "/"):
        return ()  # a mail address in it is found by its own rule
    if _is_public_page(text[start:end], host):
        return ()
    while end > start and text[end - 1] in ".,;:!?)]}'\"":
        end -= 1
    return ((start, end),)
