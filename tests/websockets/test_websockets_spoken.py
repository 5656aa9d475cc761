"""What speech counts as before the provider has counted it: never less than its published rates."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64

import pytest

from safellm_openai.realtime import realtime_dialect

SECONDS = 7
# Bytes a second: G.711 at 8 kHz, 16-bit samples at 24 kHz. Tokens a second: of a user, of the assistant.
FORMS = pytest.mark.parametrize("rate", [8_000, 48_000], ids=["g711", "pcm"])


def weight(event: dict[str, object]) -> int:
    """Return what an event is held for, beyond what stands beside the audio."""
    return realtime_dialect("/realtime", "model=gpt-realtime").weight(event, 0)


@FORMS
def test_b_7_speech_is_held_by_its_length(rate: int) -> None:
    """10 tokens a second of what a user says, 20 of what the assistant is said to have said, in the leanest form too."""
    audio = base64.b64encode(bytes(rate * SECONDS)).decode()

    def item(kind: str, role: str) -> dict[str, object]:
        content = [{"type": kind, "audio": audio}]
        return {"type": "conversation.item.create", "item": {"type": "message", "role": role, "content": content}}

    assert weight({"type": "input_audio_buffer.append", "audio": audio}) >= 10 * SECONDS
    assert weight(item("input_audio", "user")) >= 10 * SECONDS
    for kind in ("output_audio", "audio"):
        assert weight(item(kind, "assistant")) >= 20 * SECONDS
