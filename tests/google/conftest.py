"""The real SDK, sync and async behind one face, against the Gemini API of the loopback provider."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safellm.google import genai
from safellm.stores.journal.files import find, verify_directory

MODEL = "gemini-2.5-flash"


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every test has a folder of its own and leaves nothing behind."""


class Face:
    """Sync or async, called the same."""

    def __init__(self, kind: str) -> None:
        self.is_async = kind == "async"
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def client(self, server: Any = None, **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            given = options.pop("http_options", {})
            options = {"api_key": "given-in-code", "http_options": {"base_url": server.origin, **given}, **options}
        made = genai.Client(**options)
        self._clients.append(made)
        return made

    def of(self, client: Any) -> Any:
        return client.aio if self.is_async else client

    def run(self, value: Any) -> Any:
        return self._runner.run(_await(value)) if inspect.isawaitable(value) else value

    def all(self, items: Any) -> list[Any]:
        items = self.run(items)
        return self.run(_collect(items)) if hasattr(items, "__aiter__") else list(items)

    def ask(self, client: Any, text: Any = "hello", *, stream: bool = False, **options: Any) -> str:
        """Send a text and return the answer's text."""
        models = self.of(client).models
        if not stream:
            return self.run(models.generate_content(model=MODEL, contents=text, **options)).text
        chunks = self.all(models.generate_content_stream(model=MODEL, contents=text, **options))
        return "".join(chunk.text or "" for chunk in chunks)

    def end(self) -> None:
        for client in self._clients:
            self.run(client.aio.aclose())
            client.close()
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
    """Return the last outcome."""
    return lambda: [one for one in records() if one["event.name"] == "call.outcome"][-1]


@pytest.fixture
def env_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the provider's variable, which safellm manages."""
    key = "AI" + "za" + "A1b2C3d4E5" * 3 + "fghij"
    monkeypatch.setenv("GEMINI_API_KEY", key)
    return key
