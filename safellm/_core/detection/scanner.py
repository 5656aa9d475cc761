"""Finds what the rules describe, in time linear in the text (RE2 only; DESIGN.md 7).

1. The text's canonical view is written as one byte per character, so that engine offsets are text indexes.
2. One gate, the alternation of all rules' short filters, is searched once. Clean text ends here.
3. Otherwise each rule whose keyword is present runs over the view; its check and entropy decide on each match.
4. Overlapping findings become one that covers all of them, named after the longest: nothing that a rule found stays visible.

A plain search falls back to RE2's other engines when its state cache is spent, so the gate can't miss; RE2's `Set` can.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.finding import Finding, Scanner
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.secretlike import entropy
from safellm._core.detection.validators import CHECKS, Check
from safellm.errors import GuardFailure, Reason

_GATE_MEMORY = 32 << 20  # bytes; room for the states of a gate of some hundred filters
_RULE_MEMORY = 8 << 20  # bytes; RE2's own default
_CANARY_TYPE = "CANARY"
_CANARY = Rule(
    id="canary", type=_CANARY_TYPE, pattern=r"safellm-canary-([0-9]{12})", keywords=("safellm-canary-",), priority=0
)
_VIEW = "safellm.detection.view"  # name of the codec error handler
_CASED, _OTHER = 0xFF, 0xFE
_SCRIPTS_WITH_CASE = 0x0590  # Latin, Greek, Cyrillic, Armenian lie below


def view_bytes(text: str) -> bytes:
    """Return one byte per character: ASCII as it is, other letters with case 0xFF, anything else 0xFE."""
    return text.encode("ascii", _VIEW)


def _encode_rest(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    run = error.object[error.start : error.end]
    codes = bytes(_CASED if ord(letter) < _SCRIPTS_WITH_CASE and letter.isalpha() else _OTHER for letter in run)
    return codes, error.end


codecs.register_error(_VIEW, _encode_rest)


@lru_cache(maxsize=8)
def _compiled(rules: tuple[Rule, ...]) -> RuleScanner:
    scanner = RuleScanner(rules=rules)
    scanner.prove()
    return scanner


def compile_scanner(rules: Sequence[Rule] | None = None) -> Scanner:
    """Return a scanner for the rules (default: those of the package); equal rules share one.

    Raises:
        GuardFailure: The engine rejects a rule, or does not find the planted canary.
    """
    return _compiled(load_rules() if rules is None else tuple(rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScanner:
    """A `Scanner` over compiled rules. Safe to share between threads: nothing in it changes but caches."""

    rules: tuple[Rule, ...]
    _gate: Any = field(init=False, repr=False, compare=False)
    _steps: tuple[_Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rules = (*self.rules, _CANARY)
        gates = dict.fromkeys(_gate_of(rule) for rule in rules)
        object.__setattr__(self, "_gate", _compile("|".join(gates), ignore_case=False, memory=_GATE_MEMORY))
        object.__setattr__(self, "_steps", tuple(map(_step, rules)))

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
            raise _failure("The detection engine broke while it searched a text") from None

    def prove(self) -> None:
        """Check that gate, rules and offset map find a planted value.

        Raises:
            GuardFailure: They don't.
        """
        planted = "0123" * 3
        text = f"é safellm-canary-{planted[:5]}\u200b{planted[5:]} ."
        canaries = [(found.start, found.end) for found in self._scan(text) if found.type == _CANARY_TYPE]
        if canaries != [(17, 30)]:
            raise _failure("The detection engine did not find a planted value")

    def _scan(self, text: str) -> Sequence[Finding]:
        canonical = canonicalise(text)
        data = view_bytes(canonical.text)
        if self._gate.search(data) is None:
            return ()
        lower = data.lower()
        found: list[tuple[int, int, Rule]] = []
        for step in self._steps:
            haystack = lower if step.rule.ignore_case else data
            if not step.keywords or any(keyword in haystack for keyword in step.keywords):
                found.extend((start, end, step.rule) for start, end in _matches(step, canonical.text, data))
        merged = merge((*canonical.original_span(start, end), rule.priority, rule.type, rule.id) for start, end, rule in found)
        return tuple(merged)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A rule with its compiled parts."""

    rule: Rule
    pattern: Any
    keywords: tuple[bytes, ...]
    check: Check | None


def _step(rule: Rule) -> _Step:
    return _Step(
        rule=rule,
        pattern=_compile(rule.pattern, ignore_case=rule.ignore_case, memory=_RULE_MEMORY),
        keywords=tuple(keyword.encode("ascii") for keyword in rule.keywords),
        check=CHECKS[rule.check] if rule.check else None,
    )


def _matches(step: _Step, text: str, data: bytes) -> Iterator[tuple[int, int]]:
    for match in step.pattern.finditer(data):
        # A pattern may have one group per alternative; the one that took part is the value, else the whole match.
        start, end = match.span(match.lastindex or 0)
        if step.rule.entropy and entropy(data[start:end]) < step.rule.entropy:
            continue
        yield from step.check(text, start, end) if step.check else ((start, end),)


def _gate_of(rule: Rule) -> str:
    gate = rule.gate or "|".join(re2.escape(keyword) for keyword in rule.keywords)
    return f"(?i:{gate})" if rule.ignore_case else f"(?:{gate})"


@cache
def _compile(pattern: str, *, ignore_case: bool, memory: int) -> Any:  # noqa: ANN401 - the binding has no types
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = memory
    try:
        return re2.compile(pattern.encode("latin-1"), options)
    except re2.error:
        raise _failure("The detection engine rejects a rule") from None


def _failure(what: str) -> GuardFailure:
    return GuardFailure(
        what,
        guard="redaction",
        reason=Reason.GUARD_ERROR,
        remedy="Reinstall safellm and google-re2, and report this if it stays.",
    )
