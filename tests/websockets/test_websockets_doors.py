"""`safellm.install()` and websockets: those of plain SDKs and of the library are guarded like those of our clients."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import inspect
import json
import logging

import pytest
from sockets_support import MAIL, deltas, limited

import openai
import safellm
from safellm.auto import gate
from safellm.errors import Reason
from safellm.testing.websocket import LoopbackSockets


@pytest.fixture(params=[{}])
def installed(request):
    safellm.install(request.param)
    yield
    safellm.uninstall()


@pytest.fixture
def plain(face, sockets):
    """A client of the plain SDK."""
    kind = openai.AsyncOpenAI if face.is_async else openai.OpenAI
    return face.keep(kind(base_url=sockets.base_url, api_key="k"))


def converse(face, client):
    """Say something on a Realtime connection of a client; return the answer."""
    connection = face.open(client.realtime.connect(model="gpt-realtime"))
    face.until(connection, "session.created")
    face.say(connection, f"I am {MAIL}")
    face.run(connection.response.create())
    answer = deltas(face.until(connection, "response.done"))
    face.run(connection.close())
    return answer


ANSWER = f"You said: I am {MAIL}"


@pytest.mark.parametrize("first", ["guarded", "plain"])
def test_e_10_connections_of_plain_sdks_are_guarded(face, sockets, installed, plain, records, first):
    """Whichever client comes first, ours or the SDK's: hidden on the way out, put back, recorded once."""
    ours = face.client(sockets)
    for client in (ours, plain) if first == "guarded" else (plain, ours):
        assert converse(face, client) == ANSWER
    assert len(sockets.connections) == 2
    assert all(MAIL not in "".join(one.messages) for one in sockets.connections)
    assert [one.get("gen_ai.operation.name") for one in records()].count("realtime") == 4  # two intents, two outcomes


def test_e_10_the_sdk_s_responses_are_guarded(face, sockets, installed, plain):
    """The other protocol; a refusal is the SDK's own error."""
    if not hasattr(plain.responses, "connect"):
        pytest.skip("this SDK has no `responses.connect`")
    connection = face.open(plain.responses.connect())
    assert deltas(face.ask(connection, f"I am {MAIL}")) == ANSWER
    assert MAIL not in "".join(sockets.last.messages)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        face.run(connection.send({"type": "response.steer"}))
    assert isinstance(caught.value, safellm.Refused)


def test_e_10_the_library_itself_is_guarded(face, sockets, installed, plain):
    """`websockets.connect` to an address of a language model, whoever calls it; refusals are ours."""
    converse(face, plain)  # so that the address is known

    def ask_sync():
        from websockets.sync.client import connect

        with connect(address, additional_headers={"authorization": "Bearer k"}) as made:
            made.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": MAIL}))
            return [json.loads(made.recv(timeout=30)) for _ in range(4)]

    async def ask_async():
        from websockets.asyncio.client import connect

        async with connect(address, additional_headers={"authorization": "Bearer k"}) as made:
            await made.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": MAIL}))
            return [json.loads(await made.recv()) for _ in range(4)]

    address = f"ws://127.0.0.1:{sockets.port}/v1/responses"
    found = face.run(ask_async()) if face.is_async else ask_sync()
    assert found[0]["type"] == "response.created"
    assert MAIL not in "".join(sockets.last.messages)


def test_a_connection_is_opened_again(sockets, installed):
    """The library's own loop of connections: each has a guard of its own, and its own conversation."""
    from websockets.asyncio.client import connect

    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": MAIL}]}

    async def main():
        with openai.OpenAI(base_url=sockets.base_url, api_key="k") as client:
            client.realtime.connect(model="gpt-realtime").enter().close()
        answered = []
        async for made in connect(f"ws://127.0.0.1:{sockets.port}/v1/realtime?model=gpt-realtime"):
            await made.send(json.dumps({"type": "conversation.item.create", "item": item}))
            answered.append([json.loads(await made.recv())["type"] for _ in range(2)])
            await made.close()
            if len(answered) == 2:
                break
        return answered

    assert asyncio.run(main()) == [["session.created", "conversation.item.added"]] * 2
    first, second = ("".join(one.messages) for one in sockets.connections[1:])
    assert MAIL not in first + second
    assert first != second


def test_e_10_a_connect_that_was_taken_before_is_guarded_too(face, sockets, plain):
    """A module that has imported the library's `connect` before `install`: guarded, or refused, never plain."""
    from websockets.asyncio.client import connect as connect_async
    from websockets.sync.client import connect as found

    connect_sync = inspect.unwrap(found)  # the library's own, whatever tests before this one have put around it

    safellm.install()
    try:
        converse(face, plain)
        address = f"ws://127.0.0.1:{sockets.port}/v1/responses"

        async def ask():
            async with connect_async(address) as made:
                await made.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": MAIL}))
                return json.loads(await made.recv())["type"]

        if face.is_async:
            assert face.run(ask()) == "response.created"
            assert MAIL not in "".join(sockets.last.messages)
        else:
            with pytest.raises(safellm.Refused):
                connect_sync(address)
    finally:
        safellm.uninstall()


@pytest.mark.parametrize(
    "how", [{"logger": logging.getLogger("own")}, {"proxy": "http://127.0.0.1:1"}, {"path": "/v1/live"}],
    ids=lambda one: next(iter(one)),
)  # fmt: skip
def test_e_10_what_can_t_be_guarded_is_refused(face, sockets, installed, how):
    """Options that let others read along, protocols without a guard: no connection is opened."""
    import websockets.asyncio.client
    import websockets.sync.client

    options = {name: value for name, value in how.items() if name != "path"}
    address = f"wss://api.openai.com{how.get('path', '/v1/realtime')}"

    async def bare():
        await websockets.asyncio.client.connect(address, **options)

    with pytest.raises(safellm.Refused) as caught:
        face.run(bare()) if face.is_async else websockets.sync.client.connect(address, **options)
    assert caught.value.reason in (Reason.EGRESS_REQUEST, Reason.MEDIATION_UNSUPPORTED)
    assert sockets.connections == []


@pytest.mark.parametrize("installed", [limited(requests=1)], indirect=True)
def test_limits_of_the_policy_hold(face, sockets, installed, plain):
    """Those of the process."""
    assert converse(face, plain) == ANSWER
    with pytest.raises(openai.RateLimitError):
        converse(face, plain)


def test_strict_mode_takes_no_key_of_the_program(face, sockets, plain):
    """A key in code opens no connection."""
    safellm.install({"mode": "strict", "egress.origins": [sockets.origin]})
    try:
        with pytest.raises(safellm.Refused) as caught:
            face.open(plain.realtime.connect(model="gpt-realtime"))
    finally:
        safellm.uninstall()
    assert caught.value.reason == Reason.KEY_UNBOUND
    assert sockets.connections == []


def test_tls_of_guarded_connections_passes_the_seam_below(face, authority, monkeypatch):
    """The seam of TLS, which would refuse it, is told that it is guarded: ours, made before and after, and a plain one."""
    context, bundle = authority
    policy = {"egress.ca_bundle": bundle}
    passing = []
    monkeypatch.setattr("safellm.auto.seam_tls._check", lambda _: passing.append(gate.passing_now()))
    with LoopbackSockets(tls=context) as server:
        before = face.client(server, safellm=policy)
        converse(face, before)
        safellm.install(policy)
        try:
            kind = openai.AsyncOpenAI if face.is_async else openai.OpenAI
            plain = face.keep(kind(base_url=server.base_url, api_key="k"))
            for client in (before, plain, face.client(server, safellm=policy)):
                assert converse(face, client) == ANSWER
        finally:
            safellm.uninstall()
        assert [str(one) for one in passing] == [server.origin] * 3


def test_observe_mode_changes_nothing(face, sockets, plain):
    """It records, and lets pass what can't be guarded."""
    safellm.install({"mode": "observe"})
    try:
        assert converse(face, plain) == ANSWER
        assert MAIL in "".join(sockets.last.messages)
    finally:
        safellm.uninstall()


def test_connections_are_guarded_after_uninstall(face, sockets, plain):
    """What `install` put around the library is gone, what guards our clients is not."""
    safellm.install()
    converse(face, face.client(sockets))
    safellm.uninstall()
    assert converse(face, face.client(sockets)) == ANSWER
    assert MAIL not in "".join(sockets.last.messages)
    assert gate.STATE.learnt == {}
    assert converse(face, plain) == ANSWER
    assert MAIL in "".join(sockets.last.messages)


def test_e_10_live_sessions_of_the_plain_sdk_are_guarded(authority):
    """Gemini's, by the same seam; a refusal is the SDK's own error."""
    genai = pytest.importorskip("google.genai")

    async def main(server):
        client = genai.Client(api_key="k", http_options={"base_url": server.origin})
        try:
            async with client.aio.live.connect(model="live", config={"response_modalities": ["TEXT"]}) as made:
                turn = {"role": "user", "parts": [{"text": f"I am {MAIL}"}]}
                await made.send_client_content(turns=turn, turn_complete=True)
                return [one.text or "" async for one in made.receive()]
        finally:
            await client.aio.aclose()
            client.close()

    context, bundle = authority
    policy = {"egress.ca_bundle": bundle}
    safellm.install(policy)
    try:
        with LoopbackSockets(binary=True, tls=context) as server:
            assert "".join(asyncio.run(main(server))) == ANSWER
            assert MAIL not in "".join(server.last.messages)
            safellm.uninstall()
            safellm.install({**policy, "redaction.types": {"EMAIL": "block"}})
            with pytest.raises(genai.errors.APIError) as caught:
                asyncio.run(main(server))
            assert isinstance(caught.value, safellm.Refused)
    finally:
        safellm.uninstall()
