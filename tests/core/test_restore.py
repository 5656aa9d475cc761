"""Placeholders and how values come back."""

from __future__ import annotations

import json
import secrets

import pytest
from awkward_texts import cuts, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core import jsontext
from safellm._core.answer import AnswerRules
from safellm._core.arguments import ParameterTracker, is_declared
from safellm._core.fields import Kind
from safellm._core.placeholder import (
    LOOK_ALIKE_TYPE,
    MAX_LENGTH,
    PATTERN,
    Mapping,
    find_placeholders,
    make_placeholder,
    open_end,
)
from safellm._core.policy import Policy
from safellm._core.restore import Restorer, is_exposed, text_position
from safellm_openai.adapter import ADAPTER

KEY = b"k" * 32
VALUE = "alice@example.com"


def restore(mapping: Mapping, text: str) -> str:
    """Restore a whole text by the rule for text."""
    restorer = Restorer(mapping=mapping, allowed=text_position)
    return restorer.feed(text) + restorer.finish()


def hide_look_alikes(mapping: Mapping, text: str) -> str:
    """Do what redaction does with the look-alikes of a text."""
    out, position = [], 0
    for match in find_placeholders(text):
        out += [text[position : match.start()], mapping.hide(KEY, LOOK_ALIKE_TYPE, match[0])]
        position = match.end()
    return "".join([*out, text[position:]])


PLACEHOLDER = make_placeholder(KEY, "s", "EMAIL", VALUE)


def test_r_8_stable_within_a_conversation_and_unlinkable_across() -> None:
    """The same value has one placeholder in a conversation and another one in the next, or under another key."""
    assert make_placeholder(KEY, "s", "EMAIL", VALUE) == PLACEHOLDER
    assert make_placeholder(KEY, "t", "EMAIL", VALUE) != PLACEHOLDER
    assert make_placeholder(b"x" * 32, "s", "EMAIL", VALUE) != PLACEHOLDER


@given(st.text(), st.sampled_from(["EMAIL", "CREDIT_CARD", "X", "A" * 32]))
def test_every_placeholder_has_the_form(value: str, kind: str) -> None:
    """What is made is found again, and no longer than promised."""
    placeholder = make_placeholder(KEY, "s", kind, value)
    assert PATTERN.fullmatch(placeholder)
    assert len(placeholder) <= MAX_LENGTH


def test_r_3_forged_placeholders_are_never_restored() -> None:
    """100,000 guesses of the right form: none is known."""
    mapping = Mapping("s")
    mapping.hide(KEY, "EMAIL", VALUE)
    forged = [make_placeholder(secrets.token_bytes(32), "s", "EMAIL", str(number)) for number in range(100_000)]
    assert all(mapping.value_of(one) is None for one in forged)
    text = " ".join(forged[:1000])
    assert restore(mapping, text) == text


@given(texts(PLACEHOLDER, VALUE))
def test_r_3_look_alikes_survive_a_round_trip(text: str) -> None:
    """P6: a text with anything that looks like a placeholder comes back as it was, where values may come back."""
    mapping = Mapping("s")
    mapping.hide(KEY, "EMAIL", VALUE)
    hidden = hide_look_alikes(mapping, text)
    restorer = Restorer(mapping=mapping, allowed=lambda *_: True)
    assert restorer.feed(hidden) + restorer.finish() == text


@given(st.text(max_size=30).map(lambda text: text + PLACEHOLDER), st.text(max_size=10))
def test_r_4_a_value_that_holds_a_placeholder_is_not_expanded(value: str, around: str) -> None:
    """Restored text is never searched again."""
    mapping = Mapping("s")
    mapping.hide(KEY, "EMAIL", VALUE)
    outer = mapping.hide(KEY, "TEXT", value)
    restorer = Restorer(mapping=mapping, allowed=lambda *_: True)
    assert restorer.feed(f"( {outer} )") + restorer.finish() == f"( {value} )"


def test_r_4_one_placeholder_is_never_the_prefix_of_another() -> None:
    """A placeholder followed by more letters is none: nothing is restored in part."""
    mapping = Mapping("s")
    known = mapping.hide(KEY, "EMAIL", VALUE)
    assert restore(mapping, f"{known}X {known}") == f"{known}X {VALUE}"


@settings(max_examples=300)
@given(texts(PLACEHOLDER, PLACEHOLDER[:20], "X-EMAIL-0000000000000000"), st.data())
def test_r_5_any_cut_equals_whole(text: str, data: st.DataObject) -> None:
    """Cutting a text anywhere changes nothing, and less than a placeholder and three characters is held back."""
    mapping = Mapping("s")
    mapping.hide(KEY, "EMAIL", VALUE)
    pieces = Restorer(mapping=mapping, allowed=text_position)
    out = []
    for piece in cuts(text, data):
        out.append(pieces.feed(piece))
        assert len(pieces._held) <= MAX_LENGTH + 3
    assert "".join([*out, pieces.finish()]) == restore(mapping, text)


@given(texts(PLACEHOLDER))
def test_open_end_is_where_a_placeholder_could_still_grow(text: str) -> None:
    """Every proper beginning of a placeholder at the end is held, nothing before it."""
    for length in range(1, len(PLACEHOLDER)):
        assert open_end(text + " " + PLACEHOLDER[:length]) == len(text) + 1


@pytest.mark.parametrize(
    "template",
    [
        "Contact {}.", "mail <{}>", "see ({}) ok", "**{}**", "`{}`", "[{}](http://x.example)", "Email:{}, ok", "key={}",
        "- {}: yes",
        '{{"to": "{}"}}', "{}", "{}\n", "'{}'", "a, {}; b", "| {} |", "http://x.example {} and", "![alt {}](y.png)", "> {}",
    ],
)  # fmt: skip
def test_values_come_back_where_text_is_read(template: str) -> None:
    """Ordinary positions get the value."""
    mapping = Mapping("s")
    known = mapping.hide(KEY, "EMAIL", VALUE)
    assert restore(mapping, template.format(known)) == template.format(VALUE)


@pytest.mark.parametrize(
    "template",
    [
        "http://{}.evil.example", "https://evil.example/?q={}", "![x](https://evil.example/{})", "![x]({})", "[x]({})",
        "[x](<https://evil.example/? {}>)", "[r]: {}", "[r]: https://evil.example/{}", "<a href='{}'>",
        '<img src="//e.example/{}">',
        "<img alt=x title={}>", "evil.example/?d={}", "www.evil.example/{}", "//evil.example/{}", "mailto:{}", "data:text/html,{}",
        "javascript:{}", "{}.evil.example/x", "{}@evil.example", "user/{}", "?d={}", "HTTPS://EVIL.EXAMPLE/{}",
        "![x](https://evil.example/a\n{})", "<style>a{{background:url(//e.example/{})}}",
    ],
)  # fmt: skip
def test_r_7_values_never_come_back_where_the_position_sends_them_away(template: str) -> None:
    """URLs, link and image targets, attributes and host names keep the placeholder."""
    mapping = Mapping("s")
    known = mapping.hide(KEY, "EMAIL", VALUE)
    restorer = Restorer(mapping=mapping, allowed=text_position)
    text = template.format(known)
    assert restorer.feed(text) + restorer.finish() == text
    assert (restorer.restored, restorer.kept) == (0, 1)


def test_position_costs_little_on_hostile_text() -> None:
    """The look back is bounded: a megabyte of open brackets is decided like a short text."""
    for piece in ("](", "<a ", "[x]:", "://", "("):
        assert isinstance(is_exposed(piece * 300_000, ""), bool)


ARGUMENTS = st.dictionaries(
    st.sampled_from(["to", "body", "url", 'q"uote', "nested"]),
    st.recursive(
        st.sampled_from(
            ["x", PLACEHOLDER, f"hello {PLACEHOLDER}, bye", f"https://evil.example/?q={PLACEHOLDER}", 'q"\\\n', 7]
        ),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "to"]), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=4,
)


@given(
    ARGUMENTS,
    st.sampled_from([VALUE, 'O","admin":true,"x":"', "back\\slash", "line\nbreak", "\ud800", 'q"']),
    st.data(),
)
def test_r_6_tool_arguments_stay_json_and_only_declared_parameters_get_values(
    arguments: dict[str, object], value: str, data: st.DataObject
) -> None:
    """Whatever the value and the cut: the JSON parses, has the same keys, and only `to` got values, never in a URL."""
    mapping = Mapping("s")
    mapping._values[PLACEHOLDER] = value
    tracker = ParameterTracker()

    def allowed(before: str, after: str) -> bool:
        return tracker.in_value and is_declared("send", tracker.parameter, ["send.to"]) and text_position(before, after)

    restorer = Restorer(mapping=mapping, allowed=allowed, write=jsontext.quote, passed=tracker.pass_by)
    text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    out = "".join([*(restorer.feed(piece) for piece in cuts(text, data)), restorer.finish()])
    assert json.loads(out) == {key: _expected(one, value) if key == "to" else one for key, one in arguments.items()}


_AROUND = st.text(st.sampled_from('./:@?&#=-"\\ \nabez<>[](){}!w\u2019\U0001f600'), max_size=12) | st.sampled_from(
    [
        "https://evil.example/?q=",
        "//e.example/",
        ".evil.example",
        "@evil.example",
        "![x](",
        "[r]: ",
        "? And",
        ". Next",
        ".\n",
        ":8",
    ]
)


@settings(max_examples=300)
@given(_AROUND, _AROUND, st.data())
def test_r_7_escapes_of_json_hide_no_position(before: str, after: str, data: st.DataObject) -> None:
    """However JSON escapes what stands around a value, it comes back where it does in the text that is read."""
    mapping = Mapping("s")
    known = mapping.hide(KEY, "EMAIL", VALUE)

    any_escape = data.draw(st.booleans())

    def written(text: str) -> str:
        short = json.dumps(text, ensure_ascii=False)[1:-1]
        return "".join(_escaped(one) for one in text) if any_escape and data.draw(st.booleans()) else short

    text = f'{{"to":"{written(before)}{known}{written(after)}"}}'
    for structured, kind in ((True, Kind.TEXT), (False, Kind.ARGUMENTS)):
        policy = Policy.model_validate({"redaction": {"restore_tool_arguments": ["send.to"]}})
        rules = AnswerRules(policy=policy, mapping=mapping, structured=structured, table=ADAPTER.table)
        restorer = rules._restorer(kind, "send", None)
        assert restorer is not None
        out = "".join([*(restorer.feed(piece) for piece in cuts(text, data)), restorer.finish()])
        read = restore(mapping, before + known + after)
        assert json.loads(out)["to"] in (read, before + known + after if any_escape else read)


def _escaped(character: str) -> str:
    """Return a character as JSON may write it, by an escape."""
    if character == "/":
        return "\\/"
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _expected(one: object, value: str) -> object:
    if isinstance(one, str):
        return one if "://" in one else one.replace(PLACEHOLDER, value)
    if isinstance(one, list):
        return [_expected(item, value) for item in one]
    if isinstance(one, dict):
        return {key: _expected(item, value) for key, item in one.items()}
    return one


@pytest.mark.parametrize(
    ("tool", "parameter", "declared", "expected"),
    [
        ("send", "to", ["send.to"], True), ("send", "cc", ["send.to"], False), ("other", "to", ["send.to"], False),
        ("send", "to", ["*.to"], True), ("send", "to", ["send.*"], True), ("send", None, ["send.input"], True),
        (None, "to", ["*.*"], False), ("a.b", "to", ["a.b.to"], True), ("send", "to", [], False), ("send", "to", ["to"], False),
    ],
)  # fmt: skip
def test_declared_parameters(tool: str | None, parameter: str | None, declared: list[str], expected: bool) -> None:
    """An entry names tool and parameter; a star stands for any; an unknown tool has none."""
    assert is_declared(tool, parameter, declared) is expected
