"""Marks and remembered conversations through a real client."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm._core.placeholder import Mapping
from safellm.stores.conversations import Conversations
from safellm.testing.provider import LoopbackProvider

KEY = "a-key-for-tests"


def test_r_8_a_client_keeps_named_conversations_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value leaves as a placeholder, is kept before it is sent, and a changed file refuses the next call."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    with LoopbackProvider(api_key=KEY) as provider:
        client = safellm.OpenAI(
            base_url=provider.base_url, api_key=KEY, max_retries=0, safellm={"redaction": {"remember": "encrypted"}}
        )
        prompt = f"Write to {safellm.sensitive('471147-Miller', 'CUSTOMER_ID')}."
        with safellm.conversation("alice"):
            client.responses.create(model="gpt-4o", input=prompt)
        sent = b"".join(request.body for request in provider.requests)
        assert b"471147" not in sent
        assert b"X-CUSTOMER_ID-" in sent
        paths = list((tmp_path / "mappings").glob("*.sealed"))
        assert len(paths) == 2  # by its own name, and by the provider's for the answer
        for path in paths:
            path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        from safellm import client as module

        module.CONVERSATIONS.clear()  # what a restart does
        again = safellm.OpenAI(
            base_url=provider.base_url, api_key=KEY, max_retries=0, safellm={"redaction": {"remember": "encrypted"}}
        )
        count = len(provider.requests)
        with safellm.conversation("alice"), pytest.raises(safellm.GuardFailure):
            again.responses.create(model="gpt-4o", input=prompt)
        assert len(provider.requests) == count


async def test_conversations_are_written_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lock that another process holds, or a slow disk, keeps no other task waiting."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    writers: list[int] = []
    written = Conversations.remember

    def remember(self: Conversations, known_as: str, mapping: Mapping) -> None:
        writers.append(threading.get_ident())
        written(self, known_as, mapping)

    monkeypatch.setattr(Conversations, "remember", remember)
    with LoopbackProvider(api_key=KEY) as provider:
        async with safellm.AsyncOpenAI(
            base_url=provider.base_url, api_key=KEY, max_retries=0, safellm={"redaction": {"remember": "encrypted"}}
        ) as client:
            asked: Any = {"model": "gpt-4o", "input": f"Write to {safellm.sensitive('471148-Miller', 'CUSTOMER_ID')}."}
            await client.responses.create(**asked)
            async for _ in await client.responses.create(**asked, stream=True):
                pass
    assert len(writers) == 2
    assert threading.get_ident() not in writers
