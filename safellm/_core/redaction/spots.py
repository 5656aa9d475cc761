"""Where a text holds something that must not leave: what detectors find, what the program marked, and nothing twice.

Anything that has the form of a placeholder is left to itself here: it is one of this conversation, or a mark, or a look-alike,
and that is decided when all values are known. A finding that reaches into one covers it.

A placeholder is known by what stands beside it: neither letter nor digit. So findings that touch become one, and a finding with
letters or digits right behind it takes them in; otherwise it could not come back. So does one with a text in front of it that the
first letter of its placeholder would make a look-alike.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from safellm._core.detection.finding import Finding, Scanner
from safellm._core.placeholder import ALMOST, LOOK_ALIKE_TYPE, MAX_LENGTH, Mapping, find_placeholders, has_prefix

MARKED_RULE = "sensitive"  # by the program, in a text
PATH_RULE = "path"  # by the policy, as a place
LOOK_ALIKE_RULE = "placeholder"
SECRET_TYPES = frozenset({"SECRET", "REGISTERED"})
_RANDOM_RULE, _GUESS = "random-token", 0.6  # what it reports of a token that nothing but its randomness speaks for


class Finder(Protocol):
    """Finds registered values."""

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return where they stand."""
        ...


class Marks(Protocol):
    """Values that the program marked with `safellm.sensitive`, by the text that stands for them."""

    def marked(self, mark: str) -> tuple[str, str] | None:
        """Return type and value, or None when this is no mark of this conversation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One finding with the value that it hides, which for a mark is not the text that stands there."""

    finding: Finding
    value: str = field(repr=False)

    @property
    def is_mark(self) -> bool:
        """Whether somebody said that this is sensitive, rather than a detector."""
        return self.finding.rule in (MARKED_RULE, PATH_RULE)


def find_spots(  # noqa: PLR0913 - each is another source of findings
    text: str,
    *,
    scanner: Scanner | None,
    registered: Finder | None,
    marks: Marks | None,
    secrets_only: bool = False,
    is_id: bool = False,
    crossing: Sequence[Finding] = (),
    own: Finder | None = None,
    rank: Callable[[str], int] | None = None,
) -> list[Spot]:
    """Return what a text holds, ordered by start, without overlaps.

    Args:
        text: Any text.
        scanner: Detection rules; None when the policy has them off.
        registered: Values to be found exactly.
        marks: Marked values of this conversation.
        secrets_only: Only secrets and registered values, where anything else is part of what the text is for.
        is_id: The text names something, and ids are random: that alone makes it no secret.
        crossing: Parts of values that go on in the text before or behind.
        own: Rules of the policy and detectors of plug-ins.
        rank: How strictly a type is dealt with: findings that become one are of the strictest type among them.
    """
    found: list[Finding] = list(crossing)
    if registered is not None:
        found += registered.find(text)
    if own is not None:
        found += own.find(text)
    if scanner is not None:
        found += scanner.scan(text)
    if secrets_only:
        found = [one for one in found if one.type in SECRET_TYPES]
    if is_id:
        found = [one for one in found if not is_guess(one)]
    if not found and not has_prefix(text):
        return []  # nearly every text
    closed = [match.span() for match in find_placeholders(text)]
    spots = [
        Spot(finding=one, value=with_values(text[one.start : one.end], marks) if closed else text[one.start : one.end])
        for one in _settled(text, found, closed, rank)
    ]
    if marks is not None and closed:
        covered = [(one.finding.start, one.finding.end) for one in spots]
        for start, end in closed:
            known = marks.marked(text[start:end])
            if known is not None and not any(low <= start < high for low, high in covered):
                finding = Finding(type=known[0], rule=MARKED_RULE, start=start, end=end)
                spots.append(Spot(finding=finding, value=known[1]))
        spots.sort(key=lambda one: one.finding.start)
    return spots


def is_guess(finding: Finding) -> bool:
    """Return whether nothing speaks for a secret but that it is random."""
    return finding.rule == _RANDOM_RULE and finding.confidence <= _GUESS


def with_values(text: str, marks: Marks | None) -> str:
    """Return the text with its marked values."""
    if marks is None:
        return text
    out: list[str] = []
    position = 0
    for match in find_placeholders(text):
        known = marks.marked(match[0])
        if known is not None:
            out += (text[position : match.start()], known[1])
            position = match.end()
    return "".join((*out, text[position:]))


def find_look_alikes(text: str, mapping: Mapping) -> list[Spot]:
    """Return what has the form of a placeholder and is none of this conversation."""
    if not has_prefix(text):
        return []
    return [
        Spot(
            finding=Finding(type=LOOK_ALIKE_TYPE, rule=LOOK_ALIKE_RULE, start=match.start(), end=match.end()),
            value=match[0],
        )
        for match in find_placeholders(text)
        if mapping.value_of(match[0]) is None
    ]


def _settled(
    text: str, found: list[Finding], closed: list[tuple[int, int]], rank: Callable[[str], int] | None
) -> list[Finding]:
    """Return the findings so that none touches another, or letters or digits behind it, or a placeholder or a part of one."""
    out: list[Finding] = []
    for finding in sorted(found, key=lambda item: (item.start, -item.end)):
        start, end = finding.start, finding.end
        if any(low <= start and end <= high for low, high in closed) or end <= start:
            continue
        while True:
            while text[end : end + 1].isascii() and text[end : end + 1].isalnum():
                end += 1
            if almost := ALMOST.search(text, max(0, start - MAX_LENGTH), start):
                start = almost.start()
            reached = [span for span in closed if span[0] <= end and start <= span[1]]
            low, high = min([start, *(one for one, _ in reached)]), max([end, *(one for _, one in reached)])
            if (low, high) == (start, end):
                break
            start, end = low, high
        if out and start <= out[-1].end:
            last = named = out[-1]
            if rank is not None and finding.type != last.type and rank(finding.type) > rank(last.type):
                named = finding
            out[-1] = _resized(named, min(start, last.start), max(end, last.end))
        else:
            out.append(_resized(finding, start, end))
    return out


def _resized(finding: Finding, start: int, end: int) -> Finding:
    if (start, end) == (finding.start, finding.end):
        return finding
    return Finding(type=finding.type, rule=finding.rule, start=start, end=end, confidence=finding.confidence)
