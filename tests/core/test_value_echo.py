"""Values of somebody else in an answer: registered or marked ones, and what other conversations hid (THREATS O.6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from awkward_texts import cuts, texts
from hypothesis import given, settings
from hypothesis import strategies as st

import safellm
from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.growing import GrowingIndex
from safellm._core.detection.registered import RegisteredSecrets
from safellm._core.detection.scanner import compile_scanner
from safellm._core.detection.valueindex import ValueIndex
from safellm._core.echo import SecretEcho, index_of
from safellm._core.personalecho import PersonalEcho
from safellm._core.valueecho import ValueEcho
from safellm.stores import marked
from safellm.stores.registered import REGISTER
from safellm.testing import LoopbackProvider

VALUES = ("C-4711", "Anna Schmidt", "Ödön Kis", "張偉先生", "12345678", "=1+1", "Kis Anna")
GROWN = GrowingIndex(type="CUSTOMER")
for _value in VALUES:
    GROWN.add(_value, "one")
INDEXES = (ValueIndex(VALUES, type="CUSTOMER"), GROWN)
PIECES = [
    *VALUES, "C-47", "11", "Anna", " ", "Schmidt", "Ö", "O\u0308", "dön", "張", "偉先", "1234", "\uff11", "-", "\\", "\\u00d6",
    "\\n", "x", "0", "(", "\n",
]  # fmt: skip
NUMBERS = st.integers() | st.just(12345678) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.sampled_from(VALUES) | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PIECES), inner, max_size=3),
)


def filtered(
    index: Any, pieces: list[str], *, is_json: bool = False, held: tuple[str, ...] = ()
) -> tuple[str, list[str]]:
    """Return what comes out of pieces: joined, and after each."""
    echo = ValueEcho(values=index, was_sent=lambda value: value in held, is_json=is_json)
    out = [echo.feed(piece) for piece in pieces]
    return "".join([*out, echo.finish()]), out


@settings(max_examples=150, deadline=None)
@given(texts(*PIECES), st.data())
def test_o_6_values_go_however_a_text_is_cut(text: str, data: st.DataObject) -> None:
    """Any cut gives what the whole gives, in text and in JSON; and no value that stands alone is left."""
    index, is_json = data.draw(st.sampled_from(INDEXES)), data.draw(st.booleans())
    held = data.draw(st.sampled_from([(), ("C-4711",)]))
    whole, _ = filtered(index, [text], is_json=is_json, held=held)
    assert filtered(index, cuts(text, data), is_json=is_json, held=held)[0] == whole
    if not is_json:
        left = canonicalise(whole).text
        for value in set(VALUES) - set(held):
            assert not re.search(rf"(?<![0-9A-Za-z]){re.escape(canonicalise(value).text)}(?![0-9A-Za-z])", left), value


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_o_6_json_stays_json_when_values_go(value: Any) -> None:
    """A number becomes a number; the program can still read its structured answer."""
    raw = json.dumps(value, ensure_ascii=False)
    out, _ = filtered(INDEXES[0], list(raw), is_json=True)
    json.loads(out)
    assert "4711" not in out or '"C-4711' not in out


ESCAPED = ("Zoë/Müller", "張偉先生", "face 😀 4711", "C-4711", "tab\there", "a/b/c-12345")
ESCAPED_INDEX = ValueIndex(ESCAPED, type="CUSTOMER")
SECRETS = RegisteredSecrets([f"{one}-{'q7' * 8}" for one in ESCAPED])
SINGLE = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def written(text: str, data: st.DataObject) -> str:
    """Return a text as a JSON string may write it: each character raw where it may be, or in any of its escapes."""
    out = []
    for one in text:
        units = one.encode("utf-16-be", "surrogatepass")
        hexed = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        ways = [
            hexed,
            hexed.replace("\\u", "\0").upper().replace("\0", "\\u"),
            *([SINGLE[one]] if one in SINGLE else []),
        ]
        out.append(data.draw(st.sampled_from([*ways, one, one] if one == "/" or one not in SINGLE else ways)))
    return "".join(out)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_o_6_values_and_secrets_go_from_json_in_any_escapes(data: st.DataObject) -> None:
    r"""`\u00e9`, surrogate pairs, `\/` and `\t` hide no value and no secret in a tool's arguments, however the stream is cut."""
    secret = data.draw(st.booleans())
    one = data.draw(st.sampled_from(ESCAPED))
    value = f"{one}-{'q7' * 8}" if secret else one
    around = data.draw(st.sampled_from(["", " ", "\\ ", "é, ", "\n", '" ', "\ud83d "]))
    raw = (
        f'{{"a": "{written(around, data)}{written(value, data)}{written(around[::-1], data)}", "b\\u00e9": [12, "x"]}}'
    )
    pieces = cuts(raw, data)

    def passed(parts: list[str]) -> str:
        echo = (
            SecretEcho(index=index_of(SECRETS), was_sent=lambda _: False, is_json=True)
            if secret
            else ValueEcho(values=ESCAPED_INDEX, was_sent=lambda _: False, is_json=True)
        )
        return "".join([*map(echo.feed, parts), echo.finish()])

    whole = passed([raw])
    assert passed(pieces) == whole
    assert passed(list(raw)) == whole
    read = json.loads(whole)
    assert value not in read["a"]
    assert "removed)" in read["a"]
    assert read["b\u00e9"] == [12, "x"]


@pytest.mark.parametrize("value", ESCAPED)
def test_o_6_a_value_goes_when_each_of_its_characters_is_escaped(value: str) -> None:
    """Surrogate pairs too, byte by byte."""
    raw = json.dumps(value) if not value.isascii() else f'"{"".join(f"{chr(92)}u{ord(one):04X}" for one in value)}"'
    echo = ValueEcho(values=ESCAPED_INDEX, was_sent=lambda _: False, is_json=True)
    assert "".join([*map(echo.feed, raw), echo.finish()]) == '"(CUSTOMER removed)"'


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30), st.data())
def test_json_without_values_stays_as_it_is(text: str, data: st.DataObject) -> None:
    """Escapes are read, never rewritten: a JSON text in which nothing is found comes out as it went in."""
    raw = json.dumps([text], ensure_ascii=data.draw(st.booleans()))
    for echo in (
        SecretEcho(index=index_of(SECRETS), was_sent=lambda _: False, is_json=True),
        ValueEcho(values=ESCAPED_INDEX, was_sent=lambda _: False, is_json=True),
    ):
        assert "".join([*map(echo.feed, cuts(raw, data)), echo.finish()]) == raw


def test_text_flows_when_it_begins_no_value() -> None:
    """Only the last word, and what begins like a value, waits."""
    _, out = filtered(INDEXES[0], ["It is ", "said that ", "Anna ", "went ", "home"])
    assert out == ["It is ", "said that ", "", "Anna went ", ""]


def test_value_inside_a_long_word_is_none_when_the_word_is_cut() -> None:
    """A word that is longer than any value flows; what comes next is still a part of it."""
    word = "x" * 40
    assert filtered(INDEXES[0], [word, "C-4711 C-4711"])[0] == f"{word}C-4711 (CUSTOMER removed)"


def test_text_passes_when_it_holds_parts_of_values_only() -> None:
    """Longer numbers, other words and other capitals are no values."""
    text = "C-47110 AC-4711 anna schmidt Anna  Schmidt 123456789 0.12345678x"
    assert filtered(INDEXES[0], [text])[0] == text


def test_value_of_many_conversations_is_nobody_s_own() -> None:
    """What three conversations hold stays; the oldest values are forgotten, and short ones never kept."""
    index = GrowingIndex(type="PERSONAL", common=3)
    for scope in ("a", "b", "c"):
        assert filtered(index, ["see help@corp.example"])[0] == (
            "see help@corp.example" if scope == "a" else "see (PERSONAL removed)"
        )
        index.add("help@corp.example", scope)
        index.add("abc", scope)
    assert filtered(index, ["see help@corp.example abc"])[0] == "see help@corp.example abc"


@pytest.fixture
def registered(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Values of this test alone."""
    monkeypatch.setattr(REGISTER, "values", ())
    monkeypatch.setattr(marked, "_values", [])
    marked._unread.clear()
    marked.others.cache_clear()
    safellm.register_values(["C-4711", "Anna Schmidt"], "CUSTOMER")
    with safellm.conversation("of another"):
        safellm.sensitive("ticket 0815", "TICKET")
    yield
    marked.others.cache_clear()


def ask(client: Any, text: str, *, stream: bool = False) -> str:
    """Return an answer's text."""
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], stream=stream)
    if stream:
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    return str(answer.choices[0].message.content)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("stream", [False, True])
def test_o_6_registered_and_marked_values_go_unless_the_conversation_holds_them(stream: bool) -> None:
    """By default, through a client: what was asked about stays, also by way of its placeholder."""
    told = "C-4711 is Anna Schmidt, see ticket 0815."
    with LoopbackProvider() as provider, safellm.OpenAI(base_url=provider.base_url, api_key="x") as client:
        provider.reply_with(told)
        assert ask(client, "hi", stream=stream) == "(CUSTOMER removed) is (CUSTOMER removed), see (SENSITIVE removed)."
        assert ask(client, "Who is Anna Schmidt?", stream=stream) == (
            "(CUSTOMER removed) is Anna Schmidt, see (SENSITIVE removed)."
        )
    off = {"output": {"personal": "pass"}}
    with LoopbackProvider() as provider, safellm.OpenAI(base_url=provider.base_url, api_key="x", safellm=off) as client:
        provider.reply_with(told)
        assert ask(client, "hi", stream=stream) == told


@pytest.mark.usefixtures("registered")
def test_o_6_what_another_conversation_hid_goes_when_the_policy_says_so() -> None:
    """Personal data of one user never reaches another; with the default, what nobody registered passes."""
    for policy, expected in (({}, "bob@corp.example"), ({"output": {"personal": "others"}}, "(PERSONAL removed)")):
        with (
            LoopbackProvider() as provider,
            safellm.OpenAI(base_url=provider.base_url, api_key="x", safellm=policy) as client,
        ):
            ask(client, "I am bob@corp.example, my IP address is 192.168.7.13.")
            provider.reply_with("Write to bob@corp.example.", "See 192.168.7.13.", "Write to bob@corp.example.")
            assert ask(client, "Whom?") == f"Write to {expected}."
            assert ask(client, "Where?") == "See 192.168.7.13."  # many machines have it
            assert ask(client, "I am bob@corp.example.") == "Write to bob@corp.example."


PERSONAL = "Write to carol@corp.example or bob@example.org.\nCall +49 171 7654321, from 192.168.0.1.\nSee https://docs.python.org"


def test_o_6_any_personal_data_of_others_goes_when_the_policy_says_so(home: Any) -> None:
    """What the detectors find in an answer and the request doesn't hold is taken out, streamed or not; the rest stays."""
    with (
        LoopbackProvider() as provider,
        safellm.OpenAI(base_url=provider.base_url, api_key="x", safellm={"output.personal": "any"}) as client,
    ):
        provider.reply_with(PERSONAL)
        whole = ask(client, "I am bob@example.org")
        assert whole == (
            "Write to (EMAIL removed) or bob@example.org.\nCall (PHONE removed), from 192.168.0.1.\nSee https://docs.python.org"
        )
        assert ask(client, "I am bob@example.org", stream=True) == whole


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_o_6_personal_data_goes_however_a_text_is_cut(data: st.DataObject) -> None:
    """Line by line, so any cut gives the same; in JSON escapes are read, and it stays JSON."""
    line = data.draw(st.sampled_from(["carol@corp.example", "x" * 5000 + " carol@corp.example", "see +49 171 7654321"]))
    raw = f"{line}\nand dave@corp.example\n"
    is_json = data.draw(st.booleans())
    raw = json.dumps([raw.replace("@", "\u0040"), 7]).replace("@", "\\u0040") if is_json else raw

    def passed(parts: list[str]) -> str:
        echo = PersonalEcho(
            scanner=compile_scanner(), is_personal=lambda *_: True, was_sent=lambda _: False, is_json=is_json
        )
        return "".join([*map(echo.feed, parts), echo.finish()])

    whole = passed([raw])
    assert passed(cuts(raw, data)) == whole
    text = json.loads(whole)[0] if is_json else whole
    assert "corp.example" not in text
    assert "7654321" not in text


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_o_6_personal_data_goes_from_lines_of_any_length(data: st.DataObject) -> None:
    """A document of one line, as JSON often is: no value and no label of one falls on a cut, whatever the pieces of the stream."""
    is_json = data.draw(st.booleans())
    label, value = data.draw(
        st.sampled_from([("", "+49 171 7654321"), ("Passport number ", "X1234567"), ("", "carol@corp.example")])
    )
    space = "\\u0020" if is_json and data.draw(st.booleans()) else " "
    edge = data.draw(st.sampled_from([3072, 4096, 6144]))
    words = "it was so " * 800
    before = words[: edge - data.draw(st.integers(0, 40))]
    raw = f"{before}; {label}{value.replace(' ', space)}; {words[:5000]}and dave@corp.example"
    raw = json.dumps([raw]).replace("\\\\u", "\\u") if is_json else raw

    def passed(parts: list[str]) -> str:
        echo = PersonalEcho(
            scanner=compile_scanner(), is_personal=lambda *_: True, was_sent=lambda _: False, is_json=is_json
        )
        return "".join([*map(echo.feed, parts), echo.finish()])

    whole = passed([raw])
    text = json.loads(whole)[0] if is_json else whole
    assert text.startswith(f"{before}; {label}(")
    assert " removed); " in text
    assert text.endswith("and (EMAIL removed)")
    assert passed(list(cuts(raw, data))) == whole
