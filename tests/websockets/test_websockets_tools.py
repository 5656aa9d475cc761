"""Tool calls that come over a websocket pass the gate that they pass over HTTP."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib

import pytest

import safellm
from safellm.errors import Reason
from safellm.testing.websocket import LoopbackSockets

DENIES = {"tools": {"send": {"action": "deny"}}}
ALLOWS = {"tools": {"send": {"action": "allow"}}}


def call_events(**place):
    """Return the events of a tool call, and the end of the answer."""
    item = {"id": "fc", "type": "function_call", "name": "send", "call_id": "c", "arguments": ""}
    where = {**place, "output_index": 0}
    whole = {**item, "arguments": '{"to": 1}', "status": "completed"}
    response = {"id": "a", "object": "response", "status": "completed", "output": [whole]}
    return [
        {"type": "response.created", "event_id": "e", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", **where, "item": item},
        {"type": "response.function_call_arguments.delta", **where, "item_id": "fc", "delta": '{"to": 1}'},
        {"type": "response.function_call_arguments.done", **where, "item_id": "fc", "arguments": '{"to": 1}'},
        {"type": "response.output_item.done", **where, "item": whole},
        {"type": "response.done" if place else "response.completed", "response": response},
    ]


@pytest.mark.parametrize("policy", [DENIES, ALLOWS], ids=["denied", "allowed"])
@pytest.mark.parametrize("api", ["responses", "realtime"])
def test_a_1_calls_are_judged(face, sockets, policy, api):
    """A tool that the policy denies doesn't reach the program, in pieces or whole; one that it allows does."""
    if api == "responses" and not hasattr(importlib.import_module("openai.resources.responses").Responses, "connect"):
        pytest.skip("this SDK has no `responses.connect`")
    connection = getattr(face, api)(sockets, safellm=policy)
    sockets.reply_with(call_events(**({"response_id": "a", "event_id": "e"} if api == "realtime" else {})))
    face.run(connection.response.create(**({"model": "gpt-4o", "input": "go"} if api == "responses" else {})))
    end = "response.done" if api == "realtime" else "response.completed"
    if policy is ALLOWS:
        assert '"to": 1' in str(face.until(connection, end))
        return
    seen = []
    with pytest.raises(safellm.Refused) as caught:
        while not seen or seen[-1].type != end:
            seen.append(face.run(connection.recv()))
    assert caught.value.reason == Reason.TOOL_DENIED
    assert '"to": 1' not in str(seen)


def test_a_1_calls_in_the_conversation_are_judged(face, sockets):
    """Realtime tells of a call in the conversation's item too, which belongs to no answer."""
    connection = face.realtime(sockets, safellm=DENIES)
    item = {"id": "fc", "type": "function_call", "name": "send", "call_id": "c", "arguments": '{"to": 1}'}
    sockets.push([{"type": "conversation.item.done", "event_id": "e", "item": item}])
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.recv())
    assert caught.value.reason == Reason.TOOL_DENIED


@pytest.mark.parametrize("policy", [DENIES, ALLOWS], ids=["denied", "allowed"])
def test_a_1_calls_of_live_sessions_are_judged(policy):
    """The same for Gemini's."""
    genai = pytest.importorskip("safellm.google.genai", exc_type=ImportError)
    call = {"toolCall": {"functionCalls": [{"id": "1", "name": "send", "args": {"to": 1}}]}}

    async def main(server):
        client = genai.Client(api_key="k", http_options={"base_url": server.origin}, safellm=policy)
        try:
            async with client.aio.live.connect(
                model="gemini-live-2.5", config={"response_modalities": ["TEXT"]}
            ) as made:
                server.reply_with([call])
                await made.send_client_content(turns={"role": "user", "parts": [{"text": "go"}]}, turn_complete=True)
                if policy is ALLOWS:
                    assert (await made._receive()).tool_call.function_calls[0].args == {"to": 1}
                    return
                with pytest.raises(safellm.Refused) as caught:
                    await made._receive()
                assert caught.value.reason == Reason.TOOL_DENIED
        finally:
            await client.aio.aclose()
            client.close()

    with LoopbackSockets(binary=True) as server:
        asyncio.run(main(server))
