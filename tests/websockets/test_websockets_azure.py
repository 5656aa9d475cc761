"""Azure's Realtime and the older `beta.realtime`: another address, another key header, the same guard."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64

import pytest
from sockets_support import MAIL, deltas, secret

import safellm
from safellm.testing.sink import Sink

VERSION = "2025-04-01-preview"


def azure(face, server, **options):
    """Return a guarded Azure client."""
    kind = safellm.AsyncAzureOpenAI if face.is_async else safellm.AzureOpenAI
    return face.keep(kind(**{"azure_endpoint": server.origin, "api_version": VERSION, "api_key": "k", **options}))


def converse(face, resource, **options):
    """Say something on a Realtime connection; return the answer."""
    connection = face.open(resource.connect(model="gpt-realtime", **options))
    face.until(connection, "session.created")
    face.say(connection, f"I am {MAIL}")
    face.run(connection.response.create())
    return deltas(face.until(connection, "response.done"))


@pytest.mark.parametrize("deployment", [None, "mine"])
def test_azure_s_realtime_is_guarded(face, sockets, records, deployment):
    """At Azure's path, with its version, deployment and key header, and recorded under the deployment's name."""
    client = azure(face, sockets, **({"azure_deployment": deployment} if deployment else {}))
    assert converse(face, client.realtime) == f"You said: I am {MAIL}"
    assert MAIL not in "".join(sockets.last.messages)
    path, _, query = sockets.last.path.partition("?")
    assert path == "/openai/realtime"
    assert {f"api-version={VERSION}", f"deployment={deployment or 'gpt-realtime'}"} <= set(query.split("&"))
    assert sockets.last.headers["api-key"] == "k"
    opened = next(one for one in records() if one.get("gen_ai.operation.name") == "connect /realtime")
    assert opened["gen_ai.request.model"] == (deployment or "gpt-realtime")


@pytest.mark.parametrize("variable", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
def test_k_4_a_managed_key_of_azure_is_put_in_late(face, sockets, monkeypatch, variable):
    """The server gets it where Azure looks; client and connection don't hold it."""
    monkeypatch.setenv(variable, secret())
    client = azure(face, sockets, api_key=None)
    connection = face.open(client.realtime.connect(model="gpt-realtime"))
    face.until(connection, "session.created")
    name = "api-key" if variable.endswith("KEY") else "authorization"
    assert sockets.last.headers[name].removeprefix("Bearer ") == secret()
    assert secret() not in str(connection._connection.request.headers) + str(client.api_key)


def test_e_1_an_address_in_code_counts_for_azure(face, sockets):
    """`websocket_base_url=` leads where it says, guarded; other methods of Azure's clients are refused."""
    with Sink() as sink:
        client = azure(
            face, sockets, azure_endpoint=sink.url, websocket_base_url=f"ws://127.0.0.1:{sockets.port}/openai"
        )
        assert converse(face, client.realtime) == f"You said: I am {MAIL}"
        assert MAIL not in "".join(sockets.last.messages)
        sink.assert_untouched()
    with pytest.raises(safellm.Refused):
        client._configure_realtime("gpt-realtime", {})


@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_the_older_realtime_is_guarded(face, sockets, kind):
    """`client.beta.realtime`, with the older names of its events."""
    client = face.client(sockets) if kind == "openai" else azure(face, sockets)
    if not hasattr(type(client.beta), "realtime"):
        pytest.skip("this SDK has no `beta.realtime`")
    connection = face.open(client.beta.realtime.connect(model="gpt-realtime"))
    face.until(connection, "session.created")
    face.run(connection.session.update(session={"instructions": f"Serve {MAIL}", "modalities": ["text"]}))
    face.until(connection, "session.updated")
    hidden = sockets.last.events[0]["session"]["instructions"]
    assert MAIL not in hidden
    blob = base64.b64encode(b"\x00\x01" * 60).decode()
    place = {"event_id": "e", "response_id": "a", "item_id": "i", "output_index": 0, "content_index": 0}
    half = len(hidden) // 2
    sockets.reply_with(
        [
            {"type": "response.created", "event_id": "e", "response": {"id": "a", "status": "in_progress"}},
            {"type": "response.text.delta", **place, "delta": hidden[:half]},
            {"type": "response.text.delta", **place, "delta": hidden[half:]},
            {"type": "response.text.done", **place, "text": hidden},
            {"type": "response.audio.delta", **place, "delta": blob},
            {"type": "response.done", "event_id": "e", "response": {"id": "a", "status": "completed"}},
        ]
    )
    face.run(connection.response.create())
    events = face.until(connection, "response.done")
    assert "".join(one.delta for one in events if one.type == "response.text.delta") == f"Serve {MAIL}"
    assert [one.text for one in events if one.type == "response.text.done"] == [f"Serve {MAIL}"]
    assert [one.delta for one in events if one.type == "response.audio.delta"] == [blob]
