"""Gemini's live sessions and live music: each message is guarded, each turn of the model is a call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import warnings
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("google.genai")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sockets_support import MAIL, limited, secret

import safellm
from safellm.errors import Reason
from safellm.google import genai
from safellm.testing.sink import Sink
from safellm.testing.websocket import LoopbackSockets

TEXT = {"response_modalities": ["TEXT"]}


@pytest.fixture
def gemini():
    """The provider, with the binary frames that Gemini sends."""
    with LoopbackSockets(binary=True) as server:
        yield server


@asynccontextmanager
async def session(server, config=TEXT, **options):
    client = genai.Client(**{"api_key": "given-in-code", "http_options": {"base_url": server.origin}, **options})
    try:
        async with client.aio.live.connect(model="gemini-live-2.5", config=config) as made:
            yield made
    finally:
        await client.aio.aclose()
        client.close()


async def say(made, text):
    await made.send_client_content(turns={"role": "user", "parts": [{"text": text}]}, turn_complete=True)
    return await heard(made)


async def heard(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK warns of parts that are no text
        return [one async for one in made.receive()]


def texts(messages):
    return "".join(one.text or "" for one in messages)


def test_values_are_hidden_and_come_back(gemini, records):
    """In the session's setup, in turns, in answers; usage is recorded."""

    async def main():
        async with session(gemini, {**TEXT, "system_instruction": f"Serve {MAIL}"}) as made:
            return await say(made, f"I am {MAIL}")

    assert texts(asyncio.run(main())) == f"You said: I am {MAIL}"
    assert MAIL not in "".join(gemini.last.messages)
    found = records()
    outcome = next(one for one in found if one.get("gen_ai.usage.output_tokens"))
    assert (outcome["gen_ai.usage.input_tokens"], outcome["gen_ai.usage.output_tokens"]) == (13, 8)
    assert outcome["gen_ai.request.model"] == "gemini-live-2.5"
    intents = {one["event.id"] for one in found if one["event.name"] == "call.intent"}
    assert intents == {one["event.parent"] for one in found if one["event.name"] == "call.outcome"}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_gives_the_same_text(gemini, data):
    """Of what the model says, and of what it heard."""

    async def main():
        async with session(gemini) as made:
            await say(made, MAIL)
            hidden = gemini.last.events[1]["client_content"]["turns"][0]["parts"][0]["text"]
            whole = f"to {hidden} \x1b[1m and {hidden} now"
            cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
            edges = [0, *cuts, len(whole)]
            pieces = [whole[a:b] for a, b in zip(edges, edges[1:], strict=False)]
            gemini.reply_with(
                [
                    *({"serverContent": {"inputTranscription": {"text": one}}} for one in pieces),
                    *({"serverContent": {"modelTurn": {"parts": [{"text": one}]}}} for one in pieces),
                    {"serverContent": {"turnComplete": True}},
                ]
            )
            messages = await say(made, "again")
        gemini.reply_with()
        return messages

    messages = asyncio.run(main())
    spoken = "".join(
        one.server_content.input_transcription.text or ""
        for one in messages
        if one.server_content and one.server_content.input_transcription
    )
    assert texts(messages) == spoken
    assert spoken.startswith(f"to {MAIL} ")
    assert spoken.endswith(f" and {MAIL} now")
    assert "\x1b" not in spoken


def test_tools_are_guarded(gemini):
    """What a tool gave is hidden like a text; what it is called with is not restored undeclared."""

    async def main():
        async with session(gemini) as made:
            await say(made, f"I am {MAIL}")
            hidden = gemini.last.events[1]["client_content"]["turns"][0]["parts"][0]["text"].removeprefix("I am ")
            gemini.reply_with(
                [{"toolCall": {"functionCalls": [{"id": "1", "name": "mail", "args": {"to": hidden}}]}}], "ok"
            )
            await made.send_client_content(turns={"role": "user", "parts": [{"text": "go"}]}, turn_complete=True)
            call = (await made._receive()).tool_call.function_calls[0]
            assert call.args == {"to": hidden}
            await made.send_tool_response(
                function_responses={
                    "id": "1",
                    "name": "mail",
                    "response": {"result": f"sent to {MAIL}", "key": secret()},
                }
            )
            return await heard(made)

    assert texts(asyncio.run(main())) == "ok"
    assert MAIL not in "".join(gemini.last.messages)
    assert secret() not in "".join(gemini.last.messages)


def test_a_refused_message_is_never_sent(gemini):
    """The error is the SDK's own and ours."""

    async def main():
        async with session(gemini, safellm={"redaction.types": {"EMAIL": "block"}}) as made:
            with pytest.raises(genai.errors.APIError) as caught:
                await say(made, f"I am {MAIL}")
            assert caught.value.reason == Reason.REDACTION_BLOCKED
            assert texts(await say(made, "hello")) == "You said: hello"

    asyncio.run(main())
    assert [next(iter(one)) for one in gemini.last.events] == ["setup", "client_content"]


def test_budgets_in_tokens_refuse(gemini):
    """Without a ceiling in its setup a session has no bound; what is limited by requests is counted by turns."""

    async def main():
        async with session(gemini, safellm=limited(tokens=100_000)) as made:
            with pytest.raises(safellm.Refused) as caught:
                await say(made, "hello")
            assert caught.value.reason == Reason.BUDGET_UNBOUNDED
            with pytest.raises(safellm.Refused):
                await made.send_realtime_input(text="hello")
        async with session(gemini, safellm=limited(requests=1)) as made:
            await say(made, "hello")
            with pytest.raises(safellm.Refused):
                await say(made, "hello")

    asyncio.run(main())


BOUNDED = {**TEXT, "max_output_tokens": 300}
ASKED = {**BOUNDED, "realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}


def test_b_7_a_session_with_a_ceiling_is_held_to_budgets(gemini, records, usage):
    """Every turn holds what the setup allows, counts what was said before, and is charged what it used."""

    async def main():
        async with session(gemini, BOUNDED, safellm=limited(tokens=3_000)) as made:
            assert texts(await say(made, "hello")) == "You said: hello"
            with pytest.raises(genai.errors.APIError) as caught:
                await say(made, "hello " * 1000)
            assert caught.value.reason == Reason.BUDGET_EXCEEDED
            with pytest.raises(safellm.Refused) as caught:
                await made.send_realtime_input(text="hello")
            assert caught.value.reason == Reason.BUDGET_UNBOUNDED
            assert "disabled" in caught.value.remedy

    asyncio.run(main())
    held = next(one for one in records() if one.get("gen_ai.operation.name") == "live clientContent")
    assert held["safellm.budget.reserved"]["output_tokens"] == 300
    assert [(one.input_tokens, one.output_tokens) for one in usage()] == [(13, 8)]


def test_b_7_speech_is_bounded_where_its_end_is_told(gemini, records):
    """With the program saying where a turn ends: audio counts by its length, the end of the turn is the call."""
    piece = genai.types.Blob(data=b"\x00\x01" * 16_000, mime_type="audio/pcm;rate=16000")  # one second

    async def main():
        async with session(gemini, ASKED, safellm=limited(tokens=5_000)) as made:
            await made.send_realtime_input(activity_start={})
            for _ in range(3):
                await made.send_realtime_input(audio=piece)
            await made.send_realtime_input(activity_end={})
            return await heard(made)

    assert texts(asyncio.run(main())) == "You said: speech"
    held = [
        one["safellm.budget.reserved"]
        for one in records()
        if one.get("safellm.budget.reserved", {}).get("output_tokens")
    ]
    assert [one["output_tokens"] for one in held] == [300]
    assert 3 * 32 <= held[0]["input_tokens"] < 3 * 100 + 1500  # Google counts 25 to 32 a second


@pytest.mark.parametrize(
    "config",
    [{**ASKED, "output_audio_transcription": {}}, {**ASKED, "session_resumption": {"handle": "h"}}],
    ids=["transcripts", "resumed"],
)
def test_b_7_sessions_with_more_than_is_said_stay_refused(gemini, config):
    """Whose tokens stand in no message."""

    async def main():
        async with session(gemini, config, safellm=limited(tokens=5_000)) as made:
            with pytest.raises(safellm.Refused) as caught:
                await say(made, "hello")
            assert caught.value.reason == Reason.BUDGET_UNBOUNDED

    asyncio.run(main())


def test_b_7_pictures_are_refused_under_a_limit(gemini):
    """How many tokens one has isn't known; and what came after one isn't either."""

    async def main():
        async with session(gemini, ASKED, safellm=limited(tokens=5_000)) as made:
            with pytest.raises(safellm.Refused) as caught:
                await made.send_realtime_input(video=genai.types.Blob(data=b"\x00" * 90, mime_type="image/jpeg"))
            assert caught.value.reason == Reason.BUDGET_UNBOUNDED
        async with session(gemini, ASKED, safellm=limited(tokens=5_000)) as made:
            with pytest.raises(safellm.Refused):  # so slow that a token has fewer bytes than are counted
                await made.send_realtime_input(
                    audio=genai.types.Blob(data=b"\x00" * 90, mime_type="audio/pcm;rate=4000")
                )

    asyncio.run(main())


def test_audio_follows_the_policy_for_binary_content(gemini, records):
    """It passes and is recorded once for each turn, or it is refused."""
    piece = genai.types.Blob(data=b"\x00\x01" * 225, mime_type="audio/pcm")

    async def main():
        async with session(gemini) as made:
            for _ in range(4):
                await made.send_realtime_input(audio=piece)
        async with session(gemini, safellm={"content.binary": "deny"}) as made:
            with pytest.raises(safellm.Refused) as caught:
                await made.send_realtime_input(audio=piece)
            assert caught.value.reason == Reason.CONTENT_DENIED

    asyncio.run(main())
    passed = [one for one in records() if one.get("safellm.content.binary_bytes")]
    assert [one["safellm.content.binary_bytes"] for one in passed] == [450]


def test_k_4_a_managed_key_is_put_in_late(gemini, monkeypatch):
    """The client holds a placeholder, the server gets the key."""
    key = "AIza" + "SyA1b2C3d4E5F6g7H8i9J0k1L2m3N4o5P6q"
    monkeypatch.setenv("GOOGLE_API_KEY", key)

    async def main():
        async with session(gemini, api_key=None) as made:
            assert key not in str(made._ws.request.headers) + made._api_client.api_key

    asyncio.run(main())
    assert gemini.last.headers["x-goog-api-key"] == key


def test_e_1_another_origin_is_refused(gemini):
    """A session's `http_options` doesn't lead to where the client isn't bound."""

    async def main():
        with Sink() as sink:
            with pytest.raises(safellm.Refused) as caught:
                async with session(gemini, {**TEXT, "http_options": {"base_url": sink.origin}}):
                    pass
            sink.assert_untouched()
        assert caught.value.reason in (Reason.EGRESS_ORIGIN, Reason.EGRESS_PLAINTEXT)

    asyncio.run(main())
    assert gemini.connections == []


def test_music_is_guarded(gemini):
    """Prompts are hidden like texts."""

    async def main():
        client = genai.Client(api_key="k", http_options={"base_url": gemini.origin})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the SDK calls it experimental
            async with client.aio.live.music.connect(model="models/lyria") as made:
                await made.set_weighted_prompts([genai.types.WeightedPrompt(text=f"Song for {MAIL}", weight=1.0)])
                await made.play()
                gemini.wait(3)
        await client.aio.aclose()
        client.close()

    asyncio.run(main())
    assert [sorted(one) for one in gemini.last.events] == [["setup"], ["clientContent"], ["playbackControl"]]
    assert MAIL not in "".join(gemini.last.messages)


def test_unasked_turns_are_calls(gemini, records):
    """What the model says after a turn of speech is recorded and settled."""

    async def main():
        async with session(gemini) as made:
            await made.send_realtime_input(text=f"I am {MAIL}")
            return await heard(made)

    assert texts(asyncio.run(main())) == f"You said: I am {MAIL}"
    assert MAIL not in "".join(gemini.last.messages)
    assert any(one.get("gen_ai.operation.name") == "live answer" for one in records())


def test_what_can_t_be_read_is_withheld(gemini):
    """A message that no guard can read."""

    async def main():
        async with session(gemini) as made:
            gemini.push(["not JSON"])
            with pytest.raises(safellm.Refused):
                await heard(made)

    asyncio.run(main())
    assert json.loads(gemini.last.messages[0])["setup"]
