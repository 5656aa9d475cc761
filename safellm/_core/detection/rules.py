r"""Detection rules: what they are, and how they are read from TOML.

A rule file is a list of `[[rule]]` tables:

* `id`, `type`: name of the rule, type of its findings.
* `pattern`: RE2 syntax over one byte per character (`engine.view_bytes`). The value that is found is the group that took part,
  else the whole match. Cased letters that aren't ASCII read as `\xff`, any other such character as `\xfe`.
* `keywords`: literal texts, one of which stands in every match; any of them opens the rule.
* `gate`: RE2 pattern that opens the rule instead; it must match within everything that the rule accepts. Short, and without
  counted repetitions where possible: all gates together are the one pass that a clean text costs.
* `late`: the gate is asked only in texts with an @ alone, digits in a row or letters among digits (`scanner`); whatever the rule
  finds has one of them.
* `apart`: name of the pass over the text in which the gate is searched, with those of the same name: some kinds of gates slow
  others down, and two passes take half the time of one.
* `ahead`: what the gate matches stands before what the rule finds, not in it, and so many characters apart at most.
* `whole`: once the gate matched anywhere, the pattern is searched everywhere: it also finds what the gate alone doesn't lead to.
* `ignore_case`: pattern, keywords and gate match in either case.
* `check`: name in `validators.CHECKS`; sees the text around a match, and may narrow, widen or reject it.
* `entropy`: least Shannon entropy of the value, bits per character.
* `confidence`: how sure a find of the rule is, 0 to 1 (default 1), where its check doesn't say. Finds below
  `scanner.LEAST_CONFIDENCE` aren't reported.
* `severity`: `low`, `medium`, `high` or `critical`: what a leak of the value would cost (default `high`).
* `provider`, `revoke`: who issued the value, and the page where it is revoked.
* `languages`: languages whose texts the rule is written for; empty means any.
* `context`: words for people who read the rule, and for checks that look them up.
* `priority`: which finding of equal length gives its name to an overlap; higher wins.
* `decode`: name in `decoded.DECODERS`: a match is no find but an encoded run, whose plain text is scanned (`scanner`).
* `matches`, `ignores`: examples, each a list of parts to be joined, so that no file holds anything that looks like a key.

In patterns `{B}` stands for a left border: a word border, a JSON escape, a percent escape or a colour sequence.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from safellm._core.detection.packaged import package_files
from safellm._core.detection.validators import CHECKS
from safellm.errors import ConfigurationError

_BORDER = r"(?:\b|\\[nrt]|%[0-9A-Fa-f]{2}|\[[0-9;]*m)"
_KEYS = frozenset(
    {
        "id", "type", "pattern", "keywords", "gate", "ignore_case", "check", "entropy", "priority", "matches", "ignores",
        "confidence", "severity", "provider", "revoke", "languages", "context", "decode", "late", "apart", "ahead",
        "whole",
    }
)  # fmt: skip
_LISTS = frozenset({"pattern", "keywords", "languages", "context", "matches", "ignores"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One detection rule; see the module's text for the meaning of its parts."""

    id: str
    type: str
    pattern: str
    keywords: tuple[str, ...] = ()
    gate: str = ""
    ignore_case: bool = False
    check: str = ""
    entropy: float = 0.0
    priority: int = 50
    confidence: float = 1.0
    severity: str = "high"
    provider: str = ""
    revoke: str = ""
    languages: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    decode: str = ""
    late: bool = False
    apart: str = ""
    ahead: int = 0
    whole: bool = False
    matches: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Return the rules of one TOML text.

    Raises:
        ConfigurationError: A rule lacks a part, has an unknown one, or names an unknown check.
    """
    import tomllib  # noqa: PLC0415 - rules of an image were read before

    try:
        tables = tomllib.loads(text).get("rule", [])
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            "A rule file isn't TOML", remedy="Mend the line that is named.", where=str(error)
        ) from None
    return tuple(_rule(table) for table in tables)


@cache
def load_rules() -> tuple[Rule, ...]:
    """Return the rules that come with the package, read once per process."""
    folder = package_files() / "data"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    rules = tuple(rule for entry in files for rule in parse_rules(entry.read_text(encoding="utf-8")))
    names = [rule.id for rule in rules]
    if not names or len(set(names)) != len(names):
        raise ConfigurationError("The detection rules are missing or named twice", remedy="Install the package again.")
    return rules


def _rule(table: Mapping[str, Any]) -> Rule:
    name = str(table.get("id", "without id"))
    unknown = sorted(set(table) - _KEYS)
    missing = sorted({"id", "type", "pattern"} - set(table))
    check = table.get("check", "")
    if unknown or missing or (check and check not in CHECKS):
        raise ConfigurationError(
            f"Detection rule {name!r} can't be read: unknown {unknown}, missing {missing}, check {check!r}",
            remedy="Compare it with the list of parts in safellm._core.detection.rules.",
        )
    keywords = tuple(table.get("keywords", ()))
    if not keywords and not table.get("gate"):
        raise ConfigurationError(f"Detection rule {name!r} has no keywords", remedy="Give it keywords or a gate.")
    parts = {key: value for key, value in table.items() if key not in _LISTS}
    return Rule(
        **parts,
        pattern=table["pattern"].replace("{B}", _BORDER),
        keywords=keywords,
        languages=tuple(table.get("languages", ())),
        context=tuple(table.get("context", ())),
        matches=tuple("".join(pieces) for pieces in table.get("matches", ())),
        ignores=tuple("".join(pieces) for pieces in table.get("ignores", ())),
    )
