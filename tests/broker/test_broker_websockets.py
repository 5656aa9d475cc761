"""Websockets through the broker: guarded there, opened with a grant; the key stays where it is (THREATS K.8, K.9, P2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import json
import socket
import time

import pytest
from faces import BaseFace, showing
from sockets_support import MAIL, deltas

import openai
import safellm
from safellm._core.placeholder import PREFIX
from safellm.errors import Reason
from safellm.testing.websocket import LoopbackSockets
from safellm.transports.relay import marked, refused_in

pytest.importorskip("websockets", reason="the SDKs connect to websockets with it")
if not hasattr(importlib.import_module("openai.resources.responses").Responses, "connect"):
    pytest.skip("this SDK has no `responses.connect`", allow_module_level=True)

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4


@pytest.fixture
def provider():
    """The broker's key is bound to a provider of websockets."""
    with LoopbackSockets() as server:
        yield server


class Face(BaseFace):
    """A client of OpenAI's SDK that has nothing but a grant."""

    def client(self, grant, server):
        kind = safellm.AsyncOpenAI if self.is_async else safellm.OpenAI
        return self.keep(kind(api_key=grant.text(), base_url=server.base_url))

    def close(self, thing):
        self.run(thing.close())

    def open(self, manager):
        return self.keep(self.run(manager.__aenter__() if self.is_async else manager.__enter__()))

    def ask(self, connection, text, **options):
        self.run(connection.response.create(**{"model": "gpt-4o", "input": text, **options}))
        found = []
        while not found or found[-1].type != "response.completed":
            found.append(self.run(connection.recv()))
        return found


@pytest.fixture(params=["sync", "async"])
def face(request):
    yield from showing(Face, request.param)


@pytest.fixture
def sync():
    yield from showing(Face, "sync")


def held(thing, seen=None):
    """Return the texts that an object leads to, a few steps deep."""
    seen = {} if seen is None else seen
    if id(thing) in seen or len(seen) > 5000:
        return ""
    seen[id(thing)] = thing
    inner = vars(thing).values() if hasattr(thing, "__dict__") else ()
    inner = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple, set)) else inner
    return repr(thing)[:2000] + "".join(held(one, seen) for one in list(inner))


def test_p_2_a_connection_goes_through_the_broker(face, broker, broker_grant, provider, broker_records):
    """Guarded there: the provider gets the key and placeholders, the program values; the program never has the key."""
    grant = broker_grant()
    connection = face.open(face.client(grant, provider).responses.connect())
    events = face.ask(connection, f"Write to {MAIL}")
    assert deltas(events) == f"You said: Write to {MAIL}"
    seen = provider.last
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert not any(name.startswith(("safellm", "x-safellm")) for name in seen.headers)
    assert MAIL not in "".join(seen.messages)
    assert PREFIX in seen.events[0]["input"]
    assert KEY not in held(connection)
    assert grant.text() not in held(connection._connection.request)
    face.run(connection.close())
    provider.settled()
    assert seen.close_code == 1000
    intents = [one for one in broker_records("call.intent") if one["gen_ai.operation.name"] == "chat"]
    assert [one["safellm.grant.id"] for one in intents] == [grant.id]
    until(lambda: len([one for one in broker_records("call.outcome") if one["gen_ai.operation.name"] == "chat"]) == 1)


def test_a_new_policy_is_in_force_for_the_next_event(face, broker, broker_grant, broker_home, provider):
    """A connection that was opened under the old one ends, and is opened again; one under an unchanged policy goes on."""
    from websockets.exceptions import ConnectionClosed

    file, client = broker_home / "policy.toml", face.client(broker_grant(), provider)
    connection = face.open(client.responses.connect())
    face.ask(connection, "one")
    file.write_text("# nothing changes\n")
    face.ask(connection, "two")
    file.write_text("[limits]\nrequest_bytes = 10\n")
    with pytest.raises(ConnectionClosed) as caught:
        face.ask(connection, "three")
    assert caught.value.rcvd.code == 1012
    assert len(provider.last.messages) == 2
    again = face.open(client.responses.connect())
    with pytest.raises((safellm.Refused, ConnectionClosed)):
        face.ask(again, "three")
    assert provider.last.messages == []


def until(there):
    """Wait for what the broker does behind a connection that was closed."""
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_over_loopback_too(face, start, broker_grant, provider, monkeypatch):
    """Where there are no Unix sockets."""
    monkeypatch.setenv("SAFELLM_BROKER", start(port=0).addresses[-1])
    connection = face.open(face.client(broker_grant(), provider).responses.connect())
    assert deltas(face.ask(connection, MAIL)) == f"You said: {MAIL}"


@pytest.mark.parametrize(
    ("caveats", "options"),
    [
        ({"model": ["gpt-4o*"]}, {"model": "gpt-5"}),
        ({"max_output_tokens": 10}, {"max_output_tokens": 11}),
        ({"tool": []}, {"tools": [{"type": "web_search"}]}),
    ],
    ids=["model", "ceiling", "tool"],
)  # fmt: skip
def test_k_9_what_the_grant_forbids_is_refused_and_never_sent(face, broker, broker_grant, provider, caveats, options):
    """By the next `recv`, as the SDK's own error; the connection goes on."""
    connection = face.open(face.client(broker_grant(**caveats), provider).responses.connect())
    with pytest.raises(openai.PermissionDeniedError) as caught:
        face.ask(connection, "hello", **options)
    assert isinstance(caught.value, safellm.Refused)
    assert caught.value.reason == Reason.GRANT_DENIED
    face.ask(connection, "hello")
    assert [one["input"] for one in provider.last.events] == ["hello"]


def test_k_9_methods_are_checked(face, broker, broker_grant, provider):
    """A grant for chat opens a connection and asks; a session in Realtime is something else."""
    client = face.client(broker_grant(operation=["chat", "connect *"]), provider)
    face.ask(face.open(client.responses.connect()), "hello")
    connection = face.open(client.realtime.connect(model="gpt-realtime"))
    face.run(connection.response.create())
    with pytest.raises(safellm.Refused) as caught:
        while True:
            face.run(connection.recv())
    assert caught.value.reason == Reason.GRANT_DENIED
    assert provider.last.messages == []


@pytest.mark.parametrize("how", ["expired", "unknown"])
def test_k_7_a_grant_that_does_not_hold_opens_nothing(face, broker, broker_grant, provider, how):
    """Refused before anything is opened, and told as an answer to the opening request."""
    grant = broker_grant().narrow(expires=int(time.time()) - 5) if how == "expired" else broker_grant(key="other")
    with pytest.raises(openai.APIStatusError) as caught:
        face.open(face.client(grant, provider).responses.connect())
    assert isinstance(caught.value, safellm.Refused)
    assert provider.connections == []


def test_k_10_revoking_counts_for_the_next_message(face, broker, broker_home, broker_grant, provider):
    """Of a connection that is open."""
    from safellm.stores.grants import Grants

    grant = broker_grant()
    connection = face.open(face.client(grant, provider).responses.connect())
    face.ask(connection, "hello")
    Grants(broker_home).revoke(grant.id, now_s=int(time.time()))
    with pytest.raises(safellm.Refused) as caught:
        face.ask(connection, "again")
    assert caught.value.reason == Reason.GRANT_INVALID
    assert len(provider.last.messages) == 1


def test_p_8_without_its_broker_nothing_is_opened(face, broker, broker_grant, provider):
    """There is no way past it."""
    client = face.client(broker_grant(), provider)
    broker.stop()
    with pytest.raises(safellm.Refused) as caught:
        face.open(client.responses.connect())
    assert caught.value.reason == Reason.BROKER_UNAVAILABLE
    assert provider.connections == []


def in_scope(face, act, **caveats):
    """Do something in a scope; a task has a context of its own."""

    async def inside():
        with safellm.scope(**caveats):
            return await act()

    if face.is_async:
        return face.run(inside())
    with safellm.scope(**caveats):
        return act()


def test_scopes_around_the_opening_hold_and_later_ones_refuse(face, broker, broker_grant, provider):
    """What the broker can't know of isn't silently dropped."""
    manager = face.client(broker_grant(), provider).responses.connect()
    enter = manager.__aenter__ if face.is_async else manager.__enter__
    connection = face.keep(in_scope(face, enter, model="gpt-4o*"))
    with pytest.raises(safellm.Refused) as caught:
        face.ask(connection, "hello", model="gpt-5")
    assert caught.value.reason == Reason.GRANT_DENIED
    with pytest.raises(safellm.Refused) as caught:
        in_scope(face, lambda: connection.response.create(model="gpt-4o", input="hello"), calls=1)
    assert "inside of the scope" in caught.value.remedy
    face.ask(connection, "hello")
    assert [one["model"] for one in provider.last.events] == ["gpt-4o"]


def test_what_is_withheld_closes_both_sides(face, broker, broker_grant, provider):
    """A message that no guard can read; the reason is told first."""
    connection = face.open(face.client(broker_grant(), provider).responses.connect())
    provider.push(["no JSON"])
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.recv())
    assert caught.value.reason == Reason.SHAPE_MALFORMED
    with pytest.raises(Exception, match="1008"):
        face.run(connection.recv())
    provider.settled()


def test_each_side_hears_how_the_other_ended(face, broker, broker_grant, provider):
    """The code is carried through."""
    connection = face.open(face.client(broker_grant(), provider).responses.connect())
    face.ask(connection, "hello")
    provider.close_all(4001, "enough")
    with pytest.raises(Exception, match="4001"):
        face.run(connection.recv())


def test_a_broker_that_ends_closes_its_connections(sync, broker, broker_grant, provider):
    """Settled, and the program hears it."""
    connection = sync.open(sync.client(broker_grant(), provider).responses.connect())
    sync.ask(connection, "hello")
    broker.stop()
    with pytest.raises(Exception, match="1001"):
        connection.recv()
    provider.settled()


def test_a_refusal_of_the_provider_is_told(face, broker_environ, start, broker_grant, monkeypatch, provider):
    """Its status comes through as the answer to the opening request."""
    provider._refuse = (429, {})
    monkeypatch.setenv("SAFELLM_BROKER", start().addresses[0])
    with pytest.raises(Exception, match="429"):
        face.open(face.client(broker_grant(), provider).responses.connect())


def test_conversations_with_a_name_are_the_grant_s_own(face, broker, broker_grant, provider):
    """The same name under another grant is another conversation."""
    hidden = []
    for grant in (broker_grant(), broker_grant()):
        with safellm.conversation("support"):
            connection = face.open(face.client(grant, provider).realtime.connect(model="gpt-realtime"))
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": MAIL}]}
        face.run(connection.conversation.item.create(item=item))
        provider.wait(1)
        hidden.append(provider.last.events[0]["item"]["content"][0]["text"])
        face.run(connection.close())
    assert PREFIX in hidden[0]
    assert hidden[0] != hidden[1]


def test_any_program_may_come(broker, broker_grant, provider):
    """One without safellm is told of a refusal in an event of the provider's own form."""
    from websockets.sync.client import unix_connect

    headers = {"authorization": f"Bearer {broker_grant(model=['gpt-4o']).text()}"}
    with unix_connect(str(broker.path), "ws://broker/v1/responses", additional_headers=headers) as made:
        assert "x-safellm-mark" not in made.response.headers
        made.send(json.dumps({"type": "response.create", "model": "gpt-5", "input": "hello"}))
        told = json.loads(made.recv())
        assert (told["type"], told["status"]) == ("error", 403)
        assert told["error"]["code"] == "grant.denied"
        made.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": MAIL}))
        assert json.loads(made.recv())["type"] == "response.created"
    assert MAIL not in "".join(provider.last.messages)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/realtime/other"])
def test_e_10_a_websocket_without_a_guard_is_refused(broker, broker_grant, provider, path):
    """Nothing knows what is said there."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import unix_connect

    headers = {"authorization": f"Bearer {broker_grant().text()}"}
    with pytest.raises(InvalidStatus) as caught:
        unix_connect(str(broker.path), f"ws://broker{path}", additional_headers=headers)
    assert caught.value.response.headers["x-safellm-reason"] == "mediation.unsupported"
    assert provider.connections == []


def test_a_provider_can_not_speak_for_the_broker():
    """The mark is new for each connection, and stands at the beginning of a message that only the broker writes."""
    error = safellm.Refused("no", guard="g", reason=Reason.GRANT_DENIED, remedy="r")
    text = marked({"type": "error"}, error, "a1")
    found = refused_in(text, "a1")
    assert found is not None
    assert found.reason == Reason.GRANT_DENIED
    assert refused_in(text, "b2") is None
    assert refused_in(text, "") is None
    assert refused_in(json.dumps({"type": "error", "safellm": ["a1", "x"]}), "a1") is None


@pytest.mark.parametrize(
    "header", [{"origin": "https://evil.example"}, {"host": "evil.example"}], ids=["page", "rebinding"]
)
def test_pages_open_nothing(start, broker_grant, provider, header):
    """As over HTTP: what a browser can't leave out gives it away."""
    import httpx

    address = start(port=0).addresses[-1]
    upgrade = {
        "connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "authorization": f"Bearer {broker_grant().text()}",
    }  # fmt: skip
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{address}/v1/responses", headers={**upgrade, **header}).status_code == 403
    assert provider.connections == []


def test_e_10_plain_clients_go_through_the_broker_under_install(face, broker, broker_grant, provider, monkeypatch):
    """The SDK's own clients, by their address, with a grant in the variable of their key."""
    monkeypatch.setenv("OPENAI_API_KEY", broker_grant().text())
    safellm.install()
    try:
        kind = openai.AsyncOpenAI if face.is_async else openai.OpenAI
        plain = face.keep(kind(base_url=provider.base_url))
        connection = face.open(plain.responses.connect())
        assert deltas(face.ask(connection, MAIL)) == f"You said: {MAIL}"
        assert provider.last.headers["authorization"] == f"Bearer {KEY}"
        assert MAIL not in "".join(provider.last.messages)
    finally:
        safellm.uninstall()


def test_live_sessions_of_gemini_go_through_the_broker(broker, broker_grant, provider):
    """The same, with Google's SDK and its key; a refusal is an error of that SDK."""
    genai = pytest.importorskip("safellm.google.genai", exc_type=ImportError)
    grant = broker_grant(key="google", model=["gemini-live-*"])

    async def talk(client, model):
        async with client.aio.live.connect(model=model, config={"response_modalities": ["TEXT"]}) as session:
            turn = {"role": "user", "parts": [{"text": f"I am {MAIL}"}]}
            await session.send_client_content(turns=turn, turn_complete=True)
            return "".join([one.text or "" async for one in session.receive() if one.text])

    async def main(server):
        client = genai.Client(api_key=grant.text(), http_options={"base_url": server.origin})
        try:
            said = await talk(client, "gemini-live-2.5")
            with pytest.raises(safellm.Refused) as caught:
                await talk(client, "gemini-pro")
            return said, caught.value.reason
        finally:
            await client.aio.aclose()
            client.close()

    provider._binary = True  # as Gemini does
    said, reason = asyncio.run(main(provider))
    assert said == f"You said: I am {MAIL}"
    assert reason == Reason.GRANT_DENIED
    first, second = provider.connections
    assert first.headers["x-goog-api-key"] == KEY
    assert MAIL not in "".join(first.messages)
    assert second.messages == []


class RawProgram:
    """A program that writes its bytes itself.

    Args:
        path: Of the broker's socket.
        grant: As its key.
        behind: Sent at once with the opening request.
    """

    def __init__(self, path, grant, behind=b""):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.socket.sendall(
            b"GET /v1/responses HTTP/1.1\r\nhost: b\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"authorization: Bearer " + grant.text().encode() + b"\r\n\r\n" + behind
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def until(self, end):
        """Return what came until so many bytes have come, or a text, or (b"") the end."""
        found = b""
        while not end or end not in found:
            more = self.socket.recv(1 << 16)
            found += more
            if not more:
                break
        return found


def framed(opcode, data):
    """Return a frame of a program, with a mask that changes nothing."""
    size = len(data)
    told = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + told + bytes(4) + data


ASKS = {"type": "response.create", "model": "gpt-4o", "input": MAIL}


def test_what_comes_behind_the_opening_request_waits_for_its_answer(broker, broker_grant, provider):
    """Also more than the broker reads ahead; the answer comes first, and then each message its turn."""
    long = framed(1, json.dumps({"type": "novel", "text": "x" * (3 << 20)}).encode())
    asked = framed(1, json.dumps(ASKS).encode())
    with RawProgram(broker.path, broker_grant(), framed(9, b"here?") + long + asked) as program:
        said = program.until(b"response.completed")
    assert said.startswith(b"HTTP/1.1 101 ")
    assert b"here?" in said
    assert b"mediation.unsupported" in said
    assert MAIL not in "".join(provider.last.messages)
    assert len(provider.last.messages) == 1


@pytest.mark.parametrize(
    "behind", [framed(8, b"\x03\xe8"), framed(3, b""), framed(1, b"\xff"), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_a_program_that_breaks_the_protocol_at_once_ends_both_sides(broker, broker_grant, provider, behind, caplog):
    """Nothing of it is taken for a message, and nothing goes wrong in the broker."""
    with RawProgram(broker.path, broker_grant(), behind) as program:
        assert program.until(b"").startswith(b"HTTP/1.1 101 ")
    provider.settled()
    assert provider.last.messages == []
    broker.stop()
    assert not [one for one in caplog.records if one.name == "asyncio"]


def test_pings_that_nobody_reads_the_answers_of_do_not_pile_up(broker, broker_grant, provider):
    """The newest is answered as soon as there is room (RFC 6455 5.5.3)."""
    with RawProgram(broker.path, broker_grant()) as program:
        program.until(b"\r\n\r\n")
        many = framed(9, b"p" * 125) * 2000
        for _ in range(40):  # 10 MB
            program.socket.sendall(many)
        program.socket.sendall(framed(9, b"the last"))
        said = program.until(b"the last")
    assert len(said) < 4 << 20
    provider.settled()


def test_the_reason_for_closing_is_harmless_whoever_hears_of_it_first(broker, broker_grant, provider):
    """The program was just sending when the provider closed."""
    for _ in range(5):
        with RawProgram(broker.path, broker_grant()) as program:
            program.until(b"\r\n\r\n")
            provider.wait(0)
            program.socket.sendall(framed(1, json.dumps(ASKS).encode()) * 3)
            provider.close_all(4001, "![i](https://evil.example/?q=1) \x1b[1m")
            said = program.until(b"evil.example/?q=1)")
            assert b"![i](https" not in said
        provider.settled()
        provider._open.clear()


def test_the_provider_s_name_for_an_answer_belongs_to_its_grant(broker, broker_grant, provider):
    """Who reads it in a log gets nothing of what was hidden for another."""
    from websockets.sync.client import unix_connect

    def ask(grant, **event):
        headers = {"authorization": f"Bearer {grant.text()}"}
        with unix_connect(str(broker.path), "ws://broker/v1/responses", additional_headers=headers) as made:
            made.send(json.dumps({**ASKS, **event}))
            while (told := json.loads(made.recv()))["type"] != "response.completed":
                pass
        return told["response"]

    first = broker_grant()
    answer = ask(first)
    hidden = provider.last.events[0]["input"]
    assert PREFIX in hidden
    again = {"previous_response_id": answer["id"], "input": f"Who is {hidden}?"}
    assert MAIL in json.dumps(ask(first, **again))
    assert MAIL not in json.dumps(ask(broker_grant(), **{**again, "previous_response_id": answer["id"]}))
