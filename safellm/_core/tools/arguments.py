"""Typed checks of single arguments: paths, addresses, queries, commands (THREATS A.3, A.4). What needs the disk is asked for."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from safellm._core.addresses import Kind, allowed_kinds, first_forbidden, kind_of
from safellm._core.hidden import needs_cleaning
from safellm._core.origin import make_origin, parse_origin
from safellm._core.tools import sql
from safellm._core.tools.rules import ArgumentKind, ArgumentRule
from safellm.errors import ConfigurationError

# (root, path) -> why the path leads out of its root on this machine, or None.
Resolve = Callable[[str, str], str | None]
# (host, port) -> its addresses on this machine, now; none where there are none.
Lookup = Callable[[str, int], Sequence[str]]

_LONGEST_PATH: Final = 4096
_LONGEST_URL: Final = 2048
_MOST_WORDS: Final = 64
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *(?:\..*)?", re.IGNORECASE)
# Characters that some system, or a normalisation on the way, reads as a separator, a dot or a colon.
_LIKE_SEPARATORS = frozenset(
    "\u2024\u2025\u2026\u2044\u2215\u2216\u29f5\u29f8\u29f9\uff0e\uff0f\uff1a\uff3c\ufe52\ufe68\ufe55"
)
_ENCODED = re.compile(
    r"%(?:25)*(?:2e|2f|5c)|%(?:c0|c1|e0)%|%u[0-9a-f]{4}", re.IGNORECASE
)  # overlong forms of UTF-8, too
_NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_LOCAL_NAMES: Final = (
    ".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".home.arpa", ".localdomain", ".svc",
)  # fmt: skip


def problem(
    value: Any, rule: ArgumentRule, *, egress: Iterable[str] = (), resolve: Resolve | None = None
) -> str | None:
    """Return why an argument may not be what it is, without quoting it; None where it may.

    Args:
        value: Parsed JSON. A list is checked entry by entry, but for argv.
        rule: What the policy says.
        egress: Origins of the policy's egress section.
        resolve: Asks the disk where a path leads; None: only its text is looked at.
    """
    if rule.kind is ArgumentKind.ARGV:
        return _argv(value, rule)
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str):
            return "it must be a text"
        if len(one) > rule.max_length:
            return f"it is longer than {rule.max_length} characters"
        found = _one(one, rule, egress, resolve)
        if found is not None:
            return found
    return None


def _one(text: str, rule: ArgumentRule, egress: Iterable[str], resolve: Resolve | None) -> str | None:
    if rule.kind is ArgumentKind.PATH:
        below = under_root(rule.root or "", text)
        return path_problem(below) or (None if resolve is None else resolve(rule.root or "", below))
    if rule.kind is ArgumentKind.URL:
        return url_problem(text, (*rule.origins, *egress), public=rule.public)
    if rule.kind is ArgumentKind.SQL:
        return sql.problem(text, functions=rule.functions, tables=rule.tables)
    if rule.kind is ArgumentKind.CHOICE:
        return None if text in rule.values else "it is none of the listed values"
    return "it has a hidden or a control character" if needs_cleaning(text) else None


def under_root(root: str, path: str) -> str:
    """Return a path without the root that it begins with, or as it is."""
    prefix = root.rstrip("/\\") + ("\\" if "\\" in root else "/")
    return path[len(prefix) :] if path.startswith(prefix) and len(prefix) > 1 else path


def path_problem(path: str) -> str | None:  # noqa: PLR0911 - one for each reason
    """Return why a path could leave the folder that it is read in, on whatever system; None where its text is harmless.

    Relative paths of plain steps are: no `..`, drive, stream or device of Windows, no character that is read as another one.
    """
    if not path or len(path) > _LONGEST_PATH:
        return "the path is empty or too long"
    if any(letter < " " or letter == "\x7f" for letter in path) or needs_cleaning(path):
        return "the path has a hidden or a control character"
    if path.startswith(("/", "\\", "~")) or path[1:2] == ":":
        return "the path is not a relative one"
    if not _LIKE_SEPARATORS.isdisjoint(path) or _separators(unicodedata.normalize("NFKC", path)) != _separators(path):
        return "the path has a character that looks like a separator"
    for step in re.split(r"[/\\]", path):
        if step.strip(" .") == "" and step not in ("", "."):
            return "the path leads upwards"
        if ":" in step or (step.endswith((".", " ")) and step != ".") or _DEVICES.fullmatch(step.rstrip(" .")):
            return "the path has a name that means something else on Windows"
    if _ENCODED.search(path) is not None:
        return "the path has encoded separators"
    return None


def _separators(text: str) -> int:
    return sum(text.count(one) for one in "/\\.:")


def url_problem(url: str, origins: Iterable[str], *, public: bool = False) -> str | None:  # noqa: PLR0911 - as above
    """Return why an address may not be fetched; None where it may, as far as its text tells (THREATS E.1-E.3, E.7).

    Args:
        url: As the model wrote it.
        origins: That may be fetched from, as `https://host[:port]`.
        public: Any https origin but those whose text names a private place may be as well.
    """
    if not url or len(url) > _LONGEST_URL:
        return "the address is empty or too long"
    if not url.isascii() or any(letter <= " " or letter in '\\"<>^`{|}' for letter in url):
        return "the address has a character that no address has"
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            return "the address has a user name in it"
        if parts.netloc.endswith(":") or "%" in parts.netloc:
            return "the address can be read in two ways"
        origin = make_origin(parts.scheme, parts.hostname or "", parts.port)
    except (ValueError, ConfigurationError):
        return "the address is none of http or https"
    if any(parse_origin(one) == origin for one in origins):
        return None
    if not public:
        return f"{origin} is none of the origins that are listed"
    if origin.scheme != "https":
        return "the address is without encryption"
    return _private_problem(origin.host)


def reach_problem(  # noqa: PLR0913 - an address, what is listed, and what holds for connections
    url: str,
    rule: ArgumentRule,
    *,
    egress: Sequence[str],
    private: Sequence[str],
    strict: bool,
    lookup: Lookup,
) -> str | None:
    """Return why an address that `url_problem` lets pass may not be fetched from this machine now (THREATS A.4, E.7).

    Args:
        url: As the model wrote it.
        rule: What the policy says of the argument.
        egress: Origins of the policy's egress section.
        private: Origins that the policy binds as private.
        strict: Strict mode takes nothing from code.
        lookup: Asks for the addresses of a name.
    """
    parts = urlsplit(url)
    origin = make_origin(parts.scheme, parts.hostname or "", parts.port)
    listed = [parse_origin(one) for one in (*rule.origins, *egress)]
    addresses = lookup(origin.host.strip("[]"), origin.port)
    if not addresses:
        return None if origin in listed else f"the name {origin.host} leads nowhere"
    bound = [parse_origin(one) for one in private]
    allowed = allowed_kinds(origin.host, origin.port, private=bound, in_code=listed, strict=strict)
    kind = first_forbidden(addresses, allowed)
    return None if kind is None else f"the name {origin.host} leads to an address that is {kind}"


def _private_problem(host: str) -> str | None:
    try:
        kind = kind_of(host)
    except ValueError:
        if _NUMERIC_HOST.fullmatch(host):  # 2130706433, 0x7f.1: what resolvers take for 127.0.0.1
            return "the address is a number in an odd form"
        if "." not in host or host == "localhost" or host.endswith(_LOCAL_NAMES):
            return "the address names a machine of a private network"
        return None
    return None if kind is Kind.PUBLIC else f"the address leads to {kind}"


def _argv(value: Any, rule: ArgumentRule) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        return "it must be a list of words: a program and its arguments, no line for a shell"
    if len(value) > _MOST_WORDS or sum(len(one) for one in value) > rule.max_length:
        return "it is too long"
    if any(needs_cleaning(one) or "\n" in one for one in value):
        return "it has a hidden or a control character"
    if value[0] not in rule.programs:
        return "its program is none of those that are listed"
    for word in value[1:]:
        if word.startswith("-") and word not in rule.options and word.partition("=")[0] + "=" not in rule.options:
            return "it has an option that is not listed"
    return None
