"""Request bodies whose type says nothing, or something else than what they are: what they hold is looked at."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from exchanges import World, chat, sent

from safellm._core.effects import Forward, Refuse
from safellm.errors import Reason

MAIL = "alice@example.com"
KINDS = [
    "application/octet-stream",
    "binary/octet-stream",
    "application/foo",
    "audio/wav",
    "image/png",
    "application/sdp",
    "application/pdf",
    "*/*",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("indent", [None, 2])
def test_e_9_json_is_searched_whatever_it_is_called(kind: str, indent: int | None) -> None:
    """A library calls bytes that a program serialised itself `application/octet-stream`; servers read them as JSON."""
    data = b" " + json.dumps(chat(f"mail {MAIL}", max_tokens=7), indent=indent).encode()
    _, decision = World().begin(data, headers=(("content-type", kind),))
    body = sent(decision, data)
    assert MAIL not in json.dumps(body)
    assert body["max_tokens"] == 7
    assert body["messages"][0]["content"].startswith("mail ")


@pytest.mark.parametrize("kind", KINDS)
def test_e_9_text_and_json_lines_are_searched_whatever_they_are_called(kind: str) -> None:
    """What is no JSON is searched as text."""
    for text in (f"mail {MAIL}", f'{{"a": "{MAIL}"}}\n{{"a": 1}}'):
        _, decision = World().begin(text.encode(), "/v1/unknown", headers=(("content-type", kind),))
        assert isinstance(decision, Forward)
        assert decision.body is not None
        assert MAIL.encode() not in decision.body


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-be", "latin-1"])
@pytest.mark.parametrize("kind", ["application/octet-stream", "application/foo", "text/plain"])
def test_k_9_json_in_another_encoding_is_refused(encoding: str, kind: str) -> None:
    """A server that guesses encodings would read it; no guard has."""
    data = json.dumps(chat(f"für {MAIL}"), ensure_ascii=False).encode(encoding)
    _, decision = World().begin(data, headers=(("content-type", kind),))
    if (encoding, kind) != ("latin-1", "text/plain"):
        assert isinstance(decision, Refuse)
        assert decision.error.reason is Reason.SHAPE_MALFORMED


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/octet-stream", bytes(range(256)) * 4),
        ("audio/mpeg", b"\xff\xfe\x00\x01" * 100),
        ("audio/l16", b"{\x00\xff\xfe" * 100),
        ("video/mp4", b"\x00\x00\x00\x18ftypmp42\xff"),
        ("application/sdp", b"v=0\r\no=- 1 1 IN IP4 203.0.113.7\r\n"),
    ],
)
def test_recordings_and_offers_pass_to_the_byte(kind: str, data: bytes) -> None:
    """What is no text stays what it is, and so do the addresses of a call that is being set up."""
    _, decision = World().begin(data, "/v1/unknown", headers=(("content-type", kind),))
    assert isinstance(decision, Forward)
    assert decision.body is None
