"""Grants, runs, conversations and brokers around a connection: each call on it is decided by them, as over HTTP."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import time
from dataclasses import replace

import pytest
from sockets_support import MAIL, deltas, secret

import safellm
from safellm.errors import Reason
from safellm.stores.grants import Grants
from safellm.transports.broker_address import BrokerAddress
from safellm.transports.http import guard_of


@pytest.fixture
def grant(home, tmp_path, monkeypatch):
    """Issue a grant for a stored key."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (folder / "openai").write_text(secret())
    (folder / "openai").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    source, now = Grants(home), int(time.time())

    def issue(**caveats):
        wide = {"key": "openai", "operation": ["*"], "model": ["*"], "expires": now + 3600}
        return source.issue({**wide, **caveats}, note="test", now_s=now), source

    return issue


def test_k_7_a_grant_decides_about_each_event(face, sockets, grant, records):
    """A connection may be opened that names no model; what is asked on it is held to the grant."""
    if not hasattr(importlib.import_module("openai.resources.responses").Responses, "connect"):
        pytest.skip("this SDK has no `responses.connect`")
    made, _ = grant(model=["gpt-4o*"])
    connection = face.responses(sockets, api_key=made.text())
    assert deltas(face.ask(connection, "hello")) == "You said: hello"
    assert sockets.last.headers["authorization"] == f"Bearer {secret()}"
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.response.create(model="o3", input="hello"))
    assert caught.value.reason == Reason.GRANT_DENIED
    assert len(sockets.last.messages) == 1
    assert {one.get("safellm.grant.id") for one in records() if one.get("gen_ai.operation.name") == "chat"} == {made.id}


def test_k_7_realtime_is_held_to_the_model_of_its_address(face, sockets, grant):
    """The events of a session name no model; the connection did."""
    made, _ = grant(model=["gpt-4o*"])
    connection = face.open(face.client(sockets, api_key=made.text()).realtime.connect(model="gpt-realtime"))
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.response.create())
    assert caught.value.reason == Reason.GRANT_DENIED
    assert sockets.last.messages == []


def test_k_10_a_revoked_grant_cuts_the_answer(face, sockets, grant):
    """The next event of an answer that is under way is withheld, and so is the next call."""
    made, source = grant()
    connection = face.realtime(sockets, api_key=made.text())
    sockets.reply_with([])
    face.run(connection.response.create())
    sockets.push([{"type": "response.created", "event_id": "e", "response": {"id": "a"}}])
    face.until(connection, "response.created")
    source.revoke(made.id, now_s=1)
    sockets.push([{"type": "response.output_text.delta", "response_id": "a", "item_id": "i", "delta": "more"}])
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.recv())
    assert caught.value.reason == Reason.GRANT_INVALID
    client = face.client(sockets)
    assert guard_of(client._client) is not None


def test_a_named_conversation_outlives_its_connection(face, sockets):
    """What was hidden on one connection comes back on another of the same conversation."""
    with safellm.conversation("customer 7"):
        first = face.realtime(sockets)
    face.say(first, MAIL)
    face.until(first, "conversation.item.added")
    hidden = sockets.last.events[-1]["item"]["content"][0]["text"]
    with safellm.conversation("customer 7"):
        second = face.realtime(sockets)
    sockets.reply_with(f"You are {hidden}.")
    face.run(second.response.create())
    assert deltas(face.until(second, "response.done")) == f"You are {MAIL}."


def test_websockets_don_t_go_around_a_broker(face, sockets):
    """A client whose calls a broker decides opens no connection of its own, also where the broker isn't there."""
    client = face.client(sockets)
    driver = guard_of(client._client)
    nowhere = BrokerAddress(socket="/nonexistent/broker.sock", origin="http://safellm.invalid")
    client._client._transport.safellm_driver = replace(driver, broker=nowhere)
    with pytest.raises(safellm.Refused) as caught:
        face.open(client.realtime.connect(model="gpt-realtime"))
    assert caught.value.reason == Reason.BROKER_UNAVAILABLE
    assert sockets.connections == []
