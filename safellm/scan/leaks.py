"""What a scan finds: a place, a kind, a masked value, and what to do about it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from safellm._core.detection.finding import Scanner
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.scanner import compile_scanner
from safellm.scan.lines import Lines
from safellm.scan.links import describe_link, find_links
from safellm.scan.sources import Source

_TYPE: Final = "SECRET"
SEVERITIES: Final = ("low", "medium", "high", "critical")
_CONTEXT: Final = 80  # characters on each side of a value that say that it is the same finding as before


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One secret in one place.

    Attributes:
        place: File, cell or commit, for people.
        file: The file's name, with forward slashes.
        line: From 1, in the file or the cell.
        column: From 1, in characters.
        rule: Id of the rule; `severity`, `provider` and `revoke` are the rule's.
        masked: Enough of the value to know it by.
        note: More about it, such as the rights and the end of a signed link.
        fingerprint: Says in a baseline which finding this is, without the value.
        remedy: What to do, in one sentence.
        commit: The version that it stands in, if not in a file of today.
        cell: Number of the notebook's cell from 1, or 0.
        is_link: What was found is an address that gives away too much, and no secret.
    """

    place: str
    file: str
    line: int
    column: int
    rule: str
    severity: str
    provider: str
    revoke: str
    masked: str
    note: str
    fingerprint: str
    remedy: str
    commit: str = ""
    cell: int = 0
    is_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found."""

    leaks: tuple[Leak, ...]
    texts: int  # files, cells and versions that were searched
    bytes: int
    known: int = 0  # left out, as they stand in the baseline
    unread: tuple[str, ...] = field(default=())  # files that could not be read, and why

    @property
    def worst(self) -> int:
        """Index in SEVERITIES of the worst one, -1 for none."""
        return max((SEVERITIES.index(one.severity) for one in self.leaks), default=-1)


@cache
def secret_scanner() -> Scanner:
    """Return a scanner for secrets alone: personal data is no leak here, and looking for it takes most of the time.

    Raises:
        GuardFailure: the engine rejects a rule, or doesn't find the value that it was given to find.
    """
    return compile_scanner([rule for rule in load_rules() if rule.type == _TYPE])


def find_leaks(source: Source, scanner: Scanner) -> Iterator[Leak]:
    """Yield the secrets of one text, and its links that give away too much."""
    text = source.text
    lines: Lines | None = None
    for found in scanner.scan(text):
        if found.type != _TYPE:
            continue
        lines = lines or Lines(text)
        rule = _rules().get(found.rule)
        line, column = lines.place(found.start)
        value = text[found.start : found.end]
        note, worse = describe_link(text, found.start, found.end)
        severity = rule.severity if rule and rule.severity in SEVERITIES else "medium"
        yield Leak(
            place=source.place(line),
            file=source.file,
            line=line + source.first_line,
            column=column,
            rule=found.rule,
            severity="critical" if worse else severity,
            provider=rule.provider if rule else "",
            revoke=rule.revoke if rule else "",
            masked=mask(value),
            note=note,
            fingerprint=_fingerprint(source, found.rule, text, found.start, found.end),
            remedy=_remedy(rule.revoke if rule else "", source.commit),
            commit=source.commit,
            cell=source.cell,
        )
    for link in find_links(text):
        lines = lines or Lines(text)
        line, column = lines.place(link.start)
        yield Leak(
            place=source.place(line),
            file=source.file,
            line=line + source.first_line,
            column=column,
            rule=link.kind,
            severity=link.severity,
            provider=link.provider,
            revoke="",
            masked=link.shown,
            note=link.note,
            fingerprint=_fingerprint(source, link.kind, text, link.start, link.end),
            remedy=link.advice,
            commit=source.commit,
            cell=source.cell,
            is_link=True,
        )


def _remedy(revoke: str, commit: str) -> str:
    where = f" at {revoke}" if revoke else ""
    history = ", take it out of the history" if commit else ""
    return f"Revoke it{where}{history}, and keep the new one with `safellm keys set`."


def mask(value: str) -> str:
    """Return the value's length and its last four characters, or none of a short one."""
    shown = value[-4:] if len(value) >= 20 and value[-4:].isprintable() else ""  # noqa: PLR2004 - a tail of a short one helps guessing
    return f"…{shown} ({len(value)} characters)"


def _fingerprint(source: Source, rule: str, text: str, start: int, end: int) -> str:
    """Return the identity of a finding: its file, rule and surroundings, and 16 bits of the value's hash.

    So few bits tell a new value in the old place from the old one, and are of no use for guessing it.
    """
    before = text[max(0, start - _CONTEXT) : start].rpartition("\n")[2]
    after = text[end : end + _CONTEXT].partition("\n")[0]
    bits = hashlib.sha256(text[start:end].encode("utf-8", "surrogatepass")).hexdigest()[:4]
    parts = f"{source.file}\0{rule}\0{before}\0{after}\0{bits}"
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@cache
def _rules() -> dict[str, Rule]:
    return {rule.id: rule for rule in load_rules()}
