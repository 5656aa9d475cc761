"""`safellm.install()` lets the websockets of guarded clients pass, and nothing else that goes to a language model."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from sockets_support import MAIL, deltas

import openai
import safellm


@pytest.fixture
def installed():
    safellm.install()
    yield
    safellm.uninstall()


def converse(face, server):
    connection = face.realtime(server)
    face.say(connection, f"I am {MAIL}")
    face.run(connection.response.create())
    return deltas(face.until(connection, "response.done"))


@pytest.mark.parametrize("first", ["guarded", "plain"])
def test_e_10_guarded_connections_pass_and_plain_ones_don_t(face, sockets, installed, first):
    """Whichever comes first; by the SDK, and by the library to a known host."""
    import websockets.asyncio.client
    import websockets.sync.client

    if first == "guarded":
        assert converse(face, sockets) == f"You said: I am {MAIL}"
    before = len(sockets.connections)
    with openai.OpenAI(base_url=sockets.base_url, api_key="k") as plain, pytest.raises(safellm.Refused):
        plain.realtime.connect(model="gpt-realtime").enter()
    with pytest.raises(safellm.Refused):
        websockets.sync.client.connect("wss://api.openai.com/v1/realtime")

    async def bare():
        await websockets.asyncio.client.connect("wss://api.openai.com/v1/realtime")

    if face.is_async:
        with pytest.raises(safellm.Refused):
            face.run(bare())
    assert len(sockets.connections) == before
    assert converse(face, sockets) == f"You said: I am {MAIL}"
    assert MAIL not in "".join(sockets.last.messages)


def test_connections_are_guarded_after_uninstall(face, sockets):
    """What `install` put around the library is gone, what guards our clients is not."""
    safellm.install()
    converse(face, sockets)
    safellm.uninstall()
    assert converse(face, sockets) == f"You said: I am {MAIL}"
    assert MAIL not in "".join(sockets.last.messages)
