"""Every rule finds its examples, and leaves alone what only looks like them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache

import pytest

from safellm._core.detection.engine import compile_pattern, view_bytes
from safellm._core.detection.gates import build_gates
from safellm._core.detection.rules import Rule, load_rules, parse_rules
from safellm._core.detection.scanner import RuleScanner, compile_scanner, filter_of, plan_of
from safellm.errors import ConfigurationError

RULES = load_rules()
MATCHES = [
    pytest.param(rule, text, id=f"{rule.id}-{number}")
    for rule in RULES
    if not rule.decode
    for number, text in enumerate(rule.matches)
]
ENCODED = [
    pytest.param(rule, text, id=f"{rule.id}-{number}")
    for rule in RULES
    if rule.decode
    for number, text in enumerate(rule.matches)
]
IGNORES = [
    pytest.param(rule, text, id=f"{rule.id}-{number}") for rule in RULES for number, text in enumerate(rule.ignores)
]


@cache
def alone_with(rule: Rule) -> RuleScanner:
    """Return a scanner that knows one rule."""
    return RuleScanner(rules=(rule,), filters=build_gates(plan_of((rule,))))


@cache
def without(rule: Rule) -> RuleScanner:
    """Return a scanner that knows all rules but one."""
    others = tuple(other for other in RULES if other.id != rule.id)
    return RuleScanner(rules=others, filters=build_gates(plan_of(others)))


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_rule_finds_example_when_alone(rule: Rule, text: str) -> None:
    """Each rule finds each of its examples without help from another rule."""
    assert [finding.rule for finding in alone_with(rule).scan(text)]


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_scanner_finds_example_when_all_rules_run(rule: Rule, text: str) -> None:
    """All rules together name each example with the type of its rule, or cover it with a longer find."""
    (alone,) = alone_with(rule).scan(text)
    covering = [
        finding for finding in compile_scanner().scan(text) if finding.start <= alone.start and alone.end <= finding.end
    ]
    assert [finding.type for finding in covering] == [alone.type]


@pytest.mark.parametrize(("rule", "text"), ENCODED)
def test_scanner_finds_example_when_it_is_encoded(rule: Rule, text: str) -> None:
    """What is written in another form is found through the rule that decodes it, and not without."""
    assert compile_scanner().scan(text)
    assert not without(rule).scan(text)


@pytest.mark.parametrize(("rule", "text"), IGNORES)
def test_rule_ignores_look_alike(rule: Rule, text: str) -> None:
    """Each rule leaves its counter-examples alone."""
    assert alone_with(rule).scan(text) == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_has_examples_of_both_kinds(rule: Rule) -> None:
    """No rule comes without a text that it must find and one that it must not."""
    assert rule.matches
    assert rule.ignores


@pytest.mark.parametrize(("rule", "text"), MATCHES + ENCODED)
def test_filter_is_open_when_only_the_example_is_there(rule: Rule, text: str) -> None:
    """A rule's filter matches in the example, however its letters around are: it never closes the gate on a find."""
    assert compile_pattern(filter_of(rule)).search(view_bytes(text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "[[rule]]\nid = 'a'\ntype = 'SECRET'",
        "[[rule]]\nid = 'a'\ntype = 'SECRET'\npattern = 'a'",
        "[[rule]]\nid = 'a'\ntype = 'SECRET'\npattern = 'a'\nkeywords = ['a']\ncheck = 'nothing'",
        "[[rule]]\nid = 'a'\ntype = 'SECRET'\npattern = 'a'\nkeywords = ['a']\ncolour = 'red'",
        "[[rule]\n",
    ],
    ids=["no pattern", "no keywords", "unknown check", "unknown part", "no toml"],
)
def test_rule_file_is_refused_when_wrong(text: str) -> None:
    """A rule that can't be read is an error, never skipped."""
    with pytest.raises(ConfigurationError):
        parse_rules(text)
