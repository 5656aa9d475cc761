"""Websockets of `aiohttp` under `safellm.install()`: its own connections, guarded like those of the library `websockets`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from functools import partial

import pytest
from sockets_support import MAIL, limited, secret

import safellm
from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.auto import gate
from safellm.auto.targets import dialect_named
from safellm.errors import Reason
from safellm.testing.websocket import LoopbackSockets
from safellm.transports.broker_address import BrokerAddress
from safellm.transports.websocket import Session

aiohttp = pytest.importorskip("aiohttp", minversion="3.13")

ASK = {"type": "response.create", "model": "gpt-4o", "input": f"I am {MAIL}"}
ANSWER = f"You said: I am {MAIL}"
DENIES = {"tools": {"send": {"action": "deny"}}}
KEY = {"authorization": "Bearer k"}
END = "response.completed"


@pytest.fixture(params=[{}])
def installed(request):
    safellm.install(request.param)
    yield
    safellm.uninstall()


def learn(server):
    gate.STATE.learnt[parse_origin(server.origin)] = dialect_named("openai")
    return f"ws{server.origin.removeprefix('http')}/v1/responses"


def driver_at(server):
    target = gate.find("ws", "127.0.0.1", server.port, "/", library="aiohttp")
    return gate.driver_of(target, native=False, library="aiohttp")


@pytest.fixture
def address(sockets, installed):
    """A Responses endpoint that is known to be a language model's."""
    return learn(sockets)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(headers=KEY) as made:
        yield made
    gc.collect()


async def by_json(connection):
    found = []
    while not found or found[-1]["type"] != END:
        found.append(await connection.receive_json())
    return found


async def by_bytes(connection):
    found = []
    while not found or found[-1]["type"] != END:
        found.append(json.loads(await connection.receive_bytes()))
    return found


async def by_iterating(connection):
    found = []
    async for one in connection:
        found.append(json.loads(one.data))
        if found[-1]["type"] == END:
            break
    return found


async def by_impatience(connection):
    """A program that stops waiting again and again loses nothing."""
    found = []
    while not found or found[-1]["type"] != END:
        try:
            async with asyncio.timeout(0.002):
                found.append(json.loads((await connection.receive()).data))
        except TimeoutError:
            pass
    return found


def said(events):
    return "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")


@pytest.fixture
def failed(outcome, records):
    """Return whether every intent has its outcome, and the last call's says that it failed."""

    def read():
        outcome()
        calls = [one for one in records() if one["event.name"] == "call.outcome"]
        return "error.type" in [one for one in calls if one["gen_ai.operation.name"] == "chat"][-1]

    return read


def call_events():
    """Return the events of a tool call, and the end of the answer."""
    item = {"id": "fc", "type": "function_call", "name": "send", "call_id": "c", "arguments": '{"to": 1}'}
    response = {"id": "a", "object": "response", "status": "completed", "output": [item]}
    return [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": END, "response": response},
    ]


@pytest.mark.parametrize("way", [by_json, by_bytes, by_iterating, by_impatience], ids=lambda one: one.__name__)
async def test_e_10_a_conversation_is_guarded(installed, session, records, usage, way):
    """Hidden on the way out, put back, held, settled and recorded once, whatever the frames and however they are read."""
    binary = way is by_bytes
    with LoopbackSockets(binary=binary) as server:
        async with session.ws_connect(learn(server)) as connection:
            await (connection.send_bytes(json.dumps(ASK).encode()) if binary else connection.send_json(ASK))
            events = await way(connection)
        await asyncio.to_thread(server.settled)
        assert said(events) == ANSWER
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == ANSWER
        assert len(server.last.messages) == 1
        assert MAIL not in server.last.messages[0]
    calls = [one["event.name"] for one in records() if one.get("gen_ai.operation.name") == "chat"]
    assert calls.count("call.intent") == calls.count("call.outcome") > 0
    assert [one.requests for one in usage()] == [1]


async def test_impatience_loses_nothing_while_a_guard_waits(address, session, monkeypatch):
    """The program stops waiting in the middle of a message that is being judged."""
    receive = Session.receive

    def slow(self, message):
        yield partial(time.sleep, 0.01)
        return (yield from receive(self, message))

    monkeypatch.setattr(Session, "receive", slow)
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        assert said(await by_impatience(connection)) == ANSWER


async def test_a_refused_event_is_not_sent(sockets, address, session):
    """The send raises, and the connection goes on."""
    async with session.ws_connect(address) as connection:
        with pytest.raises(safellm.Refused):
            await connection.send_json({"type": "response.steer"})
        await connection.send_json(ASK)
        assert said(await by_json(connection)) == ANSWER
    assert len(sockets.last.messages) == 1


@pytest.mark.parametrize("installed", [limited(requests=1)], indirect=True)
async def test_limits_of_the_policy_hold(address, session):
    """Those of the process."""
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        await by_json(connection)
        with pytest.raises(safellm.Refused) as caught:
            await connection.send_json(ASK)
    assert caught.value.reason == Reason.BUDGET_EXCEEDED


async def test_k_7_a_scope_holds_for_the_next_event(sockets, address, session):
    """Also one that begins when the connection is open."""
    async with session.ws_connect(address) as connection:
        with safellm.scope(model="gpt-5*"), pytest.raises(safellm.Refused) as caught:
            await connection.send_json(ASK)
        assert caught.value.reason == Reason.GRANT_DENIED
        await connection.send_json(ASK)
        assert said(await by_json(connection)) == ANSWER
    assert len(sockets.last.messages) == 1


@pytest.mark.parametrize("installed", [DENIES], indirect=True)
@pytest.mark.parametrize("way", [by_json, by_iterating], ids=lambda one: one.__name__)
async def test_a_1_a_withheld_answer_ends_the_connection(sockets, address, session, way, failed):
    """The refusal is raised, also to a loop that would take the end for the answer's."""
    sockets.reply_with(call_events())
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        with pytest.raises(safellm.Refused) as caught:
            await way(connection)
        assert caught.value.reason == Reason.TOOL_DENIED
        assert connection.closed
        assert (await connection.receive()).type is aiohttp.WSMsgType.CLOSED
    await asyncio.to_thread(sockets.settled)  # the loop closes the connection meanwhile
    assert failed()


async def test_what_can_t_be_read_is_withheld(sockets, address, session):
    """No guard could have read it."""
    async with session.ws_connect(address) as connection:
        sockets.push(["[1]"])
        with pytest.raises(safellm.Refused) as caught:
            await connection.receive()
    assert caught.value.reason == Reason.SHAPE_MALFORMED


@pytest.mark.parametrize("installed", [{"limits.response_seconds": 1}], indirect=True)
async def test_e_9_the_time_of_an_answer_is_limited(sockets, address, session):
    """Also when nothing comes any more."""
    sockets.reply_with([])
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        with pytest.raises(safellm.Refused) as caught:
            await connection.receive()
    assert caught.value.reason == Reason.SHAPE_LIMIT


@pytest.mark.parametrize("installed", [{"limits.event_bytes": 2000}], indirect=True)
@pytest.mark.parametrize("size", [0, 1 << 20])
async def test_l_1_large_messages_are_not_read(sockets, address, session, size):
    """Whatever size the program would take."""
    async with session.ws_connect(address, max_msg_size=size) as connection:
        sockets.push(['{"a": "' + "b" * 3000 + '"}'])
        assert (await connection.receive()).type is aiohttp.WSMsgType.ERROR
        assert connection.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_program_s_own_class_sees_guarded_messages(address, records):
    """It stands above the guard, also where it calls what it overrides by name."""
    seen = []

    class Own(aiohttp.ClientWebSocketResponse):
        async def receive(self, timeout=None):  # noqa: ASYNC109 - the library's
            seen.append(await aiohttp.ClientWebSocketResponse.receive(self, timeout))
            return seen[-1]

        async def send_str(self, data, compress=None):
            await self._writer.send_frame(data.encode(), aiohttp.WSMsgType.TEXT, compress)

    async with aiohttp.ClientSession(headers=KEY, ws_response_class=Own) as session:
        async with session.ws_connect(address) as connection:
            assert isinstance(connection, Own)
            await connection.send_json(ASK)
            assert said(await by_json(connection)) == ANSWER
    assert "X-EMAIL-" not in "".join(one.data for one in seen)


async def test_control_frames_carry_nothing(sockets, address, session):
    """Not a ping, an unasked pong, a part of a message, a frame of another kind or a reason; the provider's pings are answered."""
    async with session.ws_connect(address, autoping=False) as connection:
        text, ping = aiohttp.WSMsgType.CONTINUATION, aiohttp.WSMsgType.PING
        frames = [(MAIL.encode(), text), (b"", aiohttp.WSMsgType.CLOSE), (MAIL.encode(), ping)]
        for call in (
            lambda: connection.ping(MAIL.encode()),
            lambda: connection.pong(MAIL.encode()),
            *(lambda frame=frame: connection.send_frame(*frame) for frame in frames),
        ):
            with pytest.raises(safellm.Refused):
                await call()
        await connection.ping()
        await connection.pong()
        answered = sockets._open[-1][0].ping("are you there")
        await connection.send_json(ASK)
        await by_json(connection)
        assert await asyncio.to_thread(answered.wait, 30)
        await connection.close(message=secret().encode())
    await asyncio.to_thread(sockets.settled)
    assert sockets.last.close_reason == ""


async def test_the_provider_s_last_words_are_guarded(sockets, address, session, failed):
    """A link in the reason that it closes with, and a call that it leaves without an answer."""
    sockets.reply_with([])
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        await asyncio.to_thread(sockets.wait, 1)
        closing = asyncio.create_task(asyncio.to_thread(sockets.close_all, 1011, "![i](https://evil.example/?d=1)"))
        message = await connection.receive()
        await closing
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert "![i](https" not in message.extra
    assert failed()


async def test_closing_settles_what_is_under_way(sockets, address, session, failed):
    """The program has read nothing of the answer."""
    connection = await session.ws_connect(address)
    await connection.send_json(ASK)
    await connection.close()
    assert failed()


@pytest.mark.parametrize("how", ["end", "error"])
async def test_a_lost_connection_is_settled(sockets, address, session, failed, how):
    """It broke without a word; the library tells of it in two ways."""
    sockets.reply_with([])
    async with session.ws_connect(address) as connection:
        await connection.send_json(ASK)
        await asyncio.to_thread(sockets.wait, 1)
        if how == "end":
            sockets._open[-1][0].socket.shutdown(2)
        else:
            connection._reader.set_exception(aiohttp.ServerDisconnectedError())
        assert (await connection.receive()).type is not aiohttp.WSMsgType.TEXT
        assert failed()


REFUSED = {
    "subprotocol": {"protocols": ("openai-insecure-api-key." + secret(),)},
    "method": {"method": "POST"},
    "name": {"server_hostname": "api.openai.com"},
    "host": {"headers": {"host": "api.openai.com"}},
    "upgrade": {"headers": {"upgrade": "h2c"}},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_e_5_what_leads_or_says_something_else_is_refused(sockets, address, session, records, name):
    """Nothing arrives, the refusal is in the trail, and no error quotes the secret."""
    with pytest.raises(safellm.Refused) as caught:
        await session.ws_connect(address, **REFUSED[name])
    assert secret() not in str(caught.value)
    assert sockets.connections == []
    assert [one["event.name"] for one in records()].count("policy.deny") == 1


async def test_headers_are_searched(sockets, address, session):
    """What a program puts into its own headers is hidden like a body."""
    async with session.ws_connect(address, headers={"x-customer": MAIL, "x-note": secret()}):
        sent = sockets.last.headers
    assert MAIL not in sent["x-customer"]
    assert secret() not in sent["x-note"]


async def test_e_10_an_upgrade_by_hand_is_refused(sockets, address, session):
    """Its connection would be a plain one."""
    with pytest.raises(safellm.Refused):
        await session.get(address.replace("ws:", "http:"), headers={"upgrade": "websocket", "connection": "upgrade"})
    assert sockets.connections == []


@pytest.mark.parametrize("status", [302, 401])
async def test_e_2_an_answer_that_opens_nothing(installed, session, records, status):
    """A redirect is refused, another error is the library's own; opening is recorded with its end."""
    with LoopbackSockets() as other:
        away = {"location": f"http://127.0.0.1:{other.port}/v1/responses"}
        with LoopbackSockets(refuse=(status, away if status == 302 else {})) as server:
            kind = safellm.Refused if status == 302 else aiohttp.WSServerHandshakeError
            with pytest.raises(kind):
                await session.ws_connect(learn(server))
        assert other.connections == []
    names = [one["event.name"] for one in records()]
    assert names.count("call.intent") == names.count("call.outcome")


@pytest.mark.parametrize("mode", ["strict", "broker"])
async def test_p_1_where_the_policy_connects_the_library_may_not(sockets, monkeypatch, mode):
    """It would connect without the policy's checks, or past the broker."""
    safellm.install({"egress.origins": [sockets.origin], **({"mode": mode} if mode == "strict" else {})})
    try:
        url = learn(sockets)
        if mode == "broker":
            monkeypatch.setattr(driver_at(sockets), "broker", BrokerAddress(socket=None, origin="http://127.0.0.1:9"))
        async with aiohttp.ClientSession() as session:
            with pytest.raises(safellm.Refused) as caught:
                await session.ws_connect(url)
    finally:
        safellm.uninstall()
    assert caught.value.reason == Reason.MEDIATION_UNSUPPORTED
    assert sockets.connections == []


async def test_observe_mode_refuses_nothing(sockets, session):
    """What would be refused is sent, and what is said is untouched."""
    safellm.install({"mode": "observe"})
    try:
        async with session.ws_connect(learn(sockets)) as connection:
            await connection.send_json(ASK)
            assert said(await by_json(connection)) == ANSWER
    finally:
        safellm.uninstall()
    assert MAIL in sockets.last.messages[0]


async def test_other_websockets_are_untouched(sockets, installed, session):
    """An address that is no language model's; afterwards, none is guarded."""
    url = f"ws://127.0.0.1:{sockets.port}/v1/responses"
    for _ in range(2):
        async with session.ws_connect(url) as connection:
            assert type(connection) is aiohttp.ClientWebSocketResponse
            await connection.ping(MAIL.encode())
        safellm.uninstall()


async def test_a_connection_stays_guarded_after_uninstall(sockets, address, session):
    """It ends under its guard."""
    async with session.ws_connect(address) as connection:
        safellm.uninstall()
        await connection.send_json(ASK)
        assert said(await by_json(connection)) == ANSWER
    assert MAIL not in sockets.last.messages[0]


async def test_k_4_a_managed_key_is_put_in_late(sockets, installed, session, monkeypatch, caplog):
    """The server gets it; connection, answer, errors, the program's traces and the most talkative log don't."""
    caplog.set_level(logging.DEBUG)
    url, seen = learn(sockets), []
    managed = {"placeholder-of-a-key": Secret(secret())}
    monkeypatch.setattr(driver_at(sockets), "credentials", managed)
    traces = aiohttp.TraceConfig()

    async def note(_, __, given):
        seen.append(given)

    traces.on_request_headers_sent.append(note)
    headers = {"authorization": "Bearer placeholder-of-a-key"}
    async with aiohttp.ClientSession(headers=headers, trace_configs=[traces]) as own:
        async with own.ws_connect(url) as connection:
            held = [connection._response.request_info, connection._response.headers, vars(connection)]
        with LoopbackSockets(refuse=(401, {})) as server:
            url = learn(server)
            monkeypatch.setattr(driver_at(server), "credentials", managed)
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await own.ws_connect(url)
            held += [caught.value.request_info, caught.value.args]
    assert sockets.last.headers["authorization"] == f"Bearer {secret()}"
    log = "".join(one.getMessage() for one in caplog.records if one.name != "websockets.server")
    assert secret() not in str(held) + str(seen) + log
