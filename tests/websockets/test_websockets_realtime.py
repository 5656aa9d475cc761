"""Realtime: one conversation for each connection, in which everything that is said is guarded, asked for or not."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sockets_support import MAIL, deltas, limited, secret

import openai
import safellm
from safellm.errors import Reason

AUDIO = base64.b64encode(b"\x00\x01" * 450).decode()


def ask(face, connection, text=None, **response):
    """Say something, if there is something, and return the events of the answer."""
    if text is not None:
        face.say(connection, text)
    face.run(connection.response.create(**({"response": response} if response else {})))
    return face.until(connection, "response.done")


def test_values_are_hidden_and_come_back(face, sockets):
    """In settings and items on the way out; in pieces, whole texts and echoed items on the way back."""
    connection = face.realtime(sockets)
    face.run(connection.session.update(session={"type": "realtime", "instructions": f"Serve {MAIL}"}))
    updated = face.until(connection, "session.updated")[-1]
    assert updated.session.instructions == f"Serve {MAIL}"
    events = ask(face, connection, f"I am {MAIL}")
    assert MAIL not in "".join(sockets.last.messages)
    wanted = f"You said: I am {MAIL}"
    by_type = {one.type: one for one in events}
    assert by_type["conversation.item.added"].item.content[0].text == f"I am {MAIL}"
    assert deltas(events) == by_type["response.output_text.done"].text == wanted
    assert by_type["conversation.item.done"].item.content[0].text == wanted
    assert by_type["response.done"].response.output[0].content[0].text == wanted


def test_the_conversation_grows(face, sockets):
    """What was hidden in an early turn comes back in a late one; two connections share nothing."""
    connection = face.realtime(sockets)
    ask(face, connection, f"I am {MAIL}")
    hidden = sockets.last.events[1]["item"]["content"][0]["text"].removeprefix("I am ")
    ask(face, connection, "hello")
    sockets.reply_with(f"You are {hidden}.")
    assert deltas(ask(face, connection)) == f"You are {MAIL}."
    other = face.realtime(sockets)
    assert deltas(ask(face, other)) == f"You are {hidden}."


@pytest.fixture
def many(sync, sockets):
    """A connection on which a value is hidden already, and its placeholder."""
    connection = sync.realtime(sockets)
    sync.say(connection, MAIL)
    sync.until(connection, "conversation.item.added")
    return sync, connection, sockets, sockets.last.events[1]["item"]["content"][0]["text"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_of_a_transcript_gives_the_same_text(many, data):
    """Pieces of what was heard, and of the answer that nobody asked for, cut anywhere."""
    face, connection, server, hidden = many
    whole = f"{hidden} \x1b[1m said {hidden}"
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=10).map(sorted))
    edges = [0, *cuts, len(whole)]
    server.cut = lambda _: [whole[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    server.reply_with(whole)
    face.run(connection.input_audio_buffer.commit())
    events = face.until(connection, "response.done")
    name = "conversation.item.input_audio_transcription"
    heard = "".join(one.delta for one in events if one.type == f"{name}.delta")
    told = next(one.transcript for one in events if one.type == f"{name}.completed")
    done = next(one.text for one in events if one.type == "response.output_text.done")
    assert heard == told == done == deltas(events)
    assert done.count(MAIL) == 2
    assert "\x1b" not in done


def test_a_refused_event_is_never_sent(face, sockets):
    """A blocked value or a broken event stays here; the conversation goes on."""
    connection = face.realtime(sockets, safellm={"redaction.types": {"EMAIL": "block"}})
    with pytest.raises(openai.BadRequestError) as caught:
        face.say(connection, f"I am {MAIL}")
    assert caught.value.reason == Reason.REDACTION_BLOCKED
    ask(face, connection, "hello")
    assert [one["type"] for one in sockets.last.events] == [
        "session.update",
        "conversation.item.create",
        "response.create",
    ]


def test_audio_follows_the_policy_for_binary_content(face, sockets, records):
    """It passes and is recorded once for each turn, or it is refused."""
    connection = face.realtime(sockets)
    for _ in range(5):
        face.run(connection.input_audio_buffer.append(audio=AUDIO))
    sockets.wait(6)
    appended = [one for one in records() if one.get("gen_ai.operation.name") == "realtime input_audio_buffer.append"]
    assert [one.get("safellm.content.binary_bytes") for one in appended] == [900, None]
    denying = face.realtime(sockets, safellm={"content.binary": "deny"})
    with pytest.raises(safellm.Refused) as caught:
        face.run(denying.input_audio_buffer.append(audio=AUDIO))
    assert caught.value.reason == Reason.CONTENT_DENIED
    assert [one["type"] for one in sockets.last.events] == ["session.update"]


def test_text_that_is_called_audio_is_searched(face, sockets):
    """What isn't base64 can be read, whatever it is called."""
    connection = face.realtime(sockets)
    face.run(connection.input_audio_buffer.append(audio=f"to {MAIL}"))
    sockets.wait(2)
    assert MAIL not in "".join(sockets.last.messages)


def test_budget_of_texts(face, sockets, usage, records):
    """An answer in text is held to a ceiling and settled by what `response.done` says; what was said before is its input."""
    connection = face.realtime(sockets, safellm={**limited(tokens=5_000), "budget.max_output_tokens": 64})
    ask(face, connection, "hello")
    assert sockets.last.events[-1]["response"]["max_output_tokens"] == 64
    assert [(one.input_tokens, one.output_tokens) for one in usage()] == [(20, 9)]
    ask(face, connection, "hello " * 100, max_output_tokens=10)
    intents = [
        one for one in records() if one["event.name"] == "call.intent" and one["gen_ai.operation.name"] == "realtime"
    ]
    first, second = (one["safellm.budget.reserved"] for one in intents)
    assert first["output_tokens"] == 64
    assert second["output_tokens"] == 10
    assert second["input_tokens"] > first["input_tokens"] + 600
    with pytest.raises(openai.RateLimitError):
        ask(face, connection, "hello " * 1000)
    sockets.wait(6)
    assert [one["type"] for one in sockets.last.events].count("response.create") == 2


def hear(face, connection, **changes):
    """Switch off that turns are heard and written down; wait until the provider says so."""
    given = {"turn_detection": None, "transcription": None, **changes}
    face.run(connection.session.update(session={"type": "realtime", "audio": {"input": given}}))
    face.until(connection, "session.updated")


def speak(face, connection, seconds):
    """Send so many seconds of speech, 24 kHz and 16 bits as OpenAI takes it, and end the turn."""
    for _ in range(seconds):
        face.run(connection.input_audio_buffer.append(audio=base64.b64encode(b"\x00\x01" * 24_000).decode()))
    face.run(connection.input_audio_buffer.commit())
    face.until(connection, "input_audio_buffer.committed")


def test_budget_refuses_answers_that_begin_by_themselves(face, sockets):
    """Where the provider answers when it hears the end of a turn, no speech is sent: nobody could hold the answer back."""
    connection = face.realtime(sockets, safellm=limited(tokens=100_000))
    with pytest.raises(openai.RateLimitError) as caught:
        face.run(connection.input_audio_buffer.append(audio=AUDIO))
    assert caught.value.reason == Reason.BUDGET_UNBOUNDED
    assert "create_response" in caught.value.remedy
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}]}
    with pytest.raises(safellm.Refused):
        face.run(connection.conversation.item.create(item=item))
    assert [one["type"] for one in sockets.last.events] == ["session.update"]


@pytest.mark.parametrize("turns", [None, {"type": "server_vad", "create_response": False}], ids=["none", "asked"])
def test_b_7_speech_is_bounded_where_answers_are_asked_for(face, sockets, usage, records, turns):
    """What is heard counts by its length, an answer in speech has a ceiling, and what `response.done` says is charged."""
    connection = face.realtime(sockets, safellm={**limited(tokens=50_000), "budget.max_output_tokens": 640})
    hear(face, connection, turn_detection=turns)
    speak(face, connection, 3)
    ask(face, connection, output_modalities=["audio"])
    assert sockets.last.events[-1]["response"]["max_output_tokens"] == 640
    assert [(one.input_tokens, one.output_tokens) for one in usage()] == [(20, 9)]
    held = next(one for one in records() if one.get("gen_ai.operation.name") == "realtime")["safellm.budget.reserved"]
    assert held["output_tokens"] == 640
    assert 3 * 10 <= held["input_tokens"] < 3 * 100 + 1000  # OpenAI counts 10 a second; the JSON around it comes on top
    speak(face, connection, 1)
    ask(face, connection)
    later = [
        one for one in records() if one.get("gen_ai.operation.name") == "realtime" and "safellm.budget.reserved" in one
    ]
    assert later[-1]["safellm.budget.reserved"]["input_tokens"] > held["input_tokens"]


def test_b_7_a_limit_without_room_refuses_speech(face, sockets):
    """The call that asks for the answer is held to what was heard."""
    connection = face.realtime(sockets, safellm={**limited(tokens=900), "budget.max_output_tokens": 16})
    hear(face, connection)
    ask(face, connection)
    speak(face, connection, 10)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(face, connection)
    assert caught.value.reason == Reason.BUDGET_EXCEEDED


@pytest.mark.parametrize(
    "change",
    [{"turn_detection": {"type": "server_vad"}}, {"transcription": {"model": "whisper-1"}}],
    ids=["turns", "text"],
)
def test_b_7_settings_that_cost_more_are_refused_once_speech_was_heard(face, sockets, change):
    """And before, they close the way for speech; what the program switches off counts when the provider says so."""
    connection = face.realtime(sockets, safellm=limited(tokens=50_000))
    update = {"type": "realtime", "audio": {"input": {"turn_detection": None, "transcription": None}}}
    face.run(connection.session.update(session=update))
    with pytest.raises(safellm.Refused):
        face.run(connection.input_audio_buffer.append(audio=AUDIO))
    face.until(connection, "session.updated")
    face.run(connection.input_audio_buffer.append(audio=AUDIO))
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.session.update(session={"type": "realtime", "audio": {"input": change}}))
    assert caught.value.reason == Reason.BUDGET_UNBOUNDED
    other = face.realtime(sockets, safellm=limited(tokens=50_000))
    hear(face, other, **change)
    with pytest.raises(safellm.Refused):
        face.run(other.input_audio_buffer.append(audio=AUDIO))


def test_b_7_pictures_are_refused_under_a_limit(sync, sockets):
    """How many tokens one has isn't known."""
    connection = sync.realtime(sockets, safellm=limited(tokens=50_000))
    part = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 40}
    sync.run(connection.conversation.item.create(item={"type": "message", "role": "user", "content": [part]}))
    with pytest.raises(safellm.Refused) as caught:
        ask(sync, connection)
    assert caught.value.reason == Reason.BUDGET_UNBOUNDED


def test_b_3_speech_is_charged_at_the_dearest_rate(sync, sockets, records):
    """The usage doesn't say which of the tokens were cheaper; a limit in money holds all the same."""
    from safellm.stores.prices import bound_micro_usd

    connection = sync.realtime(sockets, safellm=limited(usd="5"))
    hear(sync, connection)
    usage = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500,
             "input_token_details": {"audio_tokens": 900}, "output_token_details": {"audio_tokens": 450}}  # fmt: skip
    done = {"type": "response.done", "event_id": "e", "response": {"id": "a", "status": "completed", "usage": usage}}
    sockets.reply_with([{"type": "response.created", "event_id": "e", "response": {"id": "a"}}, done])
    ask(sync, connection)
    charged = next(one for one in records() if one.get("gen_ai.response.id") == "a")["safellm.budget.charged"]
    assert charged["micro_usd"] == bound_micro_usd("openai", "gpt-realtime", 1000, 500) > 0


def test_answers_that_nobody_asked_for_are_calls(face, sockets, records):
    """They are recorded and settled; where a budget has no room the connection ends."""
    connection = face.realtime(sockets, safellm=limited(requests=2))
    sockets.push(_unasked("a"))
    face.until(connection, "response.done")
    outcome = [one for one in records() if one.get("gen_ai.response.id") == "a"]
    assert [one["safellm.budget.charged"]["output_tokens"] for one in outcome] == [3]
    sockets.push(_unasked("b"))
    face.until(connection, "response.done")
    sockets.push(_unasked("c"))
    with pytest.raises(openai.RateLimitError) as caught:
        face.until(connection, "response.done")
    assert caught.value.sent
    sockets.settled()


def _unasked(name):
    usage = {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}
    return [
        {"type": "response.created", "event_id": "e", "response": {"id": name, "status": "in_progress"}},
        {"type": "response.done", "event_id": "e", "response": {"id": name, "status": "completed", "usage": usage}},
    ]


def test_an_error_gives_the_hold_back(face, sockets, usage, records):
    """`response.create` that the provider refuses isn't billed; an error about something else ends no call."""
    connection = face.realtime(sockets)
    sockets.reply_with(
        [{"type": "error", "event_id": "e", "error": {"type": "invalid", "message": "no", "event_id": "mine"}}]
    )
    face.run(connection.response.create(event_id="mine"))
    face.until(connection, "error")
    outcome = records()[-1]
    assert outcome["event.name"] == "call.outcome"
    assert outcome["http.response.status_code"] == 400
    assert sum(one.output_tokens for one in usage()) == 0
    sockets.push([{"type": "error", "event_id": "e", "error": {"message": "\x1b[1mloud"}}])
    assert "\x1b" not in face.until(connection, "error")[-1].error.message


def test_unknown_events_are_walked(face, sockets):
    """As JSON like on an endpoint that isn't known; strict mode refuses them."""
    connection = face.realtime(sockets)
    face.run(connection.send({"type": "conversation.novelty", "note": f"for {MAIL}", "key": secret()}))
    sockets.wait(2)
    assert MAIL not in sockets.last.messages[-1]
    assert secret() not in sockets.last.messages[-1]
    walled = face.realtime(sockets, safellm={"unknown_endpoints": "deny"})
    with pytest.raises(safellm.Refused) as caught:
        face.run(walled.send({"type": "conversation.novelty"}))
    assert caught.value.reason == Reason.MEDIATION_UNKNOWN


def test_opaque_parts_are_untouched(face, sockets):
    """What the provider signed or encrypted comes through to the byte, both ways."""
    connection = face.realtime(sockets)
    blob = base64.b64encode(MAIL.encode() * 3).decode()
    item = {"type": "reasoning", "encrypted_content": blob, "content": []}
    face.run(connection.send({"type": "conversation.item.create", "item": item}))
    sockets.wait(2)
    assert sockets.last.events[-1]["item"]["encrypted_content"] == blob
    told = b'{"type":"x","item":{"encrypted_content":"' + blob.encode() + b'"}}'
    sockets.push([told.decode()])
    face.until(connection, "conversation.item.added")
    assert face.run(connection.recv_bytes()) == told


def test_closing_early_settles(face, sockets, outcome):
    """An answer that is under way is charged as it was held, and every intent has its outcome."""
    connection = face.realtime(sockets, safellm=limited(tokens=100_000))
    sockets.reply_with([])
    face.run(connection.response.create(response={"max_output_tokens": 33}))
    face.run(connection.close())
    found = outcome()
    assert found["gen_ai.operation.name"] in ("realtime", "connect /realtime")
