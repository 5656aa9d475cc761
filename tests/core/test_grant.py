"""Grants: no sequence of edits widens one; what can't be read denies (THREATS K.7)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core import caveats, macaroon
from safellm._core import grant as grants
from safellm._core.effects import Unit, Window
from safellm._core.grant import Attempt, InvalidGrant
from safellm.errors import ConfigurationError

ROOT = bytes(range(32))
NUMBER = "0123456789abcdef01234567"
LEAST = {"key": "openai", "operation": ["chat"], "model": ["gpt-5*"], "expires": 2_000}
CALL = Attempt(
    now_s=1_000,
    key="openai",
    origin="https://api.openai.com",
    operation="chat",
    models=("gpt-5-mini",),
    streams=False,
    tools=("search",),
    output_tokens=100,
    findings=frozenset({"EMAIL"}),
    uid=1000,
)
NAMES = st.lists(st.sampled_from(["chat", "gpt-5*", "gpt-5-mini", "*", "search", "EMAIL", "sea*h"]), max_size=3)
CAVEATS = st.one_of(
    st.tuples(st.sampled_from(["operation", "model", "tool", "without", "origin"]), NAMES),
    st.tuples(st.sampled_from(["expires", "max_output_tokens", "calls", "uid"]), st.integers(0, 3_000)),
    st.tuples(st.just("stream"), st.booleans()),
    st.tuples(st.just("key"), st.sampled_from(["openai", "other"])),
    st.tuples(st.just("budget"), st.sampled_from([{"tokens": 5}, {"micro_usd": 7}])),
    st.tuples(st.just("account"), st.sampled_from(["team", "scope-1"])),
)
SOME = st.lists(st.sampled_from(["gpt-5-mini", "gpt-4o", "search", "EMAIL", ""]), max_size=3)
ATTEMPTS = st.builds(
    Attempt,
    now_s=st.integers(0, 3_000),
    key=st.sampled_from(["openai", "other"]),
    origin=st.sampled_from(["https://api.openai.com", "chat", "https://evil.test"]),
    operation=st.sampled_from(["chat", "embeddings", "search"]),
    models=SOME.map(tuple),
    streams=st.booleans(),
    tools=SOME.map(tuple),
    output_tokens=st.none() | st.integers(0, 3_000),
    findings=st.none() | SOME.map(frozenset),
    uid=st.none() | st.integers(0, 3_000),
)


def made(**more):
    return grants.issue(ROOT, NUMBER, {**LEAST, **more})


def test_a_grant_comes_back_as_it_was_made():
    """Issue, write, verify."""
    one = made(tool=["search"])
    again = grants.verify(one.text(), ROOT)
    assert again == one
    assert again.id == NUMBER
    assert again.denies(CALL) is None


def test_nothing_of_the_token_stands_in_a_repr():
    """The signature is the credential."""
    one = made()
    assert one.text()[-20:] not in repr(one)
    assert one.token.signature.hex() not in repr(one)
    assert repr(one.token.signature) not in repr(one)


@pytest.mark.parametrize("missing", sorted(LEAST))
def test_there_are_no_boundless_grants(missing):
    """Key, operation, model and end are always said."""
    rest = {name: value for name, value in LEAST.items() if name != missing}
    with pytest.raises(ConfigurationError, match=missing):
        grants.issue(ROOT, NUMBER, rest)


@pytest.mark.parametrize(
    ("caveats", "attempt", "denied"),
    [
        ({}, {"key": "other"}, "key"),
        ({}, {"operation": "embeddings"}, "operation"),
        ({}, {"models": ("gpt-4o",)}, "model"),
        ({}, {"models": ("gpt-5", "gpt-4o")}, "model"),
        ({}, {"models": ()}, "model"),
        ({}, {"now_s": 2_000}, "expires"),
        ({"origin": ["https://api.openai.com"]}, {"origin": "https://evil.test"}, "origin"),
        ({"max_output_tokens": 100}, {"output_tokens": 101}, "max_output_tokens"),
        ({"tool": ["sea*"]}, {"tools": ("search", "send_mail")}, "tool"),
        ({"tool": []}, {}, "tool"),
        ({"stream": False}, {"streams": True}, "stream"),
        ({"stream": True}, {"streams": False}, "stream"),
        ({"without": ["*"]}, {}, "without"),
        ({"without": ["CREDIT_CARD"]}, {"findings": frozenset({"CREDIT_CARD"})}, "without"),
        ({"uid": 1000}, {"uid": 1001}, "uid"),
        ({"uid": 1000}, {"uid": None}, "uid"),
    ],
)
def test_k_7_each_caveat_denies_what_it_is_for(caveats, attempt, denied):
    """One that fits is allowed, one that doesn't is denied by this caveat."""
    one = made(**caveats)
    assert one.denies(replace(CALL, **attempt)) == denied


def test_a_model_pattern_matches_like_a_glob():
    """Stars stand for any text, everything else for itself."""
    fits = {
        "gpt-5*": ["gpt-5", "gpt-5-mini"],
        "*": ["", "x"],
        "a*b*c": ["abc", "a1b2c", "abbc"],
        "aa*aa": ["aaaa", "aabaa"],
    }
    not_fits = {
        "gpt-5*": ["gpt-4", "xgpt-5"],
        "a*b*c": ["acb", "ab"],
        "aa*aa": ["aaa"],
        "gpt-5": ["gpt-5-mini", "GPT-5"],
        "": ["x"],
    }
    for pattern, names in fits.items():
        assert all(caveats.matches(pattern, name) for name in names), pattern
    for pattern, names in not_fits.items():
        assert not any(caveats.matches(pattern, name) for name in names), pattern


def test_k_7_the_properties_are_about_every_caveat():
    """One that is new joins the strategy above: each known name is drawn by it."""
    seen = set()

    @settings(max_examples=400, database=None, derandomize=True)
    @given(CAVEATS)
    def draw(caveat):
        seen.add(caveat[0])

    draw()
    assert seen == set(caveats._KINDS)


@settings(max_examples=300)
@given(added=st.lists(CAVEATS, max_size=6), attempt=ATTEMPTS)
def test_k_7_a_caveat_only_narrows(added, attempt):
    """What a grant denies, every grant made from it denies; ceilings are only added."""
    one = made()
    for name, value in added:
        narrower = one.narrow(**{name: value})
        assert one.denies(attempt) is None or narrower.denies(attempt) is not None
        assert narrower.limits()[: len(one.limits())] == one.limits()
        assert grants.verify(narrower.text(), ROOT) == narrower
        one = narrower


@settings(max_examples=300)
@given(data=st.data(), added=st.lists(CAVEATS, min_size=1, max_size=4))
def test_k_7_no_edit_of_a_token_verifies(data, added):
    """Bytes changed, put in, taken out, caveats dropped, doubled or reordered: refused, and only with our error."""
    one = made()
    for name, value in added:
        one = one.narrow(**{name: value})
    token = one.token
    edit = data.draw(st.sampled_from(["byte", "insert", "delete", "drop", "reorder", "double", "identifier", "text"]))
    raw = bytearray(base64.urlsafe_b64decode(one.text()[4:] + "=="))
    if edit == "byte":
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    elif edit == "insert":
        raw.insert(data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, 255)))
    elif edit == "delete":
        del raw[data.draw(st.integers(0, len(raw) - 1))]
    text = "slm_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    caveats = list(token.caveats)
    if edit == "drop":
        del caveats[data.draw(st.integers(0, len(caveats) - 1))]
    elif edit == "reorder":
        caveats = data.draw(st.permutations(caveats))
        if caveats == list(token.caveats):
            caveats = [*caveats, caveats[0]]
    elif edit == "double":
        caveats.append(caveats[-1])
    if edit in {"drop", "reorder", "double"}:
        text = "slm_" + macaroon.encode(replace(token, caveats=tuple(caveats)))
    elif edit == "identifier":
        text = "slm_" + macaroon.encode(replace(token, identifier=b"g1:" + b"f" * 24))
    elif edit == "text":
        text = one.text() + data.draw(st.sampled_from(["=", "A", "\n", " ", "é"]))
    with pytest.raises(InvalidGrant):
        grants.verify(text, ROOT)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="ABCDabcd0123_-"),
        st.binary().map(lambda raw: "AgE" + base64.urlsafe_b64encode(raw).decode()),
    )
)
def test_any_text_is_read_or_refused(text):
    """Malformed input raises nothing but our error."""
    for whole in (text, f"slm_{text}"):
        with pytest.raises(InvalidGrant):
            grants.verify(whole, ROOT)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"expires":1e3}',
        b'{"expires":"9999"}',
        b'{"expires":true}',
        b'{"expires":-1}',
        b'{"expires": 99}',
        b'{"expires":1,"expires":9999}',
        b'{"model":["*"],"tool":["*"]}',
        b'{"model":"*"}',
        b'{"model":[1]}',
        b'{"modell":["*"]}',
        b'{"budget":{"tokens":1,"micro_usd":1}}',
        b'{"budget":{}}',
        b'{"stream":1}',
        b'{"uid":' + b"9" * 400 + b"}",
        b"[" * 5_000,
        b"\xff",
        b'{"key":"\\ud800"}',
    ],
)
def test_k_7_an_unknown_or_malformed_caveat_denies(raw):
    """Also when the chain of signatures is right: a holder can add what he likes."""
    token = macaroon.extend(made().token, raw)
    assert macaroon.is_signed_by(token, ROOT)
    with pytest.raises(InvalidGrant):
        grants.verify("slm_" + macaroon.encode(token), ROOT)


def test_another_installation_does_not_know_the_grant():
    """Signed with another root key."""
    with pytest.raises(InvalidGrant, match="not made here"):
        grants.verify(made().text(), bytes(32))


def test_narrowed_grants_share_what_their_parent_has():
    """Each ceiling has an account of its own; the parent's is the same for all children."""
    parent = made(budget={"micro_usd": 500})
    one, two = parent.narrow(calls=3), parent.narrow(calls=4)
    assert [(limit.unit, limit.limit, limit.window) for limit in one.limits()] == [
        (Unit.MICRO_USD, 500, Window.TOTAL),
        (Unit.REQUESTS, 3, Window.TOTAL),
    ]
    assert one.limits()[0] == two.limits()[0] == parent.limits()[0]
    assert one.limits()[1].name != two.limits()[1].name


def test_the_bytes_are_those_of_the_other_implementation():
    """pymacaroons reads, checks and writes the same tokens."""
    other = pytest.importorskip("pymacaroons")
    one = made(tool=["search"])
    theirs = other.Macaroon.deserialize(one.text()[4:])
    checker = other.Verifier()
    checker.satisfy_general(lambda caveat: isinstance(json.loads(caveat), dict))
    assert checker.verify(theirs, ROOT)
    theirs.add_first_party_caveat('{"calls":2}')
    assert grants.verify("slm_" + theirs.serialize(), ROOT) == one.narrow(calls=2)
    fresh = other.Macaroon(location="safellm", identifier=f"g1:{NUMBER}", key=ROOT, version=other.MACAROON_V2)
    for name, value in LEAST.items():
        fresh.add_first_party_caveat(json.dumps({name: value}, separators=(",", ":")))
    assert grants.verify("slm_" + fresh.serialize(), ROOT) == made()
