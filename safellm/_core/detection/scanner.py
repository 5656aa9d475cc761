"""Finds what the rules describe, in time linear in the text.

1. The text's canonical view is written as one byte per character, so that engine offsets are text indexes (`quickview`).
2. One or two passes over the view tell which rules could match (`filters`). Clean text ends here.
3. Each of those runs over the view (RE2), or over the lines or words in which its filter matched (`reach`); its check and entropy
   decide on each match, and say how sure they are. Checks read the view as text, which is made when the first of them asks.
4. A secret that was found beside its name is found wherever else it stands.
5. Overlapping findings become one that covers all of them, named after the longest: nothing that a rule found stays visible.

A rule with `decode` finds no values but encoded runs: their plain text is scanned in place of the run, and what is found there is
found at the run. Two levels deep, and no more plain text than `decoded.BUDGET`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import re2

from safellm._core.detection.canonical import Canonical, canonicalise, fold_places, fold_text
from safellm._core.detection.context import Text
from safellm._core.detection.engine import Spans, compile_pattern, engine_failure, search_of, view_bytes
from safellm._core.detection.filters import Build, Filter, Filters, Places, Plan, build_filters
from safellm._core.detection.finding import Finding
from safellm._core.detection.pages import SPECIAL
from safellm._core.detection.quickview import SPECIAL_PATTERN, folded_of, read
from safellm._core.detection.randomness import entropy
from safellm._core.detection.reach import Reach, Window, joined, reach_of, windows
from safellm._core.detection.rules import Rule, load_rules
from safellm._core.detection.validators import check_of
from safellm.errors import GuardFailure

LEAST_CONFIDENCE = 0.5
_SECRET = "SECRET"  # noqa: S105 - the type of a finding
_REPEAT = (12, 1024)  # characters of a value that is searched again; a shorter one could be a word
_REPEATED = 64  # values of one text, so that the search stays linear
# Matches of one secret's rule whose check is asked in any case: so many, and one more per so many characters.
_CHECKED, _PER_CHECK, _SECRETS_FOUND = 500, 200, 0.5
# The same for numbers, whose tables are checked further and of which three in four must be finds; none goes beyond its match.
_NUMBERS = frozenset({"identifier", "us_ssn", "phone_international", "phone_nanp", "phone_national"})
_CHECKED_NUMBERS, _PER_NUMBER, _NUMBERS_FOUND = 2_000, 100, 0.75
_WIDENING = frozenset({"whole_key"})  # checks whose finds go on behind the match
_PER_RUN = 24  # characters of a text for each run beyond Latin-1, so that they are few
_DEPTH = 2  # encodings within encodings that are opened
# What opens the `late` rules, beside an @ that stands alone: five digits in a row, six with little between them, or letters among
# digits.
_DIGITS = r"\d{5}|\d(?:[ .\-/()]{0,3}\d){5}|\d{3}[A-Za-z]\d|\d{4}[A-Z]|\d[A-Z][0-9A-Z]?\d"
# Beside such an @, this stands in the last line of each match of a late filter that leads to a find, or `ahead` of it: four digits
# with little between them, letters among digits, or a postcode with letters. Few lines of a long text have it. Read to the end of
# the digits, so that it matches once for many.
_NEAR = (
    r"\d(?:[ .\-/():+*_,]{0,3}\d){3}[\d .\-/():+*_,]*(?:[^\d .\-/():+*_,]|\z)"
    r"|\d{3}[A-Za-z]\d|\d[A-Z][0-9A-Z]?\d|\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] ?\d"
)
_LINE_END = 2  # characters before a line that bring the line before it, where a late filter may begin
_SIGNS = "signs"  # part of the filters that begin with no letters
_CANARY_TYPE = "CANARY"
_CANARY = Rule(
    id="canary", type=_CANARY_TYPE, pattern="safellm-canary-([a-d]{12})", keywords=("safellm-canary-",), priority=0
)

Hit = tuple[int, int, int, str, str, float]  # start, end, priority, type, rule, confidence


def compile_scanner(rules: Sequence[Rule] | None = None) -> RuleScanner:
    """Return a scanner for the rules (default: those of the package); equal rules share one.

    Raises:
        GuardFailure: The engine rejects a rule, a rule names an unknown check, or the planted canary isn't found.
    """
    return _compiled(load_rules() if rules is None else tuple(rules))


@lru_cache(maxsize=8)
def _compiled(rules: tuple[Rule, ...]) -> RuleScanner:
    for rule in rules:
        compile_pattern(rule.pattern, ignore_case=rule.ignore_case)  # a wrong one fails now, not at its first text
        try:
            check_of(rule.check)
        except KeyError:
            raise engine_failure("A detection rule names a check that there isn't") from None
    return make_scanner(rules)


def make_scanner(
    rules: tuple[Rule, ...],
    database: bytes | memoryview | None = None,
    *,
    build: Build | None = None,
    reaches: Sequence[Reach] | None = None,
) -> RuleScanner:
    """Return a scanner that has proved that it finds; patterns are compiled when they are first needed.

    Args:
        rules: What to find.
        database: What `RuleScanner.filters` of the same rules gave as its database in an earlier process.
        build: What makes the filters instead.
        reaches: How far the rules reach, where that is known.

    Raises:
        GuardFailure: The engine rejects the rules or the database, or does not find the planted canary.
    """
    plan = plan_of(rules, reaches)
    scanner = RuleScanner(rules=rules, filters=build(plan) if build else build_filters(plan, database))
    scanner.prove()
    return scanner


def plan_of(rules: Sequence[Rule], reaches: Sequence[Reach] | None = None) -> Plan:
    """Return the filters of the rules, in the order in which `RuleScanner` numbers them, and what opens the late ones."""
    known = reaches if reaches is not None else map(reach_of_rule, rules)
    filters = [
        Filter(filter_of(rule), reach, part=rule.apart, late=rule.late, whole=rule.whole)
        for rule, reach in zip((*rules, _CANARY), (*known, reach_of_rule(_CANARY)), strict=True)
    ]
    filters.append(Filter(SPECIAL_PATTERN, part=_SIGNS))
    late = [rule for rule in rules if rule.late]
    if not late:
        return Plan(tuple(filters))
    before = max(rule.ahead for rule in late) + _LINE_END
    return Plan(tuple(filters), Filter(_DIGITS, part=_SIGNS), near=_NEAR, before=before)


def reach_of_rule(rule: Rule) -> Reach:
    """Return how far a rule's matches, and those of its gate, reach."""
    return _reach(rule.pattern, rule.gate, rule.keywords)


@lru_cache(maxsize=2048)
def _reach(pattern: str, gate: str, keywords: tuple[str, ...]) -> Reach:
    return reach_of(pattern, gate or "|".join(map(re2.escape, keywords)))


def filter_of(rule: Rule) -> str:
    """Return the pattern that matches wherever the rule could: its gate, or any of its keywords."""
    gate = rule.gate or "|".join(re2.escape(keyword) for keyword in rule.keywords)
    return f"(?i:{gate})" if rule.ignore_case else f"(?:{gate})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScanner:
    """A `Scanner` over compiled rules. Safe to share between threads: nothing in it changes but caches."""

    rules: tuple[Rule, ...]
    filters: Filters = field(repr=False, compare=False)

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
        """Check that filters, rules and offset map find a planted value, beside a letter beyond ASCII and cut by one that hides.

        Raises:
            GuardFailure: They don't.
        """
        planted = "abcd" * 3  # digits would open filters and load checks that a program may never need
        for written in (planted, f"{planted[:5]}\u200b{planted[5:]}"):
            text = f"é safellm-canary-{written} ."
            canaries = [(found.start, found.end) for found in self._scan(text) if found.type == _CANARY_TYPE]
            if canaries != [(17, 17 + len(written))]:
                raise engine_failure("The detection engine did not find a planted value")

    def _scan(self, text: str) -> Iterator[Finding]:
        view = View(text)
        found = self._hits(view, 0, _Opened())
        if not found:
            return iter(())
        if view.is_original:
            return merge(found)
        return merge(_moved(hit, *view.canonical.original_span(hit[0], hit[1])) for hit in found)

    def _hits(self, view: View, depth: int, spent: _Opened) -> list[Hit]:
        """Return what is found in a text, in indexes of its canonical view, unordered and overlapping.

        Args:
            view: The text.
            depth: How many encodings it stood in.
            spent: What was decoded so far for one scan; counted up.
        """
        opened = self.filters.opened(view.data)
        if len(self.rules) + 1 in opened:  # something special: only the whole work shows what the text says
            view.fold()
            opened = self.filters.opened(view.data)
        if not opened:
            return []
        found: list[Hit] = []
        for rule, places in self._questions(opened, view.data):
            if rule.decode:
                found += self._encoded_hits(rule, view, places, depth, spent)
            else:
                found += rule_hits(rule, view, places)
        return found + repeats(view.text, found) if found else found

    def _hits_inside(self, text: str, depth: int, spent: _Opened) -> list[Hit]:
        """Return what is found in a plain text with its surroundings, in its own indexes."""
        key = text, depth
        known = spent.found.get(key)
        if known is None:
            inner = View(text)
            hits = self._hits(inner, depth, spent)
            known = [_moved(hit, *inner.canonical.original_span(hit[0], hit[1])) for hit in hits]
            spent.found[key] = known
        return known

    def _questions(self, opened: Places, data: bytes) -> Iterable[tuple[Rule, Sequence[Window]]]:
        """Return the rules to ask, and where they read; two that lead to the same question are asked as one."""
        asked: dict[tuple[str, str] | int, tuple[Rule, Sequence[Window]]] = {}
        filters = self.filters.filters
        for number in sorted(opened):
            rule = self.rules[number] if number < len(self.rules) else _CANARY
            ends = opened[number]
            places = windows(data, ends, filters[number].reach, rule.ahead) if ends else [(0, len(data))]
            key = (rule.pattern, rule.check) if rule.check else number
            if key in asked:
                rule, known = asked[key]
                places = joined(known, places)
            asked[key] = rule, places
        return asked.values()

    def _encoded_hits(
        self, rule: Rule, view: View, places: Sequence[Window], depth: int, spent: _Opened
    ) -> Iterator[Hit]:
        """Yield what is found in the plain text of encoded runs, at the runs."""
        from safellm._core.detection import decoded  # noqa: PLC0415 - only texts with encoded runs need it

        if depth >= _DEPTH:
            return
        after = 0
        for match in matches_of(rule, view.data, places):
            run = decoded.DECODERS[rule.decode](view.text, *match[0]) if match[0][0] >= after else None
            if run is None:
                continue
            low, after, plain = run
            spent.size += len(plain)
            if spent.size > decoded.BUDGET:
                return
            left, right = decoded.surroundings(view.text, run)
            for hit in self._hits_inside(left + plain + right, depth + 1, spent):
                first, last = hit[0], hit[1]
                if first < len(left) + len(plain) and last > len(left):
                    # What goes on in the plain surroundings is found there, too.
                    begin, end = len(left) - first, last - len(left) - len(plain)
                    yield _moved(hit, low - max(0, begin), after + max(0, end))


@dataclass(slots=True)
class _Opened:
    """What one scan decoded.

    Attributes:
        size: Characters of plain text.
        found: What was found in each plain text with its surroundings, by these and their depth: floods repeat themselves.
    """

    size: int = 0
    found: dict[tuple[str, int], list[Hit]] = field(default_factory=dict)


class View:
    """A text as the engine and the checks read it: its canonical view, as bytes, and as text when that is asked for."""

    __slots__ = ("_canonical", "_original", "_raw", "_runs", "_text", "data")

    def __init__(self, text: str) -> None:
        self._original = text
        self._text: Text | None = None
        self._canonical: Canonical | None = None
        self.data, self._runs, self._raw = read(text)
        if self._raw and SPECIAL in self.data:
            self.fold()

    def fold(self) -> None:
        """Make the bytes from the canonical text, because the quick ones aren't all of it."""
        self.data = view_bytes(self.text)

    @property
    def is_original(self) -> bool:
        """Whether indexes of the canonical text are those of the text."""
        return self.canonical.is_original

    @property
    def _is_known(self) -> bool:
        """Whether the places where the text is folded are known, and few."""
        return bool(self._raw) and len(self._runs) * _PER_RUN < len(self._original)

    @property
    def canonical(self) -> Canonical:
        """The canonical view with its way back."""
        if self._canonical is None:
            if self._is_known:
                self._canonical = fold_places(self._original, self._runs, folded_of(self._raw))
            else:
                self._canonical = canonicalise(self._original)
        return self._canonical

    @property
    def text(self) -> str:
        """The canonical text, with what the checks found out about it."""
        if self._text is None:
            if self._is_known:
                self._text = Text(fold_text(self._original, self._runs, folded_of(self._raw)))
            else:
                self._text = Text(self.canonical.text)
        return self._text


def matches_of(rule: Rule, data: bytes, places: Sequence[Window] = ()) -> Iterator[Spans]:
    """Yield the matches of a rule's pattern: of each the span, then those of its groups.

    Args:
        rule: The rule.
        data: The text, one byte per character.
        places: Where it is read, rising; everywhere if there are none.
    """
    search = search_of(rule.pattern, ignore_case=rule.ignore_case)
    for begin, high in places or ((0, len(data)),):
        low = begin
        while (end := (spans := search(data, low, high))[0][1]) >= 0:
            yield spans
            if low == high:
                break
            low = end if end > low else low + 1  # behind the match; an empty one leads on, too


def rule_hits(rule: Rule, view: View, places: Sequence[Window] = ()) -> Iterator[Hit]:
    """Yield what one rule finds in a text, in indexes of its canonical view.

    Checks read bounded windows, so tables of ten thousand numbers or hashes are checked to their end. Only where very many matches
    of a rule for secrets were mostly finds, or three in four of those of a rule for numbers, an attack on the scan or a list, a
    further match is a find without being asked about: it costs nothing, and nothing stays visible.

    Args:
        rule: The rule.
        view: The text.
        places: See `matches_of`.
    """
    data = view.data
    check = check_of(rule.check)
    most, enough = _limits(rule, len(data))
    asked = accepted = 0
    last, sure = rule.type, rule.confidence  # of the find before, in a flood of numbers
    for spans in matches_of(rule, data, places):
        # A pattern may have a group per alternative; the one that took part is the value, else the whole match.
        start, end = spans[0] if len(spans) == 1 else value_of(spans)
        asked += 1
        if asked > most and (rule.check in _WIDENING or accepted > enough * most):
            high = len(data) if rule.check in _WIDENING else end
            yield start, high, rule.priority, last, rule.id, sure
            if rule.check in _WIDENING:
                return
            continue
        if rule.entropy and entropy(data[start:end]) < rule.entropy:
            continue
        if check is None:
            yield start, end, rule.priority, rule.type, rule.id, rule.confidence
            continue
        for span in check(view.text, start, end):
            confidence = span[2] if len(span) > 2 else rule.confidence  # noqa: PLR2004 - the optional parts of `Spans`
            kind = span[3] if len(span) > 3 else rule.type  # noqa: PLR2004
            if confidence >= LEAST_CONFIDENCE:
                accepted += 1
                if enough == _NUMBERS_FOUND:
                    last, sure = kind, confidence
                yield span[0], span[1], rule.priority, kind, rule.id, confidence


def _limits(rule: Rule, size: int) -> tuple[int, float]:
    """Return how many matches of a rule are asked about in any case, and which share of them are finds in a flood."""
    if rule.type == _SECRET:
        return _CHECKED + size // _PER_CHECK, _SECRETS_FOUND
    if rule.check.partition(":")[0] in _NUMBERS:
        return _CHECKED_NUMBERS + size // _PER_NUMBER, _NUMBERS_FOUND
    return size, 1.0


def value_of(spans: Spans) -> tuple[int, int]:
    """Return the span of the value: of the group that took part (the last to end, the outermost of those), else of the match."""
    value = spans[0]
    last = -1
    for span in spans[1:]:
        if span[1] > last:
            value, last = span, span[1]
    return value


def repeats(text: str, found: Sequence[Hit]) -> list[Hit]:
    """Return where the secrets that were found stand again: what is a secret beside its name is one everywhere in the text."""
    values = {
        text[hit[0] : hit[1]]: hit for hit in found if hit[3] == _SECRET and _REPEAT[0] <= hit[1] - hit[0] <= _REPEAT[1]
    }
    if not values:
        return []
    known = {hit[0] for hit in found}
    again: list[Hit] = []
    for value, hit in list(values.items())[:_REPEATED]:
        at = text.find(value)
        while at >= 0:
            if at not in known:
                again.append(_moved(hit, at, at + len(value)))
            at = text.find(value, at + len(value))
    return again


def _moved(hit: Hit, start: int, end: int) -> Hit:
    return start, end, hit[2], hit[3], hit[4], hit[5]


def merge(found: Iterable[Hit]) -> Iterator[Finding]:
    """Yield findings without overlaps: each group of overlapping ones becomes their union, named after the longest.

    Args:
        found: In any order; priority decides between equally long ones. The union is as sure as its surest part.
    """
    start = end = -1
    best: tuple[int, int, str, str] | None = None
    sure = 0.0
    for low, high, priority, kind, rule, confidence in sorted(found):
        rank = (high - low, priority, kind, rule)
        if best is not None and low < end:
            end, best, sure = max(end, high), max(best, rank), max(sure, confidence)
            continue
        if best is not None:
            yield Finding(type=best[2], rule=best[3], start=start, end=end, confidence=sure)
        start, end, best, sure = low, high, rank, confidence
    if best is not None:
        yield Finding(type=best[2], rule=best[3], start=start, end=end, confidence=sure)
