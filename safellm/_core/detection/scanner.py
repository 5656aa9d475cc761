"""Finds what the rules describe, in time linear in the text (DESIGN.md 7).

1. The text's canonical view is written as one byte per character, so that engine offsets are text indexes.
2. One gate, the alternation of all rules' short filters, is searched once. Clean text ends here.
3. Otherwise each rule whose own filter matches runs over the view; its check and entropy decide on each match.
4. Overlapping findings become one that covers all of them, named after the longest: nothing that a rule found stays visible.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.engine import Gate, build_gate, compile_pattern, engine_failure, view_bytes
from safellm._core.detection.finding import Finding, Scanner
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.secretlike import entropy
from safellm._core.detection.validators import CHECKS, Check
from safellm.errors import GuardFailure

_CANARY_TYPE = "CANARY"
_CANARY = Rule(
    id="canary", type=_CANARY_TYPE, pattern="safellm-canary-([0-9]{12})", keywords=("safellm-canary-",), priority=0
)


def compile_scanner(rules: Sequence[Rule] | None = None) -> Scanner:
    """Return a scanner for the rules (default: those of the package); equal rules share one.

    Raises:
        GuardFailure: The engine rejects a rule, or does not find the planted canary.
    """
    return _compiled(load_rules() if rules is None else tuple(rules))


@lru_cache(maxsize=8)
def _compiled(rules: tuple[Rule, ...]) -> RuleScanner:
    scanner = RuleScanner(rules=rules)
    scanner.prove()
    return scanner


@dataclass(frozen=True, slots=True)
class _Step:
    """A rule with its compiled parts."""

    rule: Rule
    pattern: Any
    check: Check | None

    def matches(self, text: str, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the spans that hold, in indexes of the canonical text."""
        for match in self.pattern.finditer(data):
            # A pattern may have a group per alternative; the one that took part is the value, else the whole match.
            start, end = match.span(match.lastindex or 0)
            if self.rule.entropy and entropy(data[start:end]) < self.rule.entropy:
                continue
            yield from self.check(text, start, end) if self.check else ((start, end),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScanner:
    """A `Scanner` over compiled rules. Safe to share between threads: nothing in it changes but caches."""

    rules: tuple[Rule, ...]
    _steps: tuple[_Step, ...] = field(init=False, repr=False, compare=False)
    _gate: Gate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rules = (*self.rules, _CANARY)
        steps = tuple(
            _Step(rule, compile_pattern(rule.pattern, ignore_case=rule.ignore_case), CHECKS.get(rule.check))
            for rule in rules
        )
        object.__setattr__(self, "_steps", steps)
        object.__setattr__(self, "_gate", build_gate([filter_of(rule) for rule in rules]))

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return what was found, ordered by start, never overlapping, in indexes of `text`.

        Raises:
            GuardFailure: The engine or a check broke.
        """
        try:
            return tuple(finding for finding in self._scan(text) if finding.type != _CANARY_TYPE)
        except GuardFailure:
            raise
        except Exception:  # noqa: BLE001 - whatever broke, the call must stop; `from None`: frames hold the text
            raise engine_failure("The detection engine broke while it searched a text") from None

    def prove(self) -> None:
        """Check that gate, rules and offset map find a planted value.

        Raises:
            GuardFailure: They don't.
        """
        planted = "0123" * 3
        text = f"é safellm-canary-{planted[:5]}\u200b{planted[5:]} ."
        canaries = [(found.start, found.end) for found in self._scan(text) if found.type == _CANARY_TYPE]
        if canaries != [(17, 30)]:
            raise engine_failure("The detection engine did not find a planted value")

    def _scan(self, text: str) -> Iterator[Finding]:
        canonical = canonicalise(text)
        data = view_bytes(canonical.text)
        if not self._gate.is_open(data):
            return iter(())
        return merge(
            (*canonical.original_span(start, end), step.rule.priority, step.rule.type, step.rule.id)
            for step in map(self._steps.__getitem__, self._gate.opened(data))
            for start, end in step.matches(canonical.text, data)
        )


def filter_of(rule: Rule) -> str:
    """Return the pattern that matches wherever the rule could: its gate, or any of its keywords."""
    gate = rule.gate or "|".join(re2.escape(keyword) for keyword in rule.keywords)
    return f"(?i:{gate})" if rule.ignore_case else f"(?:{gate})"


def merge(found: Iterable[tuple[int, int, int, str, str]]) -> Iterator[Finding]:
    """Yield findings without overlaps: each group of overlapping ones becomes their union, named after the longest.

    Args:
        found: (start, end, priority, type, rule) in any order; priority decides between equally long ones.
    """
    start = end = -1
    best: tuple[int, int, str, str] | None = None
    for low, high, priority, kind, rule in sorted(found):
        rank = (high - low, priority, kind, rule)
        if best is not None and low < end:
            end = max(end, high)
            best = max(best, rank)
            continue
        if best is not None:
            yield Finding(type=best[2], rule=best[3], start=start, end=end)
        start, end, best = low, high, rank
    if best is not None:
        yield Finding(type=best[2], rule=best[3], start=start, end=end)
