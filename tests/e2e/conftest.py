"""The real SDK, sync and async behind one face, so that each behaviour is written once and tested in both."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openai
import safellm
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.faults import FaultServer
from safellm.testing.provider import LoopbackProvider

SDK = tuple(int(part) for part in openai.VERSION.split(".")[:2])
# From 3.0 on the SDK speaks httpx2, and takes clients of httpx as well where that is installed.
NATIVE = "httpx2" if SDK >= (3, 0) else "httpx"
FAMILIES = [
    name for name in ("httpx2", "httpx") if name == NATIVE or (SDK >= (3, 0) and importlib.util.find_spec(name))
]


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every end-to-end test has a folder of its own and leaves nothing behind."""


class Face:
    """Sync or async, called the same."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    @property
    def is_async(self) -> bool:
        return self.kind == "async"

    def pick(self, name: str, module: Any = safellm) -> Any:
        """Return a class of a module by its sync name."""
        return getattr(module, f"Async{name}" if self.is_async else name)

    def client(self, server: Any = None, *, name: str = "OpenAI", module: Any = safellm, **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            options = {"base_url": server.base_url, "api_key": "given-in-code", **options}
        client = self.pick(name, module)(**{"max_retries": 0, **options})
        self._clients.append(client)
        return client

    def http(self, family: Any, **options: Any) -> Any:
        """Return a plain HTTP client of a family; closed when the test ends."""
        client = (family.AsyncClient if self.is_async else family.Client)(**options)
        self._clients.append(client)
        return client

    def run(self, value: Any) -> Any:
        return self._runner.run(_await(value)) if inspect.isawaitable(value) else value

    def all(self, items: Any) -> list[Any]:
        """Return everything of an iterable, a stream or a page."""
        return self.run(_collect(items)) if hasattr(items, "__aiter__") else list(items)

    def first(self, items: Any) -> Any:
        return self.run(anext(items)) if hasattr(items, "__anext__") else next(iter(items))

    def enter(self, manager: Any) -> Any:
        return self.run(manager.__aenter__() if hasattr(manager, "__aenter__") else manager.__enter__())

    def leave(self, manager: Any) -> None:
        self.run(
            manager.__aexit__(None, None, None) if hasattr(manager, "__aexit__") else manager.__exit__(None, None, None)
        )

    def close(self, thing: Any) -> None:
        self.run(thing.aclose() if hasattr(thing, "aclose") else thing.close())

    def ask(self, client: Any, text: str = "hello", *, api: str = "chat", stream: bool = False, **options: Any) -> str:
        """Send one user text and return the answer's text."""
        if api == "chat":
            made = self.run(
                client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": text}], stream=stream, **options
                )
            )
            if not stream:
                return str(made.choices[0].message.content)
            chunks = self.all(made)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        made = self.run(client.responses.create(model="gpt-4o", input=text, stream=stream, **options))
        if not stream:
            return str(made.output_text)
        return "".join(event.delta for event in self.all(made) if event.type == "response.output_text.delta")

    def end(self) -> None:
        for client in self._clients:
            self.close(client)
        self._runner.close()


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


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    """An HTTP library that the installed SDK takes clients of."""
    return importlib.import_module(request.param)


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    with FaultServer(stall_seconds=20) as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def client(face: Face, provider: LoopbackProvider) -> Any:
    return face.client(provider)


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "sk-" + "proj-" + "A1b2C3d4E5" * 4
    monkeypatch.setenv("OPENAI_API_KEY", key)
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
def usage(home: Path) -> Callable[[], list[Any]]:
    """Return what the ledger says was billed."""

    def read() -> list[Any]:
        from safellm.client import _open_ledger

        return _open_ledger(home / "ledger.sqlite3").usage()

    return read


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a process of its own; it must end within a minute."""

    def run(code: str, *arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def debug_logs() -> Iterator[list[str]]:
    """Everything that the SDK and the HTTP libraries log, at their most talkative."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name}: {record.getMessage()} {record.args!r}")

    keep = Keep(level=logging.DEBUG)
    loggers = [
        logging.getLogger(name)
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "safellm", "asyncio", "")
    ]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(keep)
    yield lines
    for logger, level in before:
        logger.removeHandler(keep)
        logger.setLevel(level)
