"""What a search finds, and its rules."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """How much it matters, in SARIF's words (SARIF 2.1.0, 3.27.10)."""

    ERROR = "error"  # a secret in a file
    WARNING = "warning"  # calls that no guard sees
    NOTE = "note"  # a sign that there may be some


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of finding."""

    id: str
    name: str
    level: Level
    about: str
    remedy: str


RULES: Final = {
    rule.id: rule
    for rule in (
        Rule(
            id="client",
            name="UnguardedClient",
            level=Level.WARNING,
            about="A client of an SDK is made, and its calls pass no guard.",
            remedy="Import it from safellm (`from safellm import OpenAI`), call safellm.install() first, or use `safellm run`.",
        ),
        Rule(
            id="framework",
            name="UnguardedFramework",
            level=Level.WARNING,
            about="A framework makes a client of its own, and its calls pass no guard.",
            remedy="Give it a client of safellm, call safellm.install() first, or use `safellm run`.",
        ),
        Rule(
            id="url",
            name="RawUrl",
            level=Level.WARNING,
            about="The address of a language model's API stands in the code.",
            remedy="Call it through safellm, or guard the whole program with `safellm run`.",
        ),
        Rule(
            id="key",
            name="KeyInFile",
            level=Level.ERROR,
            about="What looks like a provider's key stands in a file.",
            remedy="Revoke it, take it out of the history, and store the new one with `safellm keys set`.",
        ),
        Rule(
            id="import",
            name="SdkImport",
            level=Level.NOTE,
            about="An SDK of a language model is imported.",
            remedy="Where only types and errors are used, nothing is to be done.",
        ),
        Rule(
            id="dependency",
            name="SdkDependency",
            level=Level.NOTE,
            about="A manifest names an SDK of a language model.",
            remedy="Add safellm beside it, and see that every client comes from there.",
        ),
        Rule(
            id="unread",
            name="Unread",
            level=Level.NOTE,
            about="A file could not be read or parsed, so nothing is known about it.",
            remedy="Look into it yourself, or mend it.",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One place.

    Attributes:
        file: Relative to where the search began, with forward slashes.
        line: From 1; in a notebook, of the cell's source.
        column: From 1, in characters.
        cell: Number of the notebook's cell from 1, or 0.
        rule: Key of `RULES`.
        what: Name of the class, host, package or kind of key; never a secret.
        guarded: A guard covers it: `safellm.install()` stands in the same file.
    """

    file: str
    cell: int = 0
    line: int
    column: int
    rule: str
    what: str
    guarded: bool = False

    @property
    def level(self) -> Level:
        """How much it matters."""
        return Level.NOTE if self.guarded else RULES[self.rule].level


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found below one folder."""

    root: str
    files: int
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by level."""
        found = Counter(one.level.value for one in self.findings)
        return {level.value: found[level.value] for level in Level}

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing but notes."""
        return all(one.level is Level.NOTE for one in self.findings)
