"""Translations: speech goes in, transcripts come out unasked, and all of it is guarded as the connection's."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import importlib

import pytest
from sockets_support import MAIL, limited

import safellm
from safellm.errors import Reason

if not hasattr(importlib.import_module("openai.resources.realtime").Realtime, "translations"):
    pytest.skip("this SDK has no translations", allow_module_level=True)

APPEND = {"type": "session.input_audio_buffer.append", "audio": base64.b64encode(b"\x00\x01" * 450).decode()}


def connect(face, server, **options):
    """Return a connection."""
    made = face.open(face.client(server, **options).realtime.translations.connect(model="gpt-realtime-translate"))
    face.until(made, "session.created")
    return made


def translated(face, connection):
    """Send speech and close the session; return the transcript."""
    face.run(connection.send(APPEND))
    face.run(connection.send({"type": "session.close"}))
    events = face.until(connection, "session.closed")
    return "".join(one.delta for one in events if one.type == "session.output_transcript.delta")


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_transcripts_are_guarded_however_they_are_cut(face, sockets, size):
    """Links and controls are made harmless across pieces, and what was hidden in the settings comes back."""
    connection = connect(face, sockets)
    face.run(connection.send({"type": "session.update", "session": {"type": "translation", "instructions": MAIL}}))
    face.until(connection, "session.updated")
    hidden = sockets.last.events[0]["session"]["instructions"]
    assert MAIL not in hidden
    sockets.cut = lambda text: [text[at : at + size] for at in range(0, len(text), size)]
    sockets.reply_with(f"to {hidden} \x1b[1m ![i](https://evil.example/?q=1) done")
    text = translated(face, connection)
    assert text.startswith(f"to {MAIL} ")
    assert "\x1b" not in text
    assert "![i](https://evil.example" not in text
    assert text.endswith("done")


def test_speech_is_passed_as_it_is(face, sockets, records):
    """Both ways; recorded once for the connection. Text that is called audio is searched."""
    connection = connect(face, sockets)
    blob = APPEND["audio"]
    sockets.reply_with([{"type": "session.output_audio.delta", "event_id": "e", "delta": blob}])
    for _ in range(3):
        face.run(connection.send(APPEND))
    assert face.run(connection.recv()).delta == blob
    face.run(connection.send({**APPEND, "audio": f"to {MAIL}"}))
    sockets.wait(4)
    assert sockets.last.events[0] == APPEND
    assert MAIL not in "".join(sockets.last.messages)
    assert [one.get("gen_ai.operation.name") for one in records()].count("translation audio") == 2


def test_budgets_in_tokens_refuse(face, sockets):
    """No usage is told, so nothing could be settled."""
    connection = connect(face, sockets, safellm=limited(tokens=100_000))
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send(APPEND))
    assert caught.value.reason == Reason.BUDGET_UNBOUNDED
    assert "no usage" in caught.value.remedy
    assert sockets.last.messages == []


def test_unknown_events_are_refused_where_the_policy_says_so(face, sockets):
    """Else they are walked."""
    connection = connect(face, sockets, safellm={"unknown_endpoints": "deny"})
    with pytest.raises(safellm.Refused) as caught:
        face.run(connection.send({"type": "session.novelty"}))
    assert caught.value.reason == Reason.MEDIATION_UNKNOWN


def test_e_10_a_translation_of_the_plain_sdk_is_guarded(face, sockets):
    """Under `install`, by its address."""
    import openai

    safellm.install()
    try:
        plain = face.keep(
            (openai.AsyncOpenAI if face.is_async else openai.OpenAI)(base_url=sockets.base_url, api_key="k")
        )
        connection = face.open(plain.realtime.translations.connect(model="gpt-realtime-translate"))
        face.until(connection, "session.created")
        sockets.reply_with("\x1b[1mhello")
        assert "\x1b" not in translated(face, connection)
    finally:
        safellm.uninstall()


@pytest.mark.parametrize("query", ["", "?tenant=a"])
def test_the_sdk_s_own_session_is_guarded(face, sockets, query):
    """`TranslationSession` asks the client for an address before it connects: it gets none that leads anywhere."""
    sessions = pytest.importorskip("openai.lib.realtime_translation", reason="an older SDK has none")
    kind = sessions.AsyncTranslationSession if face.is_async else sessions.TranslationSession
    given = {"websocket_base_url": f"ws://127.0.0.1:{sockets.port}/v1{query}"} if query else {}
    translations = face.client(sockets, **given).realtime.translations
    seen = translations._client.websocket_base_url
    assert seen is None if not query else str(seen).endswith(".websocket.safellm.invalid/v1?tenant=a")
    connection = face.open(kind(translations, model="gpt-realtime-translate"))
    sockets.reply_with("to ![i](https://evil.example/?q=1) done")
    assert "![i](https://evil.example" not in translated(face, connection)
    assert query.removeprefix("?") in sockets.last.path
    assert translations.client_secrets.with_raw_response  # everything else of the client is there
