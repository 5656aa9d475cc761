"""Rules in the policy: words and patterns are found, and dealt with as they say."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

import safellm
from safellm._core.detection.own import OwnRules
from safellm._core.policy import Action, Policy
from safellm._core.textrules import DETECTED, TextRule
from safellm.cli.app import app
from safellm.openai import OpenAI
from safellm.stores.settings import check_file
from safellm.testing.provider import LoopbackProvider

CUSTOMER = {"name": "customer", "pattern": r"C-[0-9]{4,8}\b"}


def found(text: str, **rule: Any) -> list[str]:
    """Return what one rule finds."""
    return [text[one.start : one.end] for one in OwnRules([TextRule(name="rule", **rule)]).find(text)]


def ask(client: Any, text: str, *, stream: bool = False) -> str:
    with client:
        answer = client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": text}], stream=stream
        )
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join(one.choices[0].delta.content or "" for one in answer if one.choices)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("action", "sent"),
    [("mask", "X-CUSTOMER-"), ("remove", "[CUSTOMER removed]"), ("allow", "C-4711"), (None, "X-CUSTOMER-")],
)
def test_a_rule_s_find_is_dealt_with_as_it_says(
    home: Path,
    provider: LoopbackProvider,
    outcome: Callable[[], dict[str, Any]],
    records: Any,
    action: str | None,
    sent: str,
    *,
    stream: bool,
) -> None:
    """It leaves masked, removed or as it is; what was masked comes back; and it is counted by its type."""
    rule = {**CUSTOMER, **({} if action is None else {"action": action})}
    answer = ask(
        OpenAI(base_url=provider.base_url, api_key="any", safellm={"rules": [rule]}), "Number C-4711.", stream=stream
    )
    seen = provider.requests[-1].json["messages"][0]["content"]
    assert sent in seen
    assert ("C-4711" in seen) == (action == "allow")
    assert ("C-4711" in answer) == (action != "remove")
    assert outcome()
    (intent,) = [one for one in records() if one["event.name"] == "call.intent"]
    assert intent["safellm.redaction.counts"] == {"CUSTOMER": 1}


def test_a_rule_that_blocks_stops_the_call(home: Path, provider: LoopbackProvider) -> None:
    """Nothing is sent, and the error names the type and not the value."""
    client = OpenAI(base_url=provider.base_url, api_key="any", safellm={"rules": [{**CUSTOMER, "action": "block"}]})
    with pytest.raises(safellm.Refused, match="CUSTOMER") as caught:
        ask(client, "Number C-4711.")
    assert "4711" not in str(caught.value)
    assert provider.requests == []


def test_a_strict_rule_holds_inside_of_something_looser(home: Path, provider: LoopbackProvider) -> None:
    """A blocked word in an allowed mail address blocks, and one in a masked address too."""
    rule = {"name": "whale", "words": ["whale"], "action": "block"}
    for types in ({"EMAIL": "allow"}, {}):
        client = OpenAI(base_url=provider.base_url, api_key="any", safellm={"rules": [rule], "redaction.types": types})
        with pytest.raises(safellm.Refused):
            ask(client, "Write to jane@whale.example.com")
    assert provider.requests == []


def test_a_rule_counts_where_detection_is_off(home: Path, provider: LoopbackProvider) -> None:
    """Whoever writes a rule wants it found."""
    client = OpenAI(
        base_url=provider.base_url, api_key="any", safellm={"rules": [CUSTOMER], "redaction.enabled": False}
    )
    ask(client, "Number C-4711, mail jane@example.com")
    seen = provider.requests[-1].json["messages"][0]["content"]
    assert "C-4711" not in seen
    assert "jane@example.com" in seen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acme, Acme (acme)acme_x", ["acme", "acme", "acme"]),
        ("acmes, xacme acme1", []),
        ("acme acme acme", ["acme"] * 3),
        ("日本acmeの", ["acme"]),
        ("ac\u200bme ａｃｍｅ", ["ac\u200bme", "ａｃｍｅ"]),
        ("C++11 blue \n whale", ["C++", "blue \n whale"]),
        ("\ud800 acme \ud800", ["acme"]),
        ("müller Müllerin Müller", ["Müller"]),
    ],
)
def test_words_are_found_at_borders(text: str, words: list[str]) -> None:
    """Where no letter or digit touches them, in other spellings of the same letters too."""
    assert found(text, words=["acme", "C++", "blue whale", "Müller"]) == words


def test_words_are_found_inside_others_when_asked() -> None:
    """Also in either case."""
    assert found("Beacon ACME xacmex", words=["acme"], whole_words=False, ignore_case=True) == ["ACME", "acme"]


def test_a_group_is_what_is_found() -> None:
    """The words around say what it is, and stay."""
    assert found("order no. 123 and 456", pattern=r"order no\. ([0-9]+)|b(c)") == ["123"]


LETTERS = st.text(alphabet="aA b1-é日\u0301\ud800", max_size=12)


@given(LETTERS, st.lists(st.text(alphabet="aAb1-é", min_size=2, max_size=3), min_size=1, max_size=3))
def test_words_are_found_as_a_plain_search_does(text: str, words: list[str]) -> None:
    """Every place where a word stands at borders lies in a find; no text breaks the search."""

    def is_cut(at: int) -> bool:
        return 0 < at < len(text) and all(
            unicodedata.category(one) in ("Lu", "Ll", "Nd") for one in text[at - 1 : at + 1]
        )

    spans = [(one.start, one.end) for one in OwnRules([TextRule(name="rule", words=words)]).find(text)]
    for word in words:
        for at in range(len(text)):
            if text.startswith(word, at) and not is_cut(at) and not is_cut(at + len(word)):
                inside = any(low < at + len(word) and at < high for low, high in spans)
                assert inside, (text, word, spans)
    assert all(0 <= low < high <= len(text) for low, high in spans)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"pattern": "(a"}, "none of RE2's"),
        ({"pattern": "(?=a)b"}, "look-around"),
        ({"pattern": r"(a)\1"}, "none of RE2's"),
        ({"pattern": "a*"}, "empty text"),
        ({"pattern": r"a\Cb"}, "cut a character"),
        ({"pattern": "a{1000}{1000}"}, "none of RE2's"),
        ({}, "either words or a pattern"),
        ({"pattern": "a", "words": ["ab"]}, "either words or a pattern"),
        ({"words": ["a"]}, "at least 2"),
        ({"pattern": "a", "type": "EMAIL", "action": "allow"}, "redaction.types.EMAIL"),
        ({"pattern": "a", "type": "PLACEHOLDER"}, "another meaning"),
        ({"pattern": "a", "type": "email"}, "pattern"),
        ({"pattern": "a", "action": "surrogate"}, "mask"),
        ({"pattern": "a", "whole_words": False}, "belongs to words"),
    ],
)
def test_a_wrong_rule_is_an_error_with_its_line(tmp_path: Path, rule: dict[str, Any], problem: str) -> None:
    """The error says where and what, and quotes nothing of the pattern."""
    lines = [
        "mode = 'guard'",
        "[[rules]]",
        "name = 'wrong'",
        *(f"{name} = {json.dumps(value)}" for name, value in rule.items()),
    ]
    (tmp_path / "policy.toml").write_text("\n".join(lines), "utf-8")
    message = check_file(tmp_path / "policy.toml")[0]
    assert problem in message
    assert message.startswith(f"{tmp_path / 'policy.toml'}:")
    assert not message.startswith(f"{tmp_path / 'policy.toml'}:1:")


def test_rules_agree_on_names_and_types() -> None:
    """Two of one name, or one type with two actions, are an error."""
    for other in ({"name": "a", "pattern": "y"}, {"name": "b", "type": "A", "pattern": "y", "action": "block"}):
        with pytest.raises(ValidationError, match="two rules"):
            Policy.model_validate({"rules": [{"name": "a", "pattern": "x"}, other]})


def test_the_stricter_of_rule_and_type_holds() -> None:
    """Neither place can loosen what the other one says."""
    for said, listed, wanted in (
        ("block", "allow", "block"),
        ("allow", "remove", "remove"),
        ("mask", "surrogate", "mask"),
    ):
        rules = [{"name": "a", "pattern": "x", "action": said}]
        policy = Policy.model_validate({"rules": rules, "redaction": {"types": {"A": listed}}})
        assert policy.hiding.types == {"A": Action(wanted)}
    assert Policy.model_validate({"rules": [{"name": "a", "pattern": "x", "type": "EMAIL"}]}).hiding.types == {}


def test_the_list_of_detected_types_is_whole() -> None:
    """Every type that a rule of the detectors gives is one that a rule of the policy can't let pass."""
    from safellm._core.detection.rules import load_rules

    assert {one.type for one in load_rules()} - {"ENCODED"} <= DETECTED


def test_rules_count_without_a_client(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `detect`, `redact`, `restore` and the command line, which says what found it."""
    monkeypatch.setenv("SAFELLM_RULES", "[{name = 'customer', pattern = 'C-[0-9]+'}]")
    (finding,) = safellm.detect("Number C-4711.")
    assert (finding.type, finding.rule, finding.start, finding.end) == ("CUSTOMER", "rules.customer", 7, 13)
    hidden = safellm.redact("Number C-4711.")
    assert "4711" not in hidden
    assert safellm.restore(hidden) == "Number C-4711."
    (tmp_path / "notes.txt").write_text("Number C-4711.", "utf-8")
    runner = CliRunner()
    assert "X-CUSTOMER-" in runner.invoke(app, ["redact", str(tmp_path / "notes.txt")]).output
    assert "a rule of the policy" in runner.invoke(app, ["redact", str(tmp_path / "notes.txt"), "--explain"]).output
