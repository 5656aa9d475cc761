"""What no guard has to change goes through as it is; what is at hand already is guarded all the same."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest

import openai
from safellm._core.placeholder import PATTERN
from safellm.testing.replies import Reply

MAIL = "alice@example.com"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@STREAMED
def test_p_6_personal_data_in_extra_headers_is_hidden(face, provider, stream):
    """A header of the program's own carries the placeholder of the body; the SDK's headers are what they were."""
    provider.reply_with(Reply(text="fine"))
    client = face.client(provider, default_headers={"X-Team": f"owner {MAIL}"})
    face.ask(client, f"Ask {MAIL}", stream=stream, extra_headers={"Idempotency-Key": MAIL})
    request = provider.requests[-1]
    sent = {name.lower(): value for name, value in request.headers.items()}
    (placeholder,) = set(PATTERN.findall(request.body.decode()))
    assert sent["x-team"] == f"owner {placeholder}"
    assert sent["idempotency-key"] == placeholder
    assert sent["authorization"] == "Bearer given-in-code"
    assert sent["x-stainless-lang"] == "python"


def test_headers_of_an_untouched_answer_are_the_provider_s(face, provider):
    """Status, headers and bytes are those that the plain SDK gets, but for what changes with each call."""
    provider.reply_with(Reply(text="fine"))
    own = face.client(provider)
    plain = face.client(provider, module=openai)
    seen = []
    for client in (own, plain):
        raw = face.run(client.chat.completions.with_raw_response.create(**ASK))
        changing = {"date", "x-request-id"}
        headers = [(name, value) for name, value in raw.headers.multi_items() if name not in changing]
        seen.append((raw.status_code, headers, len(raw.content)))
    assert seen[0] == seen[1]


def test_the_program_s_request_keeps_its_own_headers(face, provider):
    """What is sent is a copy: the program sees its request as it made it, also afterwards."""
    provider.reply_with(Reply(text="fine"))
    raw = face.run(face.client(provider).chat.completions.with_raw_response.create(**ASK))
    request = raw.http_request
    assert request.headers["accept-encoding"] != "identity"
    sent = {name.lower(): value for name, value in provider.requests[-1].headers.items()}
    assert sent["accept-encoding"] == "identity"


@STREAMED
def test_o_3_a_response_that_holds_its_body_already_is_guarded(face, family, stream):
    """A transport of the program's own may answer with content instead of a stream."""
    bell = "ding\\u0007"
    chunk = f'{{"id":"c","model":"m","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{bell}"}}}}]}}'
    whole = (
        f'{{"id":"c","model":"m","object":"chat.completion","created":1,"choices":'
        f'[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{bell}"}}}}]}}'
    )

    def reply(_):
        if stream:
            body = f"data: {chunk}\n\ndata: [DONE]\n\n".encode()
            return family.Response(200, headers={"content-type": "text/event-stream"}, content=body)
        return family.Response(200, headers={"content-type": "application/json"}, content=whole.encode())

    http = face.http(family, transport=family.MockTransport(reply))
    client = face.client(http_client=http, base_url="https://api.openai.com/v1", api_key="x")
    assert face.ask(client, stream=stream) == "ding\\x07"


@pytest.mark.parametrize("face", ["async"], indirect=True)
def test_an_async_call_needs_no_thread(face, provider, monkeypatch):
    """Where ledger and trail needn't be waited for, no task is handed to another thread."""
    from safellm.transports import http_async as http

    provider.reply_with(Reply(text="fine"))
    client = face.client(provider, safellm={"audit": {"mode": "off"}})
    face.ask(client)  # the first one may find a lock or make a file
    used = []
    original = http.in_thread

    async def noted(function, *arguments, **named):
        used.append((function.__name__, threading.current_thread().name))
        return await original(function, *arguments, **named)

    monkeypatch.setattr(http, "in_thread", noted)
    for _ in range(5):
        assert face.ask(client) == "fine"
    assert len(used) < 5  # a busy machine may make one wait
