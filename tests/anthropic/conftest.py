"""The real SDK, sync and async behind one face, so that each behaviour is written once and tested in both."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import anthropic
import safellm.anthropic
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.faults import FaultServer
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


class Face:
    """Sync or async, called the same."""

    native = NATIVE

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    @property
    def is_async(self) -> bool:
        return self.kind == "async"

    def pick(self, name: str = "Anthropic", module: Any = safellm.anthropic) -> Any:
        """Return a class of a module by its sync name."""
        return getattr(module, f"Async{name}" if self.is_async else name)

    def client(self, server: Any = None, *, name: str = "Anthropic", **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            options = {"base_url": server.origin, "api_key": "given-in-code", **options}
        return self.keep(self.pick(name)(**{"max_retries": 0, **options}))

    def keep(self, client: Any) -> Any:
        """Close a client when the test ends."""
        self._clients.append(client)
        return client

    def http(self, handler: Callable[[Any], Any]) -> Any:
        """Return an HTTP client whose answers a function gives."""
        if not self.is_async:
            return self.keep(NATIVE.Client(transport=NATIVE.MockTransport(handler)))

        async def handle(request: Any) -> Any:
            await request.aread()
            return handler(request)

        return self.keep(NATIVE.AsyncClient(transport=NATIVE.MockTransport(handle)))

    def run(self, value: Any) -> Any:
        return self._runner.run(_await(value)) if inspect.isawaitable(value) else value

    def all(self, items: Any) -> list[Any]:
        """Return everything of an iterable, a stream or a page."""
        return self.run(_collect(items)) if hasattr(items, "__aiter__") else list(items)

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

    def close(self, thing: Any) -> None:
        self.run(thing.aclose() if hasattr(thing, "aclose") else thing.close())

    def end(self) -> None:
        for client in self._clients:
            self.close(client)
        self._runner.close()


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


async def _await(value: Any) -> Any:
    return await value


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    made = Face(request.param)
    yield made
    made.end()


@pytest.fixture
def sync() -> Iterator[Face]:
    """The sync face alone, where async would test nothing else."""
    made = Face("sync")
    yield made
    made.end()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How an answer is asked for: whole, as raw events, or through the SDK's stream helper."""
    return str(request.param)


@pytest.fixture
def client(face: Face, provider: LoopbackProvider) -> Any:
    return face.client(provider)


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    with FaultServer(stall_seconds=20) as server:
        yield server


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "sk-" + "ant-" + "api03-" + "Zx9Qw7Lm2Kp4" * 7 + "AA"
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    return key


@pytest.fixture
def records(home: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return all records of the trail, oldest first, after the trail was verified."""

    def read() -> list[dict[str, Any]]:
        found = verify_directory(home / "audit")
        assert found.ok, found.explain()
        lines = [line for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def outcome(records: Callable[[], list[dict[str, Any]]]) -> Callable[[], dict[str, Any]]:
    """Return the last outcome; every intent must have one by then."""

    def read() -> dict[str, Any]:
        found = records()
        intents = [one["event.id"] for one in found if one["event.name"] == "call.intent"]
        ended = [one["event.parent"] for one in found if one["event.name"] == "call.outcome"]
        assert sorted(intents) == sorted(ended)
        return [one for one in found if one["event.name"] == "call.outcome"][-1]

    return read


@pytest.fixture
def debug_logs() -> Iterator[list[str]]:
    """Everything that the SDK and the HTTP libraries log, at their most talkative."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name}: {record.getMessage()} {record.args!r}")

    keep = Keep(level=logging.DEBUG)
    loggers = [
        logging.getLogger(name) for name in ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "safellm", "")
    ]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(keep)
    yield lines
    for logger, level in before:
        logger.removeHandler(keep)
        logger.setLevel(level)
