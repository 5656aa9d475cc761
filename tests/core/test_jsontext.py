"""Two JSON readers, one meaning: the fast one is believed only where it can be proven right."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safellm._core import jsontext

ALPHABET = 'a":\\ \n{}[],\ud800é€x'
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(alphabet=ALPHABET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a":\\ ', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def written(value: Any, data: st.DataObject) -> str:
    """Write a value as JSON, now and then with a key twice and blanks in odd places."""
    if isinstance(value, list):
        return "[" + ",".join(written(item, data) for item in value) + "]"
    if not isinstance(value, dict):
        return json.dumps(value)
    items = list(value.items())
    if items and data.draw(st.booleans()):
        items.append(items[0])
    blank = data.draw(st.sampled_from(["", " ", "\n", "\t"]))
    return "{" + ",".join(f"{json.dumps(key)}{blank}:{blank}{written(item, data)}" for key, item in items) + "}"


def outcome(read: Any) -> str:
    """Return what a reader says."""
    try:
        return repr(read())
    except jsontext.Malformed:
        return "malformed"


@settings(max_examples=400)
@given(VALUES, st.data(), st.sampled_from([0, 20_000]))
def test_k_9_both_readers_agree(value: Any, data: st.DataObject, padding: int) -> None:
    """Whatever is read, duplicate keys, huge integers, lone surrogates and depth included; large texts take another way."""
    text = written(value, data) + " " * padding
    raw = text.encode()
    assert outcome(lambda: jsontext.loads(raw, max_depth=3)) == outcome(lambda: jsontext._exact(raw, 3))


@settings(max_examples=200)
@given(VALUES, st.sampled_from([None, 2]), st.sampled_from(["", "\n", "\n\n"]))
def test_k_9_both_readers_agree_on_what_machines_write(value: Any, indent: int | None, end: str) -> None:
    """Compactly, or indented by two spaces, with the line's end or without: the ways that are proven by writing them again."""
    separators = (",", ":") if indent is None else None
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only) + end
        raw = text.encode("utf-8", "surrogatepass")
        assert outcome(lambda raw=raw: jsontext.loads(raw, max_depth=3)) == outcome(
            lambda raw=raw: jsontext._exact(raw, 3)
        )


@settings(max_examples=200)
@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    """Integers of any size, lone surrogates, deep values: nothing is lost."""
    assert repr(jsontext._exact(jsontext.dumps(value), 99)) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a" : 1, "a" : 2}',
        '{"a":":","a":2}',
        '{"a":"\\":","a":2}',
        '{"\\u0061":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        '[{"x":[{"a":1,"b":"a\\":","a":2}]}]',
        '{"a":1e2,"a":100}',
        '{"a":1' + ',"b":"' + "x" * 20_000 + '","a":1}',
        '{"a": 1' + ', "b": "' + "x" * 20_000 + '", "a": 1}',
        '{\n  "a": 1,\n  "a": 2\n}',
        '{\n  "a": {\n    "b": 1,\n    "b": 1\n  }\n}\n',
    ],
)
def test_k_9_a_key_twice_is_refused_however_it_is_written(text: str) -> None:
    """The colon and the quotation mark inside strings, escapes and number forms hide nothing."""
    with pytest.raises(jsontext.Malformed, match="twice"):
        jsontext.loads(text.encode(), max_depth=9)


@given(st.integers(0, 9), st.integers(0, 9))
@example(1, 1)
def test_a_repeated_key_can_t_hide_behind_colons_in_text(colons: int, quoted: int) -> None:
    """Counts that come out equal by chance don't exist: text only ever adds to them."""
    text = f'{{"a":1,"t":"{":" * colons}{chr(92) + chr(34) + ":"}{("x" + chr(92) + chr(34) + ":") * quoted}","a":2}}'
    with pytest.raises(jsontext.Malformed, match="twice"):
        jsontext.loads(text.encode(), max_depth=9)


def test_integers_keep_their_digits() -> None:
    """Beyond 64 bits as well, which the fast reader can't do."""
    for number in (2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40):
        value = jsontext.loads(b'{"n": %d, "list": [%d]}' % (number, number), max_depth=9)
        assert value == {"n": number, "list": [number]}
        for written in (b'{"n":%d}', b'{\n  "n": %d\n}'):
            assert jsontext.loads(written % number, max_depth=9) == {"n": number}
        assert jsontext.loads(jsontext.dumps(value), max_depth=9) == value


@pytest.mark.parametrize("text", ["1e400", '{"a":-1e999}', "NaN", "[Infinity]", '{"a":-Infinity}'])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    """They could not be written again."""
    with pytest.raises(jsontext.Malformed):
        jsontext.loads(text.encode(), max_depth=9)


def test_depth_is_exact() -> None:
    """At the limit it is read, one deeper not."""
    assert jsontext.loads(b"[" * 300 + b"]" * 300, max_depth=300)
    for depth in (301, 2000, 100_000):
        with pytest.raises(jsontext.Malformed, match="nested"):
            jsontext.loads(b"[" * depth + b"]" * depth, max_depth=300)
    indented = orjson.dumps([[[]]], option=orjson.OPT_INDENT_2)
    assert jsontext.loads(indented, max_depth=3) == [[[]]]
    with pytest.raises(jsontext.Malformed, match="nested"):
        jsontext.loads(indented, max_depth=2)
