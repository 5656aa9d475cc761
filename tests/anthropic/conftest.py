"""The real SDK, sync and async behind one face, so that each behaviour is written once and tested in both."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import BaseFace, showing

import anthropic
import safellm.anthropic
from safellm.testing.provider import LoopbackProvider

SDK = tuple(int(part) for part in anthropic.__version__.split(".")[:2])
# From 1.0 on the SDK speaks httpx2, and takes no clients of httpx any more.
NATIVE = importlib.import_module("httpx2" if SDK >= (1, 0) else "httpx")
MODEL = "claude-sonnet-5-5"
WAYS = ("plain", "streamed", "helper")


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test has a folder of its own, no profile of the SDK, and leaves nothing behind."""
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path / "no profiles"))


class Face(BaseFace):
    """Guarded clients of Anthropic's SDK."""

    native = NATIVE

    def pick(self, name: str = "Anthropic", module: Any = safellm.anthropic) -> Any:
        """Return a class of a module by its sync name."""
        return getattr(module, f"Async{name}" if self.is_async else name)

    def client(self, server: Any = None, *, name: str = "Anthropic", **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            options = {"base_url": server.origin, "api_key": "given-in-code", **options}
        return self.keep(self.pick(name)(**{"max_retries": 0, **options}))

    def http(self, handler: Callable[[Any], Any]) -> Any:
        """Return an HTTP client whose answers a function gives."""
        if not self.is_async:
            return self.keep(NATIVE.Client(transport=NATIVE.MockTransport(handler)))

        async def handle(request: Any) -> Any:
            await request.aread()
            return handler(request)

        return self.keep(NATIVE.AsyncClient(transport=NATIVE.MockTransport(handle)))

    def message(
        self, client: Any, text: Any = "hello", *, way: str = "plain", beta: bool = False, **options: Any
    ) -> Any:
        """Send one user text; return the message, which the SDK's own helper puts together from a stream's events."""
        messages = (client.beta if beta else client).messages
        wanted = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **options}
        if way == "plain":
            return self.run(messages.create(**wanted))
        if way == "helper":
            return self.run(self._helped(messages.stream(**wanted)))
        return joined(self.all(self.run(messages.create(stream=True, **wanted))))

    async def _helped_async(self, manager: Any) -> Any:
        async with manager as stream:
            said = "".join([piece async for piece in stream.text_stream])
            made = await stream.get_final_message()
        assert said == text_of(made)
        return made

    def _helped(self, manager: Any) -> Any:
        if self.is_async:
            return self._helped_async(manager)
        with manager as stream:
            said = "".join(stream.text_stream)
            made = stream.get_final_message()
        assert said == text_of(made)
        return made

    def ask(self, client: Any, text: Any = "hello", **options: Any) -> str:
        """Send one user text and return the answer's text."""
        return text_of(self.message(client, text, **options))


def text_of(message: Any) -> str:
    """Return the text of a message's text blocks."""
    return "".join(block.text for block in message.content if block.type == "text")


def joined(events: list[Any]) -> Any:
    """Return the message that raw events say, put together as a program would."""
    message: Any = None
    pieces: dict[int, str] = {}
    for event in events:
        if event.type == "message_start":
            message = event.message
        elif event.type == "content_block_start":
            assert event.index == len(message.content)
            message.content.append(event.content_block)
        elif event.type == "content_block_delta":
            block, delta = message.content[event.index], event.delta
            if delta.type == "text_delta":
                block.text += delta.text
            elif delta.type == "thinking_delta":
                block.thinking += delta.thinking
            elif delta.type == "signature_delta":
                block.signature = delta.signature
            elif delta.type == "citations_delta":
                block.citations = [*(block.citations or ()), delta.citation]
            else:
                pieces[event.index] = pieces.get(event.index, "") + delta.partial_json
        elif event.type == "content_block_stop" and event.index in pieces:
            message.content[event.index].input = json.loads(pieces[event.index] or "{}")
        elif event.type == "message_delta":
            message.stop_reason, message.usage.output_tokens = event.delta.stop_reason, event.usage.output_tokens
    return message


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    yield from showing(Face, request.param)


@pytest.fixture
def sync() -> Iterator[Face]:
    """The sync face alone, where async would test nothing else."""
    yield from showing(Face, "sync")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How an answer is asked for: whole, as raw events, or through the SDK's stream helper."""
    return str(request.param)


@pytest.fixture
def client(face: Face, provider: LoopbackProvider) -> Any:
    return face.client(provider)


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "sk-" + "ant-" + "api03-" + "Zx9Qw7Lm2Kp4" * 7 + "AA"
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    return key
