"""Canonical bytes and sealed lines (THREATS L.1, L.6, L.7)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import enum
import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from safellm._core import record
from safellm._core.record import BadRecord, canonical, rfc3339, seal, unseal

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_KEY = st.text(st.characters(max_codepoint=127))
_INT = st.integers(-(2**53) + 1, 2**53 - 1)
_JSON = st.recursive(
    st.none() | st.booleans() | _INT | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEY, inner, max_size=4),
    max_leaves=20,
)
_FIELDS = st.dictionaries(_KEY.filter(lambda key: key not in record.CHAIN_NAMES), _JSON, max_size=6)


def _sealed(fields: dict[str, object], **changes: object) -> record.Sealed:
    parts: dict[str, object] = {
        "chain_uid": "0" * 32,
        "seq": 1,
        "prev": record.GENESIS,
        "event": "call.intent",
        "fields": fields,
        "time": rfc3339(1),
        "time_ns": 1,
        "event_id": "a",
    }
    return seal(**{**parts, **changes})  # type: ignore[arg-type]


@given(_JSON)
def test_canonical_equals_the_reference(value: object) -> None:
    """Our bytes are those of an independent RFC 8785 implementation."""
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(_FIELDS)
def test_sealed_line_is_canonical_and_hashed_without_its_hash(fields: dict[str, object]) -> None:
    """The line is the RFC 8785 form of the record; its hash is over the record without `hash`; it reads back."""
    sealed = _sealed(fields)
    value = json.loads(sealed.line)
    assert rfc8785.dumps(value) + b"\n" == sealed.line
    assert value.pop("hash") == sealed.hash == hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    assert {name: value[name] for name in fields} == json.loads(json.dumps(fields))
    assert unseal(sealed.line).hash == sealed.hash


_FLAT = st.none() | st.booleans() | _INT | _TEXT
_USUAL = st.dictionaries(
    (_KEY | st.sampled_from(["hash", "hasg", "hasi", '"', "\x7f", ',"hash":"'])).filter(
        lambda key: key not in record.CHAIN_NAMES
    ),
    _FLAT
    | st.just(f',"hash":"{record.GENESIS}"')
    | st.lists(_FLAT, max_size=3)
    | st.dictionaries(_KEY, _FLAT, max_size=3),
    max_size=6,
)


@given(_USUAL)
def test_fast_lane_is_the_reference(fields: dict[str, object]) -> None:
    """What the fast lane makes is what the slow one makes, and both are RFC 8785; it is taken for all flat records."""
    body = {**fields, "chain.uid": "0" * 32, "prev": record.GENESIS}
    made = record._around_hash_fast(body, fields)  # type: ignore[arg-type]
    assert "hash" not in body
    has_inner_hash = any(isinstance(value, dict) and "hash" in value for value in fields.values())
    assert (made is None) == has_inner_hash
    if made is not None:
        assert made == record._around_hash(body)  # type: ignore[arg-type]
        assert b"%s,%s" % made == rfc8785.dumps(body)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.5, 2**53, "\ud800", {"é": 1}, {1: 1}, [[1]], {"a": {"b": 1}}, ("x",)], ids=repr)
def test_fast_lane_leaves_everything_else_alone(value: object) -> None:
    """What it can't vouch for goes the slow way, which writes it or says why not."""
    fields = {"x": value}
    assert record._around_hash_fast({**fields, "chain.uid": "0", "prev": "0"}, fields) is None  # type: ignore[dict-item, arg-type]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (0.5, "float"),
        (float("nan"), "float"),
        (2**53, "2\\^53"),
        (-(2**53), "2\\^53"),
        ("a\udc00", "surrogate"),
        ({"a": ["\ud83d"]}, "surrogate"),
        ({"é": 1}, "ASCII"),
        ({1: 1}, "ASCII"),
        ({None: 1}, "ASCII"),
        (b"x", "bytes"),
        ({1, 2}, "set"),
    ],
    ids=repr,
)
def test_what_json_cannot_hold_exactly_is_refused(value: object, why: str) -> None:
    """Floats, numbers beyond 2^53-1, lone surrogates, keys that aren't ASCII text and other types raise ValueError."""
    with pytest.raises(ValueError, match=why):
        canonical(value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=why):
        _sealed({"x": value})


def test_error_of_a_surrogate_carries_no_text() -> None:
    """The error that refuses a text doesn't keep it, not even in its cause."""
    with pytest.raises(ValueError, match="surrogate") as caught:
        _sealed({"x": "canary\ud800"})
    assert not isinstance(caught.value, UnicodeError)
    assert "canary" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_enums_are_written_as_their_values() -> None:
    """Enums of text and integers, and tuples, are what JSON readers expect."""

    class Colour(enum.StrEnum):
        RED = "red"

    class Size(enum.IntEnum):
        BIG = 3

    assert canonical([Colour.RED, Size.BIG, {Colour.RED: (True, None)}]) == b'["red",3,{"red":[true,null]}]'  # type: ignore[dict-item]


def test_nested_beyond_the_limit_is_refused() -> None:
    """One level too many raises, at the limit it is written and read back."""

    def nested(levels: int) -> object:
        value: object = 1
        for _ in range(levels):
            value = [value]
        return value

    assert unseal(_sealed({"x": nested(record.MAX_DEPTH - 1)}).line)
    with pytest.raises(ValueError, match="nested"):
        _sealed({"x": nested(record.MAX_DEPTH)})
    with pytest.raises(ValueError, match="nested"):
        _sealed({"x": nested(100_000)})


@pytest.mark.parametrize("name", sorted(record.CHAIN_NAMES))
def test_fields_of_the_chain_cannot_be_set(name: str) -> None:
    """A caller can't write its own number, hash or time."""
    with pytest.raises(ValueError, match="chain"):
        _sealed({name: "x"})


def test_mixed_keys_and_long_lines_are_refused() -> None:
    """A key that isn't text among others raises ValueError, and so does a line over the limit."""
    with pytest.raises(ValueError, match="ASCII"):
        _sealed({"a": 1, 2: 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="limit"):
        _sealed({"a": "x" * record.MAX_LINE_BYTES})


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x5C, 0x7F, 0x85, 0x9B, 0x2028, 0x2029, 0xFEFF, 0x1F600])
def test_l_6_control_characters_stay_in_one_line(code: int) -> None:
    """Whatever a field holds, the record is one line of bytes and reads back the same."""
    text = f"a{chr(code)}b\r\n{{}}\nc"
    line = _sealed({"x": text}).line
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert min(line[:-1]) >= 0x20
    assert unseal(line).fields["x"] == text


def test_time_is_written_with_nanoseconds() -> None:
    """RFC 3339 text keeps every nanosecond, and years out of range raise."""
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339(1_795_398_290_687_019_103) == "2026-11-23T01:44:50.687019103Z"
    assert unseal(_sealed({}, time_ns=2**63).line).fields["time_ns"] == str(2**63)
    for wrong in (-1, 10**30):
        with pytest.raises(ValueError, match="time"):
            rfc3339(wrong)
    with pytest.raises(ValueError, match="time"):
        _sealed({}, time_ns=-1)


@given(st.data())
def test_l_7_no_other_line_is_accepted(data: st.DataObject) -> None:
    """Any change to a line's bytes is refused."""
    line = _sealed({"x": [1, {"y": "z"}], "decision": "allow"}).line
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 4)))
    changed = line[:start] + data.draw(st.binary(max_size=4)) + line[end:]
    if changed != line:
        with pytest.raises(BadRecord):
            unseal(changed)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe{\x00}\x00\n",
        b"\xef\xbb\xbf{}\n",
        b'{"v":1,"v":1}\n',
        b'{"v":1.0}\n',
        b'{"v":1e400}\n',
        b'{"v":NaN}\n',
        b'{"v":-Infinity}\n',
        b'{"v":' + b"9" * 10_000 + b"}\n",
        b'{"v":"\\ud800"}\n',
        b"[" * 200_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b" " * (record.MAX_LINE_BYTES + 1) + b"\n",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_l_7_crafted_lines_are_refused(text: bytes) -> None:
    """Duplicate keys, floats, huge numbers, deep nesting, other encodings and empty lines are no records."""
    with pytest.raises(BadRecord):
        unseal(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"decision":"allow","event.id"', b'"decision":"allow", "event.id"'),
        (b'"a":1,"b":2', b'"b":2,"a":1'),
        (b'"a":1,"b":2', b'"a":1,"a":1,"b":2'),
        (b'"a":1,"b":2', b'"a":9,"a":1,"b":2'),
        (b'"a":1,"b":2', b'"a":1.0,"b":2'),
        (b'"a":1,"b":2', b'"a":1e0,"b":2'),
        (b'"a":1,"b":2', b'"a":9007199254740993,"b":2'),
        (b'"decision":"allow"', b'"decision":"\\u0061llow"'),
        (b'"nested":{"hash":"x","y":1}', b'"nested":{"y":1,"hash":"x"}'),
        (b'"v":1}', b'"v":true}'),
        (b'"v":1}', b'"v":1} '),
    ],
)
def test_l_7_other_forms_with_a_true_hash_are_refused(old: bytes, new: bytes) -> None:
    """Whoever writes a line anew, hash and all, still has to write the one form that it may have."""
    line = _sealed({"a": 1, "b": 2, "decision": "allow", "nested": {"hash": "x", "y": 1}}).line
    assert unseal(line)
    assert line.count(old) == 1
    before, member, after = line.replace(old, new).partition(b',"hash":"' + unseal(line).hash.encode() + b'"')
    digest = hashlib.sha256(before + after.removesuffix(b"\n")).hexdigest()
    assert digest != unseal(line).hash
    assert member
    with pytest.raises(BadRecord):
        unseal(before + b',"hash":"' + digest.encode() + b'"' + after)


@pytest.mark.parametrize(
    ("text", "why"),
    [(b'{"a":1,"a":1}\n', "twice"), (b'{"a":' + b"9" * 18 + b"}\n", "beyond"), (b'{"a":0.5}\n', "not an integer")],
)
def test_l_7_parser_itself_refuses(text: bytes, why: str) -> None:
    """Duplicate keys and odd numbers are told as such, before the bytes are compared."""
    with pytest.raises(BadRecord, match=why):
        unseal(text)


def _resealed(**changes: object) -> bytes:
    """Return a line with a true hash over a record that `seal` would never write."""
    value = json.loads(_sealed({"x": 1}).line)
    value.pop("hash")
    value.update(changes)
    value = {name: item for name, item in value.items() if item is not ...}
    value["hash"] = hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    return rfc8785.dumps(value) + b"\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"v": "1"},
        {"seq": 0},
        {"seq": "1"},
        {"seq": True},
        {"prev": "0" * 63},
        {"prev": "A" * 64},
        {"prev": None},
        {"chain.uid": "x"},
        {"time": 1},
        {"time_ns": 1},
        {"time_ns": "01"},
        {"time_ns": "\u0661"},
        {"event.name": None},
        {"event.id": 3},
        {"event.id": ...},
        {"time": ...},
    ],
    ids=repr,
)
def test_l_7_wrong_forms_with_a_true_hash_are_refused(changes: dict[str, object]) -> None:
    """A right hash doesn't help a record whose own fields have the wrong type or form."""
    assert unseal(_resealed())
    with pytest.raises(BadRecord):
        unseal(_resealed(**changes))


def test_bad_record_tells_the_number_it_claims() -> None:
    """An edited record is still named by its number."""
    line = _sealed({"x": "old"}, seq=42).line.replace(b"old", b"new")
    with pytest.raises(BadRecord, match="changed") as caught:
        unseal(line)
    assert caught.value.seq == 42
