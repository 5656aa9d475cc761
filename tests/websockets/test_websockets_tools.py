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


def tool(name="send", kind="integer"):
    """Return a tool's declaration."""
    parameters = {"type": "object", "properties": {"to": {"type": kind}}, "required": ["to"]}
    return {"type": "function", "name": name, "description": "sends", "parameters": parameters}


def declare(face, connection, *tools):
    """Declare tools once for the session."""
    face.run(connection.session.update(session={"type": "realtime", "tools": list(tools)}))
    face.until(connection, "session.updated")


def answer(face, connection, sockets, **response):
    """Have the model call `send`; return the events of its answer."""
    sockets.reply_with(call_events(response_id="a", event_id="e"))
    face.run(connection.response.create(**({"response": response} if response else {})))
    return face.until(connection, "response.done")


def test_a_1_tools_of_the_session_are_known_in_later_answers(face, sockets):
    """Declared once in `session.update`: a call of it passes, a call of another one is withheld."""
    connection = face.realtime(sockets)
    declare(face, connection, tool())
    assert '"to": 1' in str(answer(face, connection, sockets))
    other = face.realtime(sockets)
    declare(face, other, tool("search"))
    with pytest.raises(safellm.Refused) as caught:
        answer(face, other, sockets)
    assert caught.value.reason == Reason.TOOL_UNKNOWN


def test_a_1_an_answer_s_own_tools_count_instead(face, sockets):
    """What `response.create` brings along is declared for this answer."""
    connection = face.realtime(sockets)
    declare(face, connection, tool("search"))
    assert '"to": 1' in str(answer(face, connection, sockets, tools=[tool()]))
    with pytest.raises(safellm.Refused):
        answer(face, connection, sockets)


@pytest.mark.parametrize("kind", ["integer", "string"])
def test_a_2_arguments_are_held_to_the_session_s_schema(face, sockets, kind):
    """Of a tool that the policy lists; the definition came once, long before the call."""
    connection = face.realtime(sockets, safellm=ALLOWS)
    declare(face, connection, tool(kind=kind))
    if kind == "integer":
        assert '"to": 1' in str(answer(face, connection, sockets))
        return
    with pytest.raises(safellm.Refused) as caught:
        answer(face, connection, sockets)
    assert caught.value.reason == Reason.TOOL_ARGUMENTS


def test_a_1_answers_that_nobody_asked_for_know_the_session_s_tools(face, sockets):
    """After a turn of speech the provider answers by itself."""
    connection = face.realtime(sockets)
    declare(face, connection, tool("search"))
    sockets.push(call_events(response_id="a", event_id="e"))
    with pytest.raises(safellm.Refused) as caught:
        face.until(connection, "response.done")
    assert caught.value.reason == Reason.TOOL_UNKNOWN


@pytest.mark.parametrize("declared", ["search", "send"])
def test_a_1_items_of_the_conversation_know_the_session_s_tools(face, sockets, declared):
    """They belong to no answer, so any tool that the connection has declared counts."""
    connection = face.realtime(sockets)
    declare(face, connection, tool(declared))
    item = {"id": "fc", "type": "function_call", "name": "send", "call_id": "c", "arguments": '{"to": 1}'}
    sockets.push([{"type": "conversation.item.done", "event_id": "e", "item": item}])
    if declared == "send":
        assert face.run(connection.recv()).item.name == "send"
        return
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.recv())
    assert caught.value.reason == Reason.TOOL_UNKNOWN


def test_a_1_tools_of_a_session_that_was_made_elsewhere_are_known(sync, sockets):
    """The provider tells them when the connection opens."""
    connection = sync.realtime(sockets)
    session = {"type": "realtime", "model": "gpt-realtime", "tools": [tool("search")]}
    sockets.push([{"type": "session.created", "event_id": "e", "session": session}])
    sync.until(connection, "session.created")
    with pytest.raises(safellm.Refused) as caught:
        answer(sync, connection, sockets)
    assert caught.value.reason == Reason.TOOL_UNKNOWN


def test_a_1_look_alikes_in_a_session_are_refused(face, sockets):
    """Before the model sees them."""
    connection = face.realtime(sockets)
    with pytest.raises(safellm.Refused) as caught:
        declare(face, connection, tool("send_mail"), tool("send_mai\u217c"))
    assert caught.value.reason == Reason.TOOL_LOOKALIKE


@pytest.mark.parametrize("declared", ["search", "send"])
def test_a_1_tools_of_a_live_session_are_known_in_later_answers(declared):
    """Gemini's are declared once, in the session's setup."""
    genai = pytest.importorskip("safellm.google.genai", exc_type=ImportError)
    call = {"toolCall": {"functionCalls": [{"id": "1", "name": "send", "args": {"to": 1}}]}}
    config = {"response_modalities": ["TEXT"], "tools": [{"function_declarations": [{"name": declared}]}]}

    async def main(server):
        client = genai.Client(api_key="k", http_options={"base_url": server.origin})
        try:
            async with client.aio.live.connect(model="gemini-live-2.5", config=config) as made:
                server.reply_with([call])
                await made.send_client_content(turns={"role": "user", "parts": [{"text": "go"}]}, turn_complete=True)
                if declared == "send":
                    assert (await made._receive()).tool_call.function_calls[0].args == {"to": 1}
                    return
                with pytest.raises(safellm.Refused) as caught:
                    await made._receive()
                assert caught.value.reason == Reason.TOOL_UNKNOWN
        finally:
            await client.aio.aclose()
            client.close()

    with LoopbackSockets(binary=True) as server:
        asyncio.run(main(server))


def test_a_1_look_alikes_in_a_live_session_are_refused():
    """The session isn't set up."""
    genai = pytest.importorskip("safellm.google.genai", exc_type=ImportError)
    tools = [{"function_declarations": [{"name": "send_mail"}, {"name": "send_mai\u217c"}]}]

    async def main(server):
        client = genai.Client(api_key="k", http_options={"base_url": server.origin})
        try:
            with pytest.raises(safellm.Refused) as caught:
                async with client.aio.live.connect(model="gemini-live-2.5", config={"tools": tools}):
                    pass
            assert caught.value.reason == Reason.TOOL_LOOKALIKE
        finally:
            await client.aio.aclose()
            client.close()

    with LoopbackSockets(binary=True) as server:
        asyncio.run(main(server))
        assert server.last.messages == []
