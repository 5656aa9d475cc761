"""The quick question whether a reply needs anything done never says no where something would be changed (THREATS O.1, O.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import re
import sys
from typing import Any

import pytest
from awkward_texts import SPECIALS
from exchanges import World, answer, chat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markup_cases import BENIGN, HTML, MARKDOWN, U, attacks

from safellm._core.answer import AnswerRules
from safellm._core.fields import PLAIN
from safellm._core.neutral.addresses import Judge, parse_allowed, runs_script
from safellm._core.neutral.gate import may_need
from safellm._core.neutral.links import TARGET, LinkFilter, defang
from safellm._core.policy import Policy

JUDGE = Policy().judge()
assert JUDGE is not None
JUDGES = [JUDGE, JUDGE, Judge((parse_allowed("https://evil.example"),)), Judge(strict=True, pictures=False)]
CASES = [case.format(u=U) for case in (*MARKDOWN, *HTML)]
ATTACKS = list(attacks())

# What tells renderers apart: where code begins and ends, and what is mathematics, HTML or a definition until when.
LINES = [
    "", "", "", "```", "```", "```python", "````", "   ```", "    ```", "\t```", "  ```js", "```a|b", "```{note}",
    "``` {image} " + U, "```mermaid", "```math", ":::mermaid", ":::", "~~~", "> ```", "- ```", "1. ```", "> text",
    "- item", "12) item", "    code", "\tcode", "  - nested", "<div>", "</div>", "<pre>", "</pre>", "<!--", "-->",
    "<b title='", "'>", "<https://a.example>", "<a@b.example>", "[r]: https://a.example", "[r]:", "[r]: " + U,
    "![r]", "![a][r]", "$$", "\\[", "\\]", "\\begin{a}", "\\end{a}", " ", "   ", "a\r", "\r",
    "costs $5 and `a $b`", "\\(x `y \\)`", "`$$`", "`\\[`", "`\\]`", "`\\end`", "$", "``` a `b`", "text ``` text", "text `open",
    "text `` ` ``", "| a | `b|c` |", ".. image::", ".. image:: " + U, ":target: javascript:x", "{", "}",
    "{src=" + U + "}", "x = {", "f(a) {", "\\href{" + U + "}", "\\includegraphics", "{a}",
    "[a](https://a.example/b?c=d&e=f)", "[a](", "[www.a](https://b.example)", "![a](b.png \"", "\")", "title\")",
    "<br>", '<img src="a.png" alt="b">', '<a href="https://a.example/b#c" title="d">', "<!-- a -->", "<!-- a", "b -->", "<!-->",
    '<img src="' + U + '">',
    "text <br> text", "text <b\nc>", "text</b>", "<x y", "a[0](1)", "d]: x", "a] (b)", "@[youtube](x)",
    "!\\[a](b)", "https://a.example`", "www.a`b", "X <!-- a", "<?php", "<!DOCTYPE html>", "\\", "!", "@", "[", "]",
    "(", ":", "::", ":::", "`", "~", "=", "src=", " style=",
]  # fmt: skip
BEFORE = ["", "", "", "", " ", "   ", "    ", "> ", "- ", "text ", "`", "a\n"]
AFTER = [*["\n"] * 8, "", "\r\n", " ", "\n\n", "`\n"]
AROUND = [
    "{}", "a\n\n{}", "```\na\n```\n\n{}", "```\n{}\n```\n", "1. a\n   ```\n   {}\n   ```\n", "`{}`", "text `a` {}\n\n`{}`",
    "{}\n\n```\n{}\n```",
]  # fmt: skip
line = st.one_of(st.sampled_from(LINES), st.sampled_from(CASES), st.sampled_from(BENIGN), st.text(max_size=5))
DOCUMENTS = st.lists(
    st.tuples(st.sampled_from(BEFORE), line, st.sampled_from(AFTER)),
    max_size=12,
).map(lambda parts: "".join(map("".join, parts)))  # fmt: skip


def agrees(text: str, judge: Judge) -> None:
    """Fail if nothing seems to be needed and yet the text would be changed."""
    if not may_need(text, judge):
        assert defang(text, judge) == text


@settings(max_examples=800)
@given(DOCUMENTS, st.sampled_from(JUDGES))
@example("    <b title='\n![a](https://evil.example/x)'>", JUDGE)
@example("costs $5 and `a $b`\n\n```\n<img src=https://evil.example/x>", JUDGE)
@example("[a](\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example("[a\n```\n](b )\n<img src=https://evil.example/x>\n```\n", JUDGE)
@example(".. image:::https://evil.example/x", JUDGE)
@example("```\na\n    ```\n<img src=https://evil.example/x>\n", JUDGE)
@example("<div>\n```\n</div>\n\n<img src=https://evil.example/x>\n", JUDGE)
@example("a <b\nc='\n```\n'>\n<img src=https://evil.example/x>\n```", JUDGE)
@example("[r]:\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example('a\n```mermaid\nA["<img src=https://evil.example/x>"]\n```\n', JUDGE)
@example("a\n```math\n\\href{javascript:x}{a}\n```\n<img src=https://evil.example/x>", JUDGE)
@example("a\n```math\n\n``` a\n<img src=https://evil.example/x>\n```\n", JUDGE)
@example("`[^\\]]`\n\n```\n<img src=https://evil.example/x>\n```\n", JUDGE)
@example("\\(x `y \\)`\n\n```\n<img src=https://evil.example/x>", JUDGE)
@example("- ```\n```\n<img src=https://evil.example/x>", JUDGE)
@example("> ```\n```\n<img src=https://evil.example/x>", JUDGE)
@example("    <x\n<pre\n\n```\n</pre>\n![a](https://evil.example/x)\n", JUDGE)
@example("- a\n\n      `<b>` ![a](https://evil.example/x)", JUDGE)
@example("[](\n~~~ mermaid@{http:~", JUDGE)
@example("<!-- a\n\n`<script>` -->", JUDGE)
@example("<!-- <b title='-->'>\n\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example("<!-- \\-->\n\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example("<!-->\n```\n-->\n<img src=https://evil.example/x>\n```", JUDGE)
@example("<div>\n</a\n\n>\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example("<pre>\na\n\n```\n<img src=https://evil.example/x>\n```", JUDGE)
@example('<!-- a -->\n```mermaid\nA["<img src=https://evil.example/x>"]\n```\n', JUDGE)
@example("```mermaid\ngraph TD\nA-->B\n\n``` \n<img src=https://evil.example/x>\n```", JUDGE)
def test_o_2_the_quick_question_never_says_no_to_a_change(text: str, judge: Judge) -> None:
    """Over documents of all constructs, in any order: a no means that the filter changes nothing."""
    agrees(text, judge)


def test_o_2_mutated_attacks_are_never_missed() -> None:
    """Attacks with parts cut out, doubled, moved or replaced, alone and behind code: a no means that nothing changes."""
    draw = random.Random(8)
    pieces = [*LINES, *SPECIALS, "\n", "\n\n", "```\n", "\n```\n", "`", "&#58;", "%3a", "&lt;", "\\u003c", "\\n"]
    asked = 0
    for _ in range(8_000):
        text = draw.choice(ATTACKS)
        for _ in range(draw.randint(0, 4)):
            at, size = draw.randint(0, len(text)), draw.randint(0, 6)
            new = draw.choice(["", draw.choice(pieces), text[at : at + 9] * 2])
            text = text[:at] + new + text[at + size :]
        text = draw.choice(AROUND).replace("{}", text)
        asked += not may_need(text, JUDGE)
        agrees(text, JUDGE)
    assert asked > 800


def test_o_2_every_attack_is_asked_about() -> None:
    """No attack that is known is taken for ordinary text."""
    assert [text for text in ATTACKS if not may_need(text, JUDGE)] == []


@pytest.mark.parametrize("text", [
    "See [the docs](https://docs.python.org/3/library/json.html), [a](https://a.example/b?c=d&e=f#g) or <https://a.example>.",
    "```html\n<img src=https://a.example/a.png onload=x>\n![a](https://a.example/b)\n```\n\nAnd `<script>` or `![a](b)` in text.",
    "1. `a[0](x)`\n2. `d]: x`\n\n| a | b |\n|---|---|\n| x<br>y | {a: 1} |\n",
    "```python\nx = {**a, 'b': 1}; y = d[0](1); print(f'{x=} <b>{y}</b>')\n```\nThat costs $5: `a`.\n",
    "std::vec and crate::image::load ... f(a) { return b::c; }",
    '<p align="center">\n  <img src="logo.png" width="80" alt="A logo">\n  <a href="https://a.example/b">b</a>\n</p>\n\n```html\n<script>x</script>\n```',
    "<!-- toc -->\n* [a](#a)\n<!-- tocstop -->\n\n```html\n<img src=https://a.example/a.png>\n```\n",
    "As drawn:\n\n```mermaid\ngraph TD\nA[One] --> B[Two]\n```\n\n<details>\n<summary>More</summary>\n\n`<script>`\n\n</details>\n",
])  # fmt: skip
def test_ordinary_markdown_is_left_to_nobody(text: str) -> None:
    """Lists, links, tables and code need nothing, and that is known without reading lines."""
    assert not may_need(text, JUDGE)


PARTS = [
    "a", "b.c", "/", "/d", "?", "e=f", "&", "&copy", "&#x41", "&#58;", "A1b2" * 10, "A1b2" * 9 + "a+bcde", "%41" * 8, "#", "_", "-",
    "~", ",", "@", ":8080", "//", "\n", "x" * 60, "\u00e9",
]  # fmt: skip


@settings(max_examples=1000)
@given(
    st.sampled_from(["https://a.example", "http://a", "", "a/b", "/", "#"]),
    st.lists(st.sampled_from(PARTS), max_size=6),
)
@example("https://a.example", ["?", "A1b2" * 9, "a+bcde"])
@example("https://a.example", ["?", "A1b2" * 9 + "abc", "&#x41"])
def test_o_2_a_link_that_is_passed_hides_nothing(begin: str, parts: list[str]) -> None:
    """What is taken for an ordinary address by its form alone is one that the judge lets through."""
    address = begin + "".join(parts)
    found = re.match(rf"{TARGET}(?=\))", address + ")")
    if found is not None and found.end() == len(address):
        assert Judge().may_link(address.strip(), "name")
        assert not runs_script(address.strip())


def test_long_texts_take_time_by_their_length() -> None:
    """What is asked about each mark doesn't grow with the text: twice the text, about twice the work."""
    for piece in (
        "{ a ",
        "{=",
        "`$",
        "[a ",
        "](",
        "] (",
        "<b>",
        "<b ",
        ":: ",
        "``` ",
        "\n```",
        "\n```\n",
        "$ ",
        "!\\[",
        "\n\n`<x`",
        "<!-- ",
        "<!-- a -->\n",
        "<p>\n",
        "<p>```\n",
        "```mermaid\n",
        "![a](https://a.example/b) ",
        "{a=",
        "]:\n",
    ):
        assert steps(piece * 800) < 3 * steps(piece * 400) + 400, piece


def test_o_2_many_pictures_take_time_by_their_number() -> None:
    """What was changed before isn't gone through again for each."""
    links = LinkFilter(judge=JUDGE)
    links.feed("![a](https://evil.example/x) ")

    class Counted(list[tuple[int, int, str]]):
        def sort(self, **_: Any) -> None:  # type: ignore[override]
            raise AssertionError("all of them were sorted")

    links._edits = Counted()
    assert links.feed("![a](https://evil.example/x) " * 3).count("! [a] (") == 3


def steps(text: str) -> int:
    """Return how many functions are called for a text."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    may_need(text, JUDGE)  # patterns are made once
    sys.setprofile(count)
    try:
        may_need(text, JUDGE)
    finally:
        sys.setprofile(None)
    return calls


def rules() -> AnswerRules:
    """Return what treats an answer where nothing was hidden."""
    return AnswerRules(policy=Policy(), mapping=None, structured=False, table=PLAIN)


STRINGS = st.one_of(DOCUMENTS, st.lists(st.sampled_from(SPECIALS), max_size=3).map("".join))
NAMES = st.one_of(st.sampled_from(["text", "a key of some length"]), st.text(max_size=4))
VALUES = st.recursive(
    st.one_of(STRINGS, st.none(), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=4,
)


@settings(max_examples=250)
@given(VALUES)
@example(["```\n", "<img src=https://evil.example/x>"])
@example({"a key \u200b of some length": 1})
@example(["\\includegraphics", "{a}"])
def test_o_2_an_answer_that_stays_has_no_text_that_changes(value: Any) -> None:
    """Whatever stands in which of its strings: if it is said to stay, treating each of them changes nothing."""
    if rules().stays(value):
        assert not rules().document(json.loads(json.dumps(value)))


@given(st.sampled_from([*ATTACKS, "a\x1b[31m", "a\u200bb"]), st.sampled_from([0, 1, 2]))
def test_o_2_escapes_of_json_hide_nothing(text: str, how: int) -> None:
    """However a provider writes a text in JSON, the program gets the same."""
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    raw = json.dumps(body, ensure_ascii=how == 0)
    if how == 2:
        raw = raw.replace(
            json.dumps(text, ensure_ascii=False), '"' + "".join(f"\\u{ord(one):04x}" for one in text) + '"'
        )
    exchange, _ = World().begin(chat("hi"))
    got = json.loads(answer(exchange, [raw.encode()]))["choices"][0]["message"]["content"]
    assert got != text
