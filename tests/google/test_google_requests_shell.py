"""The shell for `requests`: the same guard, whichever way a session is used."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import gzip
import io
import json
import traceback

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

import safellm
from safellm._core.origin import parse_origin
from safellm.client import prepare
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply
from safellm.transports.requests import GuardAdapter, guard_of, guard_session
from safellm_google_genai.adapter import ADAPTER
from safellm_google_generativeai.errors import native_error

MAIL = "alice@example.com"
PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"


def body_of(text=MAIL):
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def session_for(server, *, raises=True, key=None, **policy):
    setup = prepare(ADAPTER, policy or None, sdk="test")
    placeholder = setup.manage("google", key, default_origins=()) if key else None
    driver = setup.driver(parse_origin(server.origin), in_code=True, native=native_error)
    driver.raises = raises
    session = guard_session(requests.Session(), driver)
    if placeholder:
        session.headers["x-goog-api-key"] = placeholder
    return session


@pytest.fixture
def session(provider):
    with session_for(provider) as made:
        yield made


def text_of(answer):
    return answer["candidates"][0]["content"]["parts"][0]["text"]


def test_value_is_hidden_and_comes_back(session, provider):
    """Hidden on the wire, whole in the answer."""
    answer = session.post(provider.origin + PATH, json=body_of())
    assert text_of(answer.json()) == f'You wrote: "{MAIL}"'
    assert MAIL.encode() not in provider.requests[-1].body
    assert answer.ok
    assert answer.elapsed.total_seconds() >= 0
    assert answer.request.body == json.dumps(body_of()).encode()
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_what_is_known_of_one_head_says_nothing_of_another(session, provider):
    """A header, a query, a length or another address that earlier calls hadn't is looked at anew."""
    for _ in range(2):
        session.post(provider.origin + PATH, json=body_of())
    session.post(provider.origin + PATH, json=body_of("longer than before"), headers={"x-note": MAIL})
    session.post(provider.origin + PATH, json=body_of())
    assert [MAIL.encode() in one.head for one in provider.requests] == [False] * 4
    assert provider.requests[2].headers["x-note"] != provider.requests[1].headers.get("x-note", "")
    assert "x-note" not in provider.requests[3].headers
    secret = "sk-" + "proj-" + "A1b2" * 10
    for wrong in (f"{provider.origin}{PATH}?key={secret}", f"http://user:pass@localhost{PATH}"):
        with pytest.raises(safellm.Refused):
            session.post(wrong, json=body_of())
    assert len(provider.requests) == 4


@pytest.mark.parametrize("form", ["text", "bytes", "file", "generator", "json"])
def test_bodies_of_every_form_are_guarded(session, provider, form):
    """Whatever a program hands to `requests` as a body."""
    data = json.dumps(body_of())
    given_as = {
        "text": {"data": data}, "bytes": {"data": data.encode()}, "file": {"data": io.BytesIO(data.encode())},
        "generator": {"data": (piece for piece in (data[:9].encode(), data[9:].encode()))}, "json": {"json": body_of()},
    }[form]  # fmt: skip
    answer = session.post(provider.origin + PATH, headers={"content-type": "application/json"}, **given_as)
    assert text_of(answer.json()) == f'You wrote: "{MAIL}"'
    assert MAIL.encode() not in provider.requests[-1].body
    assert "transfer-encoding" not in provider.requests[-1].headers


def test_form_in_a_url_encoding_is_refused(session, provider):
    """Read by no guard."""
    with pytest.raises(safellm.Refused):
        session.post(provider.origin + PATH, data={"a": MAIL})
    assert provider.requests == []


@settings(max_examples=25)
@given(size=st.integers(1, 70), read=st.sampled_from(["content", "lines", "raw", "iterate"]))
def test_stream_says_the_same_however_it_is_read(size, read):
    """An array of chunks, sent in pieces of any size, read in any way."""
    with LoopbackProvider(
        write_chunks=lambda data: [data[i : i + size] for i in range(0, len(data), size)]
    ) as provider:
        with session_for(provider) as session:
            with session.post(provider.origin + STREAM, json=body_of(), stream=True) as answer:
                if read == "content":
                    data = answer.content
                elif read == "lines":
                    data = b"\n".join(answer.iter_lines())
                elif read == "raw":
                    data = answer.raw.read()
                else:
                    data = "".join(answer.iter_content(1, decode_unicode=True)).encode()
            chunks = json.loads(data)
    assert "".join(text_of(chunk) for chunk in chunks) == f'You wrote: "{MAIL}"'


@pytest.mark.parametrize("read", ["content", "json", "raw", "raw in pieces", "iterate", "lines"])
@pytest.mark.parametrize("stream", [False, True])
def test_whole_answer_is_there_however_it_is_read(session, provider, read, stream):
    """With `stream=True` also from `raw`, as programs copy it to a file; once, as from any connection."""
    with session.post(provider.origin + PATH, json=body_of(), stream=stream) as answer:
        if read == "content":
            data = answer.content
        elif read == "json":
            data = json.dumps(answer.json()).encode()
        elif read == "raw":
            data = answer.raw.read()
        elif read == "raw in pieces":
            data = b"".join(iter(lambda: answer.raw.read(7), b""))
        elif read == "iterate":
            data = b"".join(answer.iter_content(5))
        else:
            data = b"\n".join(answer.iter_lines())
        if read.startswith("raw") and not stream:
            assert data == b""  # `requests` has read it, and keeps it
            data = answer.content
        assert answer.raw.read() == b""
    assert text_of(json.loads(data)) == f'You wrote: "{MAIL}"'


def test_stream_that_is_left_is_settled(session, provider, outcome):
    """Closing early charges the hold."""
    with session.post(provider.origin + STREAM, json=body_of("count " * 50), stream=True) as answer:
        next(answer.iter_content(8))
    assert outcome()["error.type"] == "closed"


def test_compressed_answers_are_read(session, provider):
    """A server that compresses although it was asked not to."""
    raw = gzip.compress(json.dumps({"candidates": [{"content": {"parts": [{"text": "a\u200bb"}]}}]}).encode())
    provider.reply_with(Reply(raw_body=raw, headers={"content-encoding": "gzip"}))
    answer = session.post(provider.origin + PATH, json=body_of())
    assert text_of(answer.json()) == "ab"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e_2_redirect_to_another_origin_is_refused(session, provider, sink, status):
    """Nothing arrives elsewhere; to the same origin the hop is guarded again."""
    provider.reply_with(Reply(status=status, headers={"location": f"{sink.origin}/x"}, raw_body=b""))
    with pytest.raises(safellm.Refused) as caught:
        session.post(provider.origin + PATH, json=body_of())
    assert caught.value.reason == "egress.origin"


def test_redirect_within_the_origin_is_guarded_again(session, provider):
    """The body goes out twice, hidden both times."""
    provider.reply_with(Reply(status=307, headers={"location": PATH}, raw_body=b""), Reply(text="there"))
    answer = session.post(provider.origin + PATH, json=body_of())
    assert text_of(answer.json()) == "there"
    assert len(answer.history) == 1
    assert not [one for one in provider.requests if MAIL.encode() in one.body]


@pytest.mark.parametrize("url", ["http://user:pw@{}/", "http://evil.example@{}/", "http://{}./"])
def test_e_3_addresses_that_can_be_read_in_two_ways_are_refused(session, provider, url):
    """Or are refused by `requests` itself; nothing is sent."""
    host = provider.origin.removeprefix("http://")
    with pytest.raises((safellm.Refused, requests.RequestException)):
        session.post(url.format(host) + PATH, json=body_of())
    assert provider.requests == []


def test_e_4_adapters_that_are_mounted_later_are_guarded(session, provider):
    """No door beside the guard."""
    session.mount(provider.origin, requests.adapters.HTTPAdapter())
    session.post(provider.origin + PATH, json=body_of())
    assert MAIL.encode() not in provider.requests[-1].body
    assert isinstance(session.get_adapter(provider.origin), GuardAdapter)
    assert isinstance(copy.copy(session).get_adapter(provider.origin), GuardAdapter)
    assert guard_session(session, guard_of(session)) is session


def test_k_4_key_is_put_in_late(provider, monkeypatch):
    """On the wire and nowhere else, in errors neither."""
    key = "AI" + "za" + "B2c3D4e5F6" * 3 + "ghijk"
    monkeypatch.setenv("GOOGLE_API_KEY", key)
    with session_for(provider, key="GOOGLE_API_KEY") as session:
        answer = session.post(provider.origin + PATH, json=body_of())
        assert provider.requests[-1].headers["x-goog-api-key"] == key
        assert key not in repr(answer.request.headers)
    gone = LoopbackProvider()
    with gone:
        session = session_for(gone, key="GOOGLE_API_KEY")
    with pytest.raises(requests.ConnectionError) as caught:
        session.post(gone.origin + PATH, json=body_of())
    assert key not in repr(caught.value.request.headers)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert not [line for line in shown.format() if key in line and "key = " not in line and "monkeypatch" not in line]
    session.close()


def test_refusal_is_answered_where_the_driver_does_not_raise(provider):
    """A response like the provider's, for callers that look at the status."""
    with session_for(provider, raises=False, **{"redaction.types": {"EMAIL": "block"}}) as session:
        answer = session.post(provider.origin + PATH, json=body_of())
        assert answer.status_code == 400
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert answer.headers["x-safellm-reason"] == "redaction.blocked"
        with pytest.raises(requests.HTTPError):
            answer.raise_for_status()
    assert provider.requests == []


def test_answer_that_can_not_be_read_is_refused(session, provider):
    """Sent, and refused afterwards; the error says so."""
    provider.reply_with(Reply(raw_body=b"{nonsense"))
    with pytest.raises(safellm.Refused) as caught:
        session.post(provider.origin + PATH, json=body_of())
    assert caught.value.sent


def test_cookies_and_downloads_pass(session, provider):
    """Bytes that are no text are handed on as they come; cookies are kept."""
    data = bytes(range(256)) * 100
    up = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Header-Content-Type": "image/png"}
    start = session.post(f"{provider.origin}/upload/v1beta/files", json={"file": {}}, headers=up)
    end = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    name = session.post(start.headers["x-goog-upload-url"], data=data, headers=end).json()["file"]["name"]
    got = session.get(f"{provider.origin}/v1beta/{name}:download?alt=media", stream=True)
    assert b"".join(got.iter_content(1000)) == data
    provider.reply_with(Reply(text="x", headers={"set-cookie": "a=b"}))
    session.post(provider.origin + PATH, json=body_of())
    assert session.cookies["a"] == "b"
